"""What the pool does with the chunks of a map: every item to one lane at a time, none forgotten."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_compute.model import RunSpec
from jupyter_compute.pool.events import EventLog
from jupyter_compute.pool.lanes import Crew, Lane
from jupyter_compute.pool.record import Run

NAME = "0" * 32
CRASH = {"outcome": "died", "reason": "crash"}


def crew(most: int = 2) -> Crew:
    spec = RunSpec("f", "local", 1, 100, None, "python", NAME, NAME, map=True)
    log = EventLog(Path("/nonexistent"), 0)
    run = Run("r-x", spec, log, created=0.0, cpu=1, memory=100, memory_high=None)
    return Crew(run, most)


def chunk(n: int, items: int, **more: Any) -> dict[str, Any]:
    return {
        "n": n,
        "items": items,
        "payload": f"{n:032x}",
        "blobs": [],
        "memory": None,
        "careful": False,
        "whole": False,
    } | more


def lane(of: Crew, n: int, memory: int = 100, *, ready: bool = True) -> Lane:
    made = Lane(f"r-x.{n}", n, memory, ready=ready)
    of.lanes[made.id] = made
    return made


def piece(n: int, start: int, stop: int, *, over: bool = False) -> dict[str, Any]:
    return {"n": n, "start": start, "stop": stop, "over": over, "seconds": 0.01}


def test_lanes_are_opened_as_there_is_work_and_no_more_than_allowed() -> None:
    some = crew(most=3)
    assert some.wanted() == []
    some.take([chunk(1, 5)])
    assert some.wanted() == [100]
    some.take([chunk(n, 5) for n in range(2, 9)])
    assert some.wanted() == [100, 100, 100]
    lane(some, 1, ready=False)
    assert some.wanted() == [100, 100]


def test_work_that_needs_more_memory_gets_a_lane_of_its_own() -> None:
    some = crew(most=1)
    small = lane(some, 1)
    some.take([chunk(1, 1, memory=400), chunk(2, 1)])
    assert [(who.n, part.n) for who, part in some.assignments()] == [(1, 2)]
    assert some.wanted() == [400]
    large = lane(some, 2, memory=400)
    assert [(who.n, part.n) for who, part in some.assignments()] == [(2, 1)]
    assert small.slices[0].n == 2
    assert large.slices[0].n == 1


def test_a_lane_gets_its_next_slice_early_only_when_items_are_quick() -> None:
    some = crew()
    only = lane(some, 1)
    some.take([chunk(n, 1) for n in range(1, 5)])
    assert len(some.assignments()) == 1
    some.report(only, piece(1, 0, 1, over=True))
    assert len(some.assignments()) == 2


def test_what_is_handed_back_goes_to_whoever_is_free() -> None:
    some = crew()
    first, second = lane(some, 1), lane(some, 2)
    some.take([chunk(1, 100)])
    some.assignments()
    some.report(first, piece(1, 0, 10, over=True) | {"seconds": 1.0})
    given = [(who.n, part.start, part.stop) for who, part in some.assignments()]
    assert given == [(1, 10, 12), (2, 12, 14), (1, 14, 16), (2, 16, 18)]
    assert second.slices


def test_a_lane_that_dies_blames_what_it_worked_on_only() -> None:
    some = crew()
    dying = lane(some, 1)
    some.take([chunk(1, 4), chunk(2, 4)])
    some.assignments()
    some.report(dying, piece(1, 0, 1))
    some.assignments()
    some.lose(dying, CRASH)
    died = [p for p in some.pieces() if "died" in p]
    assert [(p["n"], p["start"], p["stop"], p["careful"]) for p in died] == [(1, 1, 4, False)]
    lane(some, 2)
    assert [(part.n, part.start) for _, part in some.assignments()] == [(2, 0)]


def test_what_the_notebook_took_is_forgotten_and_what_is_unknown_is_named() -> None:
    some = crew()
    one = lane(some, 1)
    some.take([chunk(1, 2)])
    some.assignments()
    some.report(one, piece(1, 0, 2, over=True))
    assert some.forget(0, [1]) == []
    (found,) = some.pieces()
    assert some.blobs == {f"{1:032x}"}
    assert some.forget(found["seq"], [7]) == [7]
    assert some.pieces() == []
    assert some.blobs == set()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=15), st.integers(0, 2**32))
def test_every_item_is_reported_whatever_lanes_do(sizes: list[int], seed: int) -> None:
    rng = random.Random(seed)
    some = crew(most=3)
    some.take([chunk(n, size) for n, size in enumerate(sizes, 1)])
    opened = 0
    for _ in range(20_000):
        for _memory in some.wanted():
            opened += 1
            lane(some, opened)
        some.assignments()
        if some.done:
            break
        busy = [who for who in some.lanes.values() if who.slices]
        who = rng.choice(busy)
        part = who.slices[0]
        if rng.random() < 0.1:
            some.lose(who, CRASH if rng.random() < 0.5 else {"outcome": "ok"})
            continue
        stop = rng.randint(part.start, part.stop)
        over = stop == part.stop or rng.random() < 0.3
        some.report(who, piece(part.n, part.start, stop, over=over))
        who.leaving = rng.random() < 0.05
        if who.leaving and not who.slices:
            some.lose(who, {"outcome": "ok"})
    assert some.done
    reported = [(p["n"], i) for p in some.pieces() for i in range(p["start"], p["stop"])]
    assert sorted(reported) == [(n, i) for n, size in enumerate(sizes, 1) for i in range(size)]
