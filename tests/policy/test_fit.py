"""What an ask becomes on a layer: as asked, capped with a note, or refused with the nearest."""

from __future__ import annotations

import pytest

from jupyter_compute.ask import Ask, make_ask
from jupyter_compute.errors import AskError
from jupyter_compute.model import Offer
from jupyter_compute.policy.fit import fit

HERE = [Offer("local", "local", cpu=2, memory=21 * 10**9, usd_per_hour=0.0)]
CLOUD = [
    Offer("ec2", "large", cpu=2, memory=8 * 10**9, usd_per_hour=0.10),
    Offer("ec2", "cheap", cpu=4, memory=8 * 10**9, usd_per_hour=0.08),
    Offer("ec2", "huge", cpu=8, memory=64 * 10**9, usd_per_hour=0.50),
    Offer("ec2", "unknown", cpu=8, memory=64 * 10**9),
]


@pytest.mark.parametrize(
    ("ask", "cpu", "memory", "note"),
    [
        (make_ask(1, "2G"), 1, 2 * 10**9, None),
        (make_ask(2, "21G"), 2, 21 * 10**9, None),
        (
            make_ask(8, "32G"),
            2,
            21 * 10**9,
            "asked 8 cpu 32 GB, this computer has 2 cpu 21 GB: running with those",
        ),
        (
            make_ask(8, "1G"),
            2,
            10**9,
            "asked 8 cpu 1 GB, this computer has 2 cpu 21 GB: running with 2 cpu 1 GB",
        ),
    ],
)
def test_on_this_computer(ask: Ask, cpu: float, memory: int, note: str | None) -> None:
    grant = fit(ask, HERE, "cap")
    assert (grant.cpu, grant.memory) == (cpu, memory)
    assert list(grant.notes) == ([] if note is None else [note])


def test_refused_instead_of_capped() -> None:
    with pytest.raises(AskError, match="asked 8 cpu 32 GB, it has 2 cpu 21 GB") as caught:
        fit(make_ask(8, "32G"), HERE, "refuse")
    assert caught.value.nearest == [HERE[0].to_wire()]


def test_a_gpu_that_is_not_there_is_never_capped() -> None:
    with pytest.raises(AskError, match="no such GPU"):
        fit(make_ask(1, "1G", 1), HERE, "cap")


def test_more_than_any_known_machine_is_never_capped() -> None:
    with pytest.raises(AskError, match="any known machine"):
        fit(Ask(cpu=100_000), HERE, "cap")


@pytest.mark.parametrize(("has", "granted"), [(21 * 10**9, 4 * 10**9), (10**9, 5 * 10**8)])
def test_memory_that_is_not_asked_for(has: int, granted: int) -> None:
    offer = Offer("local", "local", cpu=2, memory=has)
    assert fit(make_ask(1), [offer], "cap").memory == granted


@pytest.mark.parametrize(
    ("ladder", "high", "notes"),
    [("1G", None, 0), ("1G..8G", 8 * 10**9, 0), ("1G..64G", 21 * 10**9, 1)],
)
def test_a_ladder_ends_where_the_layer_does(ladder: str, high: int | None, notes: int) -> None:
    grant = fit(make_ask(1, ladder), HERE, "cap")
    assert grant.memory == 10**9
    assert grant.memory_high == high
    assert len(grant.notes) == notes


def test_the_cheapest_that_fits_is_taken() -> None:
    assert fit(make_ask(2, "8G"), CLOUD).offer.type == "cheap"
    assert fit(make_ask(2, "9G"), CLOUD).offer.type == "huge"


def test_the_nearest_come_first() -> None:
    with pytest.raises(AskError) as caught:
        fit(make_ask(16, "64G"), CLOUD)
    assert [offer["type"] for offer in caught.value.nearest] == ["huge", "unknown", "cheap"]
