"""The journal: what is promised is there after a kill, and a bad file is no dead end."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from jupyter_compute.errors import PoolError
from jupyter_compute.model import Receipt
from jupyter_compute.policy.advice import Use
from jupyter_compute.policy.cost import sum_up
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.schema import day_of


def _record(run_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": run_id, "created": 1.0, "attempt": 1, "finished": None, **fields}


def _ended(journal: Journal, run_id: str, finished: float, code: str = "k", **used: Any) -> None:
    """Journal a run that has ended well, from its beginning on."""
    plain = {"wait_s": 0.0, "run_s": 2.0, "attempts": 1, "layer": "local", "machine": "local"}
    receipt = Receipt(**(plain | {"cpu": 2.0, "memory": 10**9, "cost_usd": 0.25} | used))
    ending = {"state": "done", "notebook": "a.ipynb", "receipt": receipt.to_wire()}
    journal.begin(run_id, {}, _record(run_id))
    journal.ended(run_id, _record(run_id, finished=finished, **ending), "ok", {}, code)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_what_is_written_is_found_again(path: Path) -> None:
    journal = Journal(path)
    journal.begin("r-a", {"name": "a"}, _record("r-a"))
    journal.begin("r-b", {"name": "b"}, _record("r-b", created=2.0))
    journal.placed("r-b", 1, "local-1", 2.5)
    journal.books.write([], [], [], {"r-b": 0.25, "r-x": 1.0})
    inputs = {"name": "c", "payload": "i", "blobs": ["j"]}
    journal.begin("r-c", inputs, _record("r-c", created=3.0))
    envelope = {"payload": "p", "blobs": ["q"]}
    journal.ended("r-c", _record("r-c", finished=4.0, envelope=envelope), "ok", {"run_s": 1})
    assert journal.history("", "local", 9) == []
    journal.close()
    journal = Journal(path)
    assert [(u.record["id"], u.placed, u.usd) for u in journal.unfinished()] == [
        ("r-a", False, 0.0),
        ("r-b", True, 0.25),
    ]
    assert [record["id"] for record in journal.newest(10)] == ["r-c"]
    assert journal.waiting_results(0) == {"p", "q", "i", "j"}
    journal.collected("r-c")
    assert journal.waiting_results(0) == set()
    journal.intend("r-b", _record("r-b", attempt=2), "lost", {}, 5.0)
    assert [u.placed for u in journal.unfinished()] == [False, False]
    journal.forget(["r-c"])
    assert journal.record("r-c") is None
    journal.close()


def test_lanes_of_a_map_end_with_it_and_their_numbers_are_not_used_twice(path: Path) -> None:
    journal = Journal(path)
    journal.begin("r-a", {"map": True}, _record("r-a"))
    journal.opens("r-a", 2, 2.0)
    journal.opens("r-a", 3, 2.0)
    journal.placed("r-a", 2, "local-1", 2.5)
    journal.close()
    journal = Journal(path)
    (left,) = journal.unfinished()
    assert left.record["attempt"] == 3
    journal.ended("r-a", _record("r-a", attempt=3, finished=4.0), "ok", {})
    journal.close()
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT n, ended, outcome FROM attempts ORDER BY n").fetchall()
    db.close()
    assert found == [(1, 4.0, "withdrawn"), (2, 4.0, "lost"), (3, 4.0, "ok")]


def test_the_history_of_code_is_that_of_its_last_runs_on_the_layer(path: Path) -> None:
    journal = Journal(path)
    for number in range(5):
        _ended(journal, f"r-{number}", finished=float(number), memory_peak=number)
    _ended(journal, "r-other", finished=9.0, code="other")
    _ended(journal, "r-unknown", finished=9.0, code="")
    _ended(journal, "r-away", finished=9.0, layer="ec2")
    assert [use.memory_peak for use in journal.history("k", "local", 3)] == [4, 3, 2]
    assert journal.history("k", "ec2", 3) == [Use(True, 2.0, None, None)]
    assert journal.history("none", "local", 3) == []
    journal.forget(["r-3", "r-away"])
    assert [use.memory_peak for use in journal.history("k", "local", 3)] == [4, 2, 1]
    assert journal.history("k", "ec2", 3) == []
    journal.close()


def test_history_is_found_without_reading_other_rows(path: Path) -> None:
    Journal(path).close()
    db = sqlite3.connect(path)
    query = "SELECT done FROM history WHERE code = 'k' AND layer = 'l' ORDER BY ended DESC LIMIT 3"
    plan = [row[-1] for row in db.execute(f"EXPLAIN QUERY PLAN {query}")]
    db.close()
    assert plan == ["SEARCH history USING PRIMARY KEY (code=? AND layer=?)"]


def test_what_was_spent_stays_when_its_runs_are_forgotten(path: Path) -> None:
    journal = Journal(path)
    day = 86400.0
    _ended(journal, "r-a", finished=10 * day)
    _ended(journal, "r-b", finished=10 * day, cpu_mean=1.5)
    _ended(journal, "r-c", finished=20 * day, cost_usd=None)
    before = journal.spending("1970-01-01")
    journal.forget(["r-a", "r-b", "r-c"])
    assert journal.newest(9) == []
    assert journal.spending("1970-01-01") == before
    days, total = sum_up(before, "day")
    assert list(days) == [day_of(10 * day), day_of(20 * day)]
    assert days[day_of(10 * day)].to_wire() == {
        "runs": 2,
        "run_s": 4.0,
        "cpu_asked_s": 8.0,
        "cpu_used_s": 3.0,
        "cpu_unknown_s": 4.0,
        "usd": 0.5,
        "usd_unknown_runs": 0,
    }
    assert days[day_of(20 * day)].to_wire()["usd"] is None
    assert total.to_wire()["usd"] == 0.5
    later = journal.spending(day_of(15 * day))
    assert [(belongs["day"], total.runs) for belongs, total in later] == [(day_of(20 * day), 1)]
    journal.close()


def test_a_journal_of_schema_1_is_brought_up_to_date(path: Path) -> None:
    """The dump is of a service's that was killed while its fourth run was running."""
    path.touch(0o600)
    db = sqlite3.connect(path)
    db.executescript(Path(__file__).with_name("journal-schema-1.sql").read_text())
    written = db.execute("SELECT id, spec, record FROM runs ORDER BY id").fetchall()
    db.close()
    journal = Journal(path)
    assert journal.notes == []
    assert [run["name"] for run in journal.newest(9)] == ["three", "two", "one"]
    (left,) = journal.unfinished()
    assert (left.record["name"], left.placed, left.usd) == ("four", True, 0.0)
    past = journal.history("c" * 32, "local", 9)
    assert [(use.done, use.memory_peak) for use in past] == [
        (True, 902041600),
        (False, 5115904),
        (True, 305328128),
    ]
    notebooks, total = sum_up(journal.spending("1970-01-01"), "notebook")
    assert [(name, sums.runs) for name, sums in notebooks.items()] == [("", 1), ("a.ipynb", 2)]
    assert total.run_s == pytest.approx(0.247 + 0.008 + 5.419)
    assert (total.usd, total.usd_unknown) == (0.0, 0)
    journal.close()
    Journal(path).close()
    db = sqlite3.connect(path)
    assert db.execute("SELECT id, spec, record FROM runs ORDER BY id").fetchall() == written
    assert db.execute("SELECT sum(runs) FROM spending").fetchone() == (3,)
    db.close()


