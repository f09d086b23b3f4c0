"""What is started and ended for runs that wait, and what they are told."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_compute.model import Offer
from jupyter_compute.policy.failures import Failures
from jupyter_compute.policy.limits import Limits
from jupyter_compute.policy.offers import Allowance
from jupyter_compute.policy.packing import Demand
from jupyter_compute.policy.scaling import Machine, Scaling, scale

GB = 10**9
NOW = 1000.0
ANY = Allowance(frozenset({"ec2"}))
NEVER = Allowance(frozenset({"ec2"}), spot="never")
ALWAYS = Allowance(frozenset({"ec2"}), spot="always")


def offer(name: str, cpu: float, gb: int, usd: float | None, **more: object) -> Offer:
    return dataclasses.replace(Offer("ec2", name, cpu, gb * GB, 0, usd), **more)


SMALL = offer("m7i.large", 2, 7, 0.1)
MIDDLE = offer("r7i.xlarge", 4, 30, 0.26)
LARGE = offer("r7i.2xlarge", 8, 60, 0.53)
SPOTS = [
    dataclasses.replace(one, spot=True, zone=f"us-east-1{zone}", usd_per_hour=usd)
    for one, prices in ((SMALL, (0.04, 0.05)), (MIDDLE, (0.12, 0.1)), (LARGE, (0.2, 0.21)))
    for zone, usd in zip("ab", prices, strict=True)
]
OFFERS = [SMALL, MIDDLE, LARGE, *SPOTS]
UNPRICED = offer("x9.huge", 64, 900, None)


def ready(name: str, of: Offer, used: float = 0, idle_s: float | None = None) -> Machine:
    share = 1 - used
    return Machine(name, of, "ready", of.cpu * share, int(of.memory * share), idle_s=idle_s)


def look(demands: list[Demand], machines: tuple[Machine, ...] = (), **more: object) -> Scaling:
    given = {"offers": OFFERS, "limits": Limits(), "now": NOW} | more
    return scale(demands, machines, **given)


def started(scaling: Scaling) -> list[tuple[str, bool, int]]:
    return [(i.offers[0].type, i.offers[0].spot, i.count) for i in scaling.intents]


def whys(scaling: Scaling) -> dict[str, str]:
    return {wait.key: wait.why for wait in scaling.waits}


def ask(cpu: float, gb: float, count: int = 1, key: str = "a", **more: object) -> Demand:
    return dataclasses.replace(Demand(cpu, int(gb * GB), 0, count, ANY, key, 5.0), **more)


class TestLaunches:
    def test_the_cheapest_that_does_comes_first_and_others_follow(self) -> None:
        (intent,) = look([ask(8, 32)]).intents
        assert intent.offers[0] == SPOTS[4]
        assert intent.meant == ((("a", 1),),)
        assert intent.why == "cheapest of 3"
        assert list(intent.offers) == [SPOTS[4], SPOTS[5], LARGE], "on-demand is the last resort"

    def test_one_without_capacity_is_passed_over_and_named(self) -> None:
        gone = Failures().refused("ec2", SPOTS[4], "capacity", "none", NOW - 60, 0.0)
        (intent,) = look([ask(8, 32)], failures=gone).intents
        assert intent.offers == (SPOTS[5], LARGE)
        assert intent.why == "2nd cheapest of 3; cheapest had no capacity"
        (later,) = look([ask(8, 32)], failures=gone, now=NOW + 121).intents
        assert later.why == "cheapest of 3"

    def test_spot_is_used_as_the_ask_has_it(self) -> None:
        (never,) = look([ask(8, 32, allows=NEVER)]).intents
        assert never.offers == (LARGE,)
        assert never.why == "the only one that would do"
        (always,) = look([ask(8, 32, allows=ALWAYS)]).intents
        assert always.offers == (SPOTS[4], SPOTS[5])
        two = look([ask(2, 20, key="a", allows=NEVER), ask(2, 8, key="b", allows=ALWAYS)])
        assert [all(o.spot for o in i.offers) for i in two.intents] == [False, True]

    def test_only_the_types_that_the_ask_names_and_those_for_others_never(self) -> None:
        named = Allowance(frozenset({"ec2"}), instances=frozenset({"t3.2xlarge", "r7i.2xlarge"}))
        cheap = offer("t3.2xlarge", 8, 32, 0.01, on_request=True)
        offers = [*OFFERS, cheap]
        assert started(look([ask(8, 20)], offers=offers)) == [("r7i.2xlarge", True, 1)]
        (intent,) = look([ask(8, 20, allows=named)], offers=offers).intents
        assert {o.type for o in intent.offers} == {"t3.2xlarge", "r7i.2xlarge"}
        assert intent.offers[0] == cheap

    def test_one_launch_carries_all_machines_of_an_offer(self) -> None:
        scaling = look([ask(8, 32, 3, "a"), ask(5, 50, 2, "b")])
        (intent,) = scaling.intents
        assert intent.count == 5
        assert sorted(intent.meant) == [(("a", 1),)] * 3 + [(("b", 1),)] * 2

    def test_what_has_no_known_price_is_the_last_resort_and_said_so(self) -> None:
        scaling = look([ask(8, 32), ask(40, 100, key="b")], offers=[*OFFERS, UNPRICED])
        whys = {i.offers[0].type: i.why for i in scaling.intents}
        assert "not known" in whys["x9.huge"]
        assert all(UNPRICED not in i.offers for i in scaling.intents if i.offers[0] != UNPRICED)

    def test_one_large_machine_rather_than_several_dearer_ones(self) -> None:
        offers = [offer("small", 2, 8, 0.1), offer("large", 8, 32, 0.3)]
        assert started(look([ask(2, 8, 4)], offers=offers)) == [("large", False, 1)]
        offers = [offer("small", 2, 8, 0.07), offer("large", 8, 32, 0.3)]
        assert started(look([ask(2, 8, 4)], offers=offers)) == [("small", False, 4)]


class TestWhatIsThere:
    def test_room_on_machines_is_used_first(self) -> None:
        scaling = look([ask(2, 8, 4)], (ready("i-1", LARGE),))
        assert scaling.intents == ()
        assert whys(scaling) == {"a": "there is room on r7i.2xlarge"}

    def test_machines_on_their_way_are_for_those_who_wait_for_them(self) -> None:
        demands = [ask(6, 4, 2, "a"), ask(10, 4, 2, "b")]
        big = offer("big", 16, 64, 1.0)
        first = look(demands, offers=[big])
        meant = [m for i in first.intents for m in i.meant]
        assert len(meant) == 2
        coming = tuple(
            Machine(f"i-{n}", big, "starting", 16, 64 * GB, meant=m) for n, m in enumerate(meant)
        )
        second = look(demands, coming, offers=[big])
        assert second.intents == ()
        assert whys(second) == {"a": "big is starting", "b": "big is starting"}

    def test_machines_that_end_have_no_room(self) -> None:
        ending = dataclasses.replace(ready("i-1", LARGE), state="draining")
        assert started(look([ask(8, 32)], (ending,))) == [("r7i.2xlarge", True, 1)]


class TestRetirement:
    def test_a_machine_ends_that_was_idle_for_long_and_that_nobody_waits_for(self) -> None:
        machines = (ready("i-1", LARGE, idle_s=299), ready("i-2", LARGE, idle_s=300))
        assert [r.machine for r in look([], machines).retirements] == ["i-2"]
        assert look([], machines).retirements[0].why == "nothing has run on it for 5 min"
        assert look([ask(8, 32, 2)], machines).retirements == ()

    def test_of_several_idle_machines_the_largest_is_kept_for_the_next_run(self) -> None:
        machines = tuple(
            ready(f"i-{number}", of, idle_s=40)
            for number, of in enumerate((LARGE, SMALL, LARGE, MIDDLE))
        )
        spare = look([], machines, limits=Limits(spare_s=30)).retirements
        assert [r.machine for r in spare] == ["i-0", "i-1", "i-3"]
        assert spare[0].why == "nothing has run on it for 40 s, and another one is idle"
        assert look([], machines, limits=Limits(spare_s=60)).retirements == ()
        assert look([], machines).retirements == ()
        spot_only = (machines[1], ready("i-9", SPOTS[4], idle_s=40))
        assert look([], spot_only, limits=Limits(spare_s=30)).retirements == ()

    def test_an_idle_machine_makes_room_at_a_limit(self) -> None:
        idle = ready("i-1", SMALL, idle_s=20)
        at_limit = look([ask(8, 32)], (idle,), limits=Limits(machines=1))
        assert at_limit.intents == ()
        assert [r.machine for r in at_limit.retirements] == ["i-1"]
        assert look([ask(8, 32)], (idle,), limits=Limits(machines=2)).retirements == ()
        fresh = ready("i-1", SMALL, idle_s=0.2)
        assert look([ask(8, 32)], (fresh,), limits=Limits(machines=1)).retirements == ()

    def test_a_machine_is_never_exchanged_for_its_like(self) -> None:
        kept_free = dataclasses.replace(ready("i-1", LARGE, idle_s=20), cpu=0.0)
        limits = Limits(of_layer={"ec2": 1})
        only = [LARGE]
        assert look([ask(8, 32)], (kept_free,), offers=only, limits=limits).retirements == ()


class TestLimits:
    def test_the_first_in_line_are_served_and_the_others_told(self) -> None:
        demands = [ask(8, 60, 2, "first"), ask(8, 50, 2, "second")]
        scaling = look(demands, limits=Limits(machines=3))
        assert sum(i.count for i in scaling.intents) == 3
        assert whys(scaling) == {"second": "max-machines is 3, and there are 2"}
        assert [w.kind for w in scaling.waits] == ["limit"]

    def test_dollars_per_hour(self) -> None:
        scaling = look([ask(8, 60, 9)], limits=Limits(usd_per_hour=0.65))
        (intent,) = scaling.intents
        assert intent.count == 3
        assert all((o.usd_per_hour or 9) * 3 <= 0.65 for o in intent.offers)
        assert "$0.65/h" in whys(scaling)["a"]
        unknown = look([ask(40, 9)], offers=[UNPRICED], limits=Limits(usd_per_hour=9))
        assert unknown.intents == ()
        assert "price of x9.huge is not known" in whys(unknown)["a"]

    def test_dollars_count_for_what_a_launch_may_become(self) -> None:
        scaling = look([ask(0.1, 0.5), ask(0.1, 60, key="b")], limits=Limits(usd_per_hour=1.0))
        dearest = [max(o.usd_per_hour or 9 for o in i.offers) * i.count for i in scaling.intents]
        assert len(dearest) == 2
        assert sum(dearest) <= 1

    def test_after_failed_boots_one_machine_is_tried(self) -> None:
        failures = Failures()
        for _ in range(3):
            failures = failures.boot_failed("ec2", "it did not join in 5 min", NOW - 10, NOW - 5)
        paused = look([ask(8, 60, 9)], failures=failures)
        assert paused.intents == ()
        assert whys(paused)["a"].startswith("3 machines of ec2 in a row failed to start")
        assert whys(paused)["a"].endswith("again in 55 s")
        assert paused.waits[0].kind == "failing"
        after = look([ask(8, 60, 9)], failures=failures, now=NOW + 56)
        assert [i.count for i in after.intents] == [1]
        assert "one machine at a time" in whys(after)["a"]


class TestWaiting:
    def test_what_no_offer_has_is_impossible(self) -> None:
        scaling = look([ask(100, 1), ask(1, 1, key="b", allows=Allowance(frozenset({"azure"})))])
        assert [(w.kind, w.why) for w in scaling.waits] == [
            ("impossible", "no machine that may be used has 100 cpu 1 GB"),
            ("impossible", "the ask allows none of the 9 offers"),
        ]

    def test_no_capacity_names_what_was_tried_and_when_it_will_be_again(self) -> None:
        failures = Failures()
        for one in OFFERS:
            failures = failures.refused("ec2", one, "capacity", "none", NOW, 0.0)
        (wait,) = look([ask(8, 60)], failures=failures).waits
        assert wait.kind == "failing"
        assert wait.why == (
            "no capacity for r7i.2xlarge spot, us-east-1a; r7i.2xlarge spot, us-east-1b "
            "and 1 more; again in 3 min"
        )

    def test_runs_that_come_together_are_planned_together(self) -> None:
        scaling = look([ask(8, 60, age_s=0.1)], quiet_s=0.1)
        assert scaling.intents == ()
        assert round(scaling.again_s or 0, 3) == 0.2
        assert scaling.waits[0].kind == "gathering"
        assert look([ask(8, 60, age_s=0.4)], quiet_s=0.3).intents
        assert look([ask(8, 60, age_s=0.4)], quiet_s=0.3 - 1e-12).intents, "nor for no time at all"
        assert look([ask(8, 60, age_s=3.1)], quiet_s=0.1).intents, "never for longer than 3 s"


DEMANDS = st.lists(
    st.builds(
        ask,
        cpu=st.sampled_from([0.1, 0.5, 1, 2, 4, 8, 16]),
        gb=st.sampled_from([0.5, 1, 4, 20, 60, 100]),
        count=st.integers(1, 30),
        allows=st.sampled_from([ANY, NEVER, ALWAYS]),
    ),
    max_size=5,
).map(lambda found: [dataclasses.replace(d, key=f"d{n}") for n, d in enumerate(found)])
MACHINES = st.lists(
    st.one_of(
        st.builds(
            ready,
            name=st.just("i"),
            of=st.sampled_from(OFFERS),
            used=st.sampled_from([0.25, 1.0]),
        ),
        st.builds(
            ready,
            name=st.just("i"),
            of=st.sampled_from(OFFERS),
            idle_s=st.sampled_from([0.5, 100.0, 300.0, 4000.0]),
        ),
        st.builds(
            lambda of: Machine("i", of, "starting", of.cpu, of.memory), st.sampled_from(OFFERS)
        ),
    ),
    max_size=6,
).map(lambda found: tuple(dataclasses.replace(m, id=f"i{n}") for n, m in enumerate(found)))
LIMITS = st.builds(
    Limits, machines=st.sampled_from([None, 2, 8]), usd_per_hour=st.sampled_from([None, 1.0, 9.0])
)
REFUSED = st.lists(st.sampled_from(OFFERS), max_size=4)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(demands=DEMANDS, machines=MACHINES, limits=LIMITS, refused=REFUSED)
def test_nothing_is_done_in_vain_and_everybody_is_told(
    demands: list[Demand], machines: tuple[Machine, ...], limits: Limits, refused: list[Offer]
) -> None:
    failures = Failures()
    for one in refused:
        failures = failures.refused("ec2", one, "capacity", "none", NOW, 0.0)
    scaling = look(demands, machines, limits=limits, failures=failures)
    assert scaling == look(demands, machines[::-1], limits=limits, failures=failures)

    launched = sum(intent.count for intent in scaling.intents)
    assert launched <= sum(demand.count for demand in demands)
    by_key = {demand.key: demand for demand in demands}
    cared = dict.fromkeys(by_key, 0)
    for intent in scaling.intents:
        for meant in intent.meant:
            assert meant
            for key, runs in meant:
                cared[key] += runs
            on = [(by_key[key], runs) for key, runs in meant]
            for one in intent.offers:
                assert one not in refused
                assert all(demand.allows(one) for demand, _ in on)
                assert sum(d.cpu * runs for d, runs in on) <= one.cpu + 1e-9
                assert sum(d.memory * runs for d, runs in on) <= one.memory
    for wait in scaling.waits:
        assert wait.why
        cared[wait.key] += wait.count
    assert cared == {demand.key: demand.count for demand in demands}, "each run once"


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(demands=DEMANDS, machines=MACHINES, limits=LIMITS)
def test_limits_hold_and_only_idle_machines_end(
    demands: list[Demand], machines: tuple[Machine, ...], limits: Limits
) -> None:
    scaling = look(demands, machines, limits=limits)
    launched = sum(intent.count for intent in scaling.intents)
    if launched and limits.machines is not None:
        assert len(machines) + launched <= limits.machines
    if launched and limits.usd_per_hour is not None:
        usd = sum(m.offer.usd_per_hour or 0 for m in machines)
        for intent in scaling.intents:
            usd += intent.count * max(o.usd_per_hour or 0.0 for o in intent.offers)
        assert usd <= limits.usd_per_hour + 1e-9
    limited = any(wait.kind == "limit" for wait in scaling.waits)
    unserved = {wait.key for wait in scaling.waits if wait.kind != "held"}
    unserved |= {key for i in scaling.intents for meant in i.meant for key, _ in meant}
    for retirement in scaling.retirements:
        machine = next(m for m in machines if m.id == retirement.machine)
        assert machine.state == "ready"
        assert machine.idle_s is not None
        assert machine.idle_s >= (1 if limited else limits.idle_s)
        for demand in demands:
            fits = demand.cpu <= machine.cpu and demand.memory <= machine.memory
            assert not (fits and demand.allows(machine.offer) and demand.key in unserved)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_what_fits_into_what_is_there_starts_nothing(data: st.DataObject) -> None:
    machines = [m for m in data.draw(MACHINES) if m.state != "draining"]
    demands = []
    for number, machine in enumerate(machines):
        runs = data.draw(st.integers(1, 8), label="runs")
        if machine.cpu:
            size = int(machine.cpu / runs * 100) / 100, int(machine.memory / runs)
            allows = (
                ANY
                if number % 2
                else dataclasses.replace(ANY, instances=frozenset({machine.offer.type}))
            )
            demands.append(Demand(*size, 0, runs, allows, f"d{number}"))
    machines = [
        dataclasses.replace(m, meant=((d.key, d.count),))
        for m, d in zip([m for m in machines if m.cpu], demands, strict=True)
    ]
    scaling = look(demands, tuple(machines))
    assert scaling.intents == ()
    assert scaling.retirements == ()
    assert {wait.kind for wait in scaling.waits} <= {"held"}
