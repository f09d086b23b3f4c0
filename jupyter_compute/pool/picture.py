"""The picture that panels show of a pool, and what has changed in it since a cursor.

A picture is small whatever the pool's size: it shows the machines and runs that come first
in rank, as many as fit, and how many it leaves out. Whatever comes into it, changes or
leaves it gets the next revision. A client holds a copy, names the revision that it has
(its *cursor*), and is answered with what is newer; its copy is then equal to the picture.
Where that cannot be said, or takes more room than the picture, the answer is a *resync*:
the whole picture, in place of what the client holds.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jupyter_compute.pool.rings import SPAN_S, Rings, Value, thin

__all__ = ["CURSOR", "MAX_BYTES", "Picture", "Scene", "fitting", "weight"]

MAX_BYTES = 64 * 1024
"""No answer is longer."""

CURSOR = re.compile(r"[a-z0-9-]{1,64}")
"""What a cursor looks like; it means something only to the service that gave it."""

_ITEM_BYTES = 36 * 1024
"""Machines and runs take at most this, and machines half of it; the rest is for samples."""

_MOST_GONE = 1000
_STEPS = (1, 2, 5, 10, 15, 30)
_NUMBER = 16

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to see at one moment, all of it.

    Parameters
    ----------
    time : float
        UTC seconds.
    machines, runs : sequence of mapping
        Those that fit into a picture, each with its ``id``.
    facts : mapping
        What every answer tells in full.
    sampled : sequence of str
        The ids of the runs that have samples; all machines have some.
    seldom : mapping
        What an answer tells when it has changed, all of it; a few thousand bytes at most.
    """

    time: float
    machines: Sequence[Item]
    runs: Sequence[Item]
    facts: Mapping[str, Any]
    sampled: Sequence[str] = ()
    seldom: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Entry:
    """An item, and the revisions in which it came and in which its fields last changed."""

    item: dict[str, Any]
    came: int
    changed: dict[str, int] = field(default_factory=dict)


class _Table:
    """The items of one kind."""

    def __init__(self) -> None:
        self.entries: dict[str, _Entry] = {}
        self.gone: dict[str, int] = {}
        self.knows_from = 0

    def show(self, items: Iterable[Item], revision: int) -> bool:
        """Take in what is to be seen now, as this revision; tell whether anything is new."""
        news, seen = False, set()
        for item in items:
            name = item["id"]
            seen.add(name)
            entry = self.entries.get(name)
            if entry is None:
                self.gone.pop(name, None)
                self.entries[name] = _Entry(dict(item), revision)
                news = True
                continue
            for key, value in item.items():
                if entry.item[key] != value:
                    entry.item[key] = value
                    entry.changed[key] = revision
                    news = True
        for name in self.entries.keys() - seen:
            del self.entries[name]
            self._bury(name, revision)
            news = True
        return news

    def since(self, revision: int) -> list[dict[str, Any]]:
        """Return what is newer: whole items, or of known ones the fields that changed."""
        found = []
        for name, entry in self.entries.items():
            if entry.came > revision:
                found.append(entry.item)
            elif new := {k: entry.item[k] for k, at in entry.changed.items() if at > revision}:
                found.append({"id": name, **new})
        return found

    def gone_since(self, revision: int) -> list[str]:
        """Return the ids of items that have left."""
        return [name for name, at in self.gone.items() if at > revision]

    def _bury(self, name: str, revision: int) -> None:
        self.gone.pop(name, None)
        self.gone[name] = revision
        if len(self.gone) > _MOST_GONE:
            # Whoever has not heard of this one has to begin anew.
            self.knows_from = self.gone.pop(next(iter(self.gone)))


