"""How items are cut into chunks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jupyter_compute.policy.chunks import (
    LEAST_S,
    MOST_BYTES,
    MOST_ITEMS,
    TARGET_S,
    next_size,
    room_for_lanes,
    window,
)

item_s = st.one_of(st.none(), st.floats(0, 1e5))
item_bytes = st.floats(0, 1e10)
last = st.integers(0, MOST_ITEMS)
lanes = st.integers(1, 1000)
left = st.one_of(st.none(), st.integers(1, 10**9))


def test_the_first_chunk_has_one_item() -> None:
    assert next_size(item_s=None, item_bytes=0, last=0, lanes=2, left=10**6) == 1


def test_a_chunk_takes_a_fraction_of_a_second() -> None:
    assert next_size(item_s=0.001, item_bytes=8, last=1000, lanes=2, left=None) == TARGET_S / 0.001


def test_one_fast_item_proves_little() -> None:
    assert next_size(item_s=1e-9, item_bytes=8, last=1, lanes=2, left=None) == 32


def test_large_items_travel_in_small_chunks() -> None:
    size = next_size(item_s=1e-6, item_bytes=10**6, last=10**4, lanes=2, left=None)
    assert size == MOST_BYTES // 10**6


def test_towards_the_end_every_lane_gets_its_share() -> None:
    assert next_size(item_s=0.01, item_bytes=8, last=20, lanes=2, left=8) == 2
    # And items that are over in no time are not spread for nothing.
    assert next_size(item_s=1e-6, item_bytes=8, last=10**4, lanes=2, left=8000) == 8000


@given(item_s, item_bytes, last, lanes, left)
def test_a_chunk_has_an_item_and_keeps_within_every_limit(
    item_s: float | None, item_bytes: float, last: int, lanes: int, left: int | None
) -> None:
    size = next_size(item_s=item_s, item_bytes=item_bytes, last=last, lanes=lanes, left=left)
    assert 1 <= size <= MOST_ITEMS
    if size > 1:
        assert size * item_bytes <= MOST_BYTES
        assert item_s is not None
        assert size * item_s <= max(TARGET_S, LEAST_S) * 1.001
        assert left is None or size <= left


@given(item_s, lanes)
def test_the_window_keeps_every_lane_busy_and_is_bounded(item_s: float | None, lanes: int) -> None:
    assert 32 * lanes <= window(item_s, lanes) <= max(200_000, 32 * lanes)


def test_a_machine_holds_what_fits_both_cpu_and_memory() -> None:
    assert room_for_lanes(1, 4, 8, 100) == 8
    assert room_for_lanes(1, 4, 8, 12) == 3
    assert room_for_lanes(0.1, 1, 0.3, 100) == 3
    assert room_for_lanes(16, 400, 8, 100) == 1
