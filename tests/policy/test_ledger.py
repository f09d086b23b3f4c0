"""The ledger: shares and idle are the price of the machine, whatever happens when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_compute.policy.ledger import Idle, Ledger

_HOLDERS = ("r-a.1", "r-a.2", "r-b.1", "r-c.1")

_steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "release", "collect"]),
        st.sampled_from(_HOLDERS),
        st.floats(0, 1.5),
        # Clocks that jump an hour, also back.
        st.one_of(st.floats(0, 90), st.sampled_from([-3600.0, 3600.0])),
    ),
    max_size=12,
)


@given(_steps, st.floats(0.01, 40), st.floats(-100, 500), st.floats(0, 120))
def test_shares_and_idle_are_the_price_of_the_machine(
    steps: list[tuple[str, str, float, float]], price: float, age_s: float, least_s: float
) -> None:
    ledger, now, latest = Ledger(), 1000.0, 1000.0
    ledger.open("m", price, now, age_s=age_s, least_s=least_s)
    total = 0.0
    holding: set[str] = set()
    for verb, holder, weight, later in steps:
        now += later
        latest = max(latest, now)
        if verb == "take" and holder not in holding:
            ledger.take("m", holder, weight, now)
            holding.add(holder)
        elif verb == "release" and holder in holding:
            ledger.release(holder, now)
            holding.remove(holder)
        else:
            total += _sum(ledger, now)
    ledger.close("m", now)
    total += _sum(ledger, now)
    seconds = max(least_s, max(0.0, age_s) + latest - 1000.0)
    assert total == pytest.approx(price * seconds / 3600, rel=1e-6, abs=1e-9)


def _sum(ledger: Ledger, now: float) -> float:
    charges = ledger.collect(now)
    amounts = [*charges.held.values(), *(idle.usd for idle in charges.idle.values())]
    assert all(amount is not None and amount >= 0 for amount in amounts)
    return sum(amount or 0.0 for amount in amounts)


def test_who_holds_pays_and_the_rest_is_idle() -> None:
    ledger = Ledger()
    ledger.open("m", 3.6, 0.0, age_s=10)
    ledger.take("m", "a", 0.5, 20.0)
    ledger.take("m", "b", 0.25, 30.0)
    ledger.release("a", 40.0)
    charges = ledger.collect(50.0)
    assert charges.held == {"a": pytest.approx(0.01), "b": pytest.approx(0.005)}
    # 10 s before we knew it, 20 s of boot, then half, a quarter and three quarters of 10 s.
    assert charges.idle["m"].usd == pytest.approx(0.045)
    assert charges.idle["m"].seconds == pytest.approx(45)


def test_holders_of_more_than_there_is_share_it() -> None:
    ledger = Ledger()
    ledger.open("m", 3.6, 0.0)
    ledger.take("m", "cpu", 1.0, 0.0)
    ledger.take("m", "memory", 0.5, 0.0)
    charges = ledger.collect(30.0)
    assert charges.held == {"cpu": pytest.approx(0.02), "memory": pytest.approx(0.01)}
    assert charges.idle["m"].usd == pytest.approx(0.0)


def test_a_machine_that_ends_early_costs_its_minute() -> None:
    ledger = Ledger()
    ledger.open("m", 3.6, 0.0, least_s=60)
    assert ledger.committed("m") == pytest.approx(0.06)
    ledger.close("m", 5.0)
    assert ledger.collect(100.0).idle == {"m": Idle(60.0, pytest.approx(0.06))}
    assert "m" not in ledger


def test_what_an_earlier_service_has_charged_is_not_charged_again() -> None:
    ledger = Ledger()
    ledger.open("m", 3.6, 0.0, age_s=100, charged_s=90, least_s=60)
    ledger.close("m", 5.0)
    assert ledger.collect(5.0).idle["m"].seconds == pytest.approx(15)


def test_an_unknown_price_is_no_price_of_zero() -> None:
    ledger = Ledger()
    ledger.open("m", None, 0.0)
    ledger.take("m", "a", 0.5, 0.0)
    charges = ledger.collect(10.0)
    assert charges.held == {"a": None}
    assert charges.idle == {"m": Idle(5.0, None)}
