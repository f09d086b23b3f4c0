"""Results recorded for ``--cache``: kept on disk, within bounds, the least recently used go first.

An entry has all that a hit needs: the envelope, whose blobs stay, and a copy of the run's
events. It does not depend on the run still being listed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_compute.blobs import Blobs, hash_of
from jupyter_compute.model import Clock
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.table import Table

__all__ = ["Cache", "CacheLimits", "CacheTable", "Recorded"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cache (
    key TEXT PRIMARY KEY,
    created REAL NOT NULL,
    used REAL NOT NULL,
    hits INTEGER NOT NULL DEFAULT 0,
    nbytes INTEGER NOT NULL,
    entry TEXT NOT NULL
) WITHOUT ROWID;
"""

_OUTPUT = frozenset({"stdout", "stderr", "display", "clear"})


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """How much is recorded, and for how long: bytes, and seconds since the last use."""

    max_bytes: int
    max_age_s: float


@dataclass(frozen=True, slots=True)
class Recorded:
    """A result that stands for a run.

    Parameters
    ----------
    envelope : mapping
        With ``cached``: when it was recorded, and what it saves.
    output : list of mapping
        The events that show what the code has printed and displayed.
    kept : tuple of str
        The kept values that it made, or may refer to.
    """

    envelope: Mapping[str, Any]
    output: list[Mapping[str, Any]]
    kept: tuple[str, ...]


class CacheTable(Table):
    """The entries, in the journal's database."""

    schema = _SCHEMA

    def find(self, key: str) -> dict[str, Any] | None:
        """Return the entry of a key, None if there is none."""
        row = self._db.execute(f"{_SELECT} WHERE key = ?", (key,)).fetchone()
        return None if row is None else _wire(row)

    def all(self) -> list[dict[str, Any]]:
        """Return every entry, the last used first."""
        return [_wire(row) for row in self._db.execute(f"{_SELECT} ORDER BY used DESC, key")]

    def put(self, key: str, entry: Mapping[str, Any], nbytes: int, now: float) -> None:
        """Record an entry in place of an earlier one."""
        with self._writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO cache (key, created, used, nbytes, entry)"
                " VALUES (?, ?, ?, ?, ?)",
                (key, now, now, nbytes, json.dumps(entry)),
            )

    def used(self, key: str, now: float) -> None:
        """Count a hit."""
        with self._writing() as db:
            db.execute("UPDATE cache SET used = ?, hits = hits + 1 WHERE key = ?", (now, key))

    def remove(self, key: str) -> None:
        """Forget an entry."""
        with self._writing() as db:
            db.execute("DELETE FROM cache WHERE key = ?", (key,))


_SELECT = "SELECT key, created, used, hits, nbytes, entry FROM cache"


def _wire(row: tuple[Any, ...]) -> dict[str, Any]:
    *columns, entry = row
    names = ("key", "created", "used", "hits", "nbytes")
    return {**json.loads(entry), **dict(zip(names, columns, strict=True))}


