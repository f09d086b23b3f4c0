"""What the pool knows of one map: its lanes, the chunks they work on, and what came of them.

No I/O: whoever owns a `Crew` carries out what it says.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jupyter_compute.policy.chunks import TARGET_S
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.pool.record import Run

__all__ = ["Crew", "Lane", "Leftovers", "Slice"]

_MOST_LEFT = 8

_SMOOTH = 0.5
"""How much the last piece counts in the estimate of what an item takes."""

_QUICK_S = 1.0
"""A lane gets its next slice while it works on one that should take less."""

Wire = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Slice:
    """Some items of a chunk, as a lane works on them.

    Parameters
    ----------
    n : int
        The chunk's number in its map.
    start, stop : int
        The items, as places in the chunk.
    payload : str
        The blob with the chunk's items.
    blobs : tuple of str
        Every other blob that they refer to.
    memory : int
        Bytes that the lane must have.
    careful : bool
        Report every item by itself, to find the one that ends its process.
    whole : bool
        Do not hand anything back.
    """

    n: int
    start: int
    stop: int
    payload: str
    memory: int
    careful: bool = False
    whole: bool = False
    blobs: tuple[str, ...] = ()

    def message(self) -> Wire:
        """Return what a lane is told."""
        return {
            "n": self.n,
            "start": self.start,
            "stop": self.stop,
            "payload": self.payload,
            "blobs": list(self.blobs),
            "careful": self.careful,
            "whole": self.whole,
        }


@dataclass(slots=True)
class Lane:
    """One child that works on the items of a map: one attempt of its run.

    Parameters
    ----------
    id : str
        The attempt's.
    n : int
        Its number among the run's attempts.
    memory : int
        Bytes that it asks for.
    doomed : bool
        Its machine will be taken away: it is given nothing more, and what it has may be lost.
    """

    id: str
    n: int
    memory: int
    machine_id: str = ""
    machine: str = ""
    started: float | None = None
    ready: bool = False
    leaving: bool = False
    doomed: bool = False
    worked: bool = False
    turns: int = 0
    idle_since: float | None = None
    slices: deque[Slice] = field(default_factory=deque)
    used: Mapping[str, Any] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do, and could."""
        return self.ready and not self.slices and not self.leaving


