"""What the service has because machines may be elsewhere: a door or a relay, stores, leases, a
rehearsal.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from jupyter_compute import ask, hosts, places, settings
from jupyter_compute.blobs import Blobs
from jupyter_compute.errors import ComputeError, EnvironmentMismatch
from jupyter_compute.layers.base import Apart, Installing
from jupyter_compute.layers.stores import Store
from jupyter_compute.model import Clock, RunSpec
from jupyter_compute.policy import environments
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.policy.limits import Limits
from jupyter_compute.policy.where import GROUPS, Waiting, Where, where_of
from jupyter_compute.pool.door import Door
from jupyter_compute.pool.engine import Engine
from jupyter_compute.pool.machines import Machines
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.rehearsal import Rehearsal
from jupyter_compute.pool.relays import Relays
from jupyter_compute.pool.scaler import Scaler
from jupyter_compute.pool.sweeps import Log, Sweeps

__all__ = ["Elsewhere"]

_MOST_MACHINES = 10_000


class Elsewhere:
    """The parts of the service that machines elsewhere need.

    Parameters
    ----------
    scaler : Scaler
    active : mapping
        The active runs.
    clock : Clock
    """

    def __init__(self, scaler: Scaler, active: Mapping[str, Run], clock: Clock) -> None:
        self._scaler = scaler
        self._active = active
        self._clock = clock
        self._engine: Engine
        self._door: Door
        self._relays: Relays
        self._url = ""
        self._renewed = clock.monotonic()
        offering = scaler.offering
        self.rehearsal = Rehearsal(scaler.layers, self._in_use, offering.forget, offering.renew)
        scaler.limits = _limits()
        hosts.placement()  # what is wrong with the setting is said now

    def attach(
        self,
        engine: Engine,
        machines: Machines,
        log: Log,
        give_up: Callable[[Sequence[str], str], None],
    ) -> None:
        """Set who places runs, who knows what runs where, where launches are written down, and
        who is told that waiting for some layers is of no use.
        """
        scaler, self._engine, authority = self._scaler, engine, engine.authority

        def scheduler() -> str:
            return str(engine.scheduler.address)

        self._door = Door(authority, scaler.launches.admit, scheduler)
        self._relays = Relays(scaler, authority, scheduler, give_up, self._clock, TIMERS)
        scaler.launches.missing = self._relays.missing
        scaler.launches.door = self._open
        scaler.launches.sweeps = Sweeps(log, self._clock, TIMERS)
        scaler.free, scaler.retiring, scaler.idle = engine.free, engine.drain, machines.idle
        scaler.serve = engine.serve_line
        scaler.leaving = self.leaving

    def permits(self, where: Where, machine_id: str) -> bool:
        """Tell whether a run that may be placed so may be placed on this machine."""
        machine = self._scaler.machines.get(machine_id)
        return machine is not None and where.permits(machine.offer)

    def store_of(self, name: str) -> Store | None:
        """Return where a layer's machines get their blobs from, unless they share ours."""
        layer: object = self._scaler.layers.get(GROUPS.get(name, (name,))[0])
        return layer.store() if isinstance(layer, Apart) else None

    def check_packages(self, spec: RunSpec) -> None:
        """Refuse a run whose packages machines cannot install.

        Raises
        ------
        EnvironmentMismatch
        """
        unset = {name: _installs(self._scaler.layers.get(name)) for name in where_of(spec).layers}
        names = [name for name, setting in unset.items() if setting]
        if not (names and spec.packages):
            return
        try:
            found = json.loads(Blobs(places.blob_dirs()).read(spec.packages))
        except FileNotFoundError:
            raise ComputeError(f"there is no blob {spec.packages}") from None
        index = "layers.aws.index"
        public = settings.get(index) == settings.default(index)
        if why := environments.refusal(" and ".join(names), found, public=public):
            images = " and ".join(unset[name] for name in names)
            hint = f"install it from an index, or set {images} to an image that has it"
            raise EnvironmentMismatch(why, hint=hint)

    def noticed(self, machine: str) -> None:
        """Give no new run to a machine that will be taken away, and have another one started."""
        self._engine.drain(machine)
        if not self._scaler.reclaimed(machine):
            self._engine.dismiss(machine)

    def leaving(self) -> list[Waiting]:
        """Return what runs on machines that will be taken away, as it will need others."""
        going = {m.id for m in self._scaler.machines.values() if m.noticed and m.state != "ending"}
        needs = [
            run.needs(run.memory)
            for run in self._active.values()
            if run.machine_id in going and run.crew is None and not run.cancelled
        ]
        return [Waiting(need, count, math.inf) for need, count in Counter(needs).items()]

    def tick(self) -> None:
        """Look after the relay, and renew the leases now and then."""
        self._relays.tick()
        now = self._clock.monotonic()
        if now - self._renewed > TIMERS.lease_renew_s:
            self._renewed = now
            self._engine.renew_leases(TIMERS.lease_s)

    def stop(self) -> None:
        """Start no relay any more."""
        self._relays.stop()

    async def close(self) -> None:
        """Let no more machines in."""
        await self._door.close()
        await self._relays.close()

    def _open(self) -> tuple[str, str]:
        """Return where machines from elsewhere join, and whom they are to believe there."""
        if not self._url and not self._relays.url:
            self._url = self._door.open(hosts.scheduler_host())
        return self._relays.url or self._url, self._engine.authority.certificate

    def _in_use(self, waiting_too: bool) -> str:
        """Return why the layers elsewhere must stay as they are, or nothing."""
        machines = [m for m in self._scaler.machines.values() if m.offer.layer != "local"]
        runs = [
            run
            for run in self._active.values()
            if run.spec.layer != "local" and (waiting_too or run.machine_id is not None)
        ]
        if machines or runs or self._scaler.launches.under_way:
            return f"{len(machines)} machine(s) and {len(runs)} run(s) are elsewhere"
        return ""


def _installs(layer: object) -> str:
    return layer.installs() if isinstance(layer, Installing) else ""


def _limits() -> Limits:
    idle_s = ask.parse_time(settings.get("machine-idle-timeout"), "machine-idle-timeout")
    most = ask.parse_count(settings.get("max-machines"), "max-machines", _MOST_MACHINES)
    return Limits(most, idle_s=idle_s)
