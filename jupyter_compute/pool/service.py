"""The pool service once it is up: everything wired together, until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import jupyter_compute
from jupyter_compute import ask, places, settings
from jupyter_compute.ask import Ask
from jupyter_compute.blobs import Blobs
from jupyter_compute.errors import PoolError
from jupyter_compute.layers.local import measure
from jupyter_compute.model import API_VERSION, Clock, RunSpec, SystemClock
from jupyter_compute.policy import lifecycle
from jupyter_compute.policy.cost import price
from jupyter_compute.pool.accounts import Accounts
from jupyter_compute.pool.api import make_server
from jupyter_compute.pool.bodies import spec_ask
from jupyter_compute.pool.budgets import Budgets
from jupyter_compute.pool.cache import Cache, CacheLimits
from jupyter_compute.pool.costs import Costs
from jupyter_compute.pool.elsewhere import Elsewhere
from jupyter_compute.pool.engine import Engine
from jupyter_compute.pool.fleet import Machine
from jupyter_compute.pool.granting import Granting
from jupyter_compute.pool.guard import refuse_pickles
from jupyter_compute.pool.halts import Halts
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.life import Life
from jupyter_compute.pool.machines import Machines
from jupyter_compute.pool.maps import Maps
from jupyter_compute.pool.receipts import Receipts
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.runs import Runs
from jupyter_compute.pool.scaler import Scaler
from jupyter_compute.pool.showing import ahead
from jupyter_compute.pool.state import State
from jupyter_compute.pool.stored import Stored
from jupyter_compute.pool.telemetry import Telemetry
from jupyter_compute.pool.transfer import Transfers
from jupyter_compute.pool.upkeep import Limits, Upkeep

__all__ = ["Service", "serve"]

logger = logging.getLogger(__name__)

_CANCEL_S = 5.0

_PLAN_S = 8.0
"""A plan is shown with the prices that are known by then: whoever asked for it looks at it."""


class Service:
    """The pool of this user.

    Parameters
    ----------
    scaler : Scaler
        With the layers; may have launched a machine already.
    clock : Clock
    """

    def __init__(self, scaler: Scaler, clock: Clock) -> None:
        self._clock = clock
        self._scaler = scaler
        self._idle_s, abandoned_s = _timeout("idle"), _timeout("abandoned")
        log_bytes = ask.parse_memory(settings.get("event-log.max-bytes"), "event-log.max-bytes")
        self._journal = Journal(places.journal())
        self._telemetry = Telemetry()
        self._receipts = Receipts(self._journal, clock, scaler.offering.of)
        self._life = Life(self._journal, clock, abandoned_s, self._run_ended, self._receipts)
        self._granting = Granting(scaler.offering, self._life)
        self.runs = Runs(self._journal, self._life, clock, places.run_dir(), log_bytes)
        self.stored = self._open_stored()
        limits = Limits.from_settings(settings.get, measure().memory)
        blobs, kept, active = Blobs(places.blob_dirs()), self._journal.kept.find, self._life.active
        self._elsewhere = Elsewhere(scaler, active, clock)
        self.rehearsal = self._elsewhere.rehearsal
        self.transfers = Transfers(self._elsewhere.store_of, blobs, kept, self, clock)
        self._upkeep = Upkeep(
            self._journal, active, self.stored, limits, clock, self.transfers.tidy
        )
        self._engine = Engine(self.transfers, self._elsewhere.permits, self.transfers.asked)
        self.transfers.attach(self._engine)
        self._charge(scaler)
        leave = self._life.maps.turns.leave
        self.machines = Machines(scaler, active, self._telemetry, clock, leave, self._ends)
        self.machines.attach(self._engine)
        scaler.learnt = self.machines.learnt
        self._elsewhere.attach(
            self._engine, self.machines, self._journal.launches, self._life.fail_waiting
        )
        self._costs = Costs(self._journal, clock, scaler.machines, active)
        self._costs.budget_day = lambda: self.budgets.limits["day"]
        self.state = State(
            self.machines, active, self._telemetry, self._journal, self._costs, clock
        )
        self._started = clock.now()
        self._idle_since = clock.monotonic()
        self._stopping = asyncio.Event()
        self._requests, self._told_to_stop = 0, False
        self._server = make_server(self)

    def _charge(self, scaler: Scaler) -> None:
        """Have runs and machines paid for, within budgets."""
        active = self._life.active
        books, timers = self._journal.books, lifecycle.TIMERS
        self._accounts = scaler.payer = Accounts(books, self._clock, timers, active)
        self._life.attach(self.transfers, scaler.lose, self._accounts)
        due, get = self._accounts.due, settings.get
        self.budgets = Budgets(self._journal, self._clock, timers, active, due, get)
        self.budgets.changed = self._engine.serve_line
        self._life.may_not, self._elsewhere.priced = self.budgets.holds, self.budgets.priced
        scaler.launches.within = self.budgets.within
        self._halts = Halts(self.transfers, self._life.maps, self._life.suspects, self._life)

    async def run(self, listener: socket.socket) -> None:
        """Serve the clients that connect to the socket, until told to stop or idle."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        for note in self._journal.notes:
            logger.warning("%s", note)
        await self._engine.open()
        self._scaler.open(self._engine.invite, self._engine.demand, self._life.fail_waiting)
        self.rehearsal.resume()
        count = self.runs.replay()
        if count:
            logger.warning("%d unfinished runs were taken on again", count)
        for run in list(self._life.active.values()):
            if not run.granted:
                self._granting.later(run)
        self._server.add_socket(listener)
        looking = loop.create_task(self._scaler.run())
        ticking = loop.create_task(self._tick_on())
        await self._stopping.wait()
        looking.cancel()
        ticking.cancel()
        await self._close()

    async def _close(self) -> None:
        self._close_door()
        self._granting.close()
        await self._end_cancelled()
        self._accounts.stop()
        self._elsewhere.stop()
        self._life.close()
        self.transfers.close()
        await self._scaler.close()
        self._accounts.tick()
        await self._elsewhere.close()
        await self._engine.end()
        await self._server.close_all_connections()
        try:
            await self._upkeep.close(spare_recent=not self._told_to_stop)
        except OSError:
            logger.exception("shared memory was not emptied")
        self._journal.close()

    async def _end_cancelled(self) -> None:
        """Wait until the runs that a forced stop has cancelled have ended."""
        end = self._clock.monotonic() + _CANCEL_S
        while any(run.cancelled for run in self._life.active.values()):
            if self._clock.monotonic() > end:
                return
            await asyncio.sleep(0.01)

    def _close_door(self) -> None:
        """Let no new client in: it finds no socket, and starts a service of its own."""
        self._server.stop()
        places.socket().unlink(missing_ok=True)

    # for the API ------------------------------------------------------------------

    async def submit(self, spec: RunSpec) -> Run:
        """Take on a run; what its layer grants it may turn out later.

        Raises
        ------
        AskError
            If its layer is known not to have what it asks for.
        """
        spec = self.budgets.apply(spec)
        grant = await self._granting.soon(spec_ask(spec))
        self._elsewhere.check_packages(spec)
        self.stored.check(spec.kept)
        # Whoever rehearses a failure wants to see it.
        recorded = None if spec.chaos else self.stored.recall(spec.cache)
        if recorded is not None:
            return self.runs.recall(spec, grant, recorded)
        run = self.runs.submit(spec, grant)
        if grant is None:
            self._granting.later(run)
        else:
            self._scaler.expect(run.needs(run.memory))
        return run

    async def plan(self, ask: Ask, code: str = "") -> Mapping[str, Any]:
        """Return where the ask would run, what it would be granted, and what code takes there."""
        ask = self.budgets.apply(ask)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._granting.hear(ask), _PLAN_S)
        grant = self._granting.grant(ask)
        share_usd = price(grant.offer, grant.cpu, grant.memory, ask.gpu)
        past = self._receipts.estimate(code, grant.offer.layer, share_usd)
        return {
            "layer": grant.offer.layer,
            "machine": grant.offer.label,
            "zone": grant.offer.zone,
            "region": grant.offer.region,
            "priced": grant.offer.priced,
            "cpu": grant.cpu,
            "memory": grant.memory,
            "memory_high": grant.memory_high,
            "usd_per_hour": grant.offer.usd_per_hour,
            "share_usd_per_hour": share_usd,
            "past": None if past is None else dataclasses.asdict(past),
            "max_cost": ask.max_cost,
            "start_s": self._scaler.start_s(grant.offer),
            "notes": list(grant.notes),
        }

    def info(self) -> Mapping[str, Any]:
        """Return version, process id and start of the service."""
        idle_s = self._clock.monotonic() - self._idle_since
        return {
            "api": API_VERSION,
            "version": jupyter_compute.__version__,
            "pid": os.getpid(),
            "started": self._started,
            "idle_since": None if self._life.active else self._clock.now() - idle_s,
        }

    def status(self) -> Mapping[str, Any]:
        """Return machines, active runs, and what they cost."""
        active, costs = list(self._life.active.values()), self._costs.now()
        return {
            "machines": self.machines.to_wire(),
            "runs": [run.to_wire() for run in active],
            "usd_per_hour": costs["usd_per_hour"],
            "today_usd": costs["today"],
            "budget_day": costs["budget_day"],
            "version": jupyter_compute.__version__,
            "pid": os.getpid(),
            "started": self._started,
            "notes": self._journal.notes,
        }

    def costs(self, since: float, by: str) -> Mapping[str, Any]:
        """Return the sums of the receipts since the beginning of a day."""
        return self._receipts.costs(since, by, list(self._life.active.values()))

    async def layers(self) -> Mapping[str, Any]:
        """Return every layer with its offers."""
        return {"layers": await self._scaler.offering.to_wire()}

    def stop(self, force: bool) -> None:
        """End the service once this call has been answered."""
        active = list(self._life.active.values())
        if active and not force:
            raise PoolError(
                f"{len(active)} run(s) are active",
                hint="wait for them, cancel them, or force the stop",
                status=409,
            )
        for run in active:
            self.runs.cancel(run.id, "kill")
        self._told_to_stop = True
        self.rehearsal.forget()
        self._close_door()
        asyncio.get_running_loop().call_soon(self._stopping.set)

    def called(self, more: int) -> None:
        """Count requests; the pool is not idle while there are any."""
        self._requests += more
        self._idle_since = self._clock.monotonic()

    # for the engine ---------------------------------------------------------------

    def placed(self, attempt: str, machine: str) -> None:
        """Pass on that an attempt has been given to a machine."""
        found = self._scaler.machines.get(machine)
        self.machines.used(machine)
        offer = found.offer if found else None
        self._of(attempt).placed(attempt, machine, offer.label if offer else machine, offer)

    def happened(self, attempt: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Pass on what an attempt reports."""
        self._of(attempt).happened(attempt, events)

    def vanished(self, attempt: str, machine_lost: bool, message: str) -> None:
        """Pass on that an attempt is over."""
        self._telemetry.forget_attempt(attempt)
        self._of(attempt).vanished(attempt, machine_lost, message)

    def sampled(self, machine: str, sample: Mapping[str, Any]) -> None:
        """Record a sample, and show it to those who follow the runs in it."""
        self._telemetry.add(self._clock.now(), machine, sample)
        for attempt, used in sample["attempts"].items():
            self._of(attempt).sampled(attempt, used)

    def noticed(self, machine: str, at: float) -> None:
        """Give no new run to a machine that will be taken away, and tell those on it."""
        self._elsewhere.noticed(machine)
        self._life.losses.spare(machine, "was reclaimed")
        self.machines.noticed(machine, at)
        self._life.maps.replace(machine)

    def joined(self, machine: str) -> None:
        """Pass on that a machine has registered."""
        self._scaler.joined(machine)
        self.machines.used(machine)

    def left(self, machine: str) -> None:
        """Pass on that a machine's connection is gone."""
        self._telemetry.forget_machine(machine)
        self._scaler.left(machine)

    def _of(self, attempt: str) -> Life | Maps:
        """Return who knows the attempt: a run's only one, or a lane of a map."""
        return self._life.maps if self._life.maps.owns(attempt) else self._life

    # inside -----------------------------------------------------------------------

    def _open_stored(self) -> Stored:
        max_bytes = ask.parse_memory(settings.get("cache.max-bytes"), "cache.max-bytes")
        max_age_s = ask.parse_time(settings.get("cache.max-age"), "cache.max-age")
        limits, blobs = CacheLimits(max_bytes, max_age_s), Blobs(places.blob_dirs())
        cache = Cache(self._journal.cache, blobs, places.cache_dir(), limits, self._clock)
        return Stored(self._journal, self._life.active, blobs, cache, self._clock)

    def _ends(self, machine: Machine) -> float | None:
        """Return the UTC second at which an idle machine ends; None if it is not idle.

        Those of this computer end with the pool.
        """
        if machine.state != "ready" or self._life.active or self._requests:
            return None
        idle_s = self._clock.monotonic() - self._idle_since
        return round(self._clock.now() + max(0.0, self._idle_s - idle_s))

    def _run_ended(self, run: Run) -> None:
        try:
            self.stored.cache.record(run)
        except (OSError, PoolError):
            logger.exception("the result of %s was not recorded", run.id)
        self.machines.used(run.machine_id)
        self.state.ended(run)
        self._idle_since = self._clock.monotonic()
        self._upkeep.run_ended()

    async def _tick_on(self) -> None:
        """Tick once a second, however long a cloud takes to say what there is."""
        while True:
            try:
                self._tick()
            except Exception:
                logger.exception("what is done once a second failed and will be repeated")
            await asyncio.sleep(lifecycle.TIMERS.tick_s)

    def _tick(self) -> None:
        self._accounts.tick()
        self.budgets.look(self._halts)
        for machine in self.budgets.surplus(self._scaler.machines):
            relay = self._scaler.machines[machine].role == "relay"
            self.machines.stop(machine, force=relay)
        why = functools.cache(self._scaler.why_wait)  # the same for all that ask for the same
        self._life.tick(lambda run: why(run.needs(run.memory)).told(ahead(run, self.transfers)))
        self.machines.tick()
        self._elsewhere.tick()
        self._upkeep.tick()
        if self._life.active or self._requests:
            self._idle_since = self._clock.monotonic()
        elif self._clock.monotonic() - self._idle_since > self._idle_s:
            self._stopping.set()


def _timeout(of: str) -> float:
    name = f"{of}-timeout"
    return ask.parse_time(settings.get(name), name)


def serve(listener: socket.socket, scaler: Scaler) -> None:
    """Run the service on the socket until it ends."""
    refuse_pickles()
    asyncio.run(_serve(listener, scaler))


async def _serve(listener: socket.socket, scaler: Scaler) -> None:
    await Service(scaler, SystemClock()).run(listener)
