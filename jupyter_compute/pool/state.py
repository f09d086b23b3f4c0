"""What panels see: looks at machines, runs and samples when somebody asks, and not otherwise."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jupyter_compute.model import Clock
from jupyter_compute.pool.costs import Costs
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.machines import Machines
from jupyter_compute.pool.picture import Picture, Scene, fitting
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.rings import Point
from jupyter_compute.pool.telemetry import Telemetry

__all__ = ["State"]

_RECENT = 200
"""So many ended runs can be in the picture; `runs` lists the others."""

_MOST_ACTIVE = 200
"""More active runs never fit."""

_PAUSE_S = 0.1
"""Several clients that ask at the same time are shown the same picture."""

_CLOCK_WENT_BACK_S = 5

_LONGEST = {"name": 200, "reason": 300, "notebook": 300, "cell": 100, "error": 300}

_RUN_FIELDS = (
    *("id", "name", "notebook", "cell", "state", "reason", "ask", "layer", "machine"),
    *("attempt", "created", "started", "finished", "cpu_used", "memory_used", "memory_peak"),
    *("usd", "receipt", "error"),
)

_RECEIPT_FIELDS = (
    *("wait_s", "run_s", "attempts", "cpu_mean", "memory_peak", "cost_usd", "advice"),
    *("advised", "items"),
)


_DOLLARS = frozenset({"usd", "usd_per_hour", "cost_usd", "today", "active", "idle", "budget_day"})


class State:
    """The state of the pool for panels.

    Parameters
    ----------
    machines : Machines
    active : mapping
        The active runs.
    telemetry : Telemetry
    journal : Journal
        Knows the runs that have ended before anybody looked.
    costs : Costs
    clock : Clock
    """

    def __init__(
        self,
        machines: Machines,
        active: Mapping[str, Run],
        telemetry: Telemetry,
        journal: Journal,
        costs: Costs,
        clock: Clock,
    ) -> None:
        self._machines = machines
        self._active = active
        self._telemetry = telemetry
        self._journal = journal
        self._costs = costs
        self._clock = clock
        self._picture = Picture()
        self._recent: deque[dict[str, Any]] | None = None
        self._looked = float("-inf")

    def ended(self, run: Run) -> None:
        """Take note of a run that has ended."""
        if self._recent is not None:
            self._recent.appendleft(_view(run.to_wire()))

    def answer(self, since: str) -> bytes:
        """Return, as JSON, what has changed since the cursor; see `pool.picture`."""
        now = self._clock.monotonic()
        if now - self._looked >= _PAUSE_S:
            self._looked = now
            self._look()
        return self._picture.answer(since)

    def _look(self) -> None:
        now = self._clock.now()
        second = int(now) - 1
        if second < self._picture.rings.second - _CLOCK_WENT_BACK_S:
            self._picture = Picture()
        if self._recent is None:
            newest = self._journal.newest(_RECENT)
            self._recent = deque(map(_view, newest), maxlen=_RECENT)
        everything = self._machines.to_wire()
        everything.sort(key=lambda machine: (-machine["started"], machine["id"]))
        first = heapq.nsmallest(_MOST_ACTIVE, self._active.values(), key=_rank)
        views = (_view(run.to_wire(), run.machine_id) for run in first)
        machines, runs = fitting(map(_tidy, everything), itertools.chain(views, self._recent))
        # Also between two attempts, so that the history goes on.
        sampled = [run["id"] for run in runs if run["started"] and not run["finished"]]
        self._advance(max(second, self._picture.rings.second), everything, sampled)
        self._picture.show(
            Scene(
                time=round(now, 3),
                machines=machines,
                runs=runs,
                facts={
                    "cost": _tidy(self._costs.now()),
                    "totals": _tidy(self._totals(everything)),
                    "omitted": {
                        "machines": len(everything) - len(machines),
                        "runs": len(self._active) + len(self._recent) - len(runs),
                    },
                },
                sampled=sampled,
                seldom={"spending": self._costs.spending()},
            )
        )

    def _advance(
        self, second: int, machines: Sequence[Mapping[str, Any]], runs: Sequence[str]
    ) -> None:
        ids = [machine["id"] for machine in machines]
        subjects = {name: self._machine_points(name) for name in ids}
        subjects |= {name: self._run_points(self._active[name]) for name in runs}
        self._picture.rings.advance(second, subjects, ids)

    def _machine_points(self, machine_id: str) -> Callable[[float], Sequence[Sequence[Point]]]:
        series = self._telemetry.machines.get(machine_id)
        return lambda since: [] if series is None else [series.fine(since)]

    def _run_points(self, run: Run) -> Callable[[float], Sequence[Sequence[Point]]]:
        attempts = [run.attempt_id] if run.crew is None else list(run.crew.lanes)
        known = [s for name in attempts if (s := self._telemetry.attempts.get(name)) is not None]
        return lambda since: [series.fine(since) for series in known]

    def _totals(self, machines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        usable = [machine for machine in machines if machine["state"] in {"ready", "draining"}]
        states = Counter(run.state for run in self._active.values())
        return {
            "machines": len(machines),
            "cpu": sum(machine["cpu"] for machine in usable),
            "memory": sum(machine["memory"] for machine in usable),
            "cpu_used": _sum(machine["cpu_used"] for machine in usable),
            "memory_used": _sum(machine["memory_used"] for machine in usable),
            "runs": {
                **{state: states[state] for state in ("queued", "starting", "running")},
                "ended": len(self._recent or ()),
            },
        }


def _rank(run: Run) -> tuple[int, float, str]:
    """Return where an active run stands: what runs first, then what runs next."""
    if run.state == "queued":
        return 1, run.created, run.id
    return 0, -(run.started or run.created), run.id


def _view(wire: Mapping[str, Any], machine_id: str | None = None) -> dict[str, Any]:
    """Return what a panel shows of a run, from the form that clients see."""
    view = {name: wire[name] for name in _RUN_FIELDS}
    for name, longest in _LONGEST.items():
        view[name] = _shorten(view[name], longest)
    receipt = view["receipt"]
    if receipt is not None:
        view["receipt"] = {name: receipt.get(name) for name in _RECEIPT_FIELDS}
        view["receipt"]["advice"] = _shorten(receipt.get("advice") or "", _LONGEST["error"])
    tidied: dict[str, Any] = _tidy({**view, "machine_id": machine_id})
    return tidied


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _tidy(value: Any) -> Any:
    """Return the JSON value without digits that nobody reads."""
    if isinstance(value, dict):
        return {
            name: _number(part, 6 if name in _DOLLARS else 3)
            if isinstance(part, float)
            else _tidy(part)
            for name, part in value.items()
        }
    return value


def _number(value: float, digits: int) -> float:
    short = round(value, digits)
    return int(short) if short.is_integer() else short


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
