"""What the pool costs: now, today and in the last days, for those who look every second."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from jupyter_compute.model import Clock
from jupyter_compute.policy.cost import Total, add, split, sum_up
from jupyter_compute.pool.fleet import Machine
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.schema import day_of

__all__ = ["DAYS", "Costs"]

DAYS = 7
"""So many days are told, of which today is the last."""

_MOST_NOTEBOOKS = 8
_LONGEST_NAME = 100


class Costs:
    """Sums of prices and receipts. The journal is read when they have changed, not at each look.

    What is rehearsed in a sandbox is in none of them.

    Days are those of this computer's time zone, and a run belongs to the one on which it ended.

    Parameters
    ----------
    journal : Journal
    clock : Clock
    machines, active : mapping
        The machines, and the active runs.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        machines: Mapping[str, Machine],
        active: Mapping[str, Run],
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._machines = machines
        self._active = active
        self.budget_day: Callable[[], float | None] = lambda: None
        self._known_of: tuple[str, int] | None = None
        self._idle_of: tuple[str, int] | None = None
        self._ended_today: float | None = 0.0
        self._idle_today: float | None = 0.0
        self._spending: Mapping[str, Any] = {}

    def now(self) -> Mapping[str, float | None]:
        """Return dollars: per hour, of today, of the active runs, of what was idle today, and the
        budget of today.

        Each is None if a price is not known, the last one if there is no budget.
        """
        runs = (run for run in self._active.values() if not run.rehearsed)
        active = add(run.usd for run in runs)
        machines = (m.offer for m in self._machines.values() if not m.offer.sandbox)
        self._look()
        return {
            "usd_per_hour": add(offer.usd_per_hour for offer in machines),
            "today": add((self._ended_today, active, self._idle_today)),
            "active": active,
            "idle": self._idle_today,
            "budget_day": self.budget_day(),
        }

    def spending(self) -> Mapping[str, Any]:
        """Return the sums of the receipts as JSON, without the runs that are going on.

        ``day`` is today, ``notebooks`` those of today that cost most, ``others`` the sum of its
        other ones or null, and ``days`` are the last `DAYS`, today first, also the ones on which
        nothing ended. Dollars of which nothing is known are null; of how many runs the cost is
        not known says ``usd_unknown_runs``.
        """
        self._look()
        return self._spending

    def _look(self) -> None:
        day = day_of(self._clock.now())
        books = self._journal.books
        if self._idle_of != (day, books.changes):
            self._idle_of = day, books.changes
            idle = [one for one in books.idle(day) if one.day == day and not one.rehearsed]
            self._idle_today = add(None if one.unknown_s else one.usd for one in idle)
        if self._known_of == (day, self._journal.endings):
            return
        self._known_of = day, self._journal.endings
        days = _days_until(day)
        paid, _ = split(self._journal.spending(days[-1]))
        rows = [row for row in paid if row[0]["day"] <= day]
        of_days, _ = sum_up(rows, "day")
        of_notebooks, today = sum_up((row for row in rows if row[0]["day"] == day), "notebook")
        self._ended_today = None if today.usd_unknown else today.usd
        ranked = sorted(of_notebooks, key=lambda name: _rank(of_notebooks[name]))
        first, rest = ranked[:_MOST_NOTEBOOKS], ranked[_MOST_NOTEBOOKS:]
        others = sum((of_notebooks[name] for name in rest), start=Total())
        self._spending = {
            "day": day,
            "notebooks": [
                {"notebook": _shorten(name), **_sums(of_notebooks[name])} for name in first
            ],
            "others": {"notebooks": len(rest), **_sums(others)} if rest else None,
            "days": [{"day": name, **_sums(of_days.get(name, Total()))} for name in days],
        }


def _days_until(day: str) -> list[str]:
    last = dt.date.fromisoformat(day)
    return [(last - dt.timedelta(days=ago)).isoformat() for ago in range(DAYS)]


def _rank(total: Total) -> tuple[float, float]:
    """Return where a notebook stands: first what cost most, or ran longest if all is free."""
    return -total.usd, -total.run_s


def _sums(total: Total) -> dict[str, Any]:
    wire = total.to_wire()
    return {name: wire[name] for name in ("runs", "usd", "usd_unknown_runs")}


def _shorten(name: str) -> str:
    """Return the end of a long name: where a file is, is said first."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"
