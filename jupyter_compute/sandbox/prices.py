"""What machines cost in the sandbox: AWS's public list prices of one day, and spot prices made up from them.

On-demand prices are those of Linux in us-east-1 as published on 2026-07-20 (from the AWS
Price List, as compiled by the Karpenter project, Apache-2.0), Fargate's the public list
prices there. They stand for every region of the sandbox. Spot prices of the sandbox are
about 35 % of them, another for each zone, decided by the sandbox's seed.
"""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models import ec2_backends
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.responses.spot_instances import SpotInstances

from .amending import replace
from .plain import Plain

__all__ = ["FARGATE", "PUBLISHED", "Prices"]

PUBLISHED = "2026-07-20T00:00:00Z"
FARGATE: Mapping[str, float] = {
    "USE1-Fargate-vCPU-Hours:perCPU": 0.04048,
    "USE1-Fargate-GB-Hours": 0.004445,
    "USE1-Fargate-ARM-vCPU-Hours:perCPU": 0.03238,
    "USE1-Fargate-ARM-GB-Hours": 0.00356,
}
"""Dollars per vCPU-hour and GB-hour, by AWS's usage types."""

_SPOT_SHARE = 0.35
_FARGATE_SPOT_SHARE = 0.3
_STEP = timedelta(hours=6)
_PAGE = 1000


class Prices:
    """Dollars per hour.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        path = Path(__file__).with_name("data") / "ec2-us-east-1-on-demand.csv.gz"
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.on_demand = {row["instance_type"]: float(row["usd_per_hour"]) for row in rows}
        self.with_spot = frozenset(row["instance_type"] for row in rows if row["spot"] == "true")

    def hourly(self, name: str, zone: str = "", *, spot: bool = False) -> float:
        """Return the price of an EC2 type, infinite if it has none."""
        price = self.on_demand.get(name, float("inf"))
        return round(price * self._share(name, zone, 0), 6) if spot else price

    def fargate(self, cpu: float, memory_mib: int, *, spot: bool) -> float:
        """Return the price of a task on x86."""
        price = cpu * FARGATE["USE1-Fargate-vCPU-Hours:perCPU"]
        price += memory_mib / 1024 * FARGATE["USE1-Fargate-GB-Hours"]
        return price * (_FARGATE_SPOT_SHARE if spot else 1.0)

    def amend(self) -> None:
        """Let the API tell these spot prices."""

        def describe(response: SpotInstances) -> ActionResult:
            return Plain(self._history(response))

        replace(SpotInstances, "describe_spot_price_history", describe)

    def _share(self, name: str, zone: str, step: int) -> float:
        """Return what part of the list price spot costs, which changes a little every step."""
        by_zone = random.Random(f"{self._seed} {name} {zone}").uniform(0.85, 1.15)
        if not step:
            return _SPOT_SHARE * by_zone
        by_time = random.Random(f"{self._seed} {name} {zone} {step}").uniform(0.99, 1.01)
        return _SPOT_SHARE * by_zone * by_time

    def _history(self, response: SpotInstances) -> dict[str, Any]:
        given = response._get_param  # noqa: SLF001 - as moto itself
        filters = response._filters_from_querystring()  # noqa: SLF001
        wanted = set(given("InstanceTypes") or filters.get("instance-type") or self.with_spot)
        zones = self._zones(response, given("AvailabilityZone"), filters)
        described = given("ProductDescriptions") or filters.get("product-description")
        if described and "Linux/UNIX" not in described:
            return {"SpotPriceHistory": [], "NextToken": ""}
        steps = self._steps(given("StartTime"))
        rows = [
            (name, zone, number)
            for name in sorted(wanted & self.with_spot)
            for zone in zones
            for number in range(steps)
        ]
        first = int(given("NextToken") or 0)
        page = rows[first : first + int(given("MaxResults") or _PAGE)]
        more = first + len(page) < len(rows)
        return {
            "SpotPriceHistory": [self._row(*row) for row in page],
            "NextToken": str(first + len(page)) if more else "",
        }

    @staticmethod
    def _zones(response: Any, zone: str | None, filters: Mapping[str, Any]) -> list[str]:
        backend = ec2_backends[response.current_account][response.region]
        known = [each.name for each in backend.describe_availability_zones()]
        asked = [zone] if zone else filters.get("availability-zone") or known
        return [each for each in known if each in asked]

    @staticmethod
    def _steps(start: Any) -> int:
        """Return how many prices there are for each; only the present one if it starts now."""
        now = datetime.now(UTC)
        if start is None:
            return 4
        if isinstance(start, str):
            start = datetime.fromisoformat(start)
        begun = start if start.tzinfo else start.replace(tzinfo=UTC)
        # AWS also tells the price that was valid at the start.
        return 1 + min(12, max(0, int((now - begun) / _STEP)))

    def _row(self, name: str, zone: str, step: int) -> dict[str, Any]:
        price = self.on_demand[name] * self._share(name, zone, step)
        when = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=7) - step * _STEP
        return {
            "InstanceType": name,
            "ProductDescription": "Linux/UNIX",
            "SpotPrice": f"{price:.6f}",
            "AvailabilityZone": zone,
            "Timestamp": when,
        }


def attributes(name: str) -> dict[str, str]:
    """Return what the price list tells of a type."""
    info = INSTANCE_TYPES.get(name, {})
    return {
        "instanceType": name,
        "vcpu": str(info.get("VCpuInfo", {}).get("DefaultVCpus", "")),
        "memory": f"{info.get('MemoryInfo', {}).get('SizeInMiB', 0) / 1024:g} GiB",
    }
