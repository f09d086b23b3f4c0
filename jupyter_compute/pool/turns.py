"""Whose turn it is: lanes go when they have no work, or when others have waited for long enough."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.policy.where import where_of
from jupyter_compute.pool.executor import Executor
from jupyter_compute.pool.lanes import Crew, Lane

__all__ = ["Turns"]

_ROOM_S = 0.05
"""Until then a newcomer has a machine, if there is room, and a lane its next items, if it gets any."""


class Turns:
    """Sends the lanes of maps home.

    Parameters
    ----------
    crews : mapping
        The maps that have not ended, by the ids of their runs.
    executor : Executor
    """

    def __init__(self, crews: Mapping[str, Crew], executor: Executor) -> None:
        self._crews = crews
        self._executor = executor

    def dismiss(self, lane: Lane) -> None:
        """Let a lane end once it has done what it was given."""
        lane.leaving = True
        self._executor.control(lane.id, "tell", {"op": "finish"})

    def leave(self, machine_id: str) -> None:
        """Let the lanes on a machine end once they have done what they were given."""
        for crew in self._crews.values():
            for lane in crew.lanes.values():
                if lane.machine_id == machine_id and lane.ready and not lane.leaving:
                    self.dismiss(lane)

    def tick(self, now: float) -> None:
        """Send lanes home that have nothing to do, or that others have waited for long enough."""
        for crew in list(self._crews.values()):
            for lane in list(crew.lanes.values()):
                if lane.idle and not crew.at_risk:
                    lane.idle_since = lane.idle_since or now
                    if now - lane.idle_since > TIMERS.lane_idle_s:
                        self.dismiss(lane)
            self._give_way(crew, now)

    def make_room(self) -> None:
        """Have lanes that stay without work go soon, if a newcomer turns out to wait for them."""
        loop = asyncio.get_running_loop()
        loop.call_later(_ROOM_S, lambda: loop.call_later(_ROOM_S, self._clear, self._idle()))

    def _idle(self) -> dict[str, int]:
        """Return the lanes without work that others wait for, and how much work each has had."""
        found: dict[str, int] = {}
        for crew in self._crews.values():
            own = sum(not lane.machine_id for lane in crew.lanes.values())
            if self._waiting(crew) > own:
                idle = (lane for lane in crew.lanes.values() if lane.idle)
                found.update((lane.id, lane.turns) for lane in idle)
        return found

    def _waiting(self, crew: Crew) -> int:
        """Return how many attempts wait for a machine of the layers that the map is on."""
        layers = set(where_of(crew.run.spec).layers)
        waiting = self._executor.demand()
        return sum(
            demand.count for demand in waiting if layers.intersection(demand.needs.where.layers)
        )

    def _clear(self, before: Mapping[str, int]) -> None:
        for attempt, turns in self._idle().items():
            if before.get(attempt) == turns:
                crew = self._crews[attempt.rpartition(".")[0]]
                self.dismiss(crew.lanes[attempt])

    def _give_way(self, crew: Crew, now: float) -> None:
        """Let the oldest lane go, if other runs, or larger items, wait for what it has."""
        working = [lane for lane in crew.lanes.values() if lane.ready and not lane.leaving]
        most = max((lane.memory for lane in working), default=0)
        alike = (lane for lane in crew.lanes.values() if lane.memory <= most)
        waiting = [lane for lane in alike if not lane.machine_id]
        others = self._waiting(crew) - len(waiting)
        if not working or others <= 0 or crew.turn_ends is None:
            crew.turn_ends = now + TIMERS.lane_turn_s
        elif now > crew.turn_ends:
            self.dismiss(min(working, key=lambda lane: lane.n))
            crew.turn_ends = now + TIMERS.tick_s
