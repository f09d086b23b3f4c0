"""What clients ask about machines: what runs on them, how long they have been idle, to stop one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from jupyter_compute.errors import PoolError
from jupyter_compute.model import Clock
from jupyter_compute.pool.fleet import Machine, machines_to_wire
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.scaler import Scaler
from jupyter_compute.pool.telemetry import Telemetry

__all__ = ["Drainer", "Machines", "UnknownMachine", "machines_of"]


class UnknownMachine(KeyError):
    """There is no machine with this id."""


class Drainer(Protocol):
    """Who gives runs to machines."""

    def drain(self, machine: str) -> None:
        """Give no new attempt to the machine."""

    def dismiss(self, machine: str) -> None:
        """Let the machine go."""


class Machines:
    """The machines of the pool, and the runs on them.

    Parameters
    ----------
    scaler : Scaler
    active : mapping
        The active runs.
    telemetry : Telemetry
    clock : Clock
    leave : callable
        Called with the id of a machine that maps must leave when their lanes have a moment.
    ends : callable
        From a machine to the UTC second at which it ends if nothing is done until then, or None.
    """

    def __init__(
        self,
        scaler: Scaler,
        active: Mapping[str, Run],
        telemetry: Telemetry,
        clock: Clock,
        leave: Callable[[str], None],
        ends: Callable[[Machine], float | None],
    ) -> None:
        self._scaler = scaler
        self._active = active
        self._telemetry = telemetry
        self._clock = clock
        self._leave = leave
        self._ends = ends
        self._drainer: Drainer
        self._busy_until: dict[str, float] = {}
        self._on: dict[str, set[str]] = {}
        """What was on each machine when it was last seen with a run."""

    def attach(self, drainer: Drainer) -> None:
        """Set who gives runs to machines."""
        self._drainer = drainer

    def runs(self) -> dict[str, int]:
        """Return how many runs are on each machine, of those that have any."""
        counts: dict[str, int] = {}
        for run in self._active.values():
            for machine_id in machines_of(run):
                counts[machine_id] = counts.get(machine_id, 0) + 1
        return counts

    def to_wire(self) -> list[dict[str, Any]]:
        """Return the machines as clients see them."""
        counts = self.runs()
        return machines_to_wire(
            self._scaler.machines,
            self._telemetry.latest,
            lambda machine_id: counts.get(machine_id, 0),
            lambda machine: {
                "idle_s": self._idle_s(machine, counts.get(machine.id, 0)),
                "ends": self._ends(machine),
            },
        )

    def used(self, machine_id: str | None) -> None:
        """Note that something is done on a machine now, or that it has just become ready."""
        if machine_id is not None:
            self._busy_until[machine_id] = self._clock.monotonic()

    def idle(self) -> dict[str, float]:
        """Return for how many seconds nothing has run on machines on which nothing does."""
        now, busy = self._clock.monotonic(), self.runs()
        return {name: now - at for name, at in self._busy_until.items() if name not in busy}

    def tick(self) -> None:
        """Note which machines are busy, and end those that were to be stopped and are not."""
        on: dict[str, set[str]] = {}
        for run in self._active.values():
            for machine_id in machines_of(run):
                on.setdefault(machine_id, set()).add(run.id)
        for machine_id in on:
            self.used(machine_id)
        self._on |= on
        for machine in self._scaler.machines.values():
            if machine.state == "draining" and machine.id not in on:
                self._scaler.end(machine.id)
                if machine.noticed:
                    self._drainer.dismiss(machine.id)
        self._busy_until = {
            name: at for name, at in self._busy_until.items() if name in self._scaler.machines
        }
        self._on = {name: runs for name, runs in self._on.items() if name in self._busy_until}

    def stop(self, machine_id: str, force: bool) -> dict[str, Any]:
        """End a machine, and return it as clients see it.

        It is given no new run from now on, and ends when the last run on it has ended. With
        `force` it ends at once, and the runs on it begin again elsewhere, like those of a
        machine that was lost. If other runs wait, a machine may be started in its place.

        Raises
        ------
        UnknownMachine
        PoolError
            If it is a relay, without `force`.
        """
        machine = self._scaler.machines.get(machine_id)
        if machine is None:
            raise UnknownMachine(machine_id)
        if machine.role == "relay" and not force:
            raise PoolError(
                "other machines are reached through the relay, which ends when there is none",
                hint="stop those, or force it",
                status=409,
            )
        if force or machine.state == "starting" or machine_id not in self.runs():
            self._scaler.end(machine_id)
        else:
            self._scaler.drain(machine_id)
            self._leave(machine_id)
        # Also before its end: meanwhile it must not be given anything either.
        self._drainer.drain(machine_id)
        return next(wire for wire in self.to_wire() if wire["id"] == machine_id)

    def noticed(self, machine_id: str, at: float) -> None:
        """Tell the runs on a machine that it will be taken away at this UTC second."""
        left_s = max(0, round(at - self._clock.now()))
        text = "spot machine is being reclaimed, moving: "
        text += f"what has not ended in {left_s} s is rerun elsewhere"
        self._leave(machine_id)
        for run in self._active.values():
            if machine_id in machines_of(run):
                run.log.append([{"kind": "note", "text": text}])

    def learnt(self, machine: Machine, why: str) -> None:
        """Tell the runs that were on a lost machine what has become of it."""
        for run_id in self._on.pop(machine.id, ()):
            if (run := self._active.get(run_id)) is not None:
                run.log.append([{"kind": "note", "text": f"{machine.label}: {why}"}])

    def _idle_s(self, machine: Machine, runs: int) -> float | None:
        """Return for how long nothing has run on it; None while it starts or ends."""
        since = self._busy_until.get(machine.id)
        if runs:
            return 0
        if machine.state in {"starting", "ending"} or since is None:
            return None
        return int(self._clock.monotonic() - since)


def machines_of(run: Run) -> set[str]:
    """Return the ids of the machines that the run is on: of a map, all its lanes'."""
    if run.crew is not None:
        return {lane.machine_id for lane in run.crew.lanes.values() if lane.machine_id}
    return set() if run.machine_id is None else {run.machine_id}
