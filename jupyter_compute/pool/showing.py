"""What a run says while nothing happens to it: why it waits, and what of its values moves."""

from __future__ import annotations

from typing import Protocol

from jupyter_compute.pool.record import Run, state_event

__all__ = ["Showing", "ahead", "show"]


class Knowing(Protocol):
    """Who has the attempts."""

    def why_waiting(self, attempt: str) -> str:
        """Return what the attempt waits for; empty if it does not wait."""

    def ahead(self, attempt: str) -> int | None:
        """Return how many wait before the attempt that need the same; None if it does not wait."""

    def moving(self, attempt: str) -> str:
        """Return what of an attempt's values is on its way; empty if nothing is."""


class Showing:
    """Tells the followers of runs.

    Parameters
    ----------
    executor : Knowing
    """

    def __init__(self, executor: Knowing) -> None:
        self._executor = executor

    def waiting(self, run: Run, no_machine: str) -> None:
        """Say why a run waits: as there is no machine, or else what the scheduler says."""
        reason = no_machine or self._executor.why_waiting(run.attempt_id)
        show(run, "; ".join(filter(None, (reason, self._executor.moving(run.attempt_id)))))

    def moving(self, run: Run) -> None:
        """Say what of a run's values is on its way to its machine, or back."""
        moving = self._executor.moving(run.attempt_id)
        show(run, f"on {run.machine}{'; ' if moving else ''}{moving}")


def ahead(run: Run, executor: Knowing) -> int:
    """Return how many wait before a run, or the first lane of a map, that need the same."""
    attempts = [run.attempt_id] if run.crew is None else run.crew.lanes
    places = [place for one in attempts if (place := executor.ahead(one)) is not None]
    return min(places, default=0)


def show(run: Run, reason: str) -> None:
    """Give a run another reason for its state, and tell its followers."""
    if reason and reason != run.reason:
        run.reason = reason
        if run.log.followers:
            run.log.append([state_event(run)])
