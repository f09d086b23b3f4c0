"""Runs that are stopped, or held back, as nothing more may be spent on them."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Protocol

from jupyter_compute.model import RunState
from jupyter_compute.pool.executor import Executor
from jupyter_compute.pool.maps import Maps
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.showing import show

__all__ = ["Halts", "Steps"]


class Steps(Protocol):
    """The steps in the life of a run that halting takes."""

    def finish(self, run: Run, envelope: dict[str, Any], state: RunState, why: str = "") -> None:
        """End a run."""

    def give_up_later(self, run: Run, ladder_s: float) -> None:
        """End a run whose machine does not answer."""

    def queue(self, run: Run) -> None:
        """Queue its attempt."""


class Halts:
    """Stops runs, and holds them back; see `jupyter_compute.pool.budgets.Stopper`.

    Parameters
    ----------
    executor : Executor
    maps : Maps
    suspects : container of Run
        They wait for their turn, and are queued then.
    steps : Steps
    """

    def __init__(
        self, executor: Executor, maps: Maps, suspects: Container[Run], steps: Steps
    ) -> None:
        self._executor = executor
        self._suspects = suspects
        self._maps = maps
        self._steps = steps

    def stop(self, run: Run, envelope: dict[str, Any]) -> None:
        """End a run for good, at once, with this envelope."""
        run.verdict = envelope
        if run.spec.map:
            self._maps.stop(run, envelope, "kill")
        elif run.machine_id is None:
            self._executor.withdraw(run.attempt_id)
            self._steps.finish(run, envelope, "failed", envelope["message"])
        else:
            self._executor.control(run.attempt_id, "kill")
            self._steps.give_up_later(run, 0.0)

    def hold(self, run: Run, why: str) -> None:
        """Have a run wait that has no machine, and ask for none."""
        if not run.held:
            run.held = True
            if run.spec.map:
                self._maps.withdraw(run)
            else:
                self._executor.withdraw(run.attempt_id)
        show(run, why)

    def go_on(self, run: Run) -> None:
        """Let a run that was held back have a machine."""
        run.held = False
        if run.spec.map:
            self._maps.serve(run)
        elif run.timer is None and run not in self._suspects:
            self._steps.queue(run)
