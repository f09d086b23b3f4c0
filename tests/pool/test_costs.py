"""What panels are told of costs: sums of receipts, read again only when there is a new one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_compute.model import Receipt, SystemClock
from jupyter_compute.pool.costs import Costs
from jupyter_compute.pool.journal import Journal

DAY_S = 86400


class Calendar(SystemClock):
    """A clock at noon of a day, and a journal that counts how often it is asked."""

    def __init__(self, path: Path) -> None:
        self.noon = time.mktime((2026, 11, 23, 12, 0, 0, 0, 0, -1))
        self.journal = Journal(path)
        self.reads = 0
        self._number = 0
        ask = self.journal.spending

        def count(first_day: str) -> Any:
            self.reads += 1
            return ask(first_day)

        self.journal.spending = count  # type: ignore[method-assign]

    def now(self) -> float:
        return self.noon

    def end(
        self, notebook: str, usd: float | None, days_ago: float = 0, run_s: float = 1.0
    ) -> None:
        """Write down a run that has ended."""
        self._number += 1
        receipt = Receipt(0.0, run_s, 1, "ec2", "m", 1.0, 10**9, 1.0, 10**8, usd, "")
        record = {
            "id": f"r-{self._number}",
            "notebook": notebook,
            "attempt": 1,
            "created": self.noon,
            "finished": self.noon - days_ago * DAY_S,
            "receipt": receipt.to_wire(),
            "envelope": None,
        }
        self.journal.begin(record["id"], {}, record)
        self.journal.ended(record["id"], record, "ok", {})


@pytest.fixture
def calendar(tmp_path: Path) -> Iterator[Calendar]:
    """A journal in which nothing is written."""
    own = Calendar(tmp_path / "journal.sqlite")
    yield own
    own.journal.close()


def costs_of(calendar: Calendar) -> Costs:
    return Costs(calendar.journal, calendar, {}, {})


def sums(runs: int, usd: float | None, unknown: int = 0) -> dict[str, Any]:
    return {"runs": runs, "usd": usd, "usd_unknown_runs": unknown}


def test_days_are_the_last_seven_and_one_without_runs_cost_nothing(calendar: Calendar) -> None:
    for notebook, usd, ago in (("a", 1.0, 0), ("b", 2.0, 0), ("a", 4.0, 2), ("a", 8.0, 7)):
        calendar.end(notebook, usd, ago)
    told = costs_of(calendar).spending()
    assert told["day"] == "2026-11-23"
    assert told["days"] == [
        {"day": "2026-11-23", **sums(2, 3.0)},
        {"day": "2026-11-22", **sums(0, 0.0)},
        {"day": "2026-11-21", **sums(1, 4.0)},
        *({"day": f"2026-11-{day}", **sums(0, 0.0)} for day in (20, 19, 18, 17)),
    ]
    assert told["notebooks"] == [
        {"notebook": "b", **sums(1, 2.0)},
        {"notebook": "a", **sums(1, 1.0)},
    ]
    assert told["others"] is None


def test_the_notebooks_that_cost_most_are_named_and_the_others_added_up(
    calendar: Calendar,
) -> None:
    for number in range(20):
        calendar.end(f"{number}.ipynb", float(number))
    told = costs_of(calendar).spending()
    assert [row["notebook"] for row in told["notebooks"]] == [
        f"{n}.ipynb" for n in range(19, 11, -1)
    ]
    assert told["others"] == {"notebooks": 12, **sums(12, float(sum(range(12))))}


def test_where_all_is_free_the_notebooks_that_ran_longest_come_first(calendar: Calendar) -> None:
    for number in (2, 3, 1):
        calendar.end(f"{number}.ipynb", 0.0, run_s=float(number))
    rows = costs_of(calendar).spending()["notebooks"]
    assert [row["notebook"] for row in rows] == ["3.ipynb", "2.ipynb", "1.ipynb"]
    assert rows[0] == {"notebook": "3.ipynb", **sums(1, 0.0)}


def test_unknown_is_unknown_and_not_nothing(calendar: Calendar) -> None:
    calendar.end("a", None)
    costs = costs_of(calendar)
    assert costs.spending()["notebooks"] == [{"notebook": "a", **sums(1, None, 1)}]
    assert costs.spending()["days"][0] == {"day": "2026-11-23", **sums(1, None, 1)}
    assert costs.now()["today"] is None
    calendar.end("a", 0.5)
    assert costs.spending()["days"][0] == {"day": "2026-11-23", **sums(2, 0.5, 1)}
    assert costs.now()["today"] is None


def test_the_journal_is_read_when_a_run_has_ended_or_a_day_and_not_at_each_look(
    calendar: Calendar,
) -> None:
    costs = costs_of(calendar)
    for _ in range(5):
        assert (costs.now()["today"], costs.spending()["notebooks"]) == (0.0, [])
    assert calendar.reads == 1
    calendar.end("a", 1.5)
    for _ in range(5):
        assert costs.now()["today"] == 1.5
        assert costs.spending()["notebooks"] == [{"notebook": "a", **sums(1, 1.5)}]
    assert calendar.reads == 2
    calendar.noon += DAY_S
    for _ in range(5):
        assert (costs.now()["today"], costs.spending()["notebooks"]) == (0.0, [])
        assert costs.spending()["days"][1] == {"day": "2026-11-23", **sums(1, 1.5)}
    assert calendar.reads == 3


def test_a_notebook_of_a_very_long_name_is_cut_at_its_beginning(calendar: Calendar) -> None:
    calendar.end("x" * 5000 + "/end.ipynb", 1.0)
    (row,) = costs_of(calendar).spending()["notebooks"]
    assert len(row["notebook"]) == 100
    assert row["notebook"].startswith("…")
    assert row["notebook"].endswith("/end.ipynb")
