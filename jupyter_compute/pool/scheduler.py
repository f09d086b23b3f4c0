"""The Dask scheduler that gives a task to a machine only when it fits what is free there.

Stock Dask compares an ask with what a machine has in all, and lets tasks pile up on it.
Here a task that does not fit now stays in Dask's ``no-worker`` state. That state is the
queue, and the demand that machines are started for.
"""

from __future__ import annotations

import itertools
import math
import pickle
import time
from collections.abc import Callable, Mapping
from typing import Any

from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import DEFAULT_EXTENSIONS, TaskState, WorkerState

from jupyter_compute.errors import MachineLost
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.pool.guard import Guarded
from jupyter_compute.pool.line import Kind, Line, Place, Rank, Shape
from jupyter_compute.pool.room import fits, holds, shortage, show, slack, usage

__all__ = ["FitScheduler", "shape_of"]

_STEPS = 2**20


def shape_of(resources: Mapping[str, float] | None) -> Shape:
    """Return what is asked for in the form that keys `FitScheduler.pending_demand`.

    Amounts are rounded down to a multiple of 2**-20, of which sums and differences are
    exact. Of decimals such as 0.1 they are not, and as scheduler and workers count what
    is free by adding and subtracting, a machine would never be quite free again.
    """
    amounts = sorted((resources or {}).items())
    return tuple((name, math.floor(amount * _STEPS) / _STEPS) for name, amount in amounts)


