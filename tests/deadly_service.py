"""``python deadly_service.py METHOD before|after``: the pool service, killed at a write of its journal.

The product knows nothing of this: the method of the journal is wrapped from here.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from typing import Any

from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.start import main


def die_at(method: str, when: str) -> None:
    """Have this process killed before or after the first call of the method."""
    original = getattr(Journal, method)

    @functools.wraps(original)
    def deadly(self: Journal, *arguments: Any) -> None:
        if when == "after":
            original(self, *arguments)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(Journal, method, deadly)


if __name__ == "__main__":
    die_at(*sys.argv[1:])
    sys.exit(main())
