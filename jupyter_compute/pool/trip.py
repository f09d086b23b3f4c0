"""One attempt on a machine that is apart: what it needs goes there, what it gives comes here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jupyter_compute import parts
from jupyter_compute.ask import format_memory
from jupyter_compute.blobs import HASH, Blobs, hash_of
from jupyter_compute.policy import cargo
from jupyter_compute.pool.depot import Depot
from jupyter_compute.sharing import InOrder

__all__ = ["FAILURES", "Trip", "ended", "unreachable"]

logger = logging.getLogger(__name__)

FAILURES = (
    parts.Broken,
    parts.Refused,
    parts.Unreachable,
    parts.Damaged,
    parts.Full,
    parts.Dropped,
    OSError,
)
"""How a transfer may fail."""

Event = Mapping[str, Any]
Happened = Callable[[str, Sequence[Event]], None]


class Trip:
    """What is on its way for one attempt.

    Parameters
    ----------
    attempt : str
    layer : str
    depot : Depot
        What is in the layer's store.
    blobs : Blobs
        Those of this host.
    happened : callable
        Takes the attempt and its events, once the blobs that they name are here.
    failed : callable
        Takes the attempt and why something that it needs cannot be sent.
    """

    def __init__(
        self,
        attempt: str,
        layer: str,
        depot: Depot,
        blobs: Blobs,
        happened: Happened,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self.depot = depot
        self.machine = ""
        self._attempt = attempt
        self._layer = layer
        self._blobs = blobs
        self._happened = happened
        self._failed = failed
        self._sizes: dict[str, int] = {}
        self._sending: dict[str, asyncio.Future[tuple[str, int]]] = {}
        self._coming: dict[str, int] = {}
        self._doing = ""
        self._news: InOrder[Callable[[], None] | tuple[Sequence[Event], Mapping[str, Any]]]
        self._news = InOrder(self._learn)

    # there ------------------------------------------------------------------------

    def load(self, names: Iterable[str]) -> dict[str, str]:
        """Have blobs sent; return those that travel inside the message that names them."""
        wanted = list(dict.fromkeys(names))
        sizes = {}
        for name in wanted:
            try:
                sizes[name] = self._blobs.path(name).stat().st_size
            except FileNotFoundError:  # perhaps it is in the store
                continue
        inline = {}
        for name in cargo.inline(sizes):
            data = self._blobs.read(name)
            inline[name] = cargo.pack(hash_of(data), data)
        for name in wanted:
            if name not in inline and name not in self._sending:
                self._sizes[name] = sizes.get(name, 0)
                self._sending[name] = sending = asyncio.ensure_future(self.depot.send(name))
                sending.add_done_callback(self._sent)
        return inline

    async def sent(self, name: str) -> tuple[str, int]:
        """Return hash and size of a blob that the attempt needs, once it is in the store."""
        if name not in self._sending:
            raise parts.Refused(f"{self._attempt} has no blob {name}")
        return await asyncio.shield(self._sending[name])

    def knows(self, digest: str) -> bool:
        """Tell whether the attempt needs what has this hash."""
        done = [s for s in self._sending.values() if s.done() and not s.cancelled()]
        return any(not s.exception() and s.result()[0] == digest for s in done)

    def _sent(self, sending: asyncio.Future[tuple[str, int]]) -> None:
        if not sending.cancelled() and (error := sending.exception()) is not None:
            self._failed(self._attempt, error)

    # back -------------------------------------------------------------------------

    def happened(self, events: Sequence[Event]) -> None:
        """Take events in; they are passed on once the blobs that they name are here."""
        published: Mapping[str, Any] = {}
        if events and events[0]["kind"] == "doing":
            self._doing = events[0]["text"]
            return
        if events and events[0]["kind"] == "blobs":
            published, events = events[0]["blobs"], events[1:]
        if self._news.idle and not published:
            self._happened(self._attempt, events)
        else:
            self._news.add((events, published))

    def vanished(self, then: Callable[[], None]) -> None:
        """Call this after everything that has come before."""
        if self._news.idle:
            then()
        else:
            self._news.add(then)

    def stop(self) -> None:
        """Wait for nothing any more: the attempt was told to end."""
        for news in self._news.cancel():
            if callable(news):
                news()
            else:
                events = cargo.not_sent(news[0], "stopped", unreachable=False, reason="killed")
                self._happened(self._attempt, events)

    def close(self) -> None:
        """Drop what is on its way for nobody but this attempt."""
        self._news.cancel()
        for sending in self._sending.values():
            sending.cancel()

    def moving(self) -> str:
        """Return what is on its way, or what else the machine does before the attempt starts.

        For example ``"sending 1.2 of 3.4 GB"``; empty if it is nothing.
        """
        going = [name for name, sending in self._sending.items() if not sending.done()]
        if going:
            total = sum(self._sizes.values())
            left = sum(max(0, self._sizes[name] - self.depot.sent(name)) for name in going)
            return f"sending {_share(total - left, total)}"
        if self._coming:
            done = sum(self.depot.brought(name) for name in self._coming)
            return f"bringing {_share(done, sum(self._coming.values()))}"
        return self._doing

    async def _learn(
        self, news: Callable[[], None] | tuple[Sequence[Event], Mapping[str, Any]]
    ) -> None:
        if callable(news):
            news()
            return
        events, published = news
        try:
            await self._bring(events, published)
        except FAILURES as error:
            message = f"a result could not be transferred: {error}"
            events = cargo.not_sent(events, message, unreachable=unreachable(error))
        try:
            self._happened(self._attempt, events)
        except Exception:
            logger.exception("events of attempt %s", self._attempt)

    async def _bring(self, events: Sequence[Event], published: Mapping[str, Any]) -> None:
        wanted, kept = cargo.produced(events)
        there = {}
        for name in (*wanted, *kept):
            how = published.get(name)
            if how is None:
                raise parts.Refused(f"the machine has not sent the blob {name}")
            if "data" in how:
                self._unpack(name, how["data"])
            elif HASH.fullmatch(how["hash"]):
                there[name] = how
        self._coming = {name: there[name]["nbytes"] for name in wanted if name in there}
        coming = [
            asyncio.ensure_future(self.depot.bring(name, there[name]["hash"], nbytes))
            for name, nbytes in self._coming.items()
        ]
        try:
            await asyncio.gather(*coming)
        finally:
            self._coming = {}
            for future in coming:
                future.cancel()
        self._note_kept(events)

    def _note_kept(self, events: Sequence[Event]) -> None:
        """Write down of kept values that they are only in the store."""
        for event in events:
            for entry in (event.get("envelope") or {}).get("kept") or ():
                if not all(map(self._blobs.has, (entry["payload"], *entry["blobs"]))):
                    entry["apart"] = self._layer

    def _unpack(self, name: str, text: str) -> None:
        digest, data = cargo.unpack(text)
        if hash_of(data) != digest:
            raise parts.Damaged(f"the blob {name} arrived with another content")
        if digest == name:
            self._blobs.put(data)
            return
        partial = self._blobs.expect(name, len(data))
        partial.write_bytes(data)
        self._blobs.arrived(name, partial)


def ended(message: str, *, unreachable: bool) -> list[Event]:
    """Return the events of an attempt whose values cannot be transferred."""
    usage = {"run_s": None, "cpu_s": None, "memory_peak": None}
    died = {"outcome": "died", "reason": "transfer", "message": message, "usage": usage}
    return [{"kind": "ended", "envelope": died | {"unreachable": unreachable}}]


def unreachable(error: BaseException) -> bool:
    """Tell whether the store was not to be reached for long."""
    return isinstance(error, parts.Broken | parts.Unreachable)


def _share(done: int, total: int) -> str:
    whole, part = format_memory(total), format_memory(done)
    unit = whole.rpartition(" ")[2]
    return f"{part.removesuffix(f' {unit}')} of {whole}"
