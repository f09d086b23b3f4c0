"""Compare policies on a simulated day of a team: ``python benchmarks/day.py``.

Runs come for a day, machines take their time to boot, spot machines are taken away, and now and
then there is no capacity. Compared are

- ``packed, spot``: `jupyter_compute.policy.scaling`, which may use spot machines;
- ``spot, spares``: the same, and of several idle machines all but the largest end after a minute, as in the product;
- ``packed`` and ``packed, spares``: without spot machines;
- ``best type``: as many machines of one type as all waiting and running runs need by their sums
  of CPUs and memory; one that is not needed ends after three looks, a second apart. That is what
  Dask's ``Adaptive`` does by default. The type is the one that would serve this very day's sums
  cheapest, which nobody knows in the morning;
- ``one type``: the same with the cheapest type that holds every ask, which a user may choose.

A run's wait is the time until its (last) start. Idle is the share of the paid CPU time in which
no run had the CPU. The *bound* is what no way to pack can beat, even if machines came at once and
were paid for by the millisecond: the best prices of a CPU and of a byte at which no machine would
be worth more than it costs (the dual of the packing problem), times what the runs use. Where the
money goes: *boot* is from the launch of a machine to when it is ready, *empty* while no run is on
it, and *room* what its runs leave free; the rest is the bound.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy.optimize import linprog

from jupyter_compute.model import Offer
from jupyter_compute.policy.failures import Failures
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.policy.offers import Allowance, Spot, order
from jupyter_compute.policy.packing import Demand
from jupyter_compute.policy.scaling import Limits, Machine, scale
from packing import on_demand, with_spot
from simulated_day import Chances, Policy, Run, World, demand

_MOST = 1000
_STEPS = (10, 30, 100, 300, 1000)
"""Sizes of fleets for which the time to plan is told."""
_IDLE_S = 300.0
_ADAPTIVE_S = 3.0


class Packed:
    """Our own policy, as the pool drives it."""

    def __init__(self, offers: Sequence[Offer], spot: Spot, spare_s: float | None = None) -> None:
        self._offers = offers
        self.spot = spot != "never"
        self._allows = Allowance(frozenset({"ec2"}), spot=spot)
        self._failures = Failures()
        self._limits = Limits(machines=_MOST, idle_s=_IDLE_S, spare_s=spare_s)
        self._spare_s = _IDLE_S if spare_s is None else spare_s
        self.slowest_s = 0.0
        self.looks: dict[int, list[float]] = {}

    def look(self, world: World) -> float | None:
        """Do what `scale` says."""
        now = world.now
        lines = sorted(world.pending.items(), key=lambda item: item[1][0].at)
        demands = [
            Demand(*shape, 0, len(line), self._allows, str(shape), now - line[0].at)
            for shape, line in lines
        ]
        machines = [
            Machine(
                m.id,
                m.offer,
                "ready" if m.ready else "starting",
                m.cpu if m.ready else m.offer.cpu,
                m.memory if m.ready else m.offer.memory,
                meant=() if m.ready else m.meant,
                idle_s=None if m.idle_since is None else now - m.idle_since + 1e-6,
            )
            for m in world.machines.values()
        ]
        self._failures = self._failures.at(now)
        begun = time.perf_counter()
        scaling = scale(
            demands,
            machines,
            self._offers,
            self._limits,
            now=now,
            quiet_s=now - world.last_arrival,
            failures=self._failures,
        )
        took_s = time.perf_counter() - begun
        self.slowest_s = max(self.slowest_s, took_s)
        step = next((step for step in _STEPS if len(machines) <= step), _STEPS[-1])
        self.looks.setdefault(step, []).append(took_s)
        for retirement in scaling.retirements:
            world.end(retirement.machine)
        short = sum(world.launch(intent.offers, intent.meant) for intent in scaling.intents)
        if scaling.again_s is not None:
            return scaling.again_s
        return _next_look(world, bool(short or scaling.waits), self._spare_s, _IDLE_S)

    def refused(self, world: World, offer: Offer) -> None:
        """Leave the offer alone for a while."""
        self._failures = self._failures.refused("ec2", offer, "capacity", "", world.now, 0.5)


class OneType:
    """As many machines of one type as are needed by the sums of what is asked for."""

    def __init__(self, offer: Offer, idle_s: float) -> None:
        self._offer = offer
        self._idle_s = idle_s

    def look(self, world: World) -> float | None:
        """Start what is missing, and end what is idle and not needed."""
        shapes = [run.shape for m in world.machines.values() for run in m.runs.values()]
        shapes += [run.shape for line in world.pending.values() for run in line]
        cpu = sum(shape[0] for shape in shapes) / self._offer.cpu
        memory = sum(shape[1] for shape in shapes) / self._offer.memory
        wanted = min(math.ceil(max(cpu, memory)), _MOST)
        free = [m for m in world.machines.values() if not m.runs]
        if world.pending and not free and len(world.machines) < _MOST:
            wanted = max(wanted, len(world.machines) + 1)  # the sums fit, the runs do not
        missing = wanted - len(world.machines)
        if missing > 0:
            world.launch([self._offer], [()] * missing)
        for machine in free[: max(-missing, 0)]:
            since = machine.idle_since
            if since is not None and world.now - since >= self._idle_s - 1e-6:
                world.end(machine.id)
        return _next_look(world, bool(world.pending), self._idle_s)

    def refused(self, world: World, offer: Offer) -> None:
        """Try again at the next look."""


def _next_look(world: World, again: bool, *ends_s: float) -> float | None:
    """Return when something is to be done although nothing happens: after 5 s if runs wait,
    else when a machine has been idle for so long.
    """
    idle = [world.now - m.idle_since for m in world.machines.values() if m.idle_since is not None]
    waits = [end_s - idle_s for idle_s in idle for end_s in ends_s]
    return min([wait for wait in waits if wait > 0] + ([5.0] if again else []), default=None)


def holding_all(runs: Sequence[Run], offers: Sequence[Offer]) -> list[Offer]:
    """Return the types that hold each ask, the cheapest first."""
    cpu, memory = max(r.shape[0] for r in runs), max(r.shape[1] for r in runs)
    return sorted((o for o in offers if o.cpu >= cpu and o.memory >= memory), key=order)


def bound(runs: Sequence[Run], offers: Sequence[Offer]) -> float:
    """Return what the runs cost at least, on any machines of these offers."""
    used = [sum(r.shape[n] * r.took_s for r in runs) for n in (0, 1)]
    scale_ = (1.0, 1e-9)  # the solver likes numbers of one size
    held = [(offer.cpu, offer.memory * scale_[1]) for offer in offers]
    prices = [offer.usd_per_hour or 0.0 for offer in offers]
    worth = [-used[0], -used[1] * scale_[1]]
    found = linprog(worth, A_ub=held, b_ub=prices, bounds=[(0, None)] * 2)
    return float(-found.fun) / 3600


def cost_of_sums(runs: Sequence[Run], offer: Offer) -> float:
    """Return what the runs would cost on one type if they filled it like water."""
    cpu_s = sum(run.shape[0] * run.took_s for run in runs)
    byte_s = sum(run.shape[1] * run.took_s for run in runs)
    return (offer.usd_per_hour or 0.0) * max(cpu_s / offer.cpu, byte_s / offer.memory)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bursts", type=int, default=40)
    parser.add_argument("--singles", type=int, default=3000)
    parser.add_argument("--largest", type=int, default=10_000, help="items of the largest map")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    plain = on_demand()
    runs = demand(options.seed, options.bursts, options.singles, options.largest)
    holding = holding_all(runs, plain)
    best = min(holding, key=lambda offer: cost_of_sums(runs, offer))
    policies: dict[str, Policy] = {
        "packed, spot": Packed(with_spot(plain), "auto"),
        "spot, spares": Packed(with_spot(plain), "auto", TIMERS.machine_spare_s),
        "packed": Packed(plain, "never"),
        "packed, spares": Packed(plain, "never", TIMERS.machine_spare_s),
        "best type": OneType(best, _ADAPTIVE_S),
        "one type": OneType(holding[0], _ADAPTIVE_S),
    }
    print(f"{len(runs)} runs in a day; best type {best.type}, one type {holding[0].type}")
    least = {True: bound(runs, with_spot(plain)), False: bound(runs, plain)}
    print(f"bound: ${least[True]:.2f} with spot machines, ${least[False]:.2f} without")
    print(
        "  policy            cost    bound  boot empty room   wait 50 %  95 %   99 %   idle"
        "  launches/run  most  lost  refused"
    )
    found = {}
    for name, policy in policies.items():
        spot = policy.spot if isinstance(policy, Packed) else False
        found[name] = row = _simulate(name, policy, runs, options.seed)
        row["bound_usd"] = least[spot]
        print(_line(name, row), flush=True)
        if isinstance(policy, Packed):
            row["looks_ms"] = _looks(policy)
    if options.json:
        options.json.write_text(json.dumps(found))


def _simulate(name: str, policy: Policy, runs: Sequence[Run], seed: int) -> dict[str, Any]:
    begun = time.perf_counter()
    world = World(runs, policy, Chances(), seed)
    world.pass_time()
    assert not world.machines, f"{name} left machines behind"
    assert not world.pending, f"{name} left runs waiting"
    return {
        "usd": world.usd,
        "wait_mean_s": statistics.mean(world.waited),
        "wait_50_s": statistics.median(world.waited),
        "wait_95_s": statistics.quantiles(world.waited, n=20)[-1],
        "wait_99_s": statistics.quantiles(world.waited, n=100)[-1],
        "usd_boot": world.usd_boot,
        "usd_empty": world.usd_idle,
        "idle": 1 - world.used_cpu_s / world.paid_cpu_s,
        "launches_per_run": world.launches / len(runs),
        "most_machines": world.most,
        "lost": world.lost,
        "refusals": world.refusals,
        "slowest_look_s": getattr(policy, "slowest_s", 0.0),
        "took_s": time.perf_counter() - begun,
    }


def _looks(policy: Packed) -> dict[str, list[float]]:
    """Return, by the most machines there were, the median and the longest time to plan in ms."""
    found = {
        str(step): [1000 * statistics.median(took), 1000 * max(took)]
        for step, took in sorted(policy.looks.items())
    }
    for step, (median, longest) in found.items():
        print(f"    up to {step:>4} machines: a look takes {median:.0f} ms, {longest:.0f} at most")
    return found


def _line(name: str, row: dict[str, Any]) -> str:
    usd, least = row["usd"], row["bound_usd"]
    shares = [least, row["usd_boot"], row["usd_empty"]]
    shares.append(usd - sum(shares))
    return (
        f"  {name:16} ${usd:7.2f}  {''.join(f'{share / usd:5.0%} ' for share in shares)}"
        f"{row['wait_50_s']:7.0f} s {row['wait_95_s']:5.0f} s {row['wait_99_s']:5.0f} s"
        f"  {row['idle']:5.0%}  {row['launches_per_run']:10.3f}  {row['most_machines']:5.0f}"
        f" {row['lost']:5.0f} {row['refusals']:6.0f}   (simulated in {row['took_s']:.0f} s)"
    )


if __name__ == "__main__":
    main()
