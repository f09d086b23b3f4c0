"""Blobs to and from a machine that does not share the files of its pool's host.

The pool is asked, over the stream that there is anyway, where in an object store a blob is to be
had or put; the bytes go between this machine and the store. The machine holds no credentials.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .. import parts
from ..ask import format_memory
from ..blobs import Blobs, hash_of
from ..parts import Patience
from ..policy import cargo
from ..policy.lifecycle import TIMERS
from ..sharing import Shared
from . import moving

__all__ = ["Failed", "Transfer"]

T = TypeVar("T")

_THREADS = 8
_SHARE = 4
"""Blobs that nobody reads now take at most this part of the disks that they are on."""

_YOUNG_S = 60.0
"""A blob that is younger may be one of which nobody has told us yet."""

_FAILURES = (parts.Broken, parts.Refused, parts.Unreachable, parts.Damaged, parts.Full, OSError)


class Failed(Exception):
    """A blob cannot be had or sent, and why.

    Parameters
    ----------
    message : str
    unreachable : bool
        The store was not to be reached for long: elsewhere, or later, it may be.
    """

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


@dataclass(slots=True)
class _Question:
    answered: asyncio.Future[dict[str, Any]]
    heard: float


class Transfer:
    """All blobs that this machine fetches and publishes.

    Parameters
    ----------
    directories : sequence of str
        Where blobs are on this machine.
    stream : callable
        Passes a question on to the pool.
    """

    def __init__(
        self, directories: Sequence[str], stream: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self.blobs = Blobs(directories)
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._questions: dict[int, _Question] = {}
        self._fetching: Shared[None] = Shared(TIMERS.store_s)
        self._publishing: Shared[tuple[str, int]] = Shared(TIMERS.store_s)
        self._used: Counter[str] = Counter()
        self._collected = self._loop.time()
        self._threads = ThreadPoolExecutor(_THREADS, "jupyter-compute-transfer")

    async def fetch(
        self, attempt: str, names: Iterable[str], inline: Mapping[str, str], used: Counter[str]
    ) -> None:
        """Return once these blobs are here.

        Parameters
        ----------
        attempt : str
            Who needs them.
        names : iterable of str
        inline : mapping of str to str
            Those that came with the message that names them.
        used : Counter
            Notes which blobs must stay, until `free` is told.

        Raises
        ------
        Failed
        """
        wanted = list(dict.fromkeys(names))
        used.update(wanted)
        self.use(Counter(wanted))
        try:
            for name in wanted:
                if name in inline and not self.blobs.has(name):
                    self._unpack(name, inline[name])
            missing = [name for name in wanted if not self.blobs.has(name)]
            fetch = functools.partial(functools.partial, self._fetch, attempt)
            await _all([self._fetching.get(name, fetch(name)) for name in missing])
        except _FAILURES as error:
            raise _failed("an input", error) from error

    def use(self, used: Counter[str]) -> None:
        """Note that these blobs must stay, until `free` is told."""
        self._used += used

    def free(self, used: Counter[str]) -> None:
        """Note that these blobs may go; the oldest do once there are many."""
        self._used -= used
        if self._loop.time() - self._collected > _YOUNG_S:
            self._collected = self._loop.time()
            self._threads.submit(self._collect, set(self._used))

    async def publish(self, attempt: str, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """Have the pool be able to get these blobs; return how, by name.

        Raises
        ------
        Failed
        """
        try:
            sizes = {name: self.blobs.path(name).stat().st_size for name in names}
            small = cargo.inline(sizes)
            found: dict[str, dict[str, Any]] = {}
            for name in small:
                data = self.blobs.read(name)
                digest = hash_of(data)
                found[name] = {"hash": digest, "data": cargo.pack(digest, data)}
            rest = [name for name in sizes if name not in found]
            publish = functools.partial(functools.partial, self._publish, attempt)
            gone = await _all([self._publishing.get(name, publish(name)) for name in rest])
            for name, (digest, nbytes) in zip(rest, gone, strict=True):
                found[name] = {"hash": digest, "nbytes": nbytes}
        except _FAILURES as error:
            raise _failed("a result", error) from error
        return found

    def answer(self, number: int, found: dict[str, Any]) -> None:
        """Take the pool's answer to a question in, or that it will take a while."""
        question = self._questions.get(number)
        if question is None or question.answered.done():
            return
        question.heard = self._loop.time()
        if "refused" in found:
            kind = parts.Unreachable if found.get("unreachable") else parts.Refused
            question.answered.set_exception(kind(found["refused"]))
        elif not found.get("wait"):
            question.answered.set_result(found)

    async def ask(self, attempt: str, verb: str, about: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the pool for something, and return its answer."""
        number = next(self._numbers)
        question = _Question(self._loop.create_future(), self._loop.time())
        self._questions[number] = question
        self._stream({"attempt": attempt, "number": number, "verb": verb, "about": dict(about)})
        try:
            while (left := question.heard + TIMERS.lost_machine_s - self._loop.time()) > 0:
                await asyncio.wait([question.answered], timeout=left)
                if question.answered.done():
                    return question.answered.result()
        finally:
            del self._questions[number]
            question.answered.cancel()
        silent_s = TIMERS.lost_machine_s
        raise parts.Unreachable(f"the pool did not say within {silent_s:g} s where the store is")

    def discard(self, published: Mapping[str, Mapping[str, Any]]) -> None:
        """Remove what was stored under a name of its own: nobody asks for it again."""
        for name, how in published.items():
            if how["hash"] != name:
                self.blobs.discard(name)

    def close(self) -> None:
        """Drop what is under way."""
        self._fetching.close()
        self._publishing.close()
        for question in self._questions.values():
            question.answered.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # steps ------------------------------------------------------------------------

    def _unpack(self, name: str, text: str) -> None:
        digest, data = cargo.unpack(text)
        if hash_of(data) != digest:
            raise parts.Damaged(f"the blob {name} arrived with another content")
        partial = self._expect(name, len(data))
        partial.write_bytes(data)
        self.blobs.arrived(name, partial)

    async def _fetch(self, attempt: str, name: str, patience: Patience) -> None:
        about = {"name": name}
        found = await self.ask(attempt, "get", about)
        partial = await self._thread(lambda: self._expect(name, found["nbytes"]))
        ask = self._asker(attempt)
        digest = await self._thread(lambda: moving.fetch(ask, found, about, partial, patience))
        if digest != found["hash"]:
            partial.unlink()
            await self.ask(attempt, "damaged", {"hash": found["hash"]})
            raise parts.Damaged(
                f"the object {found['hash']} of the store has another content; it was removed"
            )
        self.blobs.arrived(name, partial)

    async def _publish(self, attempt: str, name: str, patience: Patience) -> tuple[str, int]:
        path, ask = self.blobs.path(name), self._asker(attempt)

        def publish() -> tuple[str, int]:
            with path.open("rb") as file:
                digest, nbytes = parts.hash_file(file.fileno())
            moving.publish(ask, path, digest, nbytes, patience)
            return digest, nbytes

        return await self._thread(publish)

    def _collect(self, used: set[str]) -> None:
        places = {place.stat().st_dev: place for place in self.blobs.directories if place.exists()}
        room = sum(shutil.disk_usage(place).total for place in places.values())
        self.blobs.collect(used, _YOUNG_S, room // _SHARE)

    def _asker(self, attempt: str) -> moving.Ask:
        """Return what asks the pool from a thread."""

        def ask(verb: str, about: Mapping[str, Any]) -> dict[str, Any]:
            question = self.ask(attempt, verb, about)
            return asyncio.run_coroutine_threadsafe(question, self._loop).result()

        return ask

    async def _thread(self, step: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._threads, step)

    def _expect(self, name: str, nbytes: int) -> Path:
        """Return where a blob is to be written; make room first if need be."""
        with contextlib.suppress(OSError):
            return self.blobs.expect(name, nbytes)
        self.blobs.collect(set(self._used), _YOUNG_S, 0)
        try:
            return self.blobs.expect(name, nbytes)
        except OSError as error:
            raise parts.Full(
                f"it takes {format_memory(nbytes)}: {error.strerror}: {error.filename}"
            ) from error


async def _all(jobs: list[Any]) -> list[Any]:
    """Return what comes of all; the first that fails ends the wait for the others."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


def _failed(what: str, error: Exception) -> Failed:
    unreachable = isinstance(error, parts.Broken | parts.Unreachable)
    return Failed(f"{what} could not be transferred: {error}", unreachable=unreachable)
