"""The machine types of EC2: what AWS says of them, and the table that comes with the package.

The table (``ec2-us-east-1.csv.gz``, made by ``scripts/price_snapshot.py``) is used until AWS has
been asked, and where it cannot be. Its prices are those of one region and one day; types are the
same everywhere, though not every region has all of them.
"""

from __future__ import annotations

import csv
import functools
import gzip
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

__all__ = ["InstanceType", "Pages", "Table", "describe", "shipped"]

_SHIPPED = Path(__file__).with_name("ec2-us-east-1.csv.gz")


class Pages(Protocol):
    """Who asks AWS; see `jupyter_compute.layers.aws.Account`."""

    def pages(self, service: str, operation: str, key: str, **request: Any) -> Any:
        """Return the items of all pages of an answer."""


@dataclass(frozen=True, slots=True)
class InstanceType:
    """A machine type.

    Parameters
    ----------
    name : str
        E.g. ``r7i.2xlarge``.
    cpu : int
        vCPUs.
    memory : int
        MiB, of which the system takes a part.
    gpu : int
        Whole GPUs.
    gpu_name : str
    arch : {"x86_64", "arm64"}
    spot : bool
        Whether it can be had as spot.
    plain : bool
        False for what is slower or older than its size says: burstable types, which fall to a
        fraction of a CPU, and those without the Nitro system.
    """

    name: str
    cpu: int
    memory: int
    gpu: int
    gpu_name: str
    arch: str
    spot: bool
    plain: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Types and on-demand prices of one region and day.

    Parameters
    ----------
    region : str
    priced : float
        UTC seconds.
    types : tuple of InstanceType
    usd_per_hour : mapping
        By type.
    """

    region: str
    priced: float
    types: tuple[InstanceType, ...]
    usd_per_hour: Mapping[str, float]


@functools.cache
def shipped() -> Table:
    """Return the table that comes with the package."""
    with gzip.open(_SHIPPED, "rt", newline="") as file:
        header = dict(part.split("=") for part in file.readline().strip("# \r\n").split())
        rows = list(csv.DictReader(io.StringIO(file.read())))
    types = tuple(
        InstanceType(
            row["type"],
            int(row["cpu"]),
            int(row["memory_mib"]),
            int(row["gpu"]),
            row["gpu_name"],
            row["arch"],
            row["spot"] == "1",
            row["plain"] == "1",
        )
        for row in rows
    )
    day = datetime.fromisoformat(header["date"]).replace(tzinfo=UTC)
    prices = {row["type"]: float(row["usd_per_hour"]) for row in rows}
    return Table(header["region"], day.timestamp(), types, prices)


def describe(aws: Pages) -> Sequence[InstanceType]:
    """Ask AWS for the types of the region, without bare metal and Macs.

    Raises
    ------
    CallFailed
        If AWS does not answer, or not to us.
    """
    found = aws.pages("ec2", "describe_instance_types", "InstanceTypes")
    types = (_read(one) for one in found)
    return sorted((one for one in types if one is not None), key=lambda one: one.name)


def _read(described: Mapping[str, Any]) -> InstanceType | None:
    arch = {"x86_64", "arm64"} & set(described["ProcessorInfo"]["SupportedArchitectures"])
    if described.get("BareMetal") or not arch:
        return None
    gpus = described.get("GpuInfo", {}).get("Gpus", [])
    ours = [gpu for gpu in gpus if gpu.get("Manufacturer") == "NVIDIA" and gpu.get("Count")]
    burstable = described.get("BurstablePerformanceSupported", False)
    return InstanceType(
        name=described["InstanceType"],
        cpu=described["VCpuInfo"]["DefaultVCpus"],
        memory=described["MemoryInfo"]["SizeInMiB"],
        gpu=sum(gpu["Count"] for gpu in ours),
        gpu_name=ours[0]["Name"] if ours else "",
        arch=arch.pop(),
        spot="spot" in described.get("SupportedUsageClasses", ()),
        plain=described.get("Hypervisor") == "nitro" and not burstable,
    )
