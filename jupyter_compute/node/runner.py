"""Runs the attempts that the pool gives to this node."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from ..blobs import Blobs
from ..policy.lifecycle import TIMERS
from . import limits
from .attempt import Attempt
from .cgroup import find_parent
from .environments import PLACE, Environments
from .guest import Guest, own_variables
from .nursery import Nursery, NurseryFailed
from .transfer import Transfer

__all__ = ["Runner"]

_STARTED_WITH = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables that take effect only when an interpreter starts."""

_MOST_EARLY = 1000
"""So many attempts are remembered that were stopped and are not here, or not any more."""

Send = Callable[[str, list[dict[str, Any]]], None]


class Runner:
    """Every attempt of this node, and the fork servers that they come from.

    Parameters
    ----------
    directories : sequence of str
        Where blobs are on this host.
    send : callable
        Takes an attempt's id and a list of its events.
    transfer : Transfer, optional
        How blobs come and go, if these directories are not those of the pool's host.
    """

    def __init__(
        self, directories: Sequence[str], send: Send, transfer: Transfer | None = None
    ) -> None:
        self._directories = list(directories)
        self._blobs = Blobs(self._directories)
        self._send = send
        self._transfer = transfer
        self._variables = own_variables(os.environ)
        place = os.environ.get(PLACE) if transfer is not None else None
        self._environments = Environments(Path(place), self._variables) if place else None
        self._attempts: dict[str, Attempt] = {}
        self._guests: dict[str, Guest] = {}
        self._early: dict[str, str] = {}
        self._nurseries: dict[tuple[str, ...], Nursery] = {}
        self._retiring: dict[int, asyncio.TimerHandle] = {}
        self._warming: asyncio.Future[None] | None = None
        available = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
        self._groups = find_parent()
        self._cores = limits.Cores(sorted(available))

    @property
    def installs(self) -> bool:
        """Whether runs bring their own environments, so that this machine's is used by few."""
        return self._environments is not None

    def warm(self, interpreter: str, variables: dict[str, str], package: str) -> None:
        """Start the fork server of an environment before anybody needs it."""
        key = _key(interpreter, variables)
        nursery = Nursery(interpreter, variables, package, self._groups)
        self._nurseries[key] = nursery
        self._warming = asyncio.ensure_future(_quietly(nursery.warm_up()))

    async def run(self, spec: str) -> None:
        """Run an attempt; its events say how it went. Return once its processes are gone."""
        found = json.loads(spec)
        name = found["attempt"]

        def send(events: list[dict[str, Any]]) -> None:
            self._send(name, events)

        if self._transfer is None:
            attempt = Attempt(found, send)
            await self._hold(name, attempt, self._run(attempt))
            return
        guest = Guest(name, self._transfer, self._variables, send, self._environments)
        attempt = Attempt(found, guest.send)
        self._guests[name] = guest
        try:
            await self._hold(name, attempt, self._receive(guest, attempt))
        finally:
            del self._guests[name]

    async def _hold(self, name: str, attempt: Attempt, running: Coroutine[Any, Any, None]) -> None:
        """Let the attempt be spoken to until it is over."""
        self._attempts[name] = attempt
        if action := self._early.pop(name, ""):
            self.stop(name, action)
        try:
            await running
        finally:
            del self._attempts[name]

    async def _receive(self, guest: Guest, attempt: Attempt) -> None:
        try:
            if await guest.arrive(attempt):
                await self._run(attempt)
        finally:
            await guest.leave()

    def stop(self, attempt: str, action: str) -> None:
        """Interrupt or kill an attempt, also one that is on its way here.

        One that has ended already stays as it is.
        """
        if attempt in self._attempts:
            self._attempts[attempt].stop(action)
            if attempt in self._guests:
                self._guests[attempt].stop()
            return
        self._early[attempt] = action
        if len(self._early) > _MOST_EARLY:
            del self._early[next(iter(self._early))]

    def tell(self, attempt: str, message: dict[str, Any]) -> None:
        """Pass a message on to a lane of a map; one that has ended needs it no more."""
        if attempt in self._guests:
            self._guests[attempt].tell(message)
        elif attempt in self._attempts:
            self._attempts[attempt].tell(message)

    def uses(self) -> dict[str, dict[str, Any]]:
        """Return what each attempt that was measured uses, in CPUs, seconds and bytes."""
        return {
            name: {
                "cpu_used": attempt.use.cpu_used,
                "cpu_s": attempt.use.cpu_s,
                "memory_used": attempt.use.memory_used,
                "memory_peak": attempt.use.memory_peak,
            }
            for name, attempt in self._attempts.items()
            if attempt.use.measured
        }

    def close(self) -> None:
        """End every attempt and every fork server."""
        for attempt in self._attempts.values():
            attempt.stop("kill")
        for nursery in self._nurseries.values():
            nursery.close()
        self._nurseries.clear()
        if self._environments is not None:
            self._environments.close()
        if self._transfer is not None:
            self._transfer.close()

    async def _run(self, attempt: Attempt) -> None:
        spec = attempt.spec
        try:
            nursery = self._nursery(spec)
            child = await nursery.child()
        except (NurseryFailed, FileNotFoundError) as error:
            attempt.start_failed(str(error), "is IPython installed in this environment?")
            return
        nursery.busy += 1
        cores = self._cores.take(spec["cpu"])
        preload = asyncio.ensure_future(_quietly(nursery.preload(spec["preload"])))
        try:
            await attempt.execute(child, cores, self._directories)
        finally:
            self._cores.give_back(cores, spec["cpu"])
            nursery.busy -= 1
            nursery.prepare()
            self._retire_later(nursery)
            await preload

    def _nursery(self, spec: dict[str, Any]) -> Nursery:
        environment = json.loads(self._blobs.read(spec["environment"]))
        variables = environment["variables"]
        key = _key(spec["interpreter"], variables)
        nursery = self._nurseries.get(key)
        if nursery is not None and not nursery.alive:
            nursery.close()
            nursery = None
        if nursery is None:
            nursery = Nursery(spec["interpreter"], variables, environment["package"], self._groups)
            self._nurseries[key] = nursery
        return nursery

    def _retire_later(self, nursery: Nursery) -> None:
        """End a fork server that is not the only one once it has been idle for long."""
        loop = asyncio.get_running_loop()
        if (timer := self._retiring.pop(nursery.pid, None)) is not None:
            timer.cancel()
        self._retiring[nursery.pid] = loop.call_later(TIMERS.machine_idle_s, self._retire, nursery)

    def _retire(self, nursery: Nursery) -> None:
        self._retiring.pop(nursery.pid, None)
        if nursery.busy or len(self._nurseries) == 1:
            return
        self._nurseries = {k: n for k, n in self._nurseries.items() if n is not nursery}
        nursery.close()


async def _quietly(preload: Any) -> None:
    """A fork server that dies while it imports is noticed by the next child."""
    try:
        await preload
    except NurseryFailed:
        return


def _key(interpreter: str, variables: dict[str, str]) -> tuple[str, ...]:
    return interpreter, *(variables.get(name, "") for name in _STARTED_WITH)
