"""Budgets: which is full, and when to warn."""

from __future__ import annotations

import pytest

from jupyter_compute.policy.budget import Level, reached, worth_a_warning


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
