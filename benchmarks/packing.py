"""Measure what packed machines cost: ``python benchmarks/packing.py``.

Demands of several sizes are generated, and packed into EC2's types. The price is compared with

- a *bound* that no packing can beat: the linear relaxation over all patterns (Gilmore and
  Gomory 1961), found by column generation and made safe by the bound of Farley (A note on
  bounding a class of linear programming problems, Operations Research 38, 1990);
- *first fit decreasing*: runs in the order of their size, each on the first machine with room,
  else on a new one of the type that is cheapest for it alone;
- *one shape*: the one type that serves the whole demand cheapest.

The types and prices are those of the table that comes with the package. Time is measured with
all zones as spot besides, at prices made up. The bound takes minutes for large demands; ``--most``
leaves those out. Needs scipy and numpy.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from jupyter_compute.layers.catalog import shipped
from jupyter_compute.layers.market import Answer, ec2_offers
from jupyter_compute.model import Offer
from jupyter_compute.policy.offers import Allowance
from jupyter_compute.policy.packing import Demand, pack

KINDS = ((3, 3), (10, 6), (30, 10), (100, 20), (1_000, 30), (10_000, 40))
"""Runs, and different asks among them."""

_CPUS = (0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
_GB_PER_CPU = (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 16)
_ROUNDS = 60
_CLOSE = 1.002


def on_demand() -> list[Offer]:
    """Return what an ask may use that names no type: plain machines without GPUs."""
    table = shipped()
    listed = Answer(table.priced, table.usd_per_hour)
    found = ec2_offers(table.region, table.types, listed, None, "x86_64")
    return [o for o in found if not (o.on_request or o.gpu or o.spot)]


def with_spot(offers: Sequence[Offer], seed: int = 0) -> list[Offer]:
    """Return the offers, and each as spot in six zones at made-up prices."""
    random_ = random.Random(seed)
    found = list(offers)
    for offer in offers:
        for zone in "abcdef":
            usd = round((offer.usd_per_hour or 0.0) * random_.uniform(0.25, 0.6), 4)
            where = f"{offer.region}{zone}"
            found.append(replace(offer, spot=True, zone=where, usd_per_hour=usd))
    return found


def generate(seed: int, runs: int, shapes: int) -> list[Demand]:
    """Return a demand: a few asks are frequent, most are rare, large ones rarest."""
    random_ = random.Random(seed)
    every = [(cpu, int(cpu * ratio * 10**9)) for cpu in _CPUS for ratio in _GB_PER_CPU]
    asks = random_.sample(every, shapes)
    weights = [random_.random() ** 3 / cpu for cpu, _ in asks]
    chosen = random_.choices(range(shapes), weights, k=runs)
    counts = [(ask, chosen.count(place)) for place, ask in enumerate(asks)]
    allows = Allowance(frozenset({"ec2"}))
    return [Demand(cpu, memory, 0, count, allows) for (cpu, memory), count in counts if count]


def bound(demands: Sequence[Demand], offers: Sequence[Offer]) -> float:
    """Return a price per hour that no packing is below."""
    count = np.array([demand.count for demand in demands], float)
    needs = np.array([[d.cpu for d in demands], [d.memory / 1e9 for d in demands]])
    patterns, prices = _plain(demands, offers)
    best = 0.0
    for _ in range(_ROUNDS):
        solved = linprog(prices, A_ub=-np.array(patterns).T, b_ub=-count, method="highs")
        worth = -solved.ineqlin.marginals
        worst, added = 1.0, 0
        for offer in offers:
            limits = LinearConstraint(needs, -np.inf, [offer.cpu, offer.memory / 1e9])
            found = milp(
                -worth, constraints=limits, integrality=np.ones(len(count)), bounds=Bounds(0, count)
            )
            price = offer.usd_per_hour or 0.0
            worst = max(worst, -found.mip_dual_bound / price)
            if -found.fun > price * 1.000001:
                patterns.append(np.round(found.x))
                prices.append(price)
                added += 1
        best = max(best, solved.fun / worst)
        if worst < _CLOSE or not added:
            break
    return best


def _plain(demands: Sequence[Demand], offers: Sequence[Offer]) -> tuple[list[Any], list[float]]:
    """Return the patterns of one ask alone, to begin with."""
    patterns, prices = [], []
    for place, demand in enumerate(demands):
        for offer in offers:
            some = min(offer.cpu // demand.cpu, offer.memory // demand.memory, demand.count)
            if some >= 1:
                pattern = np.zeros(len(demands))
                pattern[place] = some
                patterns.append(pattern)
                prices.append(offer.usd_per_hour or 0.0)
    return patterns, prices


def first_fit_decreasing(demands: Sequence[Demand], offers: Sequence[Offer]) -> float:
    """Return the price of first fit decreasing."""
    most = max(o.cpu for o in offers), max(o.memory for o in offers)
    runs = [demand for demand in demands for _ in range(demand.count)]
    runs.sort(key=lambda run: -max(run.cpu / most[0], run.memory / most[1]))
    free: list[list[float]] = []
    cost = 0.0
    for run in runs:
        for room in free:
            if room[0] >= run.cpu and room[1] >= run.memory:
                break
        else:
            offer = _cheapest(run, offers)
            cost += offer.usd_per_hour or 0.0
            free.append(room := [offer.cpu, offer.memory])
        room[0] -= run.cpu
        room[1] -= run.memory
    return cost


def one_shape(demands: Sequence[Demand], offers: Sequence[Offer]) -> float:
    """Return the price with only one type, the best."""
    return min(first_fit_decreasing(demands, [o]) for o in offers if _holds_all(o, demands))


def _holds_all(offer: Offer, demands: Iterable[Demand]) -> bool:
    return all(d.cpu <= offer.cpu and d.memory <= offer.memory for d in demands)


def _cheapest(run: Demand, offers: Sequence[Offer]) -> Offer:
    fitting = (o for o in offers if o.cpu >= run.cpu and o.memory >= run.memory)
    return min(fitting, key=lambda offer: offer.usd_per_hour or 0.0)


def undominated(offers: Iterable[Offer]) -> list[Offer]:
    """Return the offers that no other one has more than, for less."""
    kept: list[Offer] = []
    for offer in sorted(offers, key=lambda o: (o.usd_per_hour or 0.0, -o.cpu, -o.memory)):
        if not any(other.cpu >= offer.cpu and other.memory >= offer.memory for other in kept):
            kept.append(offer)
    return kept


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=10_000, help="leave larger demands out")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    offers = on_demand()
    few = undominated(offers)
    print(f"{len(offers)} types, {len(few)} of them undominated; prices relative to the bound")
    every = with_spot(offers)
    print("  runs  asks   packed (worst)   first fit   one shape   milliseconds")
    found = []
    for runs, shapes in KINDS:
        if runs > options.most:
            continue
        rows = [
            _measure(generate(seed, runs, shapes), offers, few, every)
            for seed in range(options.seeds)
        ]
        means = [statistics.mean(column) for column in zip(*rows, strict=True)]
        worst = max(row[0] for row in rows)
        found.append({"runs": runs, "asks": shapes, "means": means, "worst": worst})
        ratio, ffd, one, ms = means
        print(
            f"{runs:6} {shapes:5}   {ratio:6.3f} ({worst:.3f})   {ffd:9.3f} {one:11.3f} {ms:13.1f}"
        )
    if options.json:
        options.json.write_text(json.dumps(found))


def _measure(
    demands: list[Demand], offers: list[Offer], few: list[Offer], every: list[Offer]
) -> tuple[float, float, float, float]:
    start = time.perf_counter()
    pack(demands, every)
    took = time.perf_counter() - start
    packing = pack(demands, offers)
    least = bound(demands, few)
    others = (first_fit_decreasing(demands, few), one_shape(demands, few))
    assert packing.usd_per_hour is not None
    return packing.usd_per_hour / least, others[0] / least, others[1] / least, took * 1000


if __name__ == "__main__":
    main()
