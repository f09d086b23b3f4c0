"""Large files over connections that may break: several parts at once, each resumed where it was.

Both ends use this: the pool with an object store's own client, machines with signed addresses.
Everything here blocks, and is called in threads.
"""

from __future__ import annotations

import errno
import functools
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import xxhash

from jupyter_compute.ask import format_memory

__all__ = [
    "PART",
    "Broken",
    "Damaged",
    "Dropped",
    "Full",
    "Patience",
    "Readable",
    "Refused",
    "Unreachable",
    "all_of",
    "hash_file",
    "receive",
    "spans",
]

PART = 64 * 2**20
"""What one request sends at most, in bytes; and what goes in a single one."""

_MOST_PARTS = 10_000
_RANGE = 16 * 2**20
_CHUNK = 2**20
_THREADS = 4
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0


class Broken(Exception):
    """A connection broke, or the other end has no time now: the same again may succeed."""


class Refused(Exception):
    """The other end does not want this, however often it is asked."""


class Unreachable(Exception):
    """Nothing has moved for so long that it is not tried any more."""


class Dropped(Exception):
    """Nobody needs this any more."""


class Damaged(Exception):
    """What has arrived is not what was sent."""


class Full(Exception):
    """There is no room for it."""


class Readable(Protocol):
    """An answer whose body can be read."""

    def read(self, amount: int, /) -> bytes:
        """Return at most so many bytes, none at the end; `Broken` if the connection breaks."""


Open = Callable[[int, int], AbstractContextManager[Readable]]
"""From the first byte and the one after the last to these bytes."""


class Patience:
    """How long a transfer goes on without anything moving, and how far it is.

    Parameters
    ----------
    seconds : float
        Without any progress it is given up after this.
    """

    def __init__(self, seconds: float) -> None:
        self.done = 0
        self.dropped = threading.Event()
        self._seconds = seconds
        self._last = time.monotonic()
        self._lock = threading.Lock()

    def moved(self, nbytes: int) -> None:
        """Count bytes that have arrived, or are taken back.

        Raises
        ------
        Dropped
            If nobody needs the rest.
        """
        if self.dropped.is_set():
            raise Dropped
        with self._lock:
            self.done += nbytes
            self._last = time.monotonic()

    def alive(self) -> None:
        """Note that something moves, of which nobody knows yet whether it arrives.

        Raises
        ------
        Dropped
            If nobody needs it.
        """
        self.moved(0)

    def after(self, error: Exception, tries: int) -> None:
        """Pause before the next of so many tries.

        Raises
        ------
        Unreachable
            If it has not moved for too long.
        Dropped
            If nobody needs it.
        """
        silent = time.monotonic() - self._last
        if silent > self._seconds:
            raise Unreachable(f"nothing has moved for {silent:.0f} s: {error}") from error
        if self.dropped.wait(min(_FIRST_PAUSE_S * 2 ** min(tries, 20), _LONGEST_PAUSE_S)):
            raise Dropped

    def insist(self, step: Callable[[], Any]) -> Any:
        """Take a step again and again until it is not `Broken` any more; return its result."""
        tries = 0
        while True:
            try:
                found = step()
            except Broken as error:
                self.after(error, tries)
                tries += 1
            else:
                self.alive()
                return found


def spans(nbytes: int, most: int) -> list[tuple[int, int]]:
    """Return where each part of so many bytes begins and ends; there are never too many."""
    size = max(most, -(-nbytes // _MOST_PARTS))
    return [(start, min(start + size, nbytes)) for start in range(0, nbytes, size)]


def receive(path: Path, nbytes: int, opened: Open, patience: Patience) -> str:
    """Write what comes to a new file, and return the hash of its content.

    Parameters
    ----------
    path : Path
        Must not exist. It is removed if anything fails.
    nbytes : int
    opened : callable
    patience : Patience

    Raises
    ------
    Full, Refused, Unreachable, Dropped
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(path, flags, 0o600)
    try:
        _write(lambda: os.ftruncate(file, nbytes), path, nbytes)
        steps = [
            functools.partial(_receive, file, path, span, opened, patience)
            for span in spans(nbytes, _RANGE)
        ]
        all_of(steps, patience)
        return hash_file(file)[0]
    except BaseException:
        patience.dropped.set()
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)


def _receive(
    file: int, path: Path, span: tuple[int, int], opened: Open, patience: Patience
) -> None:
    at, stop = span
    tries = 0
    while at < stop:
        try:
            with opened(at, stop) as stream:
                while at < stop:
                    data = _read(stream, min(_CHUNK, stop - at))
                    _write(functools.partial(os.pwrite, file, data, at), path, len(data))
                    at, tries = at + len(data), 0
                    patience.moved(len(data))
        except Broken as error:
            patience.after(error, tries)
            tries += 1


def _read(stream: Readable, amount: int) -> bytes:
    data = stream.read(amount)
    if not data:
        raise Broken("the connection ended early")
    return data


def _write(step: Callable[[], object], path: Path, nbytes: int) -> None:
    try:
        step()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise Full(f"no room for {format_memory(nbytes)} in {path.parent}") from error


def all_of(steps: Iterable[Callable[[], Any]], patience: Patience) -> list[Any]:
    """Take steps, a few at a time, and return their results; one that fails ends the others."""
    waiting = list(steps)
    if len(waiting) <= 1:
        return [step() for step in waiting]
    with ThreadPoolExecutor(_THREADS, "jupyter-compute-part") as pool:
        taken: list[Future[Any]] = [pool.submit(step) for step in waiting]
        ended, left = wait(taken, return_when=FIRST_EXCEPTION)
        if left:
            patience.dropped.set()
        for future in left:
            future.cancel()
    failed = next((f.exception() for f in ended if f.exception() is not None), None)
    if failed is not None:
        raise failed
    return [future.result() for future in taken]


def hash_file(file: int) -> tuple[str, int]:
    """Return the hash of an open file's content, as `blobs.hash_of` gives it, and its size."""
    digest, size, buffer = xxhash.xxh3_128(), 0, bytearray(_CHUNK)
    with memoryview(buffer) as view:
        while count := os.preadv(file, [view], size):
            with view[:count] as part:
                digest.update(part)
            size += count
    return digest.hexdigest(), size