class Picture:
    """The picture of one pool, for any number of clients.

    Parameters
    ----------
    epoch : str, optional
        Tells the cursors of this picture from those of another one.
    """

    def __init__(self, epoch: str | None = None) -> None:
        self.rings = Rings()
        self._epoch = epoch or secrets.token_hex(4)
        self._revision = 1
        self._machines = _Table()
        self._runs = _Table()
        self._scene = Scene(0.0, (), (), {})
        self._seldom_changed = 0

    def show(self, scene: Scene) -> None:
        """Take in what is to be seen now; `rings` have been brought up to it before."""
        revision = self._revision + 1
        news = self._machines.show(scene.machines, revision)
        news = self._runs.show(scene.runs, revision) or news
        if scene.seldom != self._scene.seldom:
            self._seldom_changed, news = revision, True
        self._scene = scene
        if news:
            self._revision = revision

    def answer(self, since: str) -> bytes:
        """Return, as JSON, what is newer than the cursor, or all of it if it must be."""
        known = self._read(since)
        if known is not None:
            changes = _encode(self._changes(*known))
            if len(changes) <= MAX_BYTES:
                return changes
        return self._whole()

    def _read(self, since: str) -> tuple[int, int] | None:
        """Return revision and second of a cursor, None if it says nothing here."""
        epoch, _, rest = since.partition("-")
        revision, _, second = rest.partition("-")
        if epoch != self._epoch or not (revision.isdecimal() and second.isdecimal()):
            return None
        known = int(revision), int(second)
        oldest = max(self._machines.knows_from, self._runs.knows_from)
        ours = oldest <= known[0] <= self._revision and known[1] <= self.rings.second
        return known if ours else None

    def _frame(self, resync: bool) -> dict[str, Any]:
        return {
            "pool": "live",
            "cursor": f"{self._epoch}-{self._revision}-{self.rings.second}",
            "time": self._scene.time,
            "resync": resync,
            **self._scene.facts,
        }

    def _changes(self, revision: int, second: int) -> dict[str, Any]:
        def series(table: _Table, name: str) -> list[Value]:
            new = table.entries[name].came > revision
            return self.rings.of(name, SPAN_S if new else self.rings.second - second)

        return {
            **self._frame(False),
            **(self._scene.seldom if self._seldom_changed > revision else {}),
            "machines": self._machines.since(revision),
            "runs": self._runs.since(revision),
            "gone": {
                "machines": self._machines.gone_since(revision),
                "runs": self._runs.gone_since(revision),
            },
            "samples": self._samples(1, self.rings.total(self.rings.second - second), series),
        }

    def _whole(self) -> bytes:
        frame = {
            **self._frame(True),
            **self._scene.seldom,
            "machines": self._machines.since(0),
            "runs": self._runs.since(0),
            "gone": {"machines": [], "runs": []},
        }
        total = self.rings.total(SPAN_S)
        for step in _STEPS:
            samples = self._samples(step, total, lambda _, name: self.rings.of(name, SPAN_S))
            answer = _encode({**frame, "samples": samples})
            if len(answer) <= MAX_BYTES:
                return answer
        samples = self._samples(_STEPS[-1], total, lambda *_: [])
        return _encode({**frame, "samples": samples})

    def _samples(
        self, step: int, total: list[Value], series: Callable[[_Table, str], list[Value]]
    ) -> dict[str, Any]:
        last = self.rings.second
        machines = {name: series(self._machines, name) for name in self._machines.entries}
        runs = {name: series(self._runs, name) for name in self._scene.sampled}
        return {
            "step": step,
            # All of the picture's sums stay as fine as they are: one series is never too much.
            "pool": _columns(total, last, 1),
            "machines": {n: _columns(v, last, step) for n, v in machines.items() if v},
            "runs": {n: _columns(v, last, step) for n, v in runs.items() if v},
        }


def _columns(values: list[Value], last: int, step: int) -> dict[str, Any]:
    start, found = thin(values, last, step)
    return {
        "t": start,
        "cpu": [None if value is None else value[0] for value in found],
        "memory": [None if value is None else value[1] for value in found],
    }


def fitting(
    machines: Iterable[Item], runs: Iterable[Item], room: int = _ITEM_BYTES
) -> tuple[list[Item], list[Item]]:
    """Return the first of the machines, and the first of the runs, that fit into a picture."""
    shown, left = _first(machines, room // 2)
    return shown, _first(runs, left + room - room // 2)[0]


def _first(items: Iterable[Item], room: int) -> tuple[list[Item], int]:
    """Return the first items, made only as far as they are needed, and the room left."""
    found: list[Item] = []
    for item in items:
        left = room - weight(item) - 1
        if left < 0:
            break
        room = left
        found.append(item)
    return found, room


def weight(value: object) -> int:
    """Return how many bytes of JSON the value takes at most, whatever numbers are in it.

    It does not change with them, so that the last item that fits stays in the picture.
    """
    if isinstance(value, str):
        return len(_encode(value))
    if isinstance(value, dict):
        return 2 + sum(_key_weight(key) + weight(part) for key, part in value.items())
    return _NUMBER


@functools.cache
def _key_weight(key: str) -> int:
    return len(_encode(key)) + 2


def _encode(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )
