"""A copy of the pool's state, brought up to date by the answers of ``GET /v1/state``.

What an answer means is said in `pool.picture`; the JupyterLab panel keeps such a copy too.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["SPAN_S", "Mirror", "Points"]

SPAN_S = 300
"""Samples are kept for this long."""

Points = dict[int, tuple[float, int] | None]
"""CPUs and bytes by the second of UTC; None where nothing is known."""


class Mirror:
    """Holds a copy of the state; ``cursor`` names what it is up to date with."""

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
