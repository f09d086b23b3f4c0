"""``python hasty_service.py``: the pool service with other timers, killed at a step if one is given.

The environment says which: ``HASTY_TIMERS`` are some of `policy.lifecycle.Timers` as JSON,
``HASTY_DEATH`` is ``MODULE CLASS METHOD before|after``: the service is killed at the first call.
With ``HASTY_DEBUG`` everybody logs whatever there is to log.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import logging
import os
import signal
import sys
from typing import Any

from jupyter_compute.policy import lifecycle


def die_at(module: str, kind: str, method: str, when: str) -> None:
    """Have this process killed before or after the first call of the method."""
    owner = getattr(importlib.import_module(module), kind)
    original = getattr(owner, method)

    @functools.wraps(original)
    def deadly(*arguments: Any, **named: Any) -> None:
        if when == "after":
            original(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, method, deadly)


if __name__ == "__main__":
    others = json.loads(os.environ.pop("HASTY_TIMERS"))
    # Before any other module takes them from there.
    lifecycle.TIMERS = dataclasses.replace(lifecycle.TIMERS, **others)
    if os.environ.pop("HASTY_DEBUG", ""):
        logging.getLogger().setLevel(logging.DEBUG)
    if death := os.environ.pop("HASTY_DEATH", ""):
        die_at(*death.split())
    sys.exit(importlib.import_module("jupyter_compute.pool.start").main())
