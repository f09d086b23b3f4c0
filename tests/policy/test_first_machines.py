"""Machines of a layer that has brought none so far, and machines that are wanted no more."""

from __future__ import annotations

import dataclasses

from jupyter_compute.model import Offer
from jupyter_compute.policy.failures import Failures
from jupyter_compute.policy.limits import Limits
from jupyter_compute.policy.offers import Allowance, likely
from jupyter_compute.policy.packing import Demand
from jupyter_compute.policy.scaling import Machine, Scaling, scale

NOW = 1000.0
GB = 10**9
OFFER = Offer("ec2", "m7i.large", 2, 7 * GB, 0, 0.1)
SPOT = dataclasses.replace(OFFER, spot=True, zone="us-east-1a", usd_per_hour=0.03)
ELSEWHERE = dataclasses.replace(SPOT, zone="us-east-1b", usd_per_hour=0.04)
MEANT = (("a", 1),)


def look(runs: int, machines: tuple[Machine, ...], failures: Failures, **more: object) -> Scaling:
    """Return what is done for so many runs that need a machine each."""
    demands = [Demand(2, GB, 0, runs, Allowance(frozenset({"ec2"})), "a", 5.0)] if runs else []
    given = {"offers": [OFFER], "limits": Limits(), "now": NOW} | more
    return scale(demands, machines, failures=failures, **given)


def starting(count: int) -> tuple[Machine, ...]:
    """Return machines that start, each for one run."""
    return tuple(Machine(f"i-{n}", OFFER, "starting", 2, 7 * GB, meant=MEANT) for n in range(count))


def launched(scaling: Scaling) -> int:
    return sum(intent.count for intent in scaling.intents)


def test_a_first_burst_costs_three_machines_if_none_of_them_boots() -> None:
    failures = Failures(untried=frozenset({"ec2"}))
    first = look(20, (), failures)
    assert launched(first) == 3
    (wait,) = first.waits
    assert (wait.count, wait.why) == (17, "ec2 starts 3 machines at a time until one has joined")
    for failed in (1, 2):
        failures = failures.boot_failed("ec2", "it did not join", NOW - 10, NOW)
        assert launched(look(20, starting(3 - failed), failures)) == 0
    failures = failures.boot_failed("ec2", "it did not join", NOW - 10, NOW)
    assert "3 machines of ec2 in a row failed to start" in look(20, (), failures).waits[0].why


def test_when_one_has_joined_the_rest_of_a_burst_starts() -> None:
    failures = Failures(untried=frozenset({"ec2"})).joined("ec2")
    assert launched(look(20, starting(2), failures)) == 18
    assert launched(look(20, starting(2), failures.boot_failed("ec2", "no", NOW - 9, NOW))) == 0


def test_what_starts_for_nobody_any_more_ends_at_once() -> None:
    machines = starting(2)
    scaling = look(0, machines, Failures())
    assert [r.machine for r in scaling.retirements] == ["i-0", "i-1"]
    assert scaling.retirements[0].why == "nobody waits for it any more"
    assert look(1, machines, Failures()).retirements == (), "what will soon be used may be spare"


def test_an_offer_that_was_reclaimed_is_avoided_for_a_while() -> None:
    failures = Failures().reclaimed(SPOT, NOW - 60)
    (intent,) = look(1, (), failures, offers=[OFFER, SPOT, ELSEWHERE]).intents
    assert intent.offers == (ELSEWHERE, OFFER)
    assert intent.why == "2nd cheapest of 3; cheapest was reclaimed a moment ago"
    later = look(1, (), failures, offers=[OFFER, SPOT], now=NOW + 121)
    assert later.intents[0].offers[0] == SPOT


def test_prices_are_asked_of_what_is_likely_to_be_cheapest() -> None:
    sizes = [2.0 * n for n in range(1, 40)]
    types = [Offer("ec2", f"x{cpu:g}", cpu, int(cpu) * GB, 0, cpu / 10) for cpu in sizes]
    spots = [dataclasses.replace(one, spot=True, usd_per_hour=None) for one in types]
    found = likely([*types, *spots], 4, GB, 0)
    assert (found[0], found[-1], len(found)) == ("x4", "x62", 30)
    assert likely([*types, *spots], 200, GB, 0) == []
    assert likely(types, 4, GB, 0) == [], "all are known"
    assert likely(spots, 4, GB, 0)[:2] == ["x4", "x6"], "without any price the smallest come first"
