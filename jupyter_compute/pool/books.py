"""The books about money, in the journal's database: machines that cost, what was idle, budgets.

They are written once a second while something costs, so the death of a service loses a second at
most; what a machine has cost from then on is booked as idle when it is found again, or gone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

from jupyter_compute.model import SANDBOX
from jupyter_compute.pool.table import Table, Writing

__all__ = ["Books", "Entry", "IdleCost", "idle_by", "idle_sum"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    machine TEXT PRIMARY KEY,
    layer TEXT NOT NULL,
    usd_per_hour REAL,
    charged_s REAL NOT NULL,
    seen REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS idle (
    day TEXT NOT NULL,
    layer TEXT NOT NULL,
    seconds REAL NOT NULL,
    usd REAL NOT NULL,
    unknown_s REAL NOT NULL,
    PRIMARY KEY (day, layer)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accrued (
    run TEXT PRIMARY KEY,
    usd REAL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS budgets (
    kind TEXT PRIMARY KEY,
    usd REAL
) WITHOUT ROWID;
"""

_ADD = """
INSERT INTO idle VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    seconds = seconds + excluded.seconds,
    usd = usd + excluded.usd,
    unknown_s = unknown_s + excluded.unknown_s
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A machine that costs: its layer and price, what is charged, and when that was, in UTC."""

    machine: str
    layer: str
    usd_per_hour: float | None
    charged_s: float
    seen: float


@dataclass(frozen=True, slots=True)
class IdleCost:
    """What nobody held of the machines of a layer on a day.

    Parameters
    ----------
    day, layer : str
    seconds : float
        Of whole machines.
    usd : float
        Of those whose price is known.
    unknown_s : float
        Seconds of the others.
    """

    day: str
    layer: str
    seconds: float
    usd: float
    unknown_s: float

    @property
    def rehearsed(self) -> bool:
        """Whether it was in a sandbox, and has not to be paid."""
        return self.layer.endswith(SANDBOX)


class Books(Table):
    """What one pool has written down about money."""

    schema = _SCHEMA

    def __init__(self, db: sqlite3.Connection, writing: Writing) -> None:
        super().__init__(db, writing)
        self.changes = 0
        """How often what was idle has been written since the journal was opened."""

    def write(
        self,
        open_accounts: Iterable[Entry],
        closed: Iterable[str],
        idle: Iterable[IdleCost],
        accrued: Mapping[str, float | None],
    ) -> None:
        """Write down one look at all machines.

        Raises
        ------
        PoolError
            If it cannot be written; then nothing of it is.
        """
        with self._writing() as db:
            rows = map(astuple, open_accounts)
            db.executemany("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?)", rows)
            db.executemany("DELETE FROM accounts WHERE machine = ?", [(one,) for one in closed])
            db.executemany(_ADD, map(astuple, idle))
            db.executemany("INSERT OR REPLACE INTO accrued VALUES (?, ?)", accrued.items())
            # What has ended has a receipt.
            db.execute(
                "DELETE FROM accrued WHERE run NOT IN (SELECT id FROM runs WHERE ended IS NULL)"
            )
        self.changes += 1

    def accounts(self) -> dict[str, Entry]:
        """Return the machines that are charged for, by id."""
        rows = self._db.execute("SELECT * FROM accounts").fetchall()
        return {row[0]: Entry(*row) for row in rows}

    def idle(self, first_day: str) -> list[IdleCost]:
        """Return what was idle since the day."""
        rows = self._db.execute("SELECT * FROM idle WHERE day >= ? ORDER BY day", (first_day,))
        return [IdleCost(*row) for row in rows]

    def set_budget(self, kind: str, usd: float | None) -> None:
        """Write down a budget; None means that there is none, whatever is configured.

        Raises
        ------
        PoolError
            If it cannot be written.
        """
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO budgets VALUES (?, ?)", (kind, usd))

    def budgets(self) -> dict[str, float | None]:
        """Return the budgets that somebody has set."""
        return dict(self._db.execute("SELECT kind, usd FROM budgets").fetchall())

    def accrued(self, run_id: str) -> float | None:
        """Return what a run had cost when it was last looked at; None if that is unknown."""
        row = self._db.execute("SELECT usd FROM accrued WHERE run = ?", (run_id,)).fetchone()
        return 0.0 if row is None else row[0]


def idle_sum(idle: Iterable[IdleCost]) -> dict[str, float]:
    """Return the sum as JSON: machine seconds, dollars, and the seconds without a known price."""
    found = {"machine_s": 0.0, "usd": 0.0, "unknown_s": 0.0}
    for one in idle:
        found["machine_s"] += one.seconds
        found["usd"] += one.usd
        found["unknown_s"] += one.unknown_s
    return {name: round(amount, 6) for name, amount in found.items()}


def idle_by(idle: Sequence[IdleCost], by: str) -> dict[str, dict[str, float]]:
    """Return the sums by layer or day; nothing by notebook, as it is no notebook's."""
    if by == "notebook":
        return {}
    names = sorted({str(getattr(one, by)) for one in idle})
    return {name: idle_sum(one for one in idle if getattr(one, by) == name) for name in names}
