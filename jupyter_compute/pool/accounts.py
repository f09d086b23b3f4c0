"""Who pays for the machines: what runs hold of them, and the rest, which is idle."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from jupyter_compute.errors import PoolError
from jupyter_compute.layers.base import Machine as Found
from jupyter_compute.model import SANDBOX, Clock, Offer
from jupyter_compute.policy.cost import add, share, spent
from jupyter_compute.policy.ledger import Idle, Ledger
from jupyter_compute.policy.lifecycle import Timers
from jupyter_compute.pool.books import Books, Entry, IdleCost
from jupyter_compute.pool.fleet import Machine
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.schema import day_of

__all__ = ["Accounts"]

logger = logging.getLogger(__name__)


_MOST_PAST = 1000


class Accounts:
    """Charges machines to runs. What is free, like this computer, is not in it.

    Parameters
    ----------
    books : Books
    clock : Clock
    timers : Timers
    active : mapping
        The active runs.
    """

    def __init__(
        self, books: Books, clock: Clock, timers: Timers, active: Mapping[str, Run]
    ) -> None:
        self._books = books
        self._clock = clock
        self._timers = timers
        self._active = active
        self._ledger = Ledger()
        self._prices: dict[str, tuple[str, float | None]] = {}
        self._attempts: dict[str, float | None] = {}
        self._idle: dict[str, Idle] = {}
        self._closed: set[str] = set()
        self._past: dict[str, float] = {}
        """Seconds that machines were charged for whose end goes on: they may be found again."""
        self._earlier = books.accounts()

    # machines ---------------------------------------------------------------------

    def opened(self, machine: Machine) -> None:
        """Charge for a machine that a launch has brought."""
        # It cannot be older than our question for it, whatever the clocks say.
        age_s = self._clock.now() - machine.started
        since_s = self._clock.monotonic() - machine.asked
        self._open(machine.id, machine.offer, min(age_s, since_s))

    def found(self, machine: Found) -> None:
        """Charge for a machine that is nobody's until it has ended."""
        age_s = min(self._clock.now() - machine.started, self._timers.lifetime_s)
        self._open(machine.id, machine.offer, age_s)

    def ended(self, machine_id: str) -> None:
        """Charge no more for a machine that AWS is ending."""
        if machine_id not in self._ledger:
            return
        charged_s = self._ledger.close(machine_id, self._clock.monotonic())
        self._look()
        self._closed.add(machine_id)
        self._past[machine_id] = charged_s
        if len(self._past) > _MOST_PAST:
            del self._past[next(iter(self._past))]

    def listed(self, layer: str, alive: set[str]) -> None:
        """Close the accounts of an earlier service's machines that are gone.

        When that was is not known; their leases have ended them at the latest.
        """
        now, sandbox = self._clock.now(), layer + SANDBOX
        for entry in list(self._earlier.values()):
            if entry.layer not in {layer, sandbox} or entry.machine in alive:
                continue
            del self._earlier[entry.machine]
            more_s = min(max(0.0, now - entry.seen), self._timers.lease_s)
            more_s = max(more_s, self._timers.least_charged_s - entry.charged_s)
            self._prices[entry.machine] = entry.layer, entry.usd_per_hour
            self._add_idle(entry.machine, Idle(more_s, spent(entry.usd_per_hour, more_s)))
            self._closed.add(entry.machine)

    # runs -------------------------------------------------------------------------

    def placed(
        self, attempt: str, machine_id: str, offer: Offer | None, cpu: float, memory: int, gpu: int
    ) -> None:
        """Have an attempt pay for its part of a machine from now on."""
        if offer is None:
            self._charge(attempt, None)
        elif machine_id in self._ledger:
            now = self._clock.monotonic()
            self._ledger.take(machine_id, attempt, share(offer, cpu, memory, gpu), now)

    def over(self, attempt: str) -> float | None:
        """Have an attempt pay no more, and return the dollars that it has cost."""
        self._ledger.release(attempt, self._clock.monotonic())
        self._look()
        return self._attempts.pop(attempt, 0.0)

    def run_over(self, run_id: str) -> None:
        """Have no attempt of a run pay any more."""
        now = self._clock.monotonic()
        self._look()
        for attempt in self._ledger.holders():
            if attempt.rpartition(".")[0] == run_id:
                self._ledger.release(attempt, now)
        self._attempts = {a: u for a, u in self._attempts.items() if a.rpartition(".")[0] != run_id}

    # once a second, and at the end ------------------------------------------------

    def tick(self) -> None:
        """Charge what has come up, and write it down."""
        self._look()
        charged, now = self._ledger.charged(), self._clock.now()
        if not (charged or self._idle or self._closed):
            return
        day = day_of(now)
        entries = [Entry(name, *self._prices[name], s, now) for name, s in charged.items()]
        idle = [
            IdleCost(day, self._prices[name][0], one.seconds, one.usd or 0.0, _unknown(one))
            for name, one in self._idle.items()
        ]
        accrued = {run.id: run.usd for run in self._active.values() if run.usd != 0}
        try:
            self._books.write(entries, self._closed, idle, accrued)
        except PoolError:
            logger.exception("what machines cost is not written down, and will be")
            return
        for name in self._closed:
            self._prices.pop(name, None)
        self._idle, self._closed = {}, set()

    def stop(self) -> None:
        """Have no run pay any more: the service ends, and machines with it."""
        self.tick()
        now = self._clock.monotonic()
        for attempt in self._ledger.holders():
            self._ledger.release(attempt, now)

    def _open(self, machine_id: str, offer: Offer, age_s: float) -> None:
        if offer.usd_per_hour == 0 or machine_id in self._ledger:
            return
        self._closed.discard(machine_id)
        before = self._earlier.pop(machine_id, None)
        price = before.usd_per_hour if before else offer.usd_per_hour
        self._prices[machine_id] = offer.layer + (SANDBOX if offer.sandbox else ""), price
        self._ledger.open(
            machine_id,
            price,
            self._clock.monotonic(),
            age_s=age_s,
            charged_s=before.charged_s if before else self._past.pop(machine_id, 0.0),
            least_s=self._timers.least_charged_s,
        )

    def _look(self) -> None:
        charges = self._ledger.collect(self._clock.monotonic())
        for attempt, usd in charges.held.items():
            self._charge(attempt, usd)
        for machine_id, idle in charges.idle.items():
            self._add_idle(machine_id, idle)

    def _charge(self, attempt: str, usd: float | None) -> None:
        self._attempts[attempt] = add((self._attempts.get(attempt, 0.0), usd))
        run = self._active.get(attempt.rpartition(".")[0])
        if run is not None:
            run.usd = add((run.usd, usd))

    def _add_idle(self, machine_id: str, idle: Idle) -> None:
        before = self._idle.get(machine_id, Idle(0.0, 0.0))
        self._idle[machine_id] = Idle(before.seconds + idle.seconds, add((before.usd, idle.usd)))


def _unknown(idle: Idle) -> float:
    return idle.seconds if idle.usd is None else 0.0
