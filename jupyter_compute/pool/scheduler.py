"""The Dask scheduler that gives a task to a machine only when it fits what is free there.

Stock Dask compares an ask with what a machine has in all, and lets tasks pile up on it.
Here a task that does not fit now stays in Dask's ``no-worker`` state. That state is the
queue, and the demand that machines are started for.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import DEFAULT_EXTENSIONS, TaskState, WorkerState

from jupyter_compute.ask import format_cpu, format_memory
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.pool.line import Line, Place, Rank, Shape

__all__ = ["FitScheduler", "shape_of"]

_ROUNDING = 1e-6  # sums of decimal CPUs such as 0.1 + 0.2 are off by less


def shape_of(resources: Mapping[str, float] | None) -> Shape:
    """Return what is asked for in the form that keys `FitScheduler.pending_demand`."""
    return tuple(sorted((resources or {}).items()))


class FitScheduler(Scheduler):
    """Places tasks by free resources, best fit, and keeps the others in one fair line.

    A task goes to the machine on which it leaves the least room, as a share of what the
    machine has. The line is served in the order of arrival (after Dask's ``priority``, if
    one is given). A task that fits may overtake older ones that do not, until one of them
    has waited for `ageing_s`: then a machine that could hold that one is kept from all
    tasks behind it, until it has started. So every task starts at last, if runs end.

    Tasks must be submitted with ``resources``; a task without is placed as Dask does it,
    regardless of what is free. Tasks differ in resources only: one that is restricted to
    certain workers can hold up others that ask for the same.

    Parameters
    ----------
    ageing_s : float
        Seconds after which a waiting task has a machine kept for it.
    monotonic : callable
        Returns seconds that never go back.
    **kwargs
        For `distributed.Scheduler`. A task whose machine is lost becomes ``erred`` at once
        (``allowed_failures=0``) unless told otherwise; work stealing is never loaded, as it
        moves tasks without regard to what is free.
    """

    def __init__(
        self,
        *,
        ageing_s: float = TIMERS.ageing_s,
        monotonic: Callable[[], float] = time.monotonic,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("allowed_failures", 0)
        extensions = dict(kwargs.pop("extensions", None) or DEFAULT_EXTENSIONS)
        extensions.pop("stealing", None)
        super().__init__(extensions=extensions, **kwargs)
        self._ageing_s = ageing_s
        self._monotonic = monotonic
        self._line = Line()
        self._arrivals = itertools.count()
        self._draining: set[str] = set()
        self._reservations: dict[str, Place] = {}
        self._next_ageing = float("inf")
        self.add_plugin(_Watch(self._joined, self._left, self._gone))

    def pending_demand(self) -> dict[Shape, int]:
        """Return how many tasks of each shape wait for a machine. O(shapes)."""
        return self._line.counts()

    def waiting_ages(self) -> dict[Shape, float]:
        """Return for how many seconds the first task of each shape has waited. O(shapes)."""
        now = self._monotonic()
        return {place.shape: now - place.since for place in self._line.firsts()}

    def drain(self, address: str) -> None:
        """Give no new task to this machine, for it is about to end. Tasks on it go on."""
        if address in self.workers:
            self._draining.add(address)
            self._reservations.pop(address, None)

    def waiting_reason(self, key: str) -> str:
        """Return in one sentence what the task waits for; empty if it does not wait."""
        place = self._line.get(key)
        if place is None:
            return ""
        needs = dict(place.shape)
        waiting = f"waiting for {_show(needs)}: "
        machines = [ws for ws in self.running if ws.address not in self._draining]
        if not machines:
            return waiting + "no machine yet"
        machines = [ws for ws in machines if _holds(ws, needs)]
        if not machines:
            return waiting + "no machine of this size yet"
        kept = next((a for a, holder in self._reservations.items() if holder is place), None)
        if kept is not None:
            ws = self.workers[kept]
            return f"{waiting}{_usage(ws, needs)}, and the next room there is kept for it"
        ws = min(machines, key=lambda ws: _shortage(ws, needs))
        if not _fits(ws, needs):
            which = f" on the freest of {len(machines)} machines" if len(machines) > 1 else ""
            return waiting + _usage(ws, needs) + which
        return waiting + "a machine of this size is reserved for an older run"

    def valid_workers(self, ts: TaskState) -> set[WorkerState] | None:
        """Return the one machine that the task is to start on, or none: this is Dask's
        question where a task may go.
        """
        if not ts.resource_restrictions or ts.processing_on is not None:
            return super().valid_workers(ts)
        place = self._line.get(ts.key)
        rank = place.rank if place else _rank(ts, float("inf"))
        if place is None:
            equal = self._line.first(shape_of(ts.resource_restrictions))
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
            self._next_ageing = float("inf")
            self._line.visit(lambda place: self._start(place, stimulus_id) or self._reserve(place))

    def _best_machine(self, ts: TaskState, rank: Rank) -> WorkerState | None:
        """Return the machine on which the task fits best, of those open to its rank."""
        needs = ts.resource_restrictions or {}
        machines = [
            ws
            for ws in super().valid_workers(ts) or ()
            if _fits(ws, needs) and self._is_open(ws.address, rank)
        ]
        return min(machines, key=lambda ws: (_slack(ws, needs), ws.address), default=None)

    def _is_open(self, address: str, rank: Rank) -> bool:
        holder = self._reservations.get(address)
        return address not in self._draining and (holder is None or rank <= holder.rank)

    def _start(self, place: Place, stimulus_id: str) -> bool:
        """Start the first task of a shape if there is room for it. Tell whether it was."""
        ts = place.task
        if ts.resource_restrictions and self._best_machine(ts, place.rank) is None:
            return False
        self.transitions({ts.key: "processing"}, stimulus_id)
        return self._line.get(ts.key) is not place

    def _reserve_for_aged(self) -> None:
        """Bring the reservations up to date before a newcomer takes what is free."""
        if self._monotonic() >= self._next_ageing:
            self._next_ageing = float("inf")
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
        capable = super().valid_workers(place.task) or ()
        machines = [ws for ws in capable if ws.address not in closed]
        if not machines:
            return False
        needs = dict(place.shape)
        soonest = min(machines, key=lambda ws: (_shortage(ws, needs), ws.address))
        self._reservations[soonest.address] = place
        return True

    def _give_up_reservation(self, place: Place) -> None:
        for address in [a for a, holder in self._reservations.items() if holder is place]:
            del self._reservations[address]

    def _joined(self, key: Any) -> None:
        ts = self.tasks[key]
        now = self._monotonic()
        shape = shape_of(ts.resource_restrictions)
        self._line.add(Place(_rank(ts, next(self._arrivals)), shape, now, ts))
        self._next_ageing = min(self._next_ageing, now + self._ageing_s)

    def _left(self, key: Any) -> None:
        place = self._line.remove(key)
        if place is not None:
            self._give_up_reservation(place)

    def _gone(self, address: str) -> None:
        self._draining.discard(address)
        self._reservations.pop(address, None)


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
        scheduler: Scheduler,  # noqa: ARG002 - Dask passes it by name
        worker: str,
        **_kwargs: Any,
    ) -> None:
        self._gone(worker)


def _rank(ts: TaskState, arrival: float) -> Rank:
    return (ts.priority[0] if ts.priority else 0, arrival)


def _free(ws: WorkerState, resource: str) -> float:
    return ws.resources.get(resource, 0) - ws.used_resources.get(resource, 0)


def _fits(ws: WorkerState, needs: Mapping[str, float]) -> bool:
    return all(_free(ws, name) + _ROUNDING >= need for name, need in needs.items())


def _holds(ws: WorkerState, needs: Mapping[str, float]) -> bool:
    return all(ws.resources.get(name, 0) >= need for name, need in needs.items())


def _slack(ws: WorkerState, needs: Mapping[str, float]) -> float:
    """Return the room left on the machine with the task on it, in shares of the machine.

    All that the machine has counts, asked for or not: so a machine with something rare
    is left to those who need it.
    """
    totals = ws.resources.items()
    return sum((_free(ws, name) - needs.get(name, 0)) / total for name, total in totals if total)


def _shortage(ws: WorkerState, needs: Mapping[str, float]) -> float:
    """Return how much must become free for the task to fit, in shares of the machine."""
    missing = ((need - _free(ws, name), name) for name, need in needs.items())
    return sum(amount / ws.resources[name] for amount, name in missing if amount > _ROUNDING)


def _show(needs: Mapping[str, float]) -> str:
    return ", ".join(_amount(name, need) for name, need in needs.items()) or "a machine"


def _amount(name: str, amount: float) -> str:
    return format_memory(amount) if name == "memory" else f"{format_cpu(amount)} {name}"


def _usage(ws: WorkerState, needs: Mapping[str, float]) -> str:
    """Return e.g. ``"2 of 2 cpu and 4 of 21 GB are in use by 1 run"``."""
    parts = []
    for name in needs:
        used = _amount(name, max(0.0, ws.used_resources.get(name, 0)))
        total = _amount(name, ws.resources.get(name, 0))
        unit = total.partition(" ")[2]
        parts.append(f"{used.removesuffix(f' {unit}')} of {total}")
    runs = len(ws.processing)
    return f"{' and '.join(parts)} are in use by {runs} run{'' if runs == 1 else 's'}"