class Cache:
    """Records what runs with a key have brought, and finds it again.

    Parameters
    ----------
    table : CacheTable
    blobs : Blobs
    directory : path
        Where the copies of the runs' events are.
    limits : CacheLimits
    clock : Clock
    """

    def __init__(
        self, table: CacheTable, blobs: Blobs, directory: Path, limits: CacheLimits, clock: Clock
    ) -> None:
        self._table = table
        self._blobs = blobs
        self._directory = directory
        self._limits = limits
        self._clock = clock

    def record(self, run: Run) -> None:
        """Record the result of a run that has ended, if it is a good one and can be compared."""
        envelope = dict(run.envelope or {})
        files = (envelope.pop("depends", None) or {}).get("files")
        good = run.state == "done" and envelope.get("outcome") == "ok" and not run.cancelled
        if not (run.spec.cache and good) or files is None or run.receipt is None:
            return
        log, nbytes = self._log(run.spec.cache), sum(map(self._size, _blobs_of(envelope)))
        _copy(run.log.path, log)
        entry = {
            "run": run.id,
            "name": run.spec.name,
            "notebook": run.spec.notebook,
            "cell": run.spec.cell,
            "saves_s": run.receipt.run_s,
            "saves_usd": run.receipt.cost_usd or 0.0,
            "envelope": envelope,
            "files": files,
            "reads": list(run.spec.kept),
        }
        nbytes += log.stat().st_size
        self._table.put(run.spec.cache, entry, nbytes, self._clock.now())
        self.trim()

    def find(self, key: str) -> Recorded | None:
        """Return what is recorded under the key, if it can still stand for a run.

        A result whose modules have changed, or that is no longer stored, is forgotten.
        """
        entry = self._table.find(key) if key else None
        if entry is None:
            return None
        envelope, now = entry["envelope"], self._clock.now()
        whole = all(map(self._blobs.has, _blobs_of(envelope))) and self._log(key).exists()
        if not whole or not all(_same(*item) for item in entry["files"].items()):
            self._remove(key)
            return None
        self._table.used(key, now)
        told = {name: entry[name] for name in ("saves_s", "saves_usd", "created")}
        told["age_s"] = max(0.0, now - entry["created"])
        kept = (*entry["reads"], *(made["id"] for made in envelope.get("kept") or ()))
        return Recorded({**envelope, "cached": told}, list(_output(self._log(key))), kept)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form: the entries without their contents, and what they take."""
        found = self._table.all()
        shown = [{k: v for k, v in e.items() if k not in {"envelope", "files"}} for e in found]
        taken = sum(entry["nbytes"] for entry in found)
        return {"entries": shown, "nbytes": taken, "max_bytes": self._limits.max_bytes}

    def clear(self) -> dict[str, Any]:
        """Forget everything; return how much it was."""
        found = self._table.all()
        for entry in found:
            self._remove(entry["key"])
        return {"count": len(found), "nbytes": sum(entry["nbytes"] for entry in found)}

    def trim(self) -> None:
        """Forget what is too old, and the least recently used that is too much."""
        oldest, total = self._clock.now() - self._limits.max_age_s, 0
        for entry in self._table.all():
            total += entry["nbytes"]
            if total > self._limits.max_bytes or entry["used"] < oldest:
                total -= entry["nbytes"]
                self._remove(entry["key"])
        known = {entry["key"] for entry in self._table.all()}
        for log in self._directory.iterdir():
            if log.stem not in known:
                log.unlink(missing_ok=True)

    def needed(self) -> set[str]:
        """Return the blobs that must stay."""
        return {blob for entry in self._table.all() for blob in _blobs_of(entry["envelope"])}

    def _remove(self, key: str) -> None:
        self._table.remove(key)
        self._log(key).unlink(missing_ok=True)

    def _log(self, key: str) -> Path:
        return self._directory / f"{key}.jsonl"

    def _size(self, blob: str) -> int:
        return self._blobs.path(blob).stat().st_size


def _blobs_of(envelope: Mapping[str, Any]) -> set[str]:
    return {envelope.get("payload") or "", *(envelope.get("blobs") or ())} - {""}


def _same(path: str, content: str) -> bool:
    try:
        return hash_of(Path(path).read_bytes()) == content
    except OSError:
        return False


def _copy(source: Path, target: Path) -> None:
    """Have the events under another name: the run may be forgotten earlier."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _output(log: Path) -> Iterator[Mapping[str, Any]]:
    with log.open("rb") as file:
        for line in file:
            event = json.loads(line)
            if event["kind"] in _OUTPUT or _is_gap(event):
                yield {name: value for name, value in event.items() if name not in {"seq", "t"}}


def _is_gap(event: Mapping[str, Any]) -> bool:
    """Tell whether the event says that output is missing here."""
    return event["kind"] == "note" and str(event["text"]).startswith("[… ")
