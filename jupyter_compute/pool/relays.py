"""The relay: where machines meet a pool that they cannot reach, as its computer is behind a router.

It is started when the first machine is wanted, one for all, and ends when there has been none
for as long as a machine may be idle. It is launched, written down and watched like a machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from jupyter_compute import hosts, relay
from jupyter_compute.errors import PoolError
from jupyter_compute.layers.base import Address, Introducing, Launch, Launched, Relay, Relaying
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.model import Clock
from jupyter_compute.policy.failures import FINAL
from jupyter_compute.policy.lifecycle import Timers
from jupyter_compute.pool.authority import Authority
from jupyter_compute.pool.door import Door
from jupyter_compute.pool.fleet import Machine
from jupyter_compute.pool.scaler import Scaler
from jupyter_compute.pool.tunnel import Tunnel

__all__ = ["Relays"]

logger = logging.getLogger(__name__)

_LAYER = "ec2"
_MOST_FAILURES = 3


class Relays:
    """Starts the relay of this pool, keeps in touch with it, and ends it.

    Parameters
    ----------
    scaler : Scaler
    authority : Authority
    scheduler : callable
        Returns the address of the scheduler.
    give_up : callable
        Called with layers and message when waiting for machines of these layers is of no use.
    clock : Clock
    timers : Timers
    """

    def __init__(
        self,
        scaler: Scaler,
        authority: Authority,
        scheduler: Callable[[], str],
        give_up: Callable[[Sequence[str], str], None],
        clock: Clock,
        timers: Timers,
    ) -> None:
        self._scaler = scaler
        self._authority = authority
        self._scheduler = scheduler
        self._give_up = give_up
        self._clock = clock
        self._timers = timers
        self._machine: Machine | None = None
        self._tunnel: Tunnel | None = None
        self._door: Door | None = None
        self._url = ""
        self._starting: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._again_at = self._looked_at = self._wanted_at = clock.monotonic()
        self._why = ""

    def missing(self) -> str:
        """Return why machines cannot be launched yet; a relay is started if it takes one."""
        if hosts.placement() == "here":
            return ""
        self._wanted_at = self._clock.monotonic()
        if self._url and self._tunnel is not None and self._tunnel.connected:
            return ""
        if self._machine is not None and self._machine.state == "ready":
            return "the relay cannot be reached now: calling it again"
        if self._starting is None and self._machine is None and self._wanted_at >= self._again_at:
            self._why = "starting the relay"
            self._starting = asyncio.get_running_loop().create_task(self._start())
        return self._why

    @property
    def url(self) -> str:
        """Where machines join; nothing if that is not at a relay."""
        return self._url if hosts.placement() == "cloud" else ""

    def tick(self) -> None:
        """Look after the relay, once a second."""
        machine, tunnel, now = self._machine, self._tunnel, self._clock.monotonic()
        if machine is None or self._starting is not None:
            return
        if machine.state == "ending" or tunnel is None:
            self._leave()
            return
        if self._is_needed():
            self._wanted_at = now
        silent_s = tunnel.silent_s
        if silent_s > self._timers.relay_lost_s:
            logger.warning("the relay %s is given up: %s", machine.id, tunnel.why)
            self._end()
        elif self._scaler.limits.idle_s < now - self._wanted_at:
            logger.info("the relay %s ends: no machine needs it", machine.id)
            self._end()
        elif silent_s > self._timers.relay_silent_s < now - self._looked_at:
            self._looked_at = now
            if self._looking is None:
                self._looking = asyncio.get_running_loop().create_task(self._look_again())

    def stop(self) -> None:
        """Start none any more."""
        for task in (self._starting, self._looking):
            if task is not None:
                task.cancel()

    async def close(self) -> None:
        """Leave the relay."""
        self.stop()
        self._leave()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _is_needed(self) -> bool:
        """Tell whether there are machines that came by the relay, or will come."""
        others = (
            not isinstance(self._scaler.layers[machine.offer.layer], Introducing)
            for machine in self._scaler.machines.values()
            if machine is not self._machine
        )
        return bool(self._scaler.launches.under_way) or any(others)

    async def _start(self) -> None:
        try:
            await self._launch()
        except PoolError as error:
            self._failed(str(error), final=isinstance(error, CallFailed) and error.kind in FINAL)
        except Exception as error:
            logger.exception("the relay")
            self._failed(f"{type(error).__name__} (see the log of the service)", final=False)
        finally:
            self._starting = None
        self._scaler.wake()

    async def _launch(self) -> None:
        layer: object = self._scaler.layers[_LAYER]
        assert isinstance(layer, Relaying)
        await asyncio.to_thread(layer.let_in)
        offers = await asyncio.to_thread(layer.relay_offers)
        if not offers:
            raise PoolError("no price of a machine for the relay is known")
        token, timers = secrets.token_urlsafe(24), self._timers
        boot = Relay(
            self._authority.certificate,
            token,
            timers.relay_beat_s,
            timers.lease_s,
            timers.lifetime_s,
        )
        launch = Launch(f"jc-{secrets.token_hex(8)}", tuple(offers), 1, boot)
        answered = asyncio.get_running_loop().create_future()

        def then(launch: Launch, answer: Launched | PoolError) -> None:
            came = self._came(launch, answer)
            if not answered.done():  # the pool may have ended meanwhile
                answered.set_result(came)

        self._scaler.launches.start(launch, then)
        await answered
        machine = answered.result()
        if isinstance(machine, PoolError):
            raise machine
        await self._reach(layer, machine, token)

    def _came(self, launch: Launch, answer: Launched | PoolError) -> Machine | PoolError:
        """Take on what the launch has brought, before the pool can end without it."""
        if isinstance(answer, PoolError):
            return answer
        if not answer.machines:
            refused = answer.refused[-1]
            return CallFailed(refused.message, kind=refused.kind)
        found, now = answer.machines[0], self._clock.monotonic()
        machine = Machine.of(found, now, launch.id, why="relay", role="relay")
        self._machine = self._scaler.machines[machine.id] = machine
        self._scaler.payer.opened(machine)
        self._why = f"starting the relay ({machine.label})"
        return machine

    async def _reach(self, layer: Relaying, machine: Machine, token: str) -> None:
        """Call the relay until it answers."""
        address: Address | None = None
        while address is None:
            self._check(machine)
            await asyncio.sleep(self._timers.tick_s)
            address = await asyncio.to_thread(layer.where, machine.id)
        private = address.private
        door = self._door = Door(
            self._authority,
            self._scaler.launches.admit,
            lambda: f"tls://{private}:{relay.SCHEDULER_PORT}",
        )
        door.open(hosts.LOOPBACK, private)
        context = self._authority.credentials("relay", [relay.NAME]).server()
        targets = {"door": lambda: (hosts.LOOPBACK, door.port), "scheduler": self._local}
        changed = asyncio.Event()
        tunnel = self._tunnel = Tunnel(context, token, targets, self._timers, changed.set)
        tunnel.open(address.public, relay.POOL_PORT)
        while not tunnel.connected:
            self._check(machine, tunnel.why)
            changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), self._timers.tick_s)
        machine.state, self._failures = "ready", 0
        self._url = f"https://{private}:{relay.DOOR_PORT}/v1/join"
        logger.info("the relay %s answers at %s", machine.id, address.public)

    def _check(self, machine: Machine, why: str = "") -> None:
        """Ensure that the relay can still be waited for."""
        if machine.state == "ending":
            raise PoolError("; ".join(filter(None, (machine.why, why))) or "it has ended")

    def _local(self) -> tuple[str, int]:
        found = urlsplit(self._scheduler())
        return str(found.hostname), int(found.port or 0)

    def _failed(self, message: str, *, final: bool) -> None:
        logger.warning("no relay: %s", message)
        self._failures += 1
        if self._machine is not None:
            self._end()
        self._leave()
        self._again_at = self._clock.monotonic() + self._timers.relay_failed_s
        self._why = f"the relay could not be started, and will be tried again: {message}"
        if final or self._failures >= _MOST_FAILURES:
            self._failures = 0
            self._again_at = self._clock.monotonic()
            elsewhere = [
                name
                for name, layer in self._scaler.layers.items()
                if not isinstance(layer, Introducing)
            ]
            self._give_up(elsewhere, f"no relay can be started: {message}")

    def _end(self) -> None:
        if self._machine is not None and self._machine.id in self._scaler.machines:
            self._scaler.end(self._machine.id)

    def _leave(self) -> None:
        """Forget the relay; machines that came by it lose their connection."""
        for part in (self._tunnel, self._door):
            if part is not None:
                task = asyncio.get_running_loop().create_task(part.close())
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
        self._machine = self._tunnel = self._door = None
        self._url = ""

    async def _look_again(self) -> None:
        """Have relays let this computer in from where it calls now."""
        layer: object = self._scaler.layers[_LAYER]
        try:
            if isinstance(layer, Relaying):
                await asyncio.to_thread(layer.let_in)
        except PoolError as error:
            logger.warning("the relay does not answer: %s", error)
        finally:
            self._looking = None