class FitScheduler(Guarded):
    """Places tasks by free resources, best fit, and keeps the others in one fair line.

    A task goes to the machine on which it leaves the least room, as a share of what the
    machine has. The line is served in the order of arrival (after Dask's ``priority``, if
    one is given). A task that fits may overtake older ones that do not, until one of them
    has waited for `ageing_s`: then a machine that could hold that one is kept from all
    tasks behind it, until it has started. So every task starts at last, if runs end.

    A task is given to a machine once at most. What Dask would start again by itself,
    because a machine was lost or has closed, becomes ``erred``: whether it is rerun is
    decided elsewhere.

    Tasks must be submitted with ``resources``; a task without is left to stock Dask. Where
    they may run is asked of `where` and `permits`; one that is restricted to certain workers
    in Dask's own way can hold up others of its kind.

    Parameters
    ----------
    ageing_s : float
        Seconds after which a waiting task has a machine kept for it.
    monotonic : callable
        Returns seconds that never go back.
    where : callable
        From a task's key to the name of where it may run.
    permits : callable
        Tells by such a name and the name of a machine whether the task may run there.
    **kwargs
        For `distributed.Scheduler`. Work stealing is never loaded, as it moves tasks without
        regard to what is free.
    """

    def __init__(
        self,
        *,
        ageing_s: float = TIMERS.ageing_s,
        monotonic: Callable[[], float] = time.monotonic,
        where: Callable[[Any], str] = lambda _: "",
        permits: Callable[[str, str], bool] = lambda _where, _machine: True,
        **kwargs: Any,
    ) -> None:
        extensions = dict(kwargs.pop("extensions", None) or DEFAULT_EXTENSIONS)
        extensions.pop("stealing", None)
        super().__init__(extensions=extensions, **kwargs)
        self._ageing_s = ageing_s
        self._monotonic = monotonic
        self._where = where
        self._permits = permits
        self._line = Line()
        self._arrivals = itertools.count()
        self._draining: set[str] = set()
        self._reservations: dict[str, Place] = {}
        self._next_ageing = math.inf
        self.add_plugin(_Watch(self._joined, self._left, self._gone))

    def pending_demand(self) -> dict[Kind, int]:
        """Return how many tasks of each kind wait for a machine. O(kinds)."""
        return self._line.counts()

    def waiting_ages(self) -> dict[Kind, float]:
        """Return for how many seconds the first task of each kind has waited. O(kinds)."""
        now = self._monotonic()
        return {place.kind: now - place.since for place in self._line.firsts()}

    def drain(self, address: str) -> None:
        """Give no new task to this machine, for it is about to end. Tasks on it go on."""
        if address in self.workers:
            self._draining.add(address)
            self._reopen(address)

    def ahead(self, key: str) -> int | None:
        """Return how many tasks of its kind wait before this one; None if it does not wait."""
        return self._line.ahead(key)

    def waiting_reason(self, key: str) -> str:
        """Return in one sentence what the task waits for; empty if it does not wait."""
        place = self._line.get(key)
        if place is None:
            return ""
        needs = place.needs
        waiting = f"waiting for {show(needs)}: "
        machines = [
            ws
            for ws in self.running
            if ws.address not in self._draining and self._permits(place.kind[0], str(ws.name))
        ]
        if not machines:
            return waiting + "no machine yet"
        machines = [ws for ws in machines if holds(ws, needs)]
        if not machines:
            return waiting + "no machine of this size yet"
        kept = next((a for a, holder in self._reservations.items() if holder is place), None)
        if kept is not None:
            ws = self.workers[kept]
            return f"{waiting}{usage(ws, needs)}, and the next room there is kept for it"
        ws = min(machines, key=lambda ws: shortage(ws, needs))
        if not fits(ws, needs):
            which = f" on the freest of {len(machines)} machines" if len(machines) > 1 else ""
            return waiting + usage(ws, needs) + which
        return waiting + "a machine of this size is reserved for an older run"

    def valid_workers(self, ts: TaskState) -> set[WorkerState] | None:
        """Return the one machine that the task is to start on, or none: this is Dask's
        question where a task may go.
        """
        if not ts.resource_restrictions or ts.processing_on is not None:
            return super().valid_workers(ts)
        if ts.run_id is not None:
            return set()
        place = self._line.get(ts.key)
        if place is not None:
            rank = place.rank
        else:
            shape = shape_of(ts.resource_restrictions)
            ts.resource_restrictions = dict(shape)
            rank = _rank(ts, math.inf)
            equal = self._line.first((self._where(ts.key), shape))
            if equal is not None and equal.rank < rank:
                return set()
            self._reserve_for_aged()
        machine = self._best_machine(ts, rank)
        return set() if machine is None else {machine}

    def bulk_schedule_unrunnable_after_adding_worker(self, _ws: WorkerState) -> dict[Any, Any]:
        """Return nothing: the line is served right after, in its own order."""
        return {}

    def stimulus_queue_slots_maybe_opened(self, *, stimulus_id: str) -> None:
        """Serve the line: Dask calls this after whatever may have made room."""
        super().stimulus_queue_slots_maybe_opened(stimulus_id=stimulus_id)
        if len(self._line):
            self._next_ageing = math.inf
            self._line.visit(lambda place: self._start(place, stimulus_id) or self._reserve(place))

    def _best_machine(self, ts: TaskState, rank: Rank) -> WorkerState | None:
        """Return the machine on which the task fits best, of those open to its rank."""
        needs = ts.resource_restrictions or {}
        machines = [
            ws for ws in self._permitted(ts) if fits(ws, needs) and self._is_open(ws.address, rank)
        ]
        return min(machines, key=lambda ws: (slack(ws, needs), str(ws.name)), default=None)

    def _permitted(self, ts: TaskState) -> list[WorkerState]:
        """Return the machines that could hold the task, if nothing else were on them."""
        where = self._where(ts.key)
        capable = super().valid_workers(ts) or ()
        return [ws for ws in capable if self._permits(where, str(ws.name))]

    def _is_open(self, address: str, rank: Rank) -> bool:
        holder = self._reservations.get(address)
        return address not in self._draining and (holder is None or rank <= holder.rank)

    def _start(self, place: Place, stimulus_id: str) -> bool:
        """Start the first task of a shape if there is room for it. Tell whether it was."""
        ts = place.task
        if ts.resource_restrictions and self._best_machine(ts, place.rank) is None:
            return False  # cheaper than a transition that comes to nothing
        self.transitions({ts.key: "processing"}, stimulus_id)
        return self._line.get(ts.key) is not place

    def _reserve_for_aged(self) -> None:
        """Bring the reservations up to date before a newcomer takes what is free."""
        if self._monotonic() >= self._next_ageing:
            self._next_ageing = math.inf
            self._line.visit(self._reserve)

    def _reserve(self, place: Place) -> bool:
        """Keep a machine for a task that has waited too long. Tell whether it has one."""
        running = {ws.address for ws in self.running}
        for address, holder in self._reservations.items():
            if holder is place and address in running:
                return True
        due = place.since + self._ageing_s
        if self._monotonic() < due:
            self._next_ageing = min(self._next_ageing, due)
            return False
        self._give_up_reservation(place)
        closed = self._draining.union(self._reservations)
        machines = [ws for ws in self._permitted(place.task) if ws.address not in closed]
        if not machines:
            return False
        needs = place.needs
        soonest = min(machines, key=lambda ws: (shortage(ws, needs), str(ws.name)))
        self._reservations[soonest.address] = place
        return True

    def _give_up_reservation(self, place: Place) -> None:
        for address in [a for a, holder in self._reservations.items() if holder is place]:
            self._reopen(address)

    def _reopen(self, address: str) -> None:
        if self._reservations.pop(address, None) is not None:
            self._next_ageing = -math.inf  # another one may be due for a reservation now

    def _joined(self, key: Any) -> None:
        ts = self.tasks[key]
        if ts.resource_restrictions and ts.run_id is not None:
            self.loop.add_callback(self._refuse_rerun, key)
            return
        now = self._monotonic()
        kind = (self._where(key), shape_of(ts.resource_restrictions))
        self._line.add(Place(_rank(ts, next(self._arrivals)), kind, now, ts))
        self._next_ageing = min(self._next_ageing, now + self._ageing_s)

    def _refuse_rerun(self, key: Any) -> None:
        ts = self.tasks.get(key)
        if ts is not None and ts.state == "no-worker":
            error = pickle.dumps(MachineLost("The machine went away."))
            self.transition(key, "erred", "jupyter-compute-rerun", cause=key, exception=error)

    def _left(self, key: Any) -> None:
        place = self._line.remove(key)
        if place is not None:
            self._give_up_reservation(place)

    def _gone(self, address: str) -> None:
        self._draining.discard(address)
        self._reopen(address)


class _Watch(SchedulerPlugin):
    """Tells which tasks begin and cease to wait, and which machines go."""

    name = "jupyter-compute-line"

    def __init__(
        self,
        joined: Callable[[Any], None],
        left: Callable[[Any], None],
        gone: Callable[[str], None],
    ) -> None:
        self._joined = joined
        self._left = left
        self._gone = gone

    def transition(self, key: Any, start: str, finish: str, *_args: Any, **_kwargs: Any) -> None:
        if start == finish:
            return
        if finish == "no-worker":
            self._joined(key)
        elif start == "no-worker":
            self._left(key)

    def remove_worker(
        self,
        scheduler: Scheduler,
        worker: str,
        **_kwargs: Any,
    ) -> None:
        self._gone(worker)


def _rank(ts: TaskState, arrival: float) -> Rank:
    return (ts.priority[0] if ts.priority else 0, arrival)
