"""Samples that come when they come, brought to whole seconds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_compute.pool.rings import SPAN_S, Point, Rings, at_seconds, thin

_T = 1_760_000_010  # a multiple of every step


def _reader(points: list[Point]):
    def read(since: float) -> Sequence[Sequence[Point]]:
        return [[point for point in points if point[0] > since]]

    return read


def test_each_second_has_its_last_sample() -> None:
    points = [(_T + 0.2, 1.0, 10.0), (_T + 0.9, 2.0, 20.0), (_T + 1.5, 3.0, 30.0)]
    assert at_seconds(points, _T, _T + 1) == [(2.0, 20), (3.0, 30)]


def test_a_sample_that_comes_a_little_late_leaves_no_gap() -> None:
    points = [(_T + 0.9, 1.0, 10.0), (_T + 2.1, 2.0, 20.0)]
    assert at_seconds(points, _T, _T + 2) == [(1.0, 10), (1.0, 10), (2.0, 20)]


def test_a_machine_that_is_silent_is_unknown_and_not_zero() -> None:
    values = at_seconds([(_T + 0.9, 1.0, 10.0)], _T, _T + 4)
    assert values == [(1.0, 10), (1.0, 10), (1.0, 10), None, None]


@given(
    times=st.lists(st.floats(0, 60), max_size=80).map(sorted),
    cuts=st.lists(st.integers(0, 60), max_size=6).map(sorted),
)
def test_it_does_not_matter_how_often_one_looks(times: list[float], cuts: list[int]) -> None:
    points: list[Point] = [(_T + t, float(n), float(n)) for n, t in enumerate(times)]
    once, often = Rings(), Rings()
    once.advance(_T - 1, {"m": _reader([])}, ["m"])
    often.advance(_T - 1, {"m": _reader([])}, ["m"])
    once.advance(_T + 60, {"m": _reader(points)}, ["m"])
    for cut in [*cuts, 60]:
        seen = [point for point in points if point[0] < _T + cut + 1]
        often.advance(_T + cut, {"m": _reader(seen)}, ["m"])
    assert once.of("m", 61) == often.of("m", 61)
    assert once.total(61) == often.total(61)


def test_the_total_is_the_sum_of_what_is_known() -> None:
    rings = Rings()
    a, b = [(_T + n + 0.5, 1.0, 10.0) for n in range(9)], [(_T + 7.5, 2.0, 5.0)]
    rings.advance(_T + 8, {"a": _reader(a), "b": _reader(b), "run": _reader(a)}, ["a", "b"])
    assert rings.total(3) == [(1.0, 10), (3.0, 15), (3.0, 15)]
    rings.advance(_T + 9, {"a": _reader(a), "run": _reader(a)}, ["a"])
    assert rings.of("b", 3) == []
    assert rings.total(2) == [(3.0, 15), (1.0, 10)]


def test_five_minutes_are_kept() -> None:
    rings = Rings()
    points: list[Point] = [(_T + n + 0.5, float(n), 0.0) for n in range(1000)]
    rings.advance(_T + 700, {"a": _reader(points)}, ["a"])
    assert len(rings.of("a", 9999)) == SPAN_S
    assert rings.of("a", 2) == [(699.0, 0), (700.0, 0)]
    rings.advance(_T + 999, {"a": _reader(points)}, ["a"])
    assert len(rings.of("a", 9999)) == SPAN_S
    assert rings.of("a", 1) == [(999.0, 0)]


@pytest.mark.parametrize("step", [1, 2, 5, 10, 15, 30])
def test_thinner_values_are_means_of_the_same_steps_whenever_one_looks(step: int) -> None:
    values = [(float(n), n) for n in range(90)]
    start, found = thin(values, _T + 89, step)
    later_start, later = thin(values[7:], _T + 89, step)
    assert (start, later_start % step) == (_T // step * step, 0)
    assert found[2] == (2 * step + (step - 1) / 2, 2 * step + (step - 1) // 2)
    assert found[-2:] == later[-2:]
    assert thin([None] * 9, _T, step)[1] == [None] * len(thin([(1.0, 1)] * 9, _T, step)[1])
