"""Why this machine, and why waiting: one sentence each. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from jupyter_compute.ask import format_cpu, format_memory, format_time
from jupyter_compute.model import Offer
from jupyter_compute.policy.failures import Block, Failures, Kind
from jupyter_compute.policy.limits import Limits
from jupyter_compute.policy.offers import holds, order
from jupyter_compute.policy.packing import Demand

__all__ = ["Reasons", "instead_of", "name", "short_of"]

_SKIPPED = {
    "capacity": "had no capacity",
    "quota": "is beyond the quota",
    "throttled": "is throttled",
    "permission": "is not permitted",
    "credentials": "has no valid credentials",
    "invalid": "was refused",
    "boot": "failed to start",
    "reclaimed": "was reclaimed a moment ago",
}

Pattern = tuple[tuple[int, int], ...]


class Reasons:
    """Explains choices among offers.

    Parameters
    ----------
    offers : sequence of Offer
        Also those that cannot be had now.
    failures : Failures
    limits : Limits
    now : float
        Monotonic seconds.
    """

    def __init__(
        self, offers: Sequence[Offer], failures: Failures, limits: Limits, now: float
    ) -> None:
        self._offers = offers
        self._failures = failures
        self._limits = limits
        self._now = now
        self._sorted: dict[frozenset[Callable[[Offer], bool]], list[Offer]] = {}

    @staticmethod
    def held(offer: Offer, starting: bool) -> str:
        """Return why nothing is started: there is room on this machine."""
        if starting:
            return f"{name(offer)} is starting"
        return f"there is room on {name(offer)}"

    def fitting(
        self, demands: Sequence[Demand], offer: Offer, patterns: Iterable[Pattern]
    ) -> list[Offer]:
        """Return the offers of the same layer that hold each pattern, the cheapest first."""
        rules, cpu, memory, gpu = set[Callable[[Offer], bool]](), 0.0, 0, 0
        for pattern in set(patterns):
            on = [(demands[place], runs) for place, runs in pattern]
            rules.update(demand.allows for demand, _ in on)
            cpu = max(cpu, sum(demand.cpu * runs for demand, runs in on))
            memory = max(memory, sum(demand.memory * runs for demand, runs in on))
            gpu = max(gpu, sum(demand.gpu * runs for demand, runs in on))
        allowed = self._allowed(frozenset(rules))
        found = [o for o in allowed if o.layer == offer.layer and holds(o, cpu, memory, gpu)]
        return found if offer in found else [offer, *found]

    def chosen(self, offer: Offer, fitting: Sequence[Offer]) -> str:
        """Return why this offer of those that would do."""
        if offer.usd_per_hour is None:
            return "its price is not known, and nothing with a known price would do"
        if len(fitting) == 1:
            return "the only one that would do"
        place = fitting.index(offer)
        if place == 0:
            return f"cheapest of {len(fitting)}"
        text = f"{_ordinal(place + 1)} cheapest of {len(fitting)}"
        block = self._failures.block(fitting[0], self._now)
        return f"{text}; cheapest {_SKIPPED[block.kind]}" if block else text

    def none(self, demand: Demand) -> tuple[Literal["failing", "impossible"], str]:
        """Return why nothing can be started for a demand, and whether that may change."""
        allowed = self._allowed(frozenset({demand.allows}))
        if not allowed:
            return "impossible", f"the ask allows none of the {len(self._offers)} offers"
        fitting = [o for o in allowed if holds(o, demand.cpu, demand.memory, demand.gpu)]
        if not fitting:
            asked = f"{format_cpu(demand.cpu)} cpu {format_memory(demand.memory)}"
            gpu = f" {demand.gpu} gpu" if demand.gpu else ""
            return "impossible", f"no machine that may be used has {asked}{gpu}"
        blocks = [(o, self._failures.block(o, self._now)) for o in fitting]
        stopped = [(o, block) for o, block in blocks if block is not None]
        if not stopped:
            return "failing", self._limits.forbid(fitting[0])
        return "failing", _stopped(stopped, self._now)

    def _allowed(self, rules: frozenset[Callable[[Offer], bool]]) -> list[Offer]:
        if rules not in self._sorted:
            found = [offer for offer in self._offers if all(rule(offer) for rule in rules)]
            self._sorted[rules] = sorted(found, key=order)
        return self._sorted[rules]


def name(offer: Offer) -> str:
    """Return how a user reads the offer: ``"r7i.2xlarge spot, us-east-1b"``."""
    zone = f", {offer.zone}" if offer.zone else ""
    return f"{offer.label}{zone}"


def instead_of(refused: Sequence[tuple[Offer, Kind]]) -> str:
    """Return why it is another one than was chosen: that one, and perhaps others, were refused."""
    offer, kind = refused[0]
    others = len(refused) - 1
    more = f", nor could {others} more be had" if others else ""
    return f"{name(offer)} {_SKIPPED[kind]}{more}"


def short_of(came: Sequence[Offer], wanted: int) -> str:
    """Return that a launch brought other machines than the first ones, too; else nothing.

    Parameters
    ----------
    came : sequence of Offer
        By machine, the first tried first.
    wanted : int
        How many machines the launch was for.
    """
    alike = sum(1 for offer in came if offer == came[0])
    if alike == len(came):
        return ""
    return f"{alike} of {wanted} machines could be had as {name(came[0])}"


def _stopped(stopped: Sequence[tuple[Offer, Block]], now: float) -> str:
    """Return why none of the offers can be had; the ones that return first say when."""
    soonest = min(block.until for _, block in stopped)
    again = f"again in {format_time(max(1, round(soonest - now)))}"
    shorts = list(dict.fromkeys(name(o) for o, block in stopped if block.kind == "capacity"))
    others = list(dict.fromkeys(block.why for _, block in stopped if block.kind != "capacity"))
    parts = others[:2]
    if shorts:
        more = f" and {len(shorts) - 2} more" if len(shorts) > 2 else ""
        parts.insert(0, f"no capacity for {'; '.join(shorts[:2])}{more}")
    return f"{'; '.join(parts)}; {again}"


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in {11, 12, 13} else ending}"
