"""Starting the pool service: one per user and host, whoever asks first.

Fifty kernels that ask at once end up with one service: each takes the same lock, and
whoever gets it looks again whether somebody was faster.
"""

from __future__ import annotations

import fcntl
import os
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


def start_service(answers: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Start the pool service unless it runs, and return once it answers.

    Parameters
    ----------
    answers : callable
        Tells whether a service answers on the socket right now.
    deadline_s : float
        How long to wait for it.

    Raises
    ------
    PoolError
        If the service ended, or did not answer in time; with the end of its log.
    """
    end = time.monotonic() + deadline_s
    with _starting(answers, end) as mine:
        if mine and not answers():
            _spawn_and_wait(answers, end)


@contextmanager
def _starting(answers: Callable[[], bool], end: float) -> Iterator[bool]:
    """Hold the start lock (True), or learn that somebody else's service answers (False)."""
    handle = os.open(places.start_lock(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if answers():
                    yield False
                    return
                if time.monotonic() > end:
                    raise _failure("another process has been starting it for too long") from None
                time.sleep(5 * _POLL_S)
            else:
                yield True
                return
    finally:
        os.close(handle)


def _spawn_and_wait(answers: Callable[[], bool], end: float) -> None:
    service = _spawn()
    while not answers():
        code = service.poll()
        if code is not None and not _succeeded_elsewhere(code, answers):
            raise _failure(f"it ended with exit code {code}")
        if time.monotonic() > end:
            service.kill()
            service.wait()
            raise _failure("it did not answer in time")
        time.sleep(_POLL_S)
    if service.returncode is None:
        # Without this the service would stay a zombie of this process once it has ended.
        threading.Thread(target=service.wait, name="jupyter-compute-reaper", daemon=True).start()


def _succeeded_elsewhere(code: int, answers: Callable[[], bool]) -> bool:
    """Tell whether ours stepped back because another service holds the service lock."""
    return code == 0 and answers()


def _spawn() -> subprocess.Popen[bytes]:
    log = os.open(places.service_log(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "jupyter_compute.pool"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(log)


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
