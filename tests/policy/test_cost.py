"""Costs: what is not known is never taken for nothing, and sums are those of the receipts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_compute.model import Offer, Receipt
from jupyter_compute.policy.cost import Total, add, price, spent, sum_up

GB = 10**9


@pytest.mark.parametrize(
    ("usd_per_hour", "cpu", "memory", "expected"),
    [
        (0.2, 8, 64 * GB, 0.2),
        (0.2, 4, 16 * GB, 0.1),
        (0.2, 1, 48 * GB, 0.15),
        (0.2, 16, 64 * GB, 0.2),
        (0.0, 1, GB, 0.0),
        (None, 1, GB, None),
    ],
)
def test_a_run_pays_for_its_share_of_the_machine(
    usd_per_hour: float | None, cpu: float, memory: int, expected: float | None
) -> None:
    offer = Offer("ec2", "r7i.2xlarge", cpu=8, memory=64 * GB, usd_per_hour=usd_per_hour)
    assert price(offer, cpu, memory) == pytest.approx(expected)


def test_the_lanes_of_a_map_count_side_by_side() -> None:
    receipt = Receipt(0.0, 10.0, 4, "local", "local", 2.0, GB, cpu_mean=1.5, lane_s=40.0)
    total = Total.of(receipt)
    assert (total.run_s, total.cpu_asked_s, total.cpu_used_s) == (10, 80, 60)


@pytest.mark.parametrize(
    ("usd_per_hour", "seconds", "usd"),
    [(3.6, 10, 0.01), (0.0, None, 0.0), (0.0, 10, 0.0), (None, 10, None), (3.6, None, None)],
)
def test_what_is_free_is_free_and_what_is_unknown_unknown(
    usd_per_hour: float | None, seconds: float | None, usd: float | None
) -> None:
    assert spent(usd_per_hour, seconds) == usd


def test_a_sum_with_an_unknown_amount_is_unknown() -> None:
    assert add([1.0, 2.0]) == 3.0
    assert add([]) == 0.0
    assert add([1.0, None]) is None


_receipts = st.builds(
    Receipt,
    wait_s=st.just(0.0),
    run_s=st.floats(0, 1e5),
    attempts=st.just(1),
    layer=st.sampled_from(["local", "ec2"]),
    machine=st.just(""),
    cpu=st.floats(0.1, 96),
    memory=st.just(GB),
    cpu_mean=st.none() | st.floats(0, 96),
    lane_s=st.none() | st.floats(0, 1e6),
    cost_usd=st.none() | st.floats(0, 1e3),
)
_rows = st.lists(st.tuples(st.sampled_from(["a.ipynb", "b.ipynb", ""]), _receipts), max_size=9)


@given(_rows, st.sampled_from(["notebook", "layer", "day"]))
def test_groups_add_up_to_the_total(rows: list[tuple[str, Receipt]], by: str) -> None:
    belongs = [{"notebook": name, "layer": r.layer, "day": "2026-11-23"} for name, r in rows]
    totals = [Total.of(receipt) for _, receipt in rows]
    groups, total = sum_up(zip(belongs, totals, strict=True), by)
    assert list(groups) == sorted({row[by] for row in belongs})
    assert total.runs == len(rows) == sum(group.runs for group in groups.values())
    assert total.usd == pytest.approx(sum(receipt.cost_usd or 0 for _, receipt in rows))
    assert total.run_s == pytest.approx(sum(group.run_s for group in groups.values()))
    wire = total.to_wire()
    assert wire["usd_unknown_runs"] == sum(receipt.cost_usd is None for _, receipt in rows)
    assert (wire["usd"] is None) == (wire["usd_unknown_runs"] == len(rows) > 0)
    unmeasured = [receipt for _, receipt in rows if receipt.cpu_mean is None]
    if rows and total.cpu_asked_s > 0 and len(unmeasured) == len(rows):
        assert wire["cpu_used_s"] is None
