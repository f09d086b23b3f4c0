"""Launches that are under way: asked for until an answer comes, and who may join by them."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from jupyter_compute.errors import PoolError
from jupyter_compute.layers.base import Boot, Launch, Launched, Layer
from jupyter_compute.model import Clock
from jupyter_compute.policy.lifecycle import Timers
from jupyter_compute.policy.limits import Limits
from jupyter_compute.pool.sweeps import Sweeps

__all__ = ["Launches"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Ticket:
    """What lets the machines of a launch in."""

    launch: Launch
    boot: Boot
    asked: float
    until: float
    joined: set[str] = field(default_factory=set)


class Launches:
    """Carries out launches.

    Parameters
    ----------
    layers : mapping
        By name.
    clock : Clock
    timers : Timers
    """

    def __init__(self, layers: Mapping[str, Layer], clock: Clock, timers: Timers) -> None:
        self.under_way: dict[str, Launch] = {}
        self.door: Callable[[], tuple[str, str]] | None = None
        """Returns the URL where machines join, and the certificate of the pool's authority."""
        self.missing: Callable[[], str] = lambda: ""
        """Returns why no machine can be launched yet."""
        self.within: Callable[[Limits, Iterable[Launch]], Limits] = lambda limits, _: limits
        """Returns limits with what budgets leave beside the launches that are under way."""
        self.sweeps: Sweeps | None = None
        self._layers = layers
        self._clock = clock
        self._timers = timers
        self._tickets: dict[str, _Ticket] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def bounds(self, limits: Limits) -> Limits:
        """Return what there may be at most, with what budgets leave for launches now."""
        return self.within(limits, self.under_way.values())

    def start(self, launch: Launch, then: Callable[[Launch, Launched | PoolError], None]) -> None:
        """Ask the layer in the background, again until it answers, and call `then` with that.

        Machines are let in by the door. What a relay needs to know is in its launch already.

        Raises
        ------
        PoolError
            If it cannot be written down; nothing was asked for then.
        """
        assert self.door is not None
        assert self.sweeps is not None
        self.sweeps.intend(launch.id, launch.offers[0].layer, launch.count)
        if launch.boot is None:
            url, authority = self.door()
            boot = Boot(url, authority, secrets.token_urlsafe(24), self._timers.lifetime_s)
            launch = replace(launch, boot=boot)
            now = self._clock.monotonic()
            until = now + self._timers.launch_limit_s(launch.offers[0].layer)
            self._tickets[launch.id] = _Ticket(launch, boot, now, until)
        self.under_way[launch.id] = launch
        task = asyncio.get_running_loop().create_task(self._carry_out(launch, then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def admit(self, token: str, machine_id: str) -> float:
        """Return for how many seconds a machine that shows the token is certified.

        Raises
        ------
        PermissionError
            If the token is unknown, too old, or all machines of its launch have joined.
        """
        for ticket in self._tickets.values():
            boot = ticket.boot
            if not hmac.compare_digest(boot.token.encode(), token.encode()):
                continue
            if self._clock.monotonic() > ticket.until:
                raise PermissionError("the token is too old")
            if machine_id in ticket.joined or len(ticket.joined) >= ticket.launch.count:
                raise PermissionError("the token has been used")
            ticket.joined.add(machine_id)
            return boot.lifetime_s
        raise PermissionError("the token is unknown")

    def asked(self, launch_id: str) -> float:
        """Return when a launch was asked for, in monotonic seconds, as far as that is known."""
        ticket = self._tickets.get(launch_id)
        return float("-inf") if ticket is None else ticket.asked

    def forget_old(self) -> None:
        """Drop tickets that nobody can use any more."""
        now = self._clock.monotonic()
        self._tickets = {name: t for name, t in self._tickets.items() if t.until > now}

    async def close(self) -> None:
        """Wait for what has been asked of layers; a launch whose answer is lost stays a stray."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._timers.launch_close_s)
        for task in self._tasks:
            task.cancel()

    async def _carry_out(
        self, launch: Launch, then: Callable[[Launch, Launched | PoolError], None]
    ) -> None:
        layer = self._layers[launch.offers[0].layer]
        end = self._clock.monotonic() + self._timers.launch_call_s
        outcome: Launched | PoolError
        while True:
            try:
                outcome = await asyncio.to_thread(layer.launch, launch)
                break
            except PoolError as error:
                logger.warning("launch %s: %s", launch.id, error)
                outcome = error
                if self._clock.monotonic() > end:
                    break
            except Exception as error:
                logger.exception("launch %s", launch.id)
                outcome = PoolError(f"{type(error).__name__} (see the log of the service)")
                break
            await asyncio.sleep(self._timers.launch_retry_s)
        del self.under_way[launch.id]
        then(launch, outcome)
