"""Machines whose loss is no run's fault: it is known before, or wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jupyter_compute.policy import chaos
from jupyter_compute.pool.record import Run

__all__ = ["Losses"]


class Losses:
    """Knows which machines go, and kills those whose loss is rehearsed.

    Parameters
    ----------
    active : mapping
        The active runs.
    lose : callable
        Kills a machine.
    """

    def __init__(self, active: Mapping[str, Run], lose: Callable[[str], None]) -> None:
        self._active = active
        self._lose = lose
        self._spared: dict[str, str] = {}

    def spare(self, machine_id: str, how: str = "") -> None:
        """Blame no run for the end of a machine, which is known before."""
        self._spared[machine_id] = how

    def how(self, run: Run) -> str | None:
        """Return how the machine of a run goes; None if nothing was known."""
        return self._spared.get(run.machine_id or "")

    def sacrifice(self, run: Run) -> None:
        """Kill the machine of the run, which asked for that."""
        run.timer = None
        assert run.machine_id is not None
        self.spare(run.machine_id)
        for other in self._active.values():
            if other.machine_id == run.machine_id:
                whose = "" if other is run else f", for {run.id}"
                text = chaos.read(run.spec.chaos).confession + whose
                other.log.append([{"kind": "note", "text": text}])
        self._lose(run.machine_id)
