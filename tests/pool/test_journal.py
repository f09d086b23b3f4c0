"""The journal: what is promised is there after a kill, and a bad file is no dead end."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from jupyter_compute.errors import PoolError
from jupyter_compute.pool.journal import Journal


def _record(run_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": run_id, "created": 1.0, "attempt": 1, "finished": None, **fields}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


def test_what_is_written_is_found_again(path: Path) -> None:
    journal = Journal(path)
    journal.begin("r-a", {"name": "a"}, _record("r-a"))
    journal.begin("r-b", {"name": "b"}, _record("r-b", created=2.0))
    journal.placed("r-b", 1, "local-1", 2.5)
    inputs = {"name": "c", "payload": "i", "blobs": ["j"]}
    journal.begin("r-c", inputs, _record("r-c", created=3.0))
    envelope = {"payload": "p", "blobs": ["q"]}
    journal.ended("r-c", _record("r-c", finished=4.0, envelope=envelope), "ok", {"run_s": 1})
    journal.close()
    journal = Journal(path)
    assert [(u.record["id"], u.placed) for u in journal.unfinished()] == [
        ("r-a", False),
        ("r-b", True),
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
