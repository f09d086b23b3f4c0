"""What must outlive the service: runs and attempts, in SQLite.

An attempt is written down before it is handed to the scheduler, and a run before its
id is given out. So whatever moment the service is killed at, the next one knows what
was promised and what may have run.

A commit survives the death of the process. It is not synced to disk, as a run lost in
a power cut costs less than a sync in every cell.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_compute.errors import PoolError
from jupyter_compute.policy.advice import Use
from jupyter_compute.policy.cost import Total
from jupyter_compute.pool.books import Books
from jupyter_compute.pool.cache import CacheTable
from jupyter_compute.pool.kept import KeptTable
from jupyter_compute.pool.launch_log import LaunchLog
from jupyter_compute.pool.schema import prepare, remember

__all__ = ["Journal", "Unfinished", "persist"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run that had not ended when the service did.

    Parameters
    ----------
    spec, record : mapping
        As they were given to the journal.
    placed : bool
        Whether its last attempt may have run.
    usd : float or None
        What it had cost when that was last written down; None if unknown.
    """

    spec: Mapping[str, Any]
    record: Mapping[str, Any]
    placed: bool
    usd: float | None


class Journal:
    """The database of one pool. Only one process can have it open.

    Parameters
    ----------
    path : path
        Made if it is not there. One that cannot be read is moved aside, which `notes` says.

    Attributes
    ----------
    notes : list of str
        What somebody should know about it.
    endings : int
        How many ends have been written since it was opened: `spending` changes with it.

    Raises
    ------
    PoolError
        If another process has it open, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self.endings = 0
        try:
            self._db = _open(path)
        except sqlite3.OperationalError as error:
            raise PoolError(f"the journal {path} cannot be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            aside = _move_aside(path)
            self.notes.append(
                f"the journal could not be read ({error}) and was moved to {aside}; "
                "earlier runs are not listed"
            )
            self._db = _open(path)
        self.kept = KeptTable(self._db, self._writing)
        self.cache = CacheTable(self._db, self._writing)
        self.launches = LaunchLog(self._db, self._writing)
        self.books = Books(self._db, self._writing)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def begin(self, run_id: str, spec: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Write down a new run and the intent of its first attempt."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO runs (id, created, spec, record) VALUES (?, ?, ?, ?)",
                (run_id, record["created"], json.dumps(spec), json.dumps(record)),
            )
            self._intend(run_id, record["attempt"], record["created"])

    def intend(
        self,
        run_id: str,
        record: Mapping[str, Any],
        outcome: str,
        usage: Mapping[str, Any],
        now: float,
    ) -> None:
        """Write down how an attempt ended, and the intent of the next one."""
        with self._writing() as db:
            self._update(db, run_id, record)
            self._end_attempt(db, run_id, record["attempt"] - 1, outcome, usage, now)
            self._intend(run_id, record["attempt"], now)

    def granted(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Write down what a run is granted that was taken on before that was known."""
        with self._writing() as db:
            self._update(db, run_id, record)

    def opens(self, run_id: str, n: int, now: float) -> None:
        """Write down the intent of one more attempt, beside those that go on."""
        with self._writing():
            self._intend(run_id, n, now)

    def closes(
        self, run_id: str, n: int, outcome: str, usage: Mapping[str, Any], now: float
    ) -> None:
        """Write down how one of several attempts ended."""
        with self._writing() as db:
            self._end_attempt(db, run_id, n, outcome, usage, now)

    def placed(self, run_id: str, n: int, machine: str, now: float) -> None:
        """Write down that an attempt was given to a machine, and from now on may have run."""
        with self._writing() as db:
            db.execute(
                "UPDATE attempts SET placed = ?, machine = ? WHERE run = ? AND n = ?",
                (now, machine, run_id, n),
            )

    def ended(
        self,
        run_id: str,
        record: Mapping[str, Any],
        outcome: str,
        usage: Mapping[str, Any],
        code: str = "",
    ) -> None:
        """Write down the end of a run and of its last attempt, and add up what it used."""
        now = record["finished"]
        with self._writing() as db:
            self._update(db, run_id, record)
            db.execute("UPDATE runs SET ended = ? WHERE id = ?", (now, run_id))
            self._end_attempt(db, run_id, record["attempt"], outcome, usage, now)
            self._end_others(db, run_id, now)
            remember(db, code, record)
            self.kept.add(record)
        self.endings += 1

    def collected(self, run_id: str) -> None:
        """Write down that the results of an ended run are not needed any more."""
        with self._writing() as db:
            db.execute("UPDATE runs SET collected = 1 WHERE id = ?", (run_id,))

    def unfinished(self) -> Sequence[Unfinished]:
        """Return the runs that have not ended, oldest first, each with its newest attempt."""
        rows = self._db.execute(
            "SELECT runs.id, spec, json_set(record, '$.attempt', n), placed "
            "FROM runs JOIN attempts ON attempts.run = runs.id "
            "AND n = (SELECT MAX(n) FROM attempts WHERE run = runs.id) "
            "WHERE runs.ended IS NULL ORDER BY created"
        )
        return [
            Unfinished(
                json.loads(spec), json.loads(record), placed is not None, self.books.accrued(run_id)
            )
            for run_id, spec, record, placed in rows.fetchall()
        ]

    def record(self, run_id: str) -> dict[str, Any] | None:
        """Return the record of a run, None if there is none."""
        row = self._db.execute("SELECT record FROM runs WHERE id = ?", (run_id,)).fetchone()
        return None if row is None else json.loads(row[0])

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Return the records of the last runs that have ended, newest first."""
        rows = self._db.execute(
            "SELECT record FROM runs WHERE ended IS NOT NULL ORDER BY created DESC LIMIT ?",
            (limit,),
        )
        return [json.loads(record) for (record,) in rows]

    def history(self, code: str, layer: str, limit: int) -> list[Use]:
        """Return what the last runs of this code on this layer used, newest first.

        Raises
        ------
        PoolError
            If the journal cannot be read.
        """
        try:
            rows = self._db.execute(
                "SELECT done, run_s, cpu_peak, memory_peak FROM history"
                " WHERE code = ? AND layer = ? ORDER BY ended DESC LIMIT ?",
                (code, layer, limit),
            ).fetchall()
        except sqlite3.Error as error:
            raise PoolError(f"the journal {self.path} cannot be read: {error}") from error
        return [Use(bool(done), *used) for done, *used in rows]

    def spending(self, first_day: str) -> list[tuple[dict[str, str], Total]]:
        """Return what was spent since the day, by notebook, layer and day.

        It includes runs that have been forgotten.
        """
        rows = self._db.execute("SELECT * FROM spending WHERE day >= ?", (first_day,))
        return [
            ({"day": day, "notebook": notebook, "layer": layer}, Total(*sums))
            for day, notebook, layer, *sums in rows
        ]

    def waiting_results(self, ended_after: float) -> set[str]:
        """Return the blobs with results that no kernel has collected yet.

        And those with the inputs: a result may refer to them.
        """
        rows = self._db.execute(
            "SELECT json_extract(record, '$.envelope'), spec FROM runs"
            " WHERE ended > ? AND NOT collected",
            (ended_after,),
        )
        found: set[str] = set()
        for envelope, spec in rows:
            for stored in (json.loads(envelope or "{}"), json.loads(spec)):
                found.update(stored.get("blobs") or ())
                found.add(stored.get("payload") or "")
        return found - {""}

    def ended_runs(self) -> Sequence[tuple[str, float]]:
        """Return id and time of end of every run that has ended, newest first."""
        return self._db.execute(
            "SELECT id, ended FROM runs WHERE ended IS NOT NULL ORDER BY ended DESC"
        ).fetchall()

    def forget(self, run_ids: Sequence[str]) -> None:
        """Remove runs with all their attempts. What they cost stays in `spending`."""
        with self._writing() as db:
            for run_id in run_ids:
                db.execute("DELETE FROM attempts WHERE run = ?", (run_id,))
                db.execute("DELETE FROM runs WHERE id = ?", (run_id,))
            db.execute("DELETE FROM history WHERE run NOT IN (SELECT id FROM runs)")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._db:
                yield self._db
        except sqlite3.Error as error:
            raise PoolError(f"the journal {self.path} cannot be written: {error}") from error

    def _intend(self, run_id: str, n: int, now: float) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO attempts (run, n, intended) VALUES (?, ?, ?)",
            (run_id, n, now),
        )

    @staticmethod
    def _update(db: sqlite3.Connection, run_id: str, record: Mapping[str, Any]) -> None:
        db.execute("UPDATE runs SET record = ? WHERE id = ?", (json.dumps(record), run_id))

    @staticmethod
    def _end_attempt(
        db: sqlite3.Connection,
        run_id: str,
        n: int,
        outcome: str,
        usage: Mapping[str, Any],
        now: float,
    ) -> None:
        db.execute(
            "UPDATE attempts SET ended = ?, outcome = ?, usage = ?"
            " WHERE run = ? AND n = ? AND ended IS NULL",
            (now, outcome, json.dumps(usage), run_id, n),
        )

    @staticmethod
    def _end_others(db: sqlite3.Connection, run_id: str, now: float) -> None:
        """End the lanes of a map that nobody will hear of again."""
        db.execute(
            "UPDATE attempts SET ended = ?, outcome = iif(placed IS NULL, 'withdrawn', 'lost')"
            " WHERE run = ? AND ended IS NULL",
            (now, run_id),
        )


def persist(step: Callable[..., None], *values: Any) -> None:
    """Journal a step of something that goes on even if that fails."""
    try:
        step(*values)
    except PoolError:
        logger.exception("a run goes on without its record")


def _open(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    db = sqlite3.connect(path, timeout=0)
    try:
        prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _move_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.unreadable-{time.strftime('%Y%m%dT%H%M%S')}")
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    path.replace(aside)
    return aside
