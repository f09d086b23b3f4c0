"""The books about launches, in the journal's database: what layers elsewhere were asked for.

A launch is written down before its layer is asked, and struck out when none of its machines is
left. So whatever moment a service is killed at, the next one knows where machines may be.
"""

from __future__ import annotations

from collections.abc import Iterable

from jupyter_compute.pool.table import Table

__all__ = ["LaunchLog"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS launches (
    id TEXT PRIMARY KEY,
    layer TEXT NOT NULL,
    count INTEGER NOT NULL,
    intended REAL NOT NULL
) WITHOUT ROWID;
"""


class LaunchLog(Table):
    """The launches of one pool of which machines may be left."""

    schema = _SCHEMA

    def intend(self, launch: str, layer: str, count: int, now: float) -> None:
        """Write down what is about to be asked for.

        Raises
        ------
        PoolError
            If it cannot be written; then it must not be asked for.
        """
        with self._writing() as db:
            db.execute("INSERT INTO launches VALUES (?, ?, ?, ?)", (launch, layer, count, now))

    def unsettled(self) -> dict[str, tuple[str, float]]:
        """Return, by launch, its layer and when it was intended, in UTC seconds."""
        rows = self._db.execute("SELECT id, layer, intended FROM launches").fetchall()
        return {launch: (layer, intended) for launch, layer, intended in rows}

    def settle(self, launches: Iterable[str]) -> None:
        """Strike out launches of which no machine is left."""
        rows = [(launch,) for launch in launches]
        if rows:
            with self._writing() as db:
                db.executemany("DELETE FROM launches WHERE id = ?", rows)
