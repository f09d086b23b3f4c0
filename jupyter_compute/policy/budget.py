"""What may be spent, by a run, by a notebook and in a day, and what that means. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jupyter_compute.ask import format_money
from jupyter_compute.model import Offer
from jupyter_compute.policy.cost import spent
from jupyter_compute.policy.lifecycle import Timers

__all__ = ["KINDS", "Due", "Level", "Purse", "reached", "worth_a_warning"]

KINDS = ("run", "notebook", "day")
"""What budgets can be for: each run, all runs of each notebook, and everything in a day."""

_WARN = 0.8
"""A user is warned when this share is spent: there is time to raise the budget."""


@dataclass(frozen=True, slots=True)
class Level:
    """How much of a budget is spent, in dollars.

    Parameters
    ----------
    kind : {"run", "notebook", "day"}
    limit, spent : float
        Of what has no known price nothing is in it.
    """

    kind: str
    limit: float
    spent: float

    @property
    def change(self) -> str:
        """How a user raises it."""
        if self.kind == "run":
            return "--max-cost USD, or %compute budget run USD"
        return f"%compute budget {self.kind} USD"

    @property
    def full(self) -> bool:
        """Whether all of it is spent."""
        return self.spent >= self.limit

    def stopped(self) -> str:
        """Return why a run was stopped."""
        spent, limit = format_money(self.spent), format_money(self.limit)
        return f"stopped: {spent} of the {self.kind} budget of {limit} spent"

    def waits(self) -> str:
        """Return why a run waits."""
        return f"{self.kind} budget of {format_money(self.limit)} reached: {self.change} raises it"

    def warning(self) -> str:
        """Return what a user is told in time."""
        share = int(100 * self.spent / self.limit)
        left = format_money(max(0.0, self.limit - self.spent))
        return (
            f"{share} % of the {self.kind} budget of {format_money(self.limit)} spent: "
            f"runs are stopped in {left} ({self.change} raises it)"
        )


@dataclass(frozen=True, slots=True)
class Due:
    """What machines cost beyond what is written down, as far as prices are known.

    Parameters
    ----------
    usd : float
        What comes up even if all end now: the rest of their first minutes, above all.
    usd_per_hour : float
        What comes up while they go on.
    """

    usd: float = 0.0
    usd_per_hour: float = 0.0

    def __add__(self, other: Due) -> Due:
        """Return what both cost."""
        return Due(self.usd + other.usd, self.usd_per_hour + other.usd_per_hour)


@dataclass(frozen=True, slots=True)
class Purse:
    """What a day's budget leaves for launches.

    Parameters
    ----------
    limit : float
        The budget, in dollars.
    used : float
        What is spent, and what those that are there cost until a budget would have ended them.
    paid_s : float
        The same for a new machine: the least that is charged, and the time until it has ended.
    """

    limit: float
    used: float
    paid_s: float

    @classmethod
    def of(cls, limit: float, certain: float, due: Due, coming: float, timers: Timers) -> Purse:
        """Return what is left.

        Parameters
        ----------
        limit : float
        certain : float
            What is spent even if all machines end now.
        due : Due
        coming : float
            Dollars per hour of the machines that launches are under way for.
        timers : Timers
        """
        stop_s = timers.tick_s + timers.halt_s
        paid_s = timers.least_charged_s + stop_s
        used = certain + (due.usd_per_hour * stop_s + coming * paid_s) / 3600
        return cls(limit, used, paid_s)

    @property
    def left(self) -> float:
        """What launches may cost, at least."""
        return max(0.0, self.limit - self.used)

    def least(self, usd_per_hour: float | None) -> float:
        """Return what a machine of this price costs at least; nothing if that is not known."""
        return spent(usd_per_hour, self.paid_s) or 0.0

    def without(self, offer: Offer) -> str:
        """Return that not enough is left for a machine."""
        left, least = format_money(self.left), format_money(self.least(offer.usd_per_hour))
        return (
            f"day budget: {left} left of {format_money(self.limit)}, "
            f"the least that a {offer.label} costs is {least}"
        )


def reached(levels: Iterable[Level]) -> Level | None:
    """Return a budget of which all is spent, if there is one: the widest."""
    return max((one for one in levels if one.full), key=_width, default=None)


def worth_a_warning(levels: Iterable[Level]) -> list[Level]:
    """Return the budgets of which most is spent, but not all."""
    return [one for one in levels if not one.full and one.spent >= _WARN * one.limit]


def _width(level: Level) -> int:
    return KINDS.index(level.kind)
