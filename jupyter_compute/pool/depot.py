"""The blobs of this host in one object store: each is sent, or brought, once however many ask."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from jupyter_compute import parts
from jupyter_compute.blobs import Blobs
from jupyter_compute.layers.stores import Store, Upload
from jupyter_compute.model import Clock
from jupyter_compute.parts import Patience
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.sharing import Shared

__all__ = ["Depot"]

T = TypeVar("T")

_THREADS = 8
_SURE_S = 3600.0
"""What was in the store is taken to be there for so long without a question."""

_ASK_S = 30.0
"""How long the store is asked for anything that moves no bytes."""


class Depot:
    """What is in the store, and what is on its way there and back.

    Parameters
    ----------
    store : Store
    blobs : Blobs
        Those of this host.
    clock : Clock
    """

    def __init__(self, store: Store, blobs: Blobs, clock: Clock) -> None:
        self.store = store
        self._blobs = blobs
        self._clock = clock
        self._known: dict[str, float] = {}
        self._hashes: dict[tuple[str, int, int], str] = {}
        self._sending: Shared[tuple[str, int]] = Shared(TIMERS.store_s)
        self._bringing: Shared[None] = Shared(TIMERS.store_s)
        self._threads = ThreadPoolExecutor(_THREADS, "jupyter-compute-store")

    async def send(self, name: str) -> tuple[str, int]:
        """Return hash and size of a blob once it is in the store.

        Raises
        ------
        FileNotFoundError
            If it is neither here nor there.
        parts.Refused, parts.Unreachable
        """
        return await self._sending.get(name, functools.partial(self._send, name))

    async def bring(self, name: str, digest: str, nbytes: int) -> None:
        """Return once the blob is on this host.

        Raises
        ------
        parts.Damaged
            If the object has another content; it was removed.
        parts.Full, parts.Refused, parts.Unreachable
        """
        if not self._blobs.has(name):
            bring = functools.partial(self._bring, name, digest, nbytes)
            await self._bringing.get(name, bring)

    async def put(self, digest: str, nbytes: int) -> Upload | None:
        """Return how a machine puts a blob there; None if it is there already."""
        if self._fresh(digest):
            return None
        if await self.call(lambda: self.store.size(digest)) is not None:
            self._know(digest)
            return None
        return await self.call(lambda: self.store.put_urls(digest, nbytes))

    async def complete(self, digest: str, upload_id: str, tags: Sequence[str]) -> None:
        """Make a blob of the parts that a machine has put there."""
        await self.call(lambda: self.store.complete(digest, upload_id, tags))
        self._know(digest)

    async def call(self, step: Callable[[], T]) -> T:
        """Return what the store says; try again for a while if it does not answer."""
        patience = Patience(_ASK_S)
        found: T = await self._thread(lambda: patience.insist(step))
        return found

    async def delete(self, names: Collection[str]) -> None:
        """Remove blobs from the store."""
        for name in names:
            self._known.pop(name, None)
        if names:
            await self.call(lambda: self.store.delete(names))

    async def keep(self, names: Iterable[str]) -> None:
        """See to it that blobs which are only in the store stay there."""
        for name in names:
            size = functools.partial(self.store.size, name)
            if not self._fresh(name) and await self.call(size) is not None:
                self._know(name)

    def sent(self, name: str) -> int:
        """Return how many bytes of a blob that is on its way to the store have moved."""
        return self._sending.done(name)

    def brought(self, name: str) -> int:
        """Return how many bytes of a blob that is on its way to this host have moved."""
        return self._bringing.done(name)

    def close(self) -> None:
        """Drop what is under way."""
        self._sending.close()
        self._bringing.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # steps ------------------------------------------------------------------------

    async def _send(self, name: str, patience: Patience) -> tuple[str, int]:
        return await self._thread(lambda: self._send_now(name, patience))

    def _send_now(self, name: str, patience: Patience) -> tuple[str, int]:
        try:
            path = self._blobs.path(name)
            with path.open("rb") as file:
                digest, nbytes = self._hash(name, file.fileno())
        except FileNotFoundError:
            nbytes_there = patience.insist(lambda: self.store.size(name))
            if nbytes_there is None:
                raise
            return name, int(nbytes_there)
        if not self._fresh(digest):
            if patience.insist(lambda: self.store.size(digest)) is None:
                self.store.upload(digest, path, patience)
            self._know(digest)
        return digest, nbytes

    def _hash(self, name: str, file: int) -> tuple[str, int]:
        """Return the hash and size of an open blob: its name may be of its own instead."""
        status = os.fstat(file)
        key = (name, status.st_ino, status.st_size)
        if key not in self._hashes:
            if len(self._hashes) > 10_000:
                self._hashes.clear()
            self._hashes[key] = parts.hash_file(file)[0]
        return self._hashes[key], status.st_size

    async def _bring(self, name: str, digest: str, nbytes: int, patience: Patience) -> None:
        def bring() -> None:
            try:
                partial = self._blobs.expect(name, nbytes)
            except OSError as error:
                raise parts.Full(f"{error.strerror}: {error.filename}") from error
            self.store.download(digest, partial, nbytes, patience)
            self._blobs.arrived(name, partial)

        try:
            await self._thread(bring)
        except parts.Damaged:
            await self.delete([digest])
            raise
        self._know(digest)

    def _fresh(self, digest: str) -> bool:
        return self._clock.monotonic() - self._known.get(digest, float("-inf")) < _SURE_S

    def _know(self, digest: str) -> None:
        self._known[digest] = self._clock.monotonic()

    async def _thread(self, step: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, step)
