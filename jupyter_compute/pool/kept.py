"""The books about kept values, in the journal's database: what is kept, and who holds it.

A kept value is written down together with the end of its run. A *holder* is a kernel process in
which a `Kept` of it is alive. See `jupyter_compute.notebook.kept` for how long one stays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from jupyter_compute.pool.table import Table

__all__ = ["KeptTable"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (
    id TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    created REAL NOT NULL,
    used REAL NOT NULL,
    let_go REAL,
    entry TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holders (
    kept TEXT NOT NULL,
    holder TEXT NOT NULL,
    PRIMARY KEY (kept, holder)
) WITHOUT ROWID;
"""


class KeptTable(Table):
    """The kept values of one pool."""

    schema = _SCHEMA

    def add(self, record: Mapping[str, Any]) -> None:
        """Write down what an ended run has kept, in the transaction of the caller."""
        envelope = record.get("envelope") or {}
        for entry in envelope.get("kept") or ():
            source = {name: record.get(name, "") for name in ("notebook", "cell")}
            self._db.execute(
                "INSERT OR IGNORE INTO kept (id, run, created, used, entry) VALUES (?, ?, ?, ?, ?)",
                (
                    entry["id"],
                    record["id"],
                    record["finished"],
                    record["finished"],
                    json.dumps({**entry, **source}),
                ),
            )

    def find(self, kept_id: str) -> dict[str, Any] | None:
        """Return the JSON form of one, None if there is none."""
        row = self._db.execute(f"{_SELECT} WHERE id = ?", (kept_id,)).fetchone()
        return None if row is None else _wire(row)

    def newest(self) -> list[dict[str, Any]]:
        """Return all, newest first."""
        rows = self._db.execute(f"{_SELECT} ORDER BY created DESC, id").fetchall()
        return [_wire(row) for row in rows]

    def used(self, kept_ids: Iterable[str], now: float) -> None:
        """Note that these are needed now."""
        with self._writing() as db:
            db.executemany("UPDATE kept SET used = ? WHERE id = ?", [(now, k) for k in kept_ids])

    def hold(self, holder: str, changes: Mapping[str, str], now: float) -> None:
        """Note which ones a kernel holds from now on, and which not any more.

        Parameters
        ----------
        holder : str
            The kernel: its process id, a hyphen, and what tells it from others.
        changes : mapping
            By id: ``hold``, ``release``, or ``let_go`` by the kernel that got it from its run.
        now : float
        """
        with self._writing() as db:
            for kept_id, change in changes.items():
                row = (kept_id, holder)
                if change == "hold":
                    db.execute("INSERT OR IGNORE INTO holders VALUES (?, ?)", row)
                    db.execute(
                        "UPDATE kept SET used = ?, let_go = NULL WHERE id = ?", (now, kept_id)
                    )
                    continue
                db.execute("DELETE FROM holders WHERE kept = ? AND holder = ?", row)
                db.execute("UPDATE kept SET used = ? WHERE id = ?", (now, kept_id))
                if change == "let_go":
                    db.execute("UPDATE kept SET let_go = ? WHERE id = ?", (now, kept_id))

    def drop(self, kept_ids: Collection[str]) -> set[str]:
        """Forget these; return the blobs that they were made of."""
        freed: set[str] = set()
        with self._writing() as db:
            for kept_id in kept_ids:
                if (found := self.find(kept_id)) is not None:
                    freed |= {found["payload"], *found["blobs"]}
                db.execute("DELETE FROM kept WHERE id = ?", (kept_id,))
                db.execute("DELETE FROM holders WHERE kept = ?", (kept_id,))
        return freed

    def expired(
        self, released_before: float, used_before: float, read: Collection[str]
    ) -> set[str]:
        """Return the ids of those that nobody holds or reads, and that are not kept longer.

        Parameters
        ----------
        released_before : float
            Those that were let go of earlier than this.
        used_before : float
            And those last used earlier than this.
        read : collection of str
            Those that runs read.
        """
        rows = self._db.execute(
            "SELECT id FROM kept WHERE (let_go < ? OR used < ?)"
            " AND id NOT IN (SELECT kept FROM holders)",
            (released_before, used_before),
        )
        return {kept_id for (kept_id,) in rows} - set(read)

    def blobs(self) -> set[str]:
        """Return every blob that a kept value is made of."""
        found: set[str] = set()
        for (entry,) in self._db.execute("SELECT entry FROM kept"):
            stored = json.loads(entry)
            found |= {stored["payload"], *stored["blobs"]}
        return found

    def forget_dead_holders(self, now: float) -> None:
        """Note which kernels have ended: they held what they held until now."""
        holders = self._db.execute("SELECT DISTINCT holder FROM holders").fetchall()
        dead = [row for row in holders if not _alive(row[0])]
        with self._writing() as db:
            for row in dead:
                db.execute(
                    "UPDATE kept SET used = ?"
                    " WHERE id IN (SELECT kept FROM holders WHERE holder = ?)",
                    (now, *row),
                )
                db.execute("DELETE FROM holders WHERE holder = ?", row)


_SELECT = (
    "SELECT id, run, created, used, entry, let_go,"
    " (SELECT count(*) FROM holders WHERE kept = id) FROM kept"
)


def _wire(row: tuple[Any, ...]) -> dict[str, Any]:
    kept_id, run, created, used, entry, let_go, holders = row
    times = {"created": created, "used": used, "let_go": let_go}
    return {**json.loads(entry), "id": kept_id, "run": run, **times, "holders": holders}


def _alive(holder: str) -> bool:
    """Tell whether the kernel's process is there. Another one of its number does no harm."""
    try:
        os.kill(int(holder.partition("-")[0]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
