"""What becomes of the items of a map, against a pool that does everything a pool may do."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_compute.model import RetryRule
from jupyter_compute.notebook.items import NOTHING, Chunk, Failed, Items
from jupyter_compute.notebook.source import Request, Source

LOST = {"outcome": "died", "reason": "lost"}
CRASH = {"outcome": "died", "reason": "crash"}


def raised(name: str) -> dict[str, Any]:
    return {"outcome": "error", "type": name, "mro": [name, "Exception"], "message": name}


def make(count: int, rule: RetryRule | None = None, **request: Any) -> Items:
    source = Source.of((range(count),))
    return Items(
        source.arguments,
        source.total,
        rule or RetryRule(),
        lambda envelope: RuntimeError(envelope.get("message", envelope.get("reason"))),
        Request(**request),
    )


def whole(chunk: Chunk, **more: Any) -> dict[str, Any]:
    size = len(chunk.arguments)
    return {"n": chunk.n, "start": 0, "stop": size, "seconds": 1e-6, "nbytes": 8 * size} | more


def bundle(chunk: Chunk) -> dict[str, Any]:
    return {"values": [arguments[0] for arguments in chunk.arguments], "failed": {}}


def drained(items: Items) -> Iterator[Any]:
    while (value := items.pop()) is not NOTHING:
        yield value


class Pool:
    """Works on chunks in any order, loses some, kills lanes, forgets, and hands back."""

    def __init__(self, items: Items, rng: random.Random, poison: set[int]) -> None:
        self.items = items
        self.rng = rng
        self.poison = poison
        self.now = 0.0
        self.begun: dict[int, int] = {}

    def turn(self) -> None:
        items, rng = self.items, self.rng
        self.now += 100
        items.outgoing(2, self.now)
        if not items.open:
            return
        chunk = rng.choice(list(items.open.values()))
        places = [p for p in range(len(chunk.arguments)) if p not in chunk.got]
        start, stop = places[0], places[-1] + 1
        what = rng.random()
        if what < 0.1:
            items.missing(chunk.n)
        elif what < 0.2:
            self.die(chunk, start, stop, LOST)
        else:
            self.work(chunk, start, rng.randint(start + 1, stop), stop)

    def work(self, chunk: Chunk, start: int, part: int, stop: int) -> None:
        indexes = [chunk.first + place for place in range(start, part)]
        deadly = next((i for i in indexes if i in self.poison), None)
        if deadly is not None:
            if chunk.careful and deadly > chunk.first + start:
                part = deadly - chunk.first
            else:
                self.die(chunk, start, stop, CRASH)
                return
        values = [arguments[0] for arguments in chunk.arguments[start:part]]
        piece = whole(chunk, start=start, stop=part)
        self.items.took(piece, {"values": values, "failed": {}}, self.now)

    def die(self, chunk: Chunk, start: int, stop: int, envelope: dict[str, Any]) -> None:
        careful = chunk.careful or stop - start == 1
        piece = {"n": chunk.n, "start": start, "stop": stop, "careful": careful}
        self.items.died({**piece, "died": envelope}, self.now)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 200),
    st.integers(0, 2**32),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 50)),
    st.one_of(st.none(), st.integers(1, 20)),
    st.sets(st.integers(0, 199), max_size=5),
)
def test_every_item_is_given_out_once_whatever_happens(
    count: int, seed: int, ordered: bool, window: int | None, chunk: int | None, poison: set[int]
) -> None:
    items = make(count, ordered=ordered, errors="return", window=window, chunk=chunk)
    pool = Pool(items, random.Random(seed), poison)
    found: list[Any] = []
    for _ in range(20_000):
        found += drained(items)
        if items.finished:
            break
        pool.turn()
    else:
        pytest.fail("the map does not end")
    assert items.done == count
    numbers = [value for value in found if isinstance(value, int)]
    errors = [value for value in found if not isinstance(value, int)]
    assert len(found) == count
    assert sorted(numbers) == sorted(set(numbers))
    crashed = [error for error in errors if str(error) == "crash"]
    assert len(crashed) <= len(poison & set(range(count)))
    assert not poison & set(numbers)
    if ordered:
        assert numbers == sorted(numbers)


def test_no_more_items_are_read_than_the_window_has() -> None:
    read = []
    source = (read.append(n) or n for n in range(10**9))  # type: ignore[func-returns-value]
    items = Items(zip(source), None, RetryRule(), RuntimeError, Request(window=7))  # type: ignore[arg-type]
    for _ in range(50):
        for chunk in items.outgoing(2, 0.0):
            if chunk.first:  # the first one stays on its way
                items.took(whole(chunk), bundle(chunk), 0.0)
    assert len(read) == 7


def test_items_are_tried_again_one_by_one() -> None:
    items = make(3, RetryRule(retries=1, delay_s=1), chunk=3)
    (chunk,) = items.outgoing(2, 0.0)
    failed = {1: raised("OSError")}
    items.took(whole(chunk), {"values": [0, None, 2], "failed": failed}, 0.0)
    assert list(drained(items)) == [0]
    assert not items.outgoing(2, 0.1)
    due = items.next_due()
    assert due is not None
    (again,) = items.outgoing(2, due)
    assert again.arguments == [(1,)]
    items.took(whole(again), bundle(again), due)
    assert list(drained(items)) == [1, 2]
    assert items.finished


def test_the_first_failure_in_order_is_raised_in_its_turn() -> None:
    items = make(4, chunk=2)
    first, second = items.outgoing(2, 0.0)
    items.took(whole(second), {"values": [2, None], "failed": {1: raised("ValueError")}}, 0.0)
    assert items.pop() is NOTHING
    items.took(whole(first), bundle(first), 0.0)
    *results, failure = drained(items)
    assert results == [0, 1, 2]
    assert type(failure) is Failed


def test_after_a_failure_nothing_more_is_read() -> None:
    items = make(1000, ordered=False, chunk=1)
    chunks = items.outgoing(2, 0.0)
    items.took(whole(chunks[1]), {"values": [None], "failed": {0: raised("ValueError")}}, 0.0)
    assert type(items.pop()) is Failed
    assert not items.outgoing(2, 0.0)


def test_left_out_items_leave_no_hole() -> None:
    items = make(4, errors="skip", chunk=4)
    (chunk,) = items.outgoing(2, 0.0)
    failed = {0: raised("ValueError"), 2: raised("ValueError")}
    items.took(whole(chunk), {"values": [None, 1, None, 3], "failed": failed}, 0.0)
    assert list(drained(items)) == [1, 3]
    assert items.finished
    assert (items.done, items.failed) == (4, 2)


def test_more_memory_is_for_the_item_that_needs_it() -> None:
    items = make(2, chunk=2)
    items.memory, items.memory_high = 100, 400
    (chunk,) = items.outgoing(2, 0.0)
    died = {"outcome": "died", "reason": "memory"}
    items.died({"n": chunk.n, "start": 0, "stop": 2, "careful": False, "died": died}, 0.0)
    (careful,) = items.outgoing(2, 0.0)
    assert careful.careful
    items.died({"n": careful.n, "start": 0, "stop": 2, "careful": True, "died": died}, 0.0)
    sizes = {chunk.first: chunk.memory for chunk in items.outgoing(2, 0.0)}
    assert sizes == {0: 200, 1: None}


def test_what_the_iterables_raise_comes_after_the_results_before_it() -> None:
    def source() -> Iterator[tuple[int]]:
        yield (0,)
        raise KeyError("gone")

    items = Items(source(), None, RetryRule(), RuntimeError, Request())  # type: ignore[arg-type]
    (chunk,) = items.outgoing(2, 0.0)
    items.took(whole(chunk), bundle(chunk), 0.0)
    assert list(drained(items)) == [0]
    items.outgoing(2, 0.0)
    assert items.finished
    with pytest.raises(KeyError, match="gone"):
        items.check_source()


@pytest.mark.parametrize(
    ("iterables", "error", "words"),
    [
        ((), TypeError, "at least one iterable"),
        ((3,), TypeError, "not iterable"),
        (([1], [1, 2]), ValueError, "differ in length: 1, 2"),
    ],
)
def test_what_makes_no_items_is_refused(iterables: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Source.of(iterables)


def test_an_iterator_that_ends_before_a_container_is_an_error() -> None:
    source = Source.of(([1, 2, 3], iter("a")))
    with pytest.raises(ValueError, match="iterable 2 of the map has only 1 items"):
        list(source.arguments)
    assert list(Source.of(([1, 2], iter("abc"))).arguments) == [(1, "a"), (2, "b")]
