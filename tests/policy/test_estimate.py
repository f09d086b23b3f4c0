"""Estimates rest on what runs took that ended well, and on the price of now."""

from __future__ import annotations

import pytest

from jupyter_compute.policy.advice import Use
from jupyter_compute.policy.estimate import estimate


def test_the_range_is_that_of_the_runs_that_ended_well() -> None:
    history = [Use(done, s, None, None) for done, s in ((True, 20.0), (False, 1.0), (True, 40.0))]
    found = estimate(history, 3.6)
    assert found is not None
    assert (found.runs, found.shortest_s, found.longest_s) == (2, 20.0, 40.0)
    assert (found.least_usd, found.most_usd) == (pytest.approx(0.02), pytest.approx(0.04))


def test_nothing_is_made_up() -> None:
    assert estimate([Use(False, 1.0, None, None)], 3.6) is None
    unknown = estimate([Use(True, 1.0, None, None)], None)
    assert unknown is not None
    assert (unknown.least_usd, unknown.most_usd) == (None, None)
    free = estimate([Use(True, 1.0, None, None)], 0.0)
    assert free is not None
    assert free.most_usd == 0
