"""Starting the pool service: one per user and host, whoever asks first.

Fifty kernels that ask at once end up with one service: each takes the same lock, and
whoever gets it looks again whether somebody was faster.
"""

from __future__ import annotations

import fcntl
import os
import site
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import places
from ..errors import PoolError

__all__ = ["start_service"]

DEADLINE_S = 30.0
"""A cold start takes 1-2 s; a machine under heavy load a few times that."""

_POLL_S = 0.01
_LOG_TAIL = 2000


def start_service(answers: Callable[[float], bool], deadline_s: float = DEADLINE_S) -> None:
    """Start the pool service unless it runs, and return once it answers.

    Parameters
    ----------
    answers : callable
        Tells whether a service answers on the socket within so many seconds. It returns
        at once if nobody listens.
    deadline_s : float
        How long to wait for it.

    Raises
    ------
    PoolError
        If the service ended, or did not answer in time; with the end of its log.
    """
    end = time.monotonic() + deadline_s
    with _starting(answers, end) as ours:
        if ours and not answers(_left(end)):
            _spawn_and_wait(answers, end)


@contextmanager
def _starting(answers: Callable[[float], bool], end: float) -> Iterator[bool]:
    """Hold the start lock (True), or learn that somebody else's service answers (False)."""
    handle = os.open(places.start_lock(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while not _locked(handle):
            if answers(_left(end)):
                yield False
                return
            if time.monotonic() > end:
                raise _failure("another process has been starting it for too long")
            time.sleep(_POLL_S)
        yield True
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _left(end: float) -> float:
    return max(0.1, end - time.monotonic())


def _spawn_and_wait(answers: Callable[[float], bool], end: float) -> None:
    service = _spawn()
    # Without this the service would be a zombie of this process once it has ended.
    threading.Thread(target=service.wait, name="jupyter-compute-reaper", daemon=True).start()
    while not answers(_left(end)):
        code = service.poll()
        if code == 0:
            raise _failure("an earlier one is still ending")
        if code is not None:
            raise _failure(f"it ended with exit code {code}")
        if time.monotonic() > end:
            service.kill()
            raise _failure("it did not answer in time")
        time.sleep(_POLL_S)


def _spawn() -> subprocess.Popen[bytes]:
    log = os.open(places.service_log(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "jupyter_compute.pool"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            env=_environment(),
            start_new_session=True,
        )
    finally:
        os.close(log)


def _environment() -> dict[str, str]:
    """Return our variables, so that the service finds this package wherever we found it.

    They stay as they are where that is enough: a node has a fork server warm for the
    variables that it was started with.
    """
    root = str(Path(__file__).parents[2])
    if root in _found_anyway():
        return dict(os.environ)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([path, root] if path else [root])}


def _found_anyway() -> set[str]:
    """Return where any Python started here looks for packages; its own library aside."""
    sites = [*site.getsitepackages(), site.getusersitepackages()]
    # A package that is being developed is not in there, but named in a file that is.
    linked = (file.read_text() for folder in sites for file in Path(folder).glob("*.pth"))
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {*sites, *named, *(line.strip() for text in linked for line in text.splitlines())}


def _failure(what: str) -> PoolError:
    log = places.service_log()
    tail = _tail(log)
    message = f"the pool service could not be started: {what}"
    if tail:
        message += f"\nthe end of its log:\n{tail}"
    return PoolError(message, hint=f"`jupyter compute doctor` checks why; the log is {log}")


def _tail(log: Path) -> str:
    try:
        data = log.read_bytes()[-_LOG_TAIL:]
    except FileNotFoundError:
        return ""
    return data.decode("utf-8", "replace").strip()
