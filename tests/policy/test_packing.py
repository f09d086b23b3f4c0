"""Machines for runs that wait: everything fits, nothing is started in vain, nothing is dearer than it must be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_compute.model import Offer
from jupyter_compute.policy.packing import Demand, Packing, Room, pack

GB = 10**9
PRICES = {"a": 0.3, "b": 0.2, "c": 0.1, "d": 0.35}


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
    for order in packing.orders:
        found[order.offer.type] = found.get(order.offer.type, 0) + order.count
    return found


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(demands=DEMANDS, offers=OFFERS, rooms=ROOMS)
def test_every_run_has_a_place_that_holds_it_or_no_offer_does(
    demands: list[Demand], offers: list[Offer], rooms: list[Room]
) -> None:
    packing = pack(demands, offers, rooms)
    placed = [0] * len(demands)
    for order in packing.orders:
        assert order.count > 0
        assert order.offer in offers
        for need, has in (
            (sum(demands[place].cpu * runs for place, runs in order.runs), order.offer.cpu),
            (sum(demands[place].memory * runs for place, runs in order.runs), order.offer.memory),
            (sum(demands[place].gpu * runs for place, runs in order.runs), order.offer.gpu),
        ):
            assert need <= has + 1e-9
        for place, runs in order.runs:
            assert runs > 0
            placed[place] += runs * order.count
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


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
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


def one_shape(demands: list[Demand], shape: Offer) -> float | None:
    """Return the price of first fit decreasing into machines of one type; None if it cannot."""

    def share(demand: Demand) -> float:
        gpu = demand.gpu / shape.gpu if demand.gpu and shape.gpu else 0
        return max(demand.cpu / shape.cpu, demand.memory / shape.memory, gpu)

    free: list[tuple[float, int, int]] = []
    for demand in sorted(demands, key=share, reverse=True):
        need = demand.cpu, demand.memory, demand.gpu
        if any(n > has for n, has in zip(need, (shape.cpu, shape.memory, shape.gpu), strict=True)):
            return None
        for _ in range(demand.count):
            room = next(
                (r for r in free if all(n <= f + 1e-9 for n, f in zip(need, r, strict=True))), None
            )
            if room is None:
                room = shape.cpu, shape.memory, shape.gpu
            else:
                free.remove(room)
            free.append((room[0] - need[0], room[1] - need[1], room[2] - need[2]))
    return len(free) * (shape.usd_per_hour or 0.0)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(demands=DEMANDS, offers=OFFERS)
def test_never_dearer_than_machines_that_are_all_alike(
    demands: list[Demand], offers: list[Offer]
) -> None:
    offers = [o for o in offers if o.usd_per_hour is not None]
    prices = [price for o in offers if (price := one_shape(demands, o)) is not None]
    cost = pack(demands, offers).usd_per_hour
    assert cost is not None
    assert cost <= min(prices, default=cost) + 1e-9


def test_the_same_type_in_many_zones_is_the_cheapest_one() -> None:
    zones = [replace(LARGE, zone=zone, spot=True, usd_per_hour=usd) for zone, usd in PRICES.items()]
    (order,) = pack([Demand(8, 30 * GB, 0, 5)], [LARGE, *zones]).orders
    assert (order.offer.zone, order.offer.spot, order.count) == ("c", True, 5)
    equal = replace(LARGE, spot=True)
    (order,) = pack([Demand(8, 30 * GB, 0, 5)], [equal, LARGE]).orders
    assert not order.offer.spot, "at the same price nobody wants one that can be taken away"


def test_machines_that_are_there_are_filled_first() -> None:
    packing = pack([Demand(2, 8 * GB, 0, 5)], [SMALL, LARGE], [Room(LARGE, 8, 32 * GB, 0)])
    assert packing.held == (4,)
    assert types(packing) == {"small": 1}


def test_nothing_is_started_for_nobody() -> None:
    assert pack([], [SMALL]).orders == ()
    assert pack([Demand(1, GB, 0, 2)], [SMALL], [Room(SMALL, 2, 8 * GB, 0)]).orders == ()


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
    assert (nothing.orders, nothing.held, nothing.left) == ((), (0,), (3,))


@pytest.mark.parametrize("count", [1, 7, 40])
def test_the_order_of_offers_does_not_matter(count: int) -> None:
    demands = [Demand(1, 3 * GB, 0, count), Demand(4, 30 * GB, 0, count)]
    offers = [SMALL, LARGE, RICH, GPU, UNPRICED]
    assert pack(demands, offers) == pack(demands, offers[::-1])