def test_one_that_cannot_be_brought_up_to_date_is_moved_aside_as_it_was(path: Path) -> None:
    path.touch(0o600)
    db = sqlite3.connect(path)
    db.executescript(Path(__file__).with_name("journal-schema-1.sql").read_text())
    db.execute("UPDATE runs SET record = 'no JSON' WHERE ended IS NOT NULL")
    db.commit()
    db.close()
    journal = Journal(path)
    assert "it holds a run that is none" in journal.notes[0]
    journal.close()
    (aside,) = path.parent.glob("journal.sqlite.unreadable-*")
    db = sqlite3.connect(aside)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert db.execute("SELECT count(*) FROM runs").fetchone() == (4,)
    db.close()


def test_it_is_private(path: Path) -> None:
    journal = Journal(path)
    journal.begin("r-a", {}, _record("r-a"))
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    journal.close()


@pytest.mark.parametrize("harm", ["garbage", "torn", "newer"])
def test_one_that_cannot_be_read_is_moved_aside(path: Path, harm: str) -> None:
    journal = Journal(path)
    for number in range(200):
        journal.begin(f"r-{number}", {"name": "x" * 500}, _record(f"r-{number}"))
    journal.close()
    if harm == "garbage":
        path.write_bytes(b"?" * 8192)
    elif harm == "torn":
        data = bytearray(path.read_bytes())
        data[5000:60000] = b"\xee" * 55000
        path.write_bytes(data)
    else:
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 99")
        db.close()
    journal = Journal(path)
    (note,) = journal.notes
    (aside,) = path.parent.glob("journal.sqlite.unreadable-*")
    assert str(aside) in note
    assert journal.unfinished() == []
    journal.close()


def test_two_processes_cannot_share_it(path: Path) -> None:
    first = Journal(path)
    with pytest.raises(PoolError, match="locked"):
        Journal(path)
    assert first.notes == []
    first.begin("r-a", {}, _record("r-a"))
    first.close()
