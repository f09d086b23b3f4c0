"""What runs cost, and sums of it. Pure, no I/O.

A run pays for its machine while it has a place there, by the largest one of its shares of the
CPUs, the memory and the GPUs (`policy.ledger`). Unknown is None, never 0: a sum says how much of it is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from jupyter_compute.model import SANDBOX, Offer, Receipt

__all__ = ["GROUPS", "Total", "add", "price", "share", "spent", "split", "sum_up"]

GROUPS = ("notebook", "layer", "day")
"""By what costs can be summed."""


def share(offer: Offer, cpu: float, memory: int, gpu: int = 0) -> float:
    """Return which part of a machine this is, by what it takes most of; at most 1."""
    parts = (cpu, offer.cpu), (memory, offer.memory), (gpu, offer.gpu)
    return min(1.0, max(part / whole for part, whole in parts if whole))


def price(offer: Offer, cpu: float, memory: int, gpu: int = 0) -> float | None:
    """Return dollars per hour for this much of a machine; None if its price is not known."""
    if offer.usd_per_hour is None:
        return None
    return offer.usd_per_hour * share(offer, cpu, memory, gpu)


def spent(usd_per_hour: float | None, seconds: float | None) -> float | None:
    """Return dollars; None if the price is not known, or the time if that has a price."""
    if usd_per_hour == 0:
        return 0.0
    if usd_per_hour is None or seconds is None:
        return None
    return usd_per_hour * seconds / 3600


def add(amounts: Iterable[float | None]) -> float | None:
    """Return the sum; None if one of the amounts is not known."""
    total = 0.0
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


@dataclass(frozen=True, slots=True)
class Total:
    """Receipts summed up; seconds, CPU seconds and dollars.

    Parameters
    ----------
    runs : int
    run_s : float
        Time executing.
    cpu_asked_s : float
        The CPUs that runs, or each lane of a map, were granted, times the time that they had them.
    cpu_used_s : float
        The CPU time of the runs that it is known of.
    cpu_unknown_s : float
        What the others were granted, as in `cpu_asked_s`.
    usd : float
        The cost of the runs that it is known of.
    usd_unknown : int
        The number of the others.
    """

    runs: int = 0
    run_s: float = 0.0
    cpu_asked_s: float = 0.0
    cpu_used_s: float = 0.0
    cpu_unknown_s: float = 0.0
    usd: float = 0.0
    usd_unknown: int = 0

    @classmethod
    def of(cls, receipt: Receipt) -> Total:
        """Return the sum that is this receipt alone."""
        measured = receipt.cpu_mean is not None
        busy_s = receipt.run_s if receipt.lane_s is None else receipt.lane_s
        return cls(
            runs=1,
            run_s=receipt.run_s,
            cpu_asked_s=receipt.cpu * busy_s,
            cpu_used_s=(receipt.cpu_mean or 0.0) * busy_s,
            cpu_unknown_s=0.0 if measured else receipt.cpu * busy_s,
            usd=receipt.cost_usd or 0.0,
            usd_unknown=int(receipt.cost_usd is None),
        )

    def __add__(self, other: Total) -> Total:
        """Return the sum of both."""
        return Total(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form: a sum of which nothing is known is null."""
        return {
            "runs": self.runs,
            "run_s": round(self.run_s, 3),
            "cpu_asked_s": round(self.cpu_asked_s, 3),
            "cpu_used_s": (
                None if 0 < self.cpu_asked_s <= self.cpu_unknown_s else round(self.cpu_used_s, 3)
            ),
            "cpu_unknown_s": round(self.cpu_unknown_s, 3),
            "usd": None if 0 < self.runs == self.usd_unknown else round(self.usd, 6),
            "usd_unknown_runs": self.usd_unknown,
        }


def split(
    rows: Iterable[tuple[Mapping[str, str], Total]],
) -> tuple[list[tuple[Mapping[str, str], Total]], list[tuple[Mapping[str, str], Total]]]:
    """Return what has to be paid, and what was rehearsed in a sandbox."""
    rows = list(rows)
    rehearsed = [row for row in rows if row[0]["layer"].endswith(SANDBOX)]
    return [row for row in rows if not row[0]["layer"].endswith(SANDBOX)], rehearsed


def sum_up(
    rows: Iterable[tuple[Mapping[str, str], Total]], by: str
) -> tuple[dict[str, Total], Total]:
    """Return the sums by notebook, layer or day, in order of their names, and that of all.

    Parameters
    ----------
    rows : iterable of (mapping, Total)
        Each with the notebook, the layer and the day that it belongs to.
    by : {"notebook", "layer", "day"}
    """
    groups: dict[str, Total] = {}
    for belongs, total in rows:
        groups[belongs[by]] = groups.get(belongs[by], Total()) + total
    return dict(sorted(groups.items())), sum(groups.values(), start=Total())
