"""Runs that need the same are told what is true for each of them."""

from __future__ import annotations

from dataclasses import replace

from jupyter_compute.model import Offer
from jupyter_compute.policy.failures import Failures
from jupyter_compute.policy.limits import Limits
from jupyter_compute.policy.outlook import Outlook, outlooks
from jupyter_compute.policy.packing import Demand
from jupyter_compute.policy.scaling import scale
from jupyter_compute.policy.steps import Machine

GB = 10**9
LARGE = Offer("ec2", "c5.large", 2, 4 * GB, usd_per_hour=0.085)
READY = Machine("i-1", LARGE, "ready", 2, 4 * GB)
TEN = Demand(2, 2 * GB, 0, 10, key="ten")


def said(machines: list[Machine], limits: Limits, failures: Failures, carried_out: int) -> Outlook:
    """Return what ten runs are told that need a machine each."""
    scaling = scale([TEN], machines, [LARGE], limits, now=0.0, failures=failures)
    whys = ["starting c5.large"] * len(scaling.intents)
    return outlooks(scaling, whys[:carried_out]).get("ten", Outlook())


def test_room_is_for_the_first_then_what_starts_and_the_others_are_told_the_limit() -> None:
    coming = replace(READY, id="i-2", state="starting", meant=(("ten", 1),))
    found = said([READY, coming], Limits(machines=6), Failures(), 1)
    limit = "max-machines is 6, and there are 2"
    assert [found.told(ahead) for ahead in range(10)] == [
        "there is room on c5.large",
        "c5.large is starting",
        *["starting c5.large"] * 4,
        *[limit] * 4,
    ]
    assert found.told(10) == "", "it came later, and nothing is known of it yet"
    # Two have been served: whoever is first now was third.
    assert found.after(2).told(0) == "starting c5.large"
    assert [found.after(5).told(0), found.after(6).told(0)] == ["starting c5.large", limit]
    assert found.after(11) == Outlook()


def test_those_that_a_new_layer_has_no_machine_for_yet_are_told_so() -> None:
    found = said([], Limits(), Failures(untried=frozenset({"ec2"})), 1)
    first = "ec2 starts 3 machines at a time until one has joined"
    assert [found.told(ahead) for ahead in (0, 2, 3, 9)] == [
        *["starting c5.large"] * 2,
        *[first] * 2,
    ]


def test_nothing_is_told_of_a_launch_that_was_not_carried_out() -> None:
    assert said([], Limits(), Failures(), 0).told(0) == ""


def test_what_is_known_of_the_first_ones_replaces_what_was() -> None:
    found = Outlook(((3, "starting"), (2, "quota"))).behind([(1, "ready in 5 s"), (1, "in 9 s")])
    assert [found.told(ahead) for ahead in range(6)] == [
        "ready in 5 s",
        "in 9 s",
        "starting",
        "quota",
        "quota",
        "",
    ]
    assert Outlook.of_all("no machine").told(10_000) == "no machine"
