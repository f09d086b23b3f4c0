"""The tasks that wait for a machine, in order, one queue per kind."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sortedcontainers import SortedDict

__all__ = ["Kind", "Line", "Place", "Rank", "Shape"]

Shape = tuple[tuple[str, float], ...]
"""What a task asks for: sorted pairs of resource and amount, so that it can be a key."""

Kind = tuple[str, Shape]
"""Where tasks may run, and what they ask for: those of one kind differ in nothing else."""

Rank = tuple[float, float]
"""The order of the line: urgency (less is more urgent), then number of arrival."""


@dataclass(frozen=True, slots=True)
class Place:
    """One task's place in the line; `since` is the monotonic second in which it took it."""

    rank: Rank
    kind: Kind
    since: float
    task: Any

    @property
    def needs(self) -> dict[str, float]:
        """What the task asks for, by resource."""
        return dict(self.kind[1])


class Line:
    """The waiting tasks. Every operation costs O(log tasks), or O(kinds) where it says so."""

    def __init__(self) -> None:
        self._places: dict[Any, Place] = {}
        self._queues: dict[Kind, SortedDict[Rank, Place]] = {}

    def __len__(self) -> int:
        return len(self._places)

    def add(self, place: Place) -> None:
        """Let a task wait; it must not be waiting."""
        self._places[place.task.key] = place
        self._queues.setdefault(place.kind, SortedDict())[place.rank] = place

    def remove(self, key: Any) -> Place | None:
        """Take a task out, wherever it stands. Return its place, None if it had none."""
        place = self._places.pop(key, None)
        if place is not None:
            queue = self._queues[place.kind]
            del queue[place.rank]
            if not queue:
                del self._queues[place.kind]
        return place

    def get(self, key: Any) -> Place | None:
        """Return the task's place, None if it does not wait."""
        return self._places.get(key)

    def ahead(self, key: Any) -> int | None:
        """Return how many of its kind are before the task; None if it does not wait."""
        place = self._places.get(key)
        return None if place is None else self._queues[place.kind].index(place.rank)

    def first(self, kind: Kind) -> Place | None:
        """Return the place of the first task of this kind, None if none waits."""
        return self._at(kind, 0)

    def firsts(self) -> Iterator[Place]:
        """Return the first place of each kind, in no order. O(kinds)."""
        return (queue.peekitem(0)[1] for queue in self._queues.values())

    def counts(self) -> dict[Kind, int]:
        """Return how many tasks of each kind wait. O(kinds)."""
        return {kind: len(queue) for kind, queue in self._queues.items()}

    def visit(self, served: Callable[[Place], bool]) -> None:
        """Call `served` for each place in order of rank, and skip the rest of a kind when
        it returns False: who asks for the same fares no better. It may remove the place.
        O(kinds + places served).
        """
        fronts = [(place.rank, place.kind, 0) for place in self.firsts()]
        heapq.heapify(fronts)
        while fronts:
            _, kind, index = heapq.heappop(fronts)
            place = self._at(kind, index)
            if place is None or not served(place):
                continue
            index += place.task.key in self._places  # it stays, so the next one is behind it
            following = self._at(kind, index)
            if following is not None:
                heapq.heappush(fronts, (following.rank, kind, index))

    def _at(self, kind: Kind, index: int) -> Place | None:
        queue = self._queues.get(kind)
        if queue is None or index >= len(queue):
            return None
        place: Place = queue.peekitem(index)[1]
        return place
