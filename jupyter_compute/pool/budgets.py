"""Keeps what is spent within budgets: warns, stops runs, holds back those that wait.

What is rehearsed in a sandbox is counted apart, and against the same budgets: so a rehearsal shows
what they do, and leaves what may be spent as it is.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from jupyter_compute import ask
from jupyter_compute.ask import Ask
from jupyter_compute.errors import PoolError
from jupyter_compute.layers.base import Launch
from jupyter_compute.model import Clock, RunSpec
from jupyter_compute.policy.budget import KINDS, Due, Level, Purse, reached, worth_a_warning
from jupyter_compute.policy.cost import Total, split
from jupyter_compute.policy.lifecycle import Timers
from jupyter_compute.policy.limits import Limits
from jupyter_compute.pool.fleet import Machine
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.record import Run, died
from jupyter_compute.pool.schema import day_of

__all__ = ["Budgets", "Stopper"]

Asking = TypeVar("Asking", Ask, RunSpec)

logger = logging.getLogger(__name__)


class Stopper(Protocol):
    """Who stops runs, and holds them back."""

    def stop(self, run: Run, envelope: dict[str, Any]) -> None:
        """End a run for good, at once."""

    def hold(self, run: Run, why: str) -> None:
        """Have a run wait that has no machine, and ask for none."""

    def go_on(self, run: Run) -> None:
        """Let a run that was held back have a machine."""


class _Spent:
    """What was spent, as far as prices are known: in a day, and by notebook ever."""

    def __init__(self) -> None:
        self.day = 0.0
        self.due = Due()
        self.notebooks: dict[str, float] = {}

    @property
    def certain(self) -> float:
        """What is spent in the day even if all machines end now."""
        return self.day + self.due.usd

    def add(self, notebook: str, usd: float) -> None:
        self.notebooks[notebook] = self.notebooks.get(notebook, 0.0) + usd


class Budgets:
    """The budgets of one pool.

    Parameters
    ----------
    journal : Journal
        Knows what users have set, and what was spent.
    clock : Clock
    timers : Timers
    active : mapping
        The active runs.
    due : callable
        Returns what machines cost beyond what is written down, rehearsed and otherwise.
    configured : callable
        From a kind of budget to what the configuration says, or None.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        timers: Timers,
        active: Mapping[str, Run],
        due: Callable[[], Mapping[bool, Due]],
        configured: Callable[[str], Any],
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._timers = timers
        self._active = active
        self._due = due
        self.changed: Callable[[], None] = lambda: None
        """Called when a user has changed a budget."""
        found = {kind: configured(f"budget.{kind}") for kind in KINDS}
        self.limits: dict[str, float | None] = {
            kind: None if usd is None else ask.parse_money(usd, f"budget.{kind}")
            for kind, usd in found.items()
        }
        self.limits |= journal.books.budgets()
        self._ended: tuple[object, dict[bool, _Spent]] = (None, {})
        self._idle: tuple[object, dict[bool, float]] = (None, {})
        self._warned: set[tuple[str, str, float]] = set()

    # what users say ---------------------------------------------------------------

    def set(self, kind: str, usd: float | None) -> None:
        """Change a budget, for this and later services; None takes it away.

        Raises
        ------
        PoolError
            If it cannot be written down; then it has not changed.
        """
        self._journal.books.set_budget(kind, usd)
        self.limits[kind] = usd
        self.changed()

    def to_wire(self, notebook: str = "") -> dict[str, Any]:
        """Return each budget with what is spent of it, and rehearsed, as JSON.

        Parameters
        ----------
        notebook : str
            Whose spending counts for the budget of notebooks.
        """
        spent = self._spent()
        of_kind: dict[str, Mapping[bool, float | None]] = {
            "run": {True: None, False: None},
            "notebook": {kind: one.notebooks.get(notebook, 0.0) for kind, one in spent.items()},
            "day": {kind: one.day for kind, one in spent.items()},
        }
        return {
            kind: {
                "usd": self.limits[kind],
                "spent": of_kind[kind][False],
                "rehearsed": of_kind[kind][True],
            }
            for kind in KINDS
        }

    def apply(self, spec: Asking) -> Asking:
        """Return the run with the budget for each run, if it has none of its own."""
        if spec.layer == "local":
            return spec
        limit = self.limits["run"] if spec.max_cost is None else spec.max_cost
        bounded = limit is not None or any(usd is not None for usd in self.limits.values())
        return dataclasses.replace(spec, max_cost=limit, priced=bounded)

    # what comes of it -------------------------------------------------------------

    def priced(self) -> bool:
        """Tell whether all runs, whenever they came, may only be where the price is known."""
        return any(self.limits[kind] is not None for kind in ("notebook", "day"))

    def within(self, limits: Limits, under_way: Iterable[Launch]) -> Limits:
        """Return limits for launches with what budgets leave for them.

        Only a day's budget pays for a launch: the others pay for what runs have of a machine.

        Parameters
        ----------
        limits : Limits
        under_way : iterable of Launch
            What has been asked for, and not been answered yet.
        """
        day = self.limits["day"]
        if day is None:
            return dataclasses.replace(limits, priced=True) if self.priced() else limits
        under_way, purses = list(under_way), {}
        for rehearsed, one in self._spent().items():
            coming = sum(
                launch.count * max(offer.usd_per_hour or 0.0 for offer in launch.offers)
                for launch in under_way
                if launch.offers[0].sandbox == rehearsed
            )
            purses[rehearsed] = Purse.of(day, one.certain, one.due, coming, self._timers)
        return dataclasses.replace(limits, priced=True, purses=purses)

    def holds(self, run: Run) -> str:
        """Return why a run may not have a machine now; empty if it may."""
        level = reached(self._levels(run, self._spent))
        return "" if level is None else level.waits()

    def _bounds(self, run: Run) -> bool:
        """Tell whether a budget bounds a run; none does if it costs nothing."""
        limits = run.spec.max_cost, self.limits["notebook"], self.limits["day"]
        return run.spec.layer != "local" and any(limit is not None for limit in limits)

    def _levels(self, run: Run, spent_now: Callable[[], Mapping[bool, _Spent]]) -> list[Level]:
        """Return the budgets that bound a run."""
        if not self._bounds(run):
            return []
        spent = spent_now()[run.rehearsed]
        amounts = {
            "run": (run.spec.max_cost, run.usd or 0.0),
            "notebook": (
                self.limits["notebook"],
                spent.notebooks.get(run.spec.notebook, 0.0),
            ),
            "day": (self.limits["day"], spent.certain),
        }
        return [Level(kind, usd, one) for kind, (usd, one) in amounts.items() if usd is not None]

    def look(self, stopper: Stopper) -> None:
        """Warn, stop, hold back and let go on."""
        spent = functools.cache(self._spent)  # the same for all
        self._warned = {warned for warned in self._warned if warned[0] in self._active}
        for run in list(self._active.values()):
            if not run.granted or run.verdict is not None or run.cancelled:
                continue
            levels = self._levels(run, spent)
            full = reached(levels)
            if full is None:
                self._warn(run, levels)
                if run.held:
                    stopper.go_on(run)
            elif full.kind == "run" or run.on_machines:
                facts = {"budget": full.kind, "limit": full.limit, "spent": full.spent}
                envelope = {**died("budget", full.stopped()), **facts, "hint": full.change}
                stopper.stop(run, envelope)
            else:
                stopper.hold(run, full.waits())

    def surplus(self, machines: Mapping[str, Machine]) -> list[str]:
        """Return the machines that are to end, as nothing more may be spent today.

        A relay does when the others have.
        """
        limit = self.limits["day"]
        if limit is None:
            return []
        over = {
            rehearsed
            for rehearsed, spent in self._spent().items()
            if Level("day", limit, spent.certain).full
        }
        found = [
            machine
            for machine in machines.values()
            if machine.offer.usd_per_hour != 0 and machine.offer.sandbox in over
        ]
        others = [machine for machine in found if machine.role != "relay"]
        return [one.id for one in others or found if one.state in {"starting", "ready"}]

    def _warn(self, run: Run, levels: list[Level]) -> None:
        for level in worth_a_warning(levels):
            key = run.id, level.kind, level.limit
            if key not in self._warned:
                self._warned.add(key)
                run.log.append([{"kind": "note", "text": level.warning()}])

    def _spent(self) -> dict[bool, _Spent]:
        """Return what was spent, and rehearsed, up to now."""
        due, day = self._due(), day_of(self._clock.now())
        idle = self._of_idle(day)
        found: dict[bool, _Spent] = {}
        for rehearsed, ended in self._of_ended(day).items():
            found[rehearsed] = both = _Spent()
            both.day, both.notebooks = ended.day + idle[rehearsed], dict(ended.notebooks)
            both.due = due[rehearsed]
        for run in self._active.values():
            found[run.rehearsed].day += run.usd or 0.0
            found[run.rehearsed].add(run.spec.notebook, run.usd or 0.0)
        return found

    def _of_ended(self, day: str) -> dict[bool, _Spent]:
        """Return what runs that have ended cost; read again when one more has."""
        key = day, self._journal.endings
        if self._ended[0] != key:
            found = {False: _Spent(), True: _Spent()}
            try:
                for kind, rows in zip(found, split(self._journal.spending("")), strict=True):
                    _sum(found[kind], rows, day)
            except PoolError:
                logger.exception("what was spent cannot be read, and will be")
                return self._ended[1] or found
            self._ended = key, found
        return self._ended[1]

    def _of_idle(self, day: str) -> dict[bool, float]:
        """Return what idle machines cost in the day; read again when that changes."""
        key = day, self._journal.books.changes
        if self._idle[0] != key:
            found = {False: 0.0, True: 0.0}
            for idle in self._journal.books.idle(day):
                found[idle.rehearsed] += idle.usd if idle.day == day else 0.0
            self._idle = key, found
        return self._idle[1]


def _sum(spent: _Spent, rows: list[tuple[Mapping[str, str], Total]], day: str) -> None:
    for belongs, total in rows:
        spent.add(belongs["notebook"], total.usd)
        if belongs["day"] == day:
            spent.day += total.usd
