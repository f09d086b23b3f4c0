"""The tables of the journal, and how an older journal gets them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from jupyter_compute.model import SANDBOX, Receipt
from jupyter_compute.policy.cost import Total

__all__ = ["SCHEMA_VERSION", "day_of", "prepare", "remember"]

SCHEMA_VERSION = 2

_FIRST = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    created REAL NOT NULL,
    ended REAL,
    collected INTEGER NOT NULL DEFAULT 0,
    spec TEXT NOT NULL,
    record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX runs_by_age ON runs (created);
CREATE INDEX runs_active ON runs (id) WHERE ended IS NULL;
CREATE TABLE attempts (
    run TEXT NOT NULL,
    n INTEGER NOT NULL,
    intended REAL NOT NULL,
    placed REAL,
    machine TEXT,
    ended REAL,
    outcome TEXT,
    usage TEXT,
    PRIMARY KEY (run, n)
) WITHOUT ROWID;
"""

# Both are narrow and in the order in which they are read: what a run has used is asked for at the
# end of every run, and what was spent each time that somebody looks at the pool.
_SECOND = """
CREATE TABLE history (
    code TEXT NOT NULL,
    layer TEXT NOT NULL,
    ended REAL NOT NULL,
    run TEXT NOT NULL,
    done INTEGER NOT NULL,
    run_s REAL NOT NULL,
    cpu_peak REAL,
    memory_peak INTEGER,
    PRIMARY KEY (code, layer, ended, run)
) WITHOUT ROWID;
CREATE TABLE spending (
    day TEXT NOT NULL,
    notebook TEXT NOT NULL,
    layer TEXT NOT NULL,
    runs INTEGER NOT NULL,
    run_s REAL NOT NULL,
    cpu_asked_s REAL NOT NULL,
    cpu_used_s REAL NOT NULL,
    cpu_unknown_s REAL NOT NULL,
    usd REAL NOT NULL,
    usd_unknown INTEGER NOT NULL,
    PRIMARY KEY (day, notebook, layer)
) WITHOUT ROWID;
"""

_SPEND = """
INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    runs = runs + excluded.runs,
    run_s = run_s + excluded.run_s,
    cpu_asked_s = cpu_asked_s + excluded.cpu_asked_s,
    cpu_used_s = cpu_used_s + excluded.cpu_used_s,
    cpu_unknown_s = cpu_unknown_s + excluded.cpu_unknown_s,
    usd = usd + excluded.usd,
    usd_unknown = usd_unknown + excluded.usd_unknown
"""


def prepare(db: sqlite3.Connection) -> None:
    """Lock the database for this process, and make its tables or bring them up to date.

    Raises
    ------
    sqlite3.DatabaseError
        If it is damaged, or of a later version.
    """
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if not 0 <= version <= SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"it has schema {version}, this is {SCHEMA_VERSION}")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    if version < SCHEMA_VERSION:
        _bring_up_to_date(db, version)


def remember(db: sqlite3.Connection, code: str, record: Mapping[str, Any]) -> None:
    """Add a run that has ended to the history of its code and to what was spent."""
    if not record.get("receipt"):
        return
    receipt, ended = Receipt.from_wire(record["receipt"]), record["finished"]
    used = (receipt.run_s, receipt.cpu_peak, receipt.memory_peak)
    if code:
        row = (code, receipt.layer, ended, record["id"], record["state"] == "done", *used)
        db.execute("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    # Apart from what has to be paid.
    rehearsed = record.get("rehearsed", receipt.machine.endswith(SANDBOX))
    layer = receipt.layer + (SANDBOX if rehearsed else "")
    belongs = (day_of(ended), record["notebook"], layer)
    db.execute(_SPEND, (*belongs, *astuple(Total.of(receipt))))


def day_of(utc_s: float) -> str:
    """Return the day, in this computer's time zone, as ``"2026-11-23"``."""
    return time.strftime("%Y-%m-%d", time.localtime(utc_s))


def _bring_up_to_date(db: sqlite3.Connection, version: int) -> None:
    """Make what is missing, in one transaction."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        if version < 1:
            _execute(db, _FIRST)
        if version < 2:
            _execute(db, _SECOND)
            _recall(db)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _execute(db: sqlite3.Connection, statements: str) -> None:
    # Not executescript, which commits first.
    for statement in statements.split(";"):
        db.execute(statement)


def _recall(db: sqlite3.Connection) -> None:
    """Add the runs of a journal that was written before there were history and spending."""
    rows = db.execute("SELECT spec, record FROM runs WHERE ended IS NOT NULL").fetchall()
    try:
        for spec, record in rows:
            remember(db, json.loads(spec).get("code", ""), json.loads(record))
    except (KeyError, TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"it holds a run that is none: {error}") from error
