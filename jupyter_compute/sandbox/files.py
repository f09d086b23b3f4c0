"""Where the sandbox of this user keeps its lock, its state and its log."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from jupyter_compute import places

__all__ = ["directory", "log", "read_state", "take_lock", "write_state"]


def directory() -> Path:
    """Return the sandbox's own directory, below the user's runtime directory."""
    return places.private_directory(places.runtime_dir() / "sandbox")


def log() -> Path:
    """Return the file with what the sandbox process writes to stderr."""
    return directory() / "sandbox.log"


def take_lock() -> int | None:
    """Take the lock that one sandbox holds as long as it lives; None if there is one."""
    lock = os.open(directory() / "sandbox.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def read_state() -> dict[str, Any] | None:
    """Return what a running sandbox says of itself, None if none runs.

    It holds the key of the sandbox, and is closed to other users.
    """
    lock = take_lock()
    if lock is not None:
        os.close(lock)
        return None
    try:
        state: dict[str, Any] = json.loads(_state().read_bytes())
        os.kill(state["pid"], 0)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        # It is only starting, or has ended and is being cleaned up.
        return None
    return state


def write_state(state: dict[str, Any] | None) -> None:
    """Say what `read_state` returns from now on; None when the sandbox ends."""
    if state is None:
        _state().unlink(missing_ok=True)
        return
    unready = _state().with_suffix(f".{os.getpid()}")
    descriptor = os.open(unready, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(state, file)
    unready.replace(_state())


def _state() -> Path:
    return directory() / "sandbox.json"
