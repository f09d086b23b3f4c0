"""Why there is no pool to speak to, as whoever only looks says it: nothing here starts one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from jupyter_compute import places

__all__ = ["NOT_LIVE", "why_gone"]

NOT_LIVE = {
    "none": ("no pool is running", "the first %%remote cell starts one"),
    "stopping": ("the pool is stopping", ""),
    "lost": (
        "the pool service has died",
        "the next cell starts it again, and runs that it knew of go on",
    ),
    "silent": (
        "the pool service does not answer",
        "`jupyter compute doctor` shows what it is doing",
    ),
    "other-version": (
        "the pool service has another version than this Jupyter",
        "`jupyter compute stop` ends it; restart the server and the kernel if they are older",
    ),
}
"""Every way in which there is no pool to speak to: sentence and hint."""


def why_gone(socket: Path) -> str:
    """Return why nobody answers at the socket: a key of `NOT_LIVE`."""
    if socket.exists():
        return "lost"
    return "stopping" if _held(places.service_lock()) else "none"


def _held(lock: Path) -> bool:
    """Tell whether a service has the lock: without a socket, it is about to end or to begin."""
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # A service that starts in this very moment tries again.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)
