"""``%compute sandbox``: the layers of AWS as a rehearsal on this computer, for this pool."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from ..errors import PoolError
from . import session

__all__ = ["begin", "end", "ensure", "where"]

_START_S = 60.0


def begin() -> str:
    """Start the sandbox if need be, and have the pool use it. Return what there is to say.

    Raises
    ------
    PoolError
        If it cannot be started, or the pool has machines elsewhere.
    """
    status = _command("up")
    session.client().sandbox(status["environment"])
    return (
        "the pool rehearses: ec2, fargate and aws are a sandbox on this computer, and cost nothing\n"
        "(`%compute sandbox off` ends that, `jupyter compute sandbox down` the sandbox)"
    )


def ensure() -> str:
    """Have the pool use the sandbox; return what there is to say if it did not."""
    return "" if where() else begin()


def end() -> str:
    """Have the pool use AWS again; return what there is to say."""
    session.client().sandbox(None)
    return "ec2, fargate and aws are those of AWS again"


def where() -> str:
    """Return the address of the sandbox that the pool uses; empty if it uses none."""
    return session.client().rehearses()


def _command(verb: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "jupyter_compute", "sandbox", verb, "--json"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_START_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise PoolError(f"the sandbox did not answer within {_START_S:g} s") from None
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:] or done.stdout.strip().splitlines()[-1:]
        raise PoolError(f"the sandbox cannot be started: {''.join(why) or 'it did not say why'}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
