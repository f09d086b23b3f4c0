"""What machines and attempts use, as rings of samples: fine for minutes, coarse for hours."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Series", "Telemetry"]

_FINE = 300
_COARSE = 2160
_COARSE_S = 10.0

Point = tuple[float, float, float]
"""UTC seconds, CPUs used, bytes used."""


class Series:
    """One subject's samples: each of the last 5 minutes, means over 10 s of the last 6 hours."""

    def __init__(self) -> None:
        self._fine: deque[Point] = deque(maxlen=_FINE)
        self._coarse: deque[Point] = deque(maxlen=_COARSE)
        self._open: list[Point] = []

    def add(self, t: float, cpu_used: float, memory_used: float) -> None:
        """Add a sample; times do not go back by more than the clock does."""
        point = (t, cpu_used, memory_used)
        if self._open and t - self._open[0][0] >= _COARSE_S:
            self._coarse.append(_mean(self._open))
            self._open.clear()
        self._fine.append(point)
        self._open.append(point)

    @property
    def latest(self) -> Point | None:
        """The last sample."""
        return self._fine[-1] if self._fine else None

    def fine(self, since: float = 0.0) -> Sequence[Point]:
        """Return the samples after `since`, of the last 5 minutes."""
        newest_first = itertools.takewhile(lambda point: point[0] > since, reversed(self._fine))
        return list(newest_first)[::-1]

    def coarse(self, since: float = 0.0) -> Sequence[Point]:
        """Return the 10 s means after `since`, of the last 6 hours."""
        return [point for point in self._coarse if point[0] > since]


class Telemetry:
    """The series of every machine and every running attempt."""

    def __init__(self) -> None:
        self.machines: dict[str, Series] = {}
        self.attempts: dict[str, Series] = {}

    def add(self, t: float, machine_id: str, sample: Mapping[str, Any]) -> None:
        """Add what a machine reported about itself and the attempts on it."""
        machine = self.machines.setdefault(machine_id, Series())
        machine.add(t, sample["cpu_used"], sample["memory_used"])
        for attempt, used in sample["attempts"].items():
            series = self.attempts.setdefault(attempt, Series())
            series.add(t, used["cpu_used"], used["memory_used"])

    def latest(self, machine_id: str) -> Point | None:
        """Return the last sample of a machine, None if there is none yet."""
        series = self.machines.get(machine_id)
        return None if series is None else series.latest

    def forget_machine(self, machine_id: str) -> None:
        """Drop the series of a machine that is gone."""
        self.machines.pop(machine_id, None)

    def forget_attempt(self, attempt: str) -> None:
        """Drop the series of an attempt that has ended."""
        self.attempts.pop(attempt, None)


def _mean(points: Sequence[Point]) -> Point:
    count = len(points)
    return (
        points[0][0],
        sum(point[1] for point in points) / count,
        sum(point[2] for point in points) / count,
    )
