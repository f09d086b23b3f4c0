"""What a run will take and cost, from what its code took before. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jupyter_compute.policy.advice import Use
from jupyter_compute.policy.cost import spent

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What earlier runs of the same code took, and what that costs now.

    Parameters
    ----------
    runs : int
        On how many it rests.
    shortest_s, longest_s : float
    least_usd, most_usd : float or None
        None if the price is not known.
    """

    runs: int
    shortest_s: float
    longest_s: float
    least_usd: float | None
    most_usd: float | None


def estimate(history: Sequence[Use], usd_per_hour: float | None) -> Estimate | None:
    """Return the range that the runs which ended well span; None if there are none.

    Parameters
    ----------
    history : sequence of Use
    usd_per_hour : float or None
        What a run of the new ask pays.
    """
    took = [use.run_s for use in history if use.done]
    if not took:
        return None
    low, high = min(took), max(took)
    return Estimate(len(took), low, high, spent(usd_per_hour, low), spent(usd_per_hour, high))
