"""Machines for runs that wait: everything fits, nothing is started in vain, nothing is dearer than it must be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_compute.model import Offer
from jupyter_compute.policy.packing import Demand, Packing, Room, pack

GB = 10**9


def offer(name: str, cpu: float, memory: int, price: float | None, gpu: int = 0) -> Offer:
    return Offer("ec2", name, cpu, memory * GB, gpu, price)


SMALL = offer("small", 2, 8, 0.1)
LARGE = offer("large", 8, 32, 0.4)
RICH = offer("rich", 8, 64, 0.5)
GPU = offer("gpu", 8, 32, 2.0, gpu=1)
UNPRICED = offer("unpriced", 64, 512, None)

DEMANDS = st.lists(
    st.builds(
        Demand,
        cpu=st.sampled_from([0.1, 0.25, 0.5, 1, 2, 3, 4, 8, 16]),
        memory=st.integers(1, 70).map(lambda gb: gb * GB),
        gpu=st.sampled_from([0, 0, 0, 1]),
        count=st.integers(1, 40),
    ),
    max_size=8,
)
OFFERS = st.lists(
    st.builds(
        Offer,
        layer=st.just("ec2"),
        type=st.text("abc", min_size=1, max_size=3),
        cpu=st.sampled_from([1.0, 2.0, 4.0, 8.0, 16.0]),
        memory=st.integers(1, 80).map(lambda gb: gb * GB),
        gpu=st.sampled_from([0, 0, 1, 2]),
        usd_per_hour=st.one_of(st.none(), st.sampled_from([0.05, 0.1, 0.2, 0.4, 1.0])),
    ),
    max_size=8,
)
ROOMS = st.lists(
    st.builds(
        Room,
        offer=st.just(LARGE),
        cpu=st.sampled_from([0.0, 1.0, 3.5, 8.0]),
        memory=st.integers(0, 32).map(lambda gb: gb * GB),
        gpu=st.just(0),
    ),
    max_size=3,
)


def types(packing: Packing) -> dict[str, int]:
    found: dict[str, int] = {}
    for launch in packing.launches:
        found[launch.offer.type] = found.get(launch.offer.type, 0) + launch.count
    return found


@given(demands=DEMANDS, offers=OFFERS, rooms=ROOMS)
def test_every_run_has_a_place_that_holds_it_or_no_offer_does(
    demands: list[Demand], offers: list[Offer], rooms: list[Room]
) -> None:
    packing = pack(demands, offers, rooms)
    placed = [0] * len(demands)
    for launch in packing.launches:
        assert launch.count > 0
        assert launch.offer in offers
        for need, has in (
            (sum(demands[place].cpu * runs for place, runs in launch.runs), launch.offer.cpu),
            (sum(demands[place].memory * runs for place, runs in launch.runs), launch.offer.memory),
            (sum(demands[place].gpu * runs for place, runs in launch.runs), launch.offer.gpu),
        ):
            assert need <= has + 1e-9
        for place, runs in launch.runs:
            assert runs > 0
            placed[place] += runs * launch.count
    for place, demand in enumerate(demands):
        left = packing.left[place]
        assert placed[place] + packing.held[place] + left == demand.count
        fitting = [
            o
            for o in offers
            if demand.cpu <= o.cpu and demand.memory <= o.memory and demand.gpu <= o.gpu
        ]
        assert left in {0, demand.count - packing.held[place]}
        assert (left == 0) or not fitting


@given(demands=DEMANDS, offers=OFFERS)
def test_no_run_costs_more_than_a_machine_of_its_own(
    demands: list[Demand], offers: list[Offer]
) -> None:
    priced = [o for o in offers if o.usd_per_hour is not None]
    cost = pack(demands, priced).usd_per_hour
    alone = 0.0
    for demand in demands:
        fitting = [
            o.usd_per_hour or 0.0
            for o in priced
            if demand.cpu <= o.cpu and demand.memory <= o.memory and demand.gpu <= o.gpu
        ]
        alone += min(fitting, default=0.0) * demand.count
    assert cost is not None
    assert cost <= alone + 1e-9


def test_machines_that_are_there_are_filled_first() -> None:
    packing = pack([Demand(2, 8 * GB, 0, 5)], [SMALL, LARGE], [Room(LARGE, 8, 32 * GB, 0)])
    assert packing.held == (4,)
    assert types(packing) == {"small": 1}


def test_nothing_is_started_for_nobody() -> None:
    assert pack([], [SMALL]).launches == ()
    assert pack([Demand(1, GB, 0, 2)], [SMALL], [Room(SMALL, 2, 8 * GB, 0)]).launches == ()


def test_runs_that_complement_each_other_share_a_machine() -> None:
    demands = [Demand(7, 4 * GB, 0, 3), Demand(1, 28 * GB, 0, 3)]
    assert types(pack(demands, [LARGE, RICH])) == {"large": 3}


def test_the_last_machine_is_no_larger_than_it_must_be() -> None:
    assert types(pack([Demand(1, 4 * GB, 0, 10)], [SMALL, LARGE])) in (
        {"large": 1, "small": 1},
        {"small": 5},
    )


def test_a_gpu_machine_is_for_those_who_ask_for_one_and_others_use_its_rest() -> None:
    assert types(pack([Demand(1, GB, 0, 1)], [SMALL, GPU])) == {"small": 1}
    both = pack([Demand(1, GB, 1, 1), Demand(1, GB, 0, 3)], [SMALL, GPU])
    assert types(both) == {"gpu": 1}


def test_an_offer_whose_price_is_not_known_is_the_last_resort() -> None:
    packing = pack([Demand(1, GB, 0, 1), Demand(40, GB, 0, 1)], [SMALL, UNPRICED])
    assert types(packing) == {"small": 1, "unpriced": 1}
    assert packing.usd_per_hour is None


def test_what_is_not_allowed_is_not_used() -> None:
    only = Demand(1, GB, 0, 1, allows=lambda o: o.type == "rich")
    free = Demand(1, GB, 0, 1)
    assert types(pack([only], [SMALL, RICH])) == {"rich": 1}
    assert types(pack([only, free], [SMALL, RICH])) == {"rich": 1}
    nothing = pack(
        [Demand(1, GB, 0, 3, allows=lambda _: False)], [SMALL], [Room(LARGE, 8, 32 * GB, 0)]
    )
    assert (nothing.launches, nothing.held, nothing.left) == ((), (0,), (3,))


@pytest.mark.parametrize("count", [1, 7, 40])
def test_the_order_of_offers_does_not_matter(count: int) -> None:
    demands = [Demand(1, 3 * GB, 0, count), Demand(4, 30 * GB, 0, count)]
    offers = [SMALL, LARGE, RICH, GPU, UNPRICED]
    assert pack(demands, offers) == pack(demands, offers[::-1])
