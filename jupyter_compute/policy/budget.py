"""What may be spent, by a run, by a notebook and in a day, and what that means. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jupyter_compute.ask import format_money

__all__ = ["KINDS", "Level", "reached", "worth_a_warning"]

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


def reached(levels: Iterable[Level]) -> Level | None:
    """Return a budget of which all is spent, if there is one: the widest."""
    return max((one for one in levels if one.full), key=_width, default=None)


def worth_a_warning(levels: Iterable[Level]) -> list[Level]:
    """Return the budgets of which most is spent, but not all."""
    return [one for one in levels if not one.full and one.spent >= _WARN * one.limit]


def _width(level: Level) -> int:
    return KINDS.index(level.kind)
