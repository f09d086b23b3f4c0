"""The items of a map, from where they come from to where they go: who is on the way, who is
ready, who is tried again. No I/O, and time comes in as an argument.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..errors import AskError
from ..model import RetryRule
from ..policy.chunks import BYTES_IN_FLIGHT, next_size, window
from ..policy.retry import Counts, Rerun, decide
from .source import Request

__all__ = ["NOTHING", "Chunk", "Failed", "Items"]

NOTHING: Any = object()
"""What `Items.pop` returns when nothing is ready."""

_SMOOTH = 0.3
"""How much the last piece counts in the estimates of what an item takes."""

_MOST_OPEN = 200
"""Chunks that are on their way at the same time, when many are tried again."""

Arguments = tuple[Any, ...]
Envelope = Mapping[str, Any]


@dataclass(slots=True)
class Chunk:
    """Items that follow each other and travel together.

    Parameters
    ----------
    n : int
        Its number in its map.
    first : int
        Number of its first item.
    arguments : list of tuple
        What the function gets for each.
    memory : int or None
        Bytes that its lane must have; None for what the run asks for.
    careful : bool
        One of its items is suspected to end the process.
    blobs : tuple of str
        What belongs to this chunk only, once it is stored.
    """

    n: int
    first: int
    arguments: list[Arguments]
    memory: int | None = None
    careful: bool = False
    blobs: tuple[str, ...] = ()
    nbytes: int = 0
    got: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Failed:
    """An item that has failed for good, in its place among the results."""

    error: BaseException
    envelope: Envelope


class Items:
    """What becomes of each item.

    Parameters
    ----------
    source : iterator of tuple
        The arguments of each call. It is asked for as many as are needed next.
    total : int or None
        How many there are; None if nobody knows.
    rule : RetryRule
    error_of : callable
        Makes the exception that an envelope describes.
    request : Request
    """

    def __init__(
        self,
        source: Iterator[Arguments],
        total: int | None,
        rule: RetryRule,
        error_of: Callable[[Envelope], BaseException],
        request: Request,
    ) -> None:
        self.total = total
        self.done = self.failed = self.retried = 0
        self.open: dict[int, Chunk] = {}
        self.memory = 0
        self.memory_high: int | None = None
        self._source = source
        self._rule = rule
        self._error_of = error_of
        self._request = request
        self._rng = random.Random()
        self._taken = self._consumed = self._numbers = 0
        self._exhausted = False
        self._source_error: BaseException | None = None
        self._ready: dict[int, tuple[int, list[Any]]] = {}
        self._arrived: deque[int] = deque()
        self._next = 0
        self._current: deque[Any] = deque()
        self._due: list[tuple[float, int, Chunk]] = []
        self._last_due: tuple[float, Chunk] | None = None
        self._counts: dict[int, Counts] = {}
        self._item_s: float | None = None
        self._item_bytes = self._result_bytes = 0.0
        self._largest = 0

    # results ------------------------------------------------------------------------

    def pop(self) -> Any:
        """Return the next result, a `Failed`, or `NOTHING` if none is ready."""
        while not self._current:
            if self._request.ordered:
                first = self._next
            elif self._arrived:
                first = self._arrived.popleft()
            else:
                return NOTHING
            entry = self._ready.pop(first, None)
            if entry is None:
                return NOTHING
            count, values = entry
            self._next += count
            self._consumed += count
            self._current.extend(values)
        return self._current.popleft()

    def close(self) -> None:
        """Give out nothing more."""
        self._exhausted = True
        self._current.clear()
        self._ready.clear()
        self._arrived.clear()

    @property
    def ready(self) -> bool:
        """Whether `pop` has something to return."""
        return bool(self._current or self._arrived or self._next in self._ready)

    @property
    def fixed(self) -> bool:
        """Whether chunks are to stay as they are."""
        return self._request.chunk is not None

    @property
    def finished(self) -> bool:
        """Whether every item there is has been given out."""
        return self._exhausted and self._consumed == self._taken and not self._current

    def check_source(self) -> None:
        """Raise what the iterables raised when they were asked for more, if they did."""
        __tracebackhide__ = True
        if self._source_error is not None:
            raise self._source_error

    # chunks -------------------------------------------------------------------------

    def outgoing(self, lanes: int, now: float) -> list[Chunk]:
        """Return the chunks that are to be sent now.

        Parameters
        ----------
        lanes : int
            How many chunks can be worked on at the same time.
        now : float
            Seconds of a clock that never goes back.
        """
        found: list[Chunk] = []
        self._last_due = None  # it may be on its way now: nothing joins it any more
        most = _MOST_OPEN - len(self.open)
        while self._due and self._due[0][0] <= now and len(found) < most:
            found.append(heapq.heappop(self._due)[2])
        room = min(2 * lanes + 1, _MOST_OPEN) - len(self.open)
        while len(found) < room and not self._exhausted:
            items = self._take(lanes, sum(chunk.nbytes for chunk in self.open.values()))
            if not items:
                break
            found.append(self._new(self._taken, items))
            self._taken += len(items)
        self.open.update((chunk.n, chunk) for chunk in found)
        return found

    def next_due(self) -> float | None:
        """Return when the next item is to be tried again; None if none is, or others come first."""
        return self._due[0][0] if self._due and len(self.open) < _MOST_OPEN else None

    def packed(self, chunk: Chunk, nbytes: int, blobs: tuple[str, ...]) -> None:
        """Note what a chunk takes on its way."""
        chunk.nbytes, chunk.blobs = nbytes, blobs
        self._item_bytes = max(self._item_bytes, nbytes / len(chunk.arguments))

    def split(self, chunk: Chunk) -> None:
        """Send the halves of a chunk by themselves: an item spoils it for the others."""
        del self.open[chunk.n]
        self._halve(chunk, 0, len(chunk.arguments))

    def missing(self, n: int) -> Chunk | None:
        """Send anew what has not come back of a chunk that the pool does not know any more."""
        chunk = self.open.pop(n, None)
        if chunk is not None:
            for place, arguments in enumerate(chunk.arguments):
                if place not in chunk.got:
                    index = chunk.first + place
                    self._again(index, [arguments], 0.0, chunk.memory, chunk.careful, joins=True)
        return chunk

    def _take(self, lanes: int, in_flight: int) -> list[Arguments]:
        __tracebackhide__ = True
        waiting = sum(count for count, _ in self._ready.values()) * self._result_bytes
        busy = self._consumed < self._taken
        if busy and in_flight + waiting > BYTES_IN_FLIGHT:
            return []
        room = (self._request.window or window(self._item_s, lanes)) - (
            self._taken - self._consumed
        )
        left = None if self.total is None else self.total - self._taken
        size = self._request.chunk or next_size(
            item_s=self._item_s,
            item_bytes=max(self._item_bytes, self._result_bytes),
            last=self._largest,
            lanes=lanes,
            left=left,
        )
        size = min(size, room)
        if size < 1:
            return []
        items: list[Arguments] = []
        try:
            items.extend(islice(self._source, size))
        except BaseException as error:  # noqa: BLE001 - the user's own iterator
            self._source_error = error
        if len(items) < size:
            self._exhausted = True
        return items

    def _new(
        self, first: int, items: list[Arguments], memory: int | None = None, careful: bool = False
    ) -> Chunk:
        self._numbers += 1
        return Chunk(self._numbers, first, items, memory, careful)

    def _again(
        self,
        first: int,
        items: list[Arguments],
        at: float,
        memory: int | None,
        careful: bool,
        *,
        joins: bool = False,
    ) -> None:
        if joins and self._last_due is not None:
            last_at, last = self._last_due
            follows = last.first + len(last.arguments) == first and last_at >= at
            alike = (last.memory, last.careful) == (memory, careful)
            if follows and alike and len(last.arguments) < (self._request.chunk or self._largest):
                last.arguments.extend(items)
                return
        chunk = self._new(first, items, memory, careful)
        heapq.heappush(self._due, (at, chunk.n, chunk))
        self._last_due = (at, chunk) if joins else None

    def _halve(self, chunk: Chunk, start: int, stop: int) -> None:
        middle = (start + stop) // 2
        for begin, end in ((start, middle), (middle, stop)):
            part = chunk.arguments[begin:end]
            self._again(chunk.first + begin, part, 0.0, chunk.memory, chunk.careful)

    # what comes back ------------------------------------------------------------------

    def took(self, piece: Mapping[str, Any], bundle: Mapping[str, Any], now: float) -> None:
        """Take the results in that a piece has brought."""
        chunk, start, stop = self._landed(piece)
        count = stop - start
        each = piece["seconds"] / count
        self._item_s = self._smooth(self._item_s, each)
        self._result_bytes = max(self._result_bytes, piece["nbytes"] / count)
        self._largest = max(self._largest, count)
        values, failed = bundle["values"], bundle["failed"]
        begin = 0
        for place in sorted(failed):
            self._give(chunk.first + start + begin, values[begin:place])
            self._decide(chunk, start + place, failed[place], now)
            begin = place + 1
        self._give(chunk.first + start + begin, values[begin:])

    def died(self, piece: Mapping[str, Any], now: float) -> None:
        """Try again what a process had been given that has died, and find the culprit."""
        chunk, start, stop = self._landed(piece)
        envelope, alone = piece["died"], stop - start == 1
        rest = chunk.arguments[start:stop]
        if envelope.get("reason") == "lost":
            for place in range(start, stop):
                self._decide(chunk, place, envelope, now)
        elif envelope.get("reason") == "transfer" and not alone:
            self._halve(chunk, start, stop)
        elif alone or piece.get("careful"):
            self._decide(chunk, start, envelope, now)
            if not alone:
                self._again(chunk.first + start + 1, rest[1:], 0.0, chunk.memory, careful=False)
        else:
            self._again(chunk.first + start, rest, 0.0, chunk.memory, careful=True)

    def failed_for_good(self, index: int, error: BaseException, envelope: Envelope) -> None:
        """Put an item's failure in the place of its result."""
        self.failed += 1
        if self._request.errors == "skip":
            self._give(index, [], 1)
            return
        if self._request.errors == "return":
            self._give(index, [error])
            return
        if self._request.errors == "raise":
            self._exhausted = True  # what has not been sent will not be needed
        self._give(index, [Failed(error, envelope)])
        if not self._request.ordered:
            self._arrived.rotate(1)

    def _landed(self, piece: Mapping[str, Any]) -> tuple[Chunk, int, int]:
        chunk = self.open[piece["n"]]
        chunk.got.update(range(piece["start"], piece["stop"]))
        if len(chunk.got) == len(chunk.arguments):
            del self.open[chunk.n]
        return chunk, piece["start"], piece["stop"]

    def _give(self, first: int, values: list[Any], count: int | None = None) -> None:
        count = len(values) if count is None else count
        if not count:
            return
        self.done += count
        self._ready[first] = (count, values)
        if not self._request.ordered:
            self._arrived.append(first)

    def _decide(self, chunk: Chunk, place: int, envelope: Envelope, now: float) -> None:
        index = chunk.first + place
        decision = decide(
            envelope,
            self._rule,
            self._counts.get(index, Counts()),
            memory=chunk.memory or self.memory,
            memory_high=self.memory_high,
            rng=self._rng,
        )
        if isinstance(decision, Rerun):
            self._counts[index] = decision.counts
            self.retried += 1
            memory = decision.memory if decision.memory != self.memory else None
            arguments = [chunk.arguments[place]]
            joins = memory is None and envelope.get("reason") in {None, "lost"}
            at = now + decision.delay_s
            self._again(index, arguments, at, memory, careful=False, joins=joins)
            return
        error = self._error_of(envelope)
        if not isinstance(error, AskError):
            error.add_note(f"item {index} of the map")
        self.failed_for_good(index, error, envelope)

    def _smooth(self, old: float | None, new: float) -> float:
        return new if old is None else old + _SMOOTH * (new - old)
