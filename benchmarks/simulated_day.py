"""A day of a pool that is not there: runs come, machines boot, are lost and end, on a clock of its own.

`World` is what happens; a policy is told what waits and what is there, and says what to start
and to end. See ``day.py``.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from jupyter_compute.model import Offer

DAY_S = 86400.0
_TICK_S = 1.0

Shape = tuple[float, int]
"""CPUs and bytes."""


@dataclass(slots=True)
class Run:
    """A run: when it came, what it asks for, how long it takes."""

    at: float
    shape: Shape
    took_s: float


@dataclass(slots=True)
class Machine:
    """A machine that was started."""

    id: str
    offer: Offer
    launched: float
    meant: tuple[tuple[str, int], ...] = ()
    ready: bool = False
    cpu: float = 0.0
    memory: int = 0
    runs: dict[int, Run] = field(default_factory=dict)
    idle_since: float | None = None
    ready_at: float | None = None
    idle_s: float = 0.0


class Policy(Protocol):
    """Who decides about machines."""

    def look(self, world: World) -> float | None:
        """Start and end machines; return in how many seconds to look again, if at all."""

    def refused(self, world: World, offer: Offer) -> None:
        """There was no capacity for an offer."""


@dataclass(frozen=True, slots=True)
class Chances:
    """What goes wrong, and how fast things go.

    Parameters
    ----------
    boot_s : tuple of float
        Median of the time to boot, and the spread of its logarithm.
    lost_per_hour : float
        How probable it is for a spot machine to be taken away within an hour.
    refused : float
        How probable it is that there is none of an offer, in any ten minutes.
    """

    boot_s: tuple[float, float] = (45.0, 0.3)
    lost_per_hour: float = 0.05
    refused: float = 0.1


def demand(seed: int, bursts: int, singles: int, largest: int) -> list[Run]:
    """Return the runs of a day: cells now and then, most of them in working hours, maps, and
    one map that is far larger than the others.

    The asks are those that people make, and their times are log-normal.
    """
    chance = random.Random(seed)
    gb = 10**9
    shapes = [(1.0, 4 * gb), (2.0, 8 * gb), (4.0, 16 * gb), (8.0, 32 * gb), (16.0, 60 * gb)]
    shapes += [(1.0, 16 * gb), (2.0, 60 * gb), (4.0, 120 * gb), (8.0, 8 * gb), (0.5, gb)]
    weights = [30, 12, 8, 6, 2, 8, 3, 1, 4, 26]
    runs = []
    for _ in range(singles):
        at = min(max(chance.gauss(14, 4), 0), 23.5) * 3600
        (shape,) = chance.choices(shapes, weights)
        runs.append(Run(at, shape, min(chance.lognormvariate(5.0, 1.2), 3 * 3600)))
    for _ in range(bursts):
        at, shape = chance.uniform(1, 22) * 3600, chance.choices(shapes[:8], weights[:8])[0]
        median = chance.uniform(4.0, 6.5)
        runs += [
            Run(at + chance.random() * 2, shape, chance.lognormvariate(median, 0.5))
            for _ in range(int(chance.lognormvariate(5.5, 1)))
        ]
    runs += [
        Run(15 * 3600 + chance.random() * 2, (8.0, 32 * gb), chance.lognormvariate(6.5, 0.5))
        for _ in range(largest)
    ]
    return sorted(runs, key=lambda run: run.at)


class World:
    """Runs, machines and time.

    Parameters
    ----------
    runs : sequence of Run
        In the order in which they come.
    policy : Policy
    chances : Chances
    seed : int
    """

    def __init__(self, runs: Sequence[Run], policy: Policy, chances: Chances, seed: int) -> None:
        self.now = 0.0
        self.machines: dict[str, Machine] = {}
        self.pending: dict[Shape, deque[Run]] = {}
        self.last_arrival = 0.0
        self.launches = self.lost = self.refusals = self.most = 0
        self.usd = self.usd_boot = self.usd_idle = 0.0
        self.paid_cpu_s = self.used_cpu_s = 0.0
        self.waited: list[float] = []
        self._policy, self._chances, self._seed = policy, chances, seed
        self._chance = random.Random(seed)
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._looking = float("inf")
        for run in runs:
            self._at(run.at, self._come, run)

    def pass_time(self) -> None:
        """Let everything happen, until all runs are done and all machines have ended."""
        while self._events:
            self.now, _, happens, what = heapq.heappop(self._events)
            happens(*what)

    def launch(self, offers: Sequence[Offer], meant: Sequence[tuple[tuple[str, int], ...]]) -> int:
        """Start machines, each of the first offer that can be had; return how many are left."""
        for number, whom in enumerate(meant):
            offer = next((o for o in offers if self._has(o)), None)
            if offer is None:
                return len(meant) - number
            name = f"i-{next(self._numbers):06}"
            self.machines[name] = Machine(name, offer, self.now, whom)
            self.launches += 1
            self.most = max(self.most, len(self.machines))
            median, spread = self._chances.boot_s
            boot_s = median * self._chance.lognormvariate(0, spread)
            self._at(self.now + boot_s, self._ready, name)
            if offer.spot:
                life_s = self._chance.expovariate(self._chances.lost_per_hour / 3600)
                self._at(self.now + life_s, self._lose, name)
        return 0

    def end(self, name: str) -> None:
        """End a machine; what runs on it begins again."""
        machine = self.machines.pop(name)
        lasted_s = max(self.now - machine.launched, 60.0)  # the least that EC2 charges
        usd_per_s = (machine.offer.usd_per_hour or 0.0) / 3600
        self.usd += usd_per_s * lasted_s
        self._rest(machine)
        ready_at = self.now if machine.ready_at is None else machine.ready_at
        self.usd_boot += usd_per_s * (ready_at - machine.launched)
        self.usd_idle += usd_per_s * machine.idle_s
        self.paid_cpu_s += machine.offer.cpu * lasted_s
        for run in machine.runs.values():
            self.pending.setdefault(run.shape, deque()).appendleft(run)

    def look_soon(self, within_s: float = _TICK_S) -> None:
        """Have the policy look again."""
        if self.now + within_s < self._looking - 1e-6:
            self._looking = self.now + within_s
            self._at(self._looking, self._look, self._looking)

    def _look(self, due: float) -> None:
        if due == self._looking:
            self._looking = float("inf")
            again_s = self._policy.look(self)
            if again_s is not None:
                self.look_soon(again_s)

    def _has(self, offer: Offer) -> bool:
        slot = f"{self._seed} {offer.type} {offer.zone} {offer.spot} {self.now // 600}"
        if random.Random(slot).random() >= self._chances.refused:
            return True
        self.refusals += 1
        self._policy.refused(self, offer)
        return False

    def _come(self, run: Run) -> None:
        self.last_arrival = self.now
        fitting = [
            m
            for m in (() if run.shape in self.pending else self.machines.values())
            if m.ready and m.cpu >= run.shape[0] - 1e-9 and m.memory >= run.shape[1]
        ]
        if fitting:
            self._start(run, min(fitting, key=lambda m: (m.cpu, m.memory, m.id)))
        else:
            self.pending.setdefault(run.shape, deque()).append(run)
            self.look_soon()

    def _ready(self, name: str) -> None:
        machine = self.machines.get(name)
        if machine is not None:
            machine.ready, machine.idle_since = True, self.now
            machine.ready_at = self.now
            machine.cpu, machine.memory = machine.offer.cpu, machine.offer.memory
            self._fill(machine)

    def _fill(self, machine: Machine) -> None:
        fronts = [(line[0].at, shape) for shape, line in self.pending.items()]
        for _, shape in sorted(fronts):
            line = self.pending[shape]
            while line and machine.cpu >= shape[0] - 1e-9 and machine.memory >= shape[1]:
                self._start(line.popleft(), machine)
            if not line:
                del self.pending[shape]
        if machine.idle_since is not None or self.pending:
            self.look_soon()

    def _start(self, run: Run, machine: Machine) -> None:
        self.waited.append(self.now - run.at)
        machine.cpu -= run.shape[0]
        machine.memory -= run.shape[1]
        self._rest(machine)
        number = next(self._numbers)
        machine.runs[number] = run
        self._at(self.now + run.took_s, self._done, machine.id, number)

    def _rest(self, machine: Machine) -> None:
        """Count the time in which the machine had no run, which is over."""
        if machine.idle_since is not None:
            machine.idle_s += self.now - machine.idle_since
        machine.idle_since = None

    def _done(self, name: str, number: int) -> None:
        machine = self.machines.get(name)
        if machine is None:
            return
        run = machine.runs.pop(number)
        self.used_cpu_s += run.took_s * run.shape[0]
        machine.cpu += run.shape[0]
        machine.memory += run.shape[1]
        if not machine.runs:
            machine.idle_since = self.now
        self._fill(machine)

    def _lose(self, name: str) -> None:
        if name in self.machines:
            self.lost += 1
            self.end(name)
            self.look_soon()

    def _at(self, when: float, happens: Callable[..., None], *what: Any) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), happens, what))
