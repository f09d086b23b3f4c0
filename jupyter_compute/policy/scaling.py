"""Which machines to start and which to end, for the runs that wait. Pure, no I/O.

Runs are first given to machines that are there or on their way, the rest is packed into new
ones (`jupyter_compute.policy.packing`), within limits. Each choice and each wait has a sentence
that says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jupyter_compute.model import Offer
from jupyter_compute.policy.failures import Failures
from jupyter_compute.policy.lifecycle import TIMERS, Timers
from jupyter_compute.policy.limits import Limits, Meter, Spent
from jupyter_compute.policy.offers import alternatives
from jupyter_compute.policy.packing import MOST_SHAPES, Demand, Packing, Room, pack
from jupyter_compute.policy.reasons import Reasons
from jupyter_compute.policy.retiring import retire, unwanted
from jupyter_compute.policy.steps import Intent, Machine, Retirement, Scaling, Wait, Waiting

__all__ = ["Intent", "Limits", "Machine", "Retirement", "Scaling", "Wait", "scale"]

_MOMENT_S = 0.001
"""Not worth waiting for; clocks are not exact to the last digit."""


def scale(
    demands: Sequence[Demand],
    machines: Sequence[Machine],
    offers: Sequence[Offer],
    limits: Limits,
    *,
    now: float,
    quiet_s: float = float("inf"),
    failures: Failures | None = None,
    timers: Timers = TIMERS,
) -> Scaling:
    """Return what to start and what to end. The same arguments give the same answer.

    It never starts more machines than runs wait, nothing for runs that find room, and nothing
    that a limit or a failure forbids; it never ends a machine on which something runs, or
    which is meant for a run that waits. One that starts for nobody any more ends at once.

    Parameters
    ----------
    demands : sequence of Demand
        The first in line first, each with a key of its own.
    machines : sequence of Machine
    offers : sequence of Offer
        Of all layers.
    limits : Limits
    now : float
        Monotonic seconds.
    quiet_s : float
        How long ago the last run was added to the line.
    failures : Failures, optional
        What cannot be launched now.
    timers : Timers
    """
    failures = failures or Failures()
    ready = sorted((m for m in machines if m.state != "draining"), key=lambda m: m.id)
    ready.sort(key=lambda machine: machine.state == "starting")
    work = _Work(demands, machines, offers, limits, failures, now)
    usable = (offer for offer in offers if not work.forbids(offer))
    rooms = [Room(m.offer, m.cpu, m.memory, m.gpu, m.meant) for m in ready]
    packing = pack(demands, usable, rooms)
    work.note_held(packing, ready)
    oldest = max((demands[place].age_s for place in _runs(packing)), default=0.0)
    left_s = min(timers.batch_idle_s - quiet_s, timers.batch_most_s - oldest)
    gathering = bool(packing.orders) and left_s > _MOMENT_S
    if gathering:
        work.gather(packing)
    else:
        work.launch(packing)
    work.explain(packing)
    retirements = retire(ready, packing, limits, work.missing, timers)
    retirements += unwanted(ready, packing, {demand.key for demand in demands})
    return Scaling(
        tuple(work.intents), retirements, tuple(work.waits), left_s if gathering else None
    )


@dataclass(slots=True)
class _Work:
    """One look at everything, as it goes on."""

    demands: Sequence[Demand]
    machines: Sequence[Machine]
    offers: Sequence[Offer]
    limits: Limits
    failures: Failures
    now: float
    intents: list[Intent] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    missing: Mapping[Offer, int] = field(default_factory=dict)
    meter: Meter = field(init=False)
    reasons: Reasons = field(init=False)

    def __post_init__(self) -> None:
        there = [
            Spent(m.offer.layer, m.offer.usd_per_hour, m.state == "starting") for m in self.machines
        ]
        self.meter = Meter(self.limits, there, self.failures.starting_at_most)
        self.reasons = Reasons(self.offers, self.failures, self.limits, self.now)

    def forbids(self, offer: Offer) -> bool:
        """Tell whether an offer cannot be launched now, whatever else is."""
        if self.limits.forbid(offer):
            return True
        return self.failures.block(offer, self.now) is not None

    def note_held(self, packing: Packing, rooms: Sequence[Machine]) -> None:
        """Say which runs need nothing, as there is room for them."""
        for machine, held in zip(rooms, packing.rooms, strict=True):
            why = Reasons.held(machine.offer, machine.state == "starting")
            for place, runs in held:
                self._wait(place, runs, "held", why)

    def gather(self, packing: Packing) -> None:
        """Say which runs are planned in a moment."""
        for place, runs in sorted(_runs(packing).items()):
            self._wait(place, runs, "gathering", "waiting a moment for more runs to share machines")

    def launch(self, packing: Packing) -> None:
        """Start what was found, the first in line first, as far as the limits go."""
        kept: dict[Offer, list[tuple[tuple[int, int], ...]]] = {}
        refused: dict[int, tuple[int, str]] = {}
        missing: dict[Offer, int] = {}
        for order in sorted(packing.orders, key=lambda order: order.runs):
            fits, why = self.meter.take(order.offer, order.count)
            if fits:
                kept.setdefault(order.offer, []).extend([order.runs] * fits)
            if fits < order.count:
                if self.failures.starting_at_most(order.offer.layer) is None:
                    missing[order.offer] = missing.get(order.offer, 0) + order.count - fits
                for place, runs in order.runs:
                    more = refused.get(place, (0, ""))[0] + runs * (order.count - fits)
                    refused[place] = more, why
        self.intents = [self._intent(offer, patterns) for offer, patterns in kept.items()]
        for place, (runs, why) in sorted(refused.items()):
            self._wait(place, runs, "limit", why)
        self.missing = missing

    def explain(self, packing: Packing) -> None:
        """Say why runs wait for which no offer was found."""
        for place, left in enumerate(packing.left):
            if left:
                kind, why = self.reasons.none(self.demands[place])
                self._wait(place, left, kind, why)
        for place in range(MOST_SHAPES, len(self.demands)):
            why = f"planned after the {MOST_SHAPES} different asks before it"
            self._wait(place, self.demands[place].count, "gathering", why)

    def _intent(self, offer: Offer, patterns: Sequence[tuple[tuple[int, int], ...]]) -> Intent:
        fitting = self.reasons.fitting(self.demands, offer, patterns)
        most = self.meter.dearest(offer, len(patterns))
        able = [o for o in fitting if not self.forbids(o) and (o.usd_per_hour or 0.0) <= most]
        offers = alternatives(offer, able)
        dearest = max(offers, key=lambda one: one.usd_per_hour or 0.0)
        self.meter.reserve(offer, len(patterns), dearest)
        keys = [
            tuple((self.demands[place].key, runs) for place, runs in pattern)
            for pattern in patterns
        ]
        why = self.reasons.chosen(offer, fitting)
        return Intent(offers, tuple(keys), why)

    def _wait(
        self,
        place: int,
        count: int,
        kind: Waiting,
        why: str,
    ) -> None:
        self.waits.append(Wait(self.demands[place].key, count, kind, why))


def _runs(packing: Packing) -> dict[int, int]:
    found: dict[int, int] = {}
    for order in packing.orders:
        for place, runs in order.runs:
            found[place] = found.get(place, 0) + runs * order.count
    return found