class Crew:
    """The lanes of one map, and what is to be done.

    Parameters
    ----------
    run : Run
    most : int
        Lanes that there may be at the same time, for now.
    opened : int
        Lanes that there have been.
    limit : int
        Lanes that there may ever be at the same time.
    """

    def __init__(self, run: Run, most: int, opened: int = 0, limit: int = 0) -> None:
        self.run = run
        self.most = most
        self._limit = max(most, limit)
        self._grows: float | None = None
        self.lanes: dict[str, Lane] = {}
        self.opened = opened
        self.failures = 0
        self.largest = 0
        self.items = 0
        self.conclusion: Wire | None = None
        self.turn_ends: float | None = None
        self.news = asyncio.Event()
        self._waiting: deque[Slice] = deque()
        self._left: dict[int, int] = {}
        self._blobs: dict[int, tuple[str, ...]] = {}
        self._pieces: list[Wire] = []
        # Numbers go up from one service to the next, as a client tells the last one it had.
        self._numbers = itertools.count(time.time_ns())
        self._item_s: float | None = None

    def allow(self, most: int, limit: int) -> None:
        """Set how many lanes there may be at the same time, for now and ever."""
        self.most, self._limit = most, max(most, limit)

    # what the notebook says ---------------------------------------------------------

    def take(self, chunks: Iterable[Wire]) -> None:
        """Take chunks of items in; those that are here already stay as they are."""
        for chunk in chunks:
            n, count = chunk["n"], chunk["items"]
            if n in self._left:
                continue
            self._left[n] = count
            self._blobs[n] = (chunk["payload"], *chunk["blobs"])
            memory = chunk.get("memory") or self.run.memory
            part = Slice(
                n,
                0,
                count,
                chunk["payload"],
                memory,
                careful=chunk["careful"],
                whole=chunk["whole"],
                blobs=tuple(chunk["blobs"]),
            )
            self._waiting.append(part)

    def forget(self, since: int, open_chunks: Iterable[int]) -> list[int]:
        """Drop what the notebook has taken, and return the chunks that it has open and we not."""
        known = set(open_chunks)
        self._pieces = [piece for piece in self._pieces if piece["seq"] > since]
        held = {piece["n"] for piece in self._pieces}
        for n in [n for n, left in self._left.items() if not left and n not in known | held]:
            del self._left[n], self._blobs[n]
        return [n for n in known if n not in self._left]

    def pieces(self) -> list[Wire]:
        """Return the results that the notebook has not taken yet."""
        return list(self._pieces)

    @property
    def blobs(self) -> set[str]:
        """The blobs that lanes may still read, or the notebook."""
        found = {name for names in self._blobs.values() for name in names}
        for piece in self._pieces:
            found.update([piece.get("payload") or "", *piece.get("blobs", ())])
            found.update(piece.get("errors", ()))
        return found - {""}

    # what lanes say ------------------------------------------------------------------

    def report(self, lane: Lane, piece: Mapping[str, Any]) -> None:
        """Take in what became of some items."""
        current = lane.slices[0] if lane.slices else None
        if current is None or current.n != piece["n"]:
            return
        count = piece["stop"] - piece["start"]
        if count:
            lane.worked = True
            self.failures = 0
            self.items += count
            self._add(piece)
        lane.slices[0] = replace(current, start=piece["stop"])
        if piece["over"]:
            rest = lane.slices.popleft()
            if rest.start < rest.stop:
                self._give_back([rest])

    def lose(self, lane: Lane, envelope: Mapping[str, Any], *, told: bool = True) -> None:
        """Give the work of a lane that has ended to the others; report what ended it.

        The end is not `told` of a map that was stopped: its items have not failed. A lane that
        neither has done anything nor was at work counts as a failure.
        """
        del self.lanes[lane.id]
        slices = [part for part in lane.slices if part.start < part.stop]
        self.failures += not (slices or lane.worked or lane.leaving or lane.doomed)
        if told and slices and envelope.get("outcome") != "ok":
            first = slices.pop(0)
            self._add(
                {
                    "n": first.n,
                    "start": first.start,
                    "stop": first.stop,
                    "careful": first.careful or first.stop - first.start == 1,
                    "died": dict(envelope),
                }
            )
        self._waiting.extendleft(reversed(slices))

    def _add(self, piece: Mapping[str, Any]) -> None:
        count = piece["stop"] - piece["start"]
        self._left[piece["n"]] -= count
        kept = {k: v for k, v in piece.items() if k not in {"kind", "over"}}
        self._pieces.append(kept | {"seq": next(self._numbers)})
        if "seconds" in piece:
            each = piece["seconds"] / count
            old = each if self._item_s is None else self._item_s
            self._item_s = old + _SMOOTH * (each - old)
        self.news.set()

    def _give_back(self, slices: Iterable[Slice]) -> None:
        """Put work back at the front, cut as fine as is known now to be right."""
        size = max(1, int(TARGET_S / max(self._item_s or TARGET_S, 1e-9)))
        cut = [
            replace(part, start=start, stop=min(start + size, part.stop))
            for part in slices
            for start in range(part.start, part.stop, size)
        ]
        self._waiting.extendleft(reversed(cut))

    def forgo(self, machine_id: str) -> bool:
        """Give nothing more to the lanes on a machine that will be taken away; tell if any is."""
        going = [lane for lane in self.lanes.values() if lane.machine_id == machine_id]
        for lane in going:
            lane.doomed = True
        return bool(going)

    # what is to be done -----------------------------------------------------------------

    def assignments(self) -> list[tuple[Lane, Slice]]:
        """Return which lane is to be told to do what, and note that it was."""
        found = []
        free = [lane for lane in self.lanes.values() if self._has_room(lane)]
        later: deque[Slice] = deque()
        while self._waiting and free:
            part = self._waiting.popleft()
            fitting = [lane for lane in free if lane.memory >= part.memory]
            if not fitting:
                later.append(part)
                continue
            lane = min(fitting, key=lambda lane: (len(lane.slices), lane.memory, lane.n))
            lane.slices.append(part)
            lane.idle_since = None
            lane.turns += 1
            found.append((lane, part))
            free = [lane for lane in free if self._has_room(lane)]
        self._waiting.extendleft(reversed(later))
        return found

    def _has_room(self, lane: Lane) -> bool:
        if not lane.ready or lane.leaving or lane.doomed:
            return False
        if not lane.slices:
            return True
        current = lane.slices[0]
        work = (self._item_s or _QUICK_S) * (current.stop - current.start)
        return len(lane.slices) == 1 and work < _QUICK_S

    def grow(self, now: float) -> bool:
        """Let there be twice as many lanes if those that there are do not get through the work.

        So a map that is over soon has no machine started that it does not need. Tell whether
        there may be more now.
        """
        ready = any(lane.ready for lane in self.lanes.values())
        if not self._waiting or self.most >= self._limit or not ready:
            self._grows = None
        elif self._grows is None:
            self._grows = now + TIMERS.lanes_grow_s
        elif now >= self._grows:
            self.most = min(self._limit, 2 * self.most)
            self._grows = now + TIMERS.lanes_grow_s
            return True
        return False

    def wanted(self) -> list[int]:
        """Return the memory of each lane that should be opened.

        What a lane has whose machine will be taken away may soon be for another one.
        """
        lanes = [lane for lane in self.lanes.values() if not lane.doomed]
        coming = [lane for lane in lanes if not lane.ready]
        busy = [lane for lane in lanes if lane.ready and not lane.leaving]
        room = self.most - len(coming) - len(busy)
        work = itertools.chain(self._waiting, self.at_risk)
        unserved = list(itertools.islice(work, len(coming) + max(room, 1)))
        sizes = []
        for part in unserved[len(coming) :]:
            if room > 0 or not any(lane.memory >= part.memory for lane in coming + busy):
                sizes.append(part.memory)
                room -= 1
        return sizes

    @property
    def at_risk(self) -> list[Slice]:
        """What is worked on where it may be lost."""
        return [part for lane in self.lanes.values() if lane.doomed for part in lane.slices]

    @property
    def done(self) -> bool:
        """Whether there is nothing to be worked on."""
        return not self._waiting and not any(lane.slices for lane in self.lanes.values())


class Leftovers:
    """The results of the last maps that were stopped, until their notebooks have taken them."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[Wire]] = {}

    def put(self, run_id: str, pieces: list[Wire]) -> None:
        """Keep what is left of a map."""
        self._pieces[run_id] = pieces
        if len(self._pieces) > _MOST_LEFT:
            del self._pieces[next(iter(self._pieces))]

    def of(self, run_id: str, since: int) -> list[Wire]:
        """Return what is left of a map beyond what its notebook has."""
        return [piece for piece in self._pieces.get(run_id, ()) if piece["seq"] > since]
