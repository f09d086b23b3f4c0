"""Budgets: which is full, and when to warn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jupyter_compute.model import Offer
from jupyter_compute.policy.budget import Due, Level, Purse, reached, worth_a_warning
from jupyter_compute.policy.ledger import Ledger
from jupyter_compute.policy.lifecycle import TIMERS, Timers
from jupyter_compute.policy.limits import Limits, Meter


@pytest.mark.parametrize(
    ("spent", "full", "warned"), [(3.99, False, False), (4.0, False, True), (5.0, True, False)]
)
def test_warning_at_four_fifths_and_end_at_all(spent: float, full: bool, warned: bool) -> None:
    level = Level("day", 5.0, spent)
    assert (reached([level]) is level) == full
    assert worth_a_warning([level]) == ([level] if warned else [])


def test_the_widest_budget_that_is_full_is_named() -> None:
    run, day = Level("run", 1.0, 2.0), Level("day", 5.0, 6.0)
    assert reached([day, run]) is day
    assert reached([run, Level("day", 5.0, 1.0)]) is run
    assert reached([]) is None
    assert reached([Level("day", 0.0, 0.0)]) is not None


def test_what_users_read() -> None:
    level = Level("day", 5.0, 4.2)
    assert level.warning() == (
        "84 % of the day budget of $5.00 spent: runs are stopped in $0.80 "
        "(%compute budget day USD raises it)"
    )
    full = Level("day", 5.0, 5.01)
    assert full.stopped() == "stopped: $5.01 of the day budget of $5.00 spent"
    assert full.waits() == "day budget of $5.00 reached: %compute budget day USD raises it"


LEAST_S, TICK_S, HALT_S = TIMERS.least_charged_s, TIMERS.tick_s, TIMERS.halt_s
PRICES = (0.004, 0.1, 1.0, 40.0)

_ticks = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(PRICES), st.integers(1, 4)), max_size=2),
        st.integers(1, 90),  # ticks until anything else is asked for
        st.booleans(),  # whether a machine ends by itself
    ),
    min_size=1,
    max_size=8,
)


class _Day:
    """What a pool does within a day's budget, tick by tick."""

    def __init__(self, limit: float, halts: st.DataObject) -> None:
        self.limit, self.halts = limit, halts
        self.ledger, self.now, self.total, self.most = Ledger(), 0.0, 0.0, 0.0
        self.prices: dict[str, float] = {}
        self.ends: dict[str, float] = {}

    def collect(self) -> None:
        self.total += sum(one.usd or 0.0 for one in self.ledger.collect(self.now).idle.values())

    def due(self) -> Due:
        found = (Due(self.ledger.committed(name), usd) for name, usd in self.prices.items())
        return sum(found, start=Due())

    def tick(self, wants: list[tuple[float, int]]) -> None:
        for name, at in sorted(self.ends.items(), key=lambda one: one[1]):
            if at <= self.now + TICK_S:
                self.end(name, at)
        self.now += TICK_S
        self.collect()
        due = self.due()
        if Level("day", self.limit, self.total + due.usd).full:
            for name in self.prices:
                self.ends.setdefault(name, self.now + self.halts.draw(st.floats(0, HALT_S)))
            return
        purse = Purse.of(self.limit, self.total + due.usd, due, 0.0, TIMERS)
        meter = Meter(Limits(purses={False: purse}), (), lambda _: None)
        for usd, count in wants:
            self.launch(meter, Offer("ec2", f"at {usd}", 1, 1, 0, usd), count)

    def launch(self, meter: Meter, offer: Offer, count: int) -> None:
        fits, why = meter.take(offer, count)
        assert (fits == count) == (not why)
        if fits:
            most = meter.dearest(offer, fits)
            came = max(usd for usd in PRICES if usd <= max(most, offer.usd_per_hour or 0.0))
            meter.reserve(offer, fits, replace(offer, usd_per_hour=came))
            for _ in range(fits):
                name = f"m{len(self.prices)} {self.now} {came}"
                self.prices[name] = came
                self.ledger.open(name, came, self.now, least_s=LEAST_S)
            self.most = max(self.most, sum(self.prices.values()))

    def end(self, name: str, at: float) -> None:
        self.ledger.close(name, at)
        self.ends.pop(name, None)
        del self.prices[name]


@settings(deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.floats(0.001, 20), _ticks, st.data())
def test_a_day_costs_no_more_than_its_budget_a_tick_and_the_end(
    limit: float, ticks: list[tuple[list[tuple[float, int]], int, bool]], data: st.DataObject
) -> None:
    day = _Day(limit, data)
    for wants, pause, ends in ticks:
        day.tick(wants)
        if ends and day.prices:
            day.end(next(iter(day.prices)), day.now)
        for _ in range(pause):
            day.tick([])
    for name in list(day.prices):
        day.end(name, day.now)
    day.collect()
    assert day.total <= limit + day.most * (TICK_S + HALT_S) / 3600 + 1e-9


def test_what_is_left_must_pay_a_minute_and_the_end() -> None:
    used = Purse.of(9.0, 1.0, Due(0.5, 3600.0), 7200.0, Timers(tick_s=1, halt_s=2)).used
    assert used == 1.0 + 3.0 + 2 * 63.0
    machine = Offer("ec2", "c5.large", 2, 4, usd_per_hour=3.6)
    assert not Limits(purses={False: Purse(1.0, 0.93, 69.0)}).forbid(machine)
    assert Limits(purses={False: Purse(1.0, 0.94, 69.0)}).forbid(machine) == (
        "day budget: $0.06 left of $1.00, the least that a c5.large costs is $0.07"
    )
    assert not Limits(purses={True: Purse(1.0, 0.94, 69.0)}).forbid(machine)
    unknown = replace(machine, usd_per_hour=None)
    assert "price of c5.large is not known" in Limits(priced=True).forbid(unknown)
    assert not Limits(priced=True).forbid(machine)
