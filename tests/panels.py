"""A client of the pool's state, as simple as one can be: what it holds is what users would see."""

from __future__ import annotations

import json
from typing import Any

SPAN_S = 300

Points = dict[int, tuple[float, int] | None]


class Panel:
    """Holds a copy of the picture, and applies answers to it."""

    def __init__(self) -> None:
        self.cursor = "0"
        self.machines: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.facts: dict[str, Any] = {}
        self.spending: dict[str, Any] = {}
        self.total: Points = {}
        self.points: dict[tuple[str, str], Points] = {}
        self.fine_since = 0
        """Later seconds are held one by one; earlier ones may be means."""

    def apply(self, answer: bytes | dict[str, Any]) -> dict[str, Any]:
        """Take an answer in, and return it."""
        found: dict[str, Any] = json.loads(answer) if isinstance(answer, bytes) else answer
        second = int(found["cursor"].rpartition("-")[2])
        if found["resync"]:
            self.machines, self.runs, self.total, self.points = {}, {}, {}, {}
            self.fine_since = second if found["samples"]["step"] > 1 else 0
        for kind, held in (("machines", self.machines), ("runs", self.runs)):
            for name in found["gone"][kind]:
                held.pop(name, None)
            for item in found[kind]:
                held.setdefault(item["id"], {}).update(item)
        self._take(found["samples"])
        self._forget(second)
        self.facts = {name: found[name] for name in ("cost", "totals", "omitted")}
        self.spending = found.get("spending", self.spending)
        self.cursor = found["cursor"]
        return found

    def shown(self) -> dict[str, Any]:
        """Return all that is equal in two panels that have seen the same."""
        total = _known(self.total)
        facts = {**self.facts, "spending": self.spending}
        return {"machines": self.machines, "runs": self.runs, "facts": facts, "total": total}

    def series(self, after: int) -> dict[tuple[str, str], Points]:
        """Return every subject's samples after a second."""
        late = {s: {t: v for t, v in p.items() if t > after} for s, p in self.points.items()}
        return {subject: known for subject, p in late.items() if (known := _known(p))}

    def _take(self, samples: dict[str, Any]) -> None:
        _add(self.total, samples["pool"], 1)
        for kind in ("machines", "runs"):
            for name, series in samples[kind].items():
                _add(self.points.setdefault((kind, name), {}), series, samples["step"])

    def _forget(self, second: int) -> None:
        going_on = {name for name, run in self.runs.items() if run["finished"] is None}
        kept = {("machines", name) for name in self.machines} | {
            ("runs", name) for name in going_on
        }
        self.points = {subject: self.points[subject] for subject in self.points.keys() & kept}
        for points in (self.total, *self.points.values()):
            for old in [t for t in points if t <= second - SPAN_S]:
                del points[old]


def _add(points: Points, series: dict[str, Any], step: int) -> None:
    for index, (cpu, memory) in enumerate(zip(series["cpu"], series["memory"], strict=True)):
        points[series["t"] + index * step] = None if cpu is None else (cpu, memory)


def _known(points: Points) -> Points:
    return {second: value for second, value in points.items() if value is not None}
