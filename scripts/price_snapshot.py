"""Make the table of EC2's types and prices that comes with the package.

``python scripts/price_snapshot.py FILE --date 2026-07-20`` reads AWS's public Linux on-demand
prices of us-east-1 with the columns instance_type, vcpu, memory_mib, architecture, gpus,
gpu_name, spot and usd_per_hour. Which types are burstable or older than the Nitro system is
taken from the answers of DescribeInstanceTypes that moto has recorded.

The table of 2026-07-20 comes from the Karpenter project's compilation of AWS's price list and
from moto, both under the Apache License 2.0.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from datetime import date
from pathlib import Path
from typing import Any

_TABLE = Path(__file__).parent.parent / "jupyter_compute" / "layers" / "ec2-us-east-1.csv.gz"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--date", type=date.fromisoformat, required=True)
    options = parser.parse_args()
    known = recorded()
    with options.file.open(newline="") as file:
        rows = [
            line(row, known.get(row["instance_type"], {}))
            for row in csv.DictReader(file)
            if not row["instance_type"].endswith("metal")
        ]
    text = io.StringIO()
    text.write(f"# region=us-east-1 date={options.date}\n")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: str(row["type"])))
    # Without a time the same table is the same file.
    _TABLE.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))
    print(f"{len(rows)} types, {_TABLE.stat().st_size} bytes in {_TABLE}")


def recorded() -> dict[str, Any]:
    """Return what moto knows of each type."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    known: dict[str, Any] = INSTANCE_TYPES
    return known


def line(row: dict[str, str], described: dict[str, Any]) -> dict[str, str | int]:
    """Return a row of the table."""
    nitro = described.get("Hypervisor", "nitro") == "nitro"
    plain = nitro and not described.get("BurstablePerformanceSupported", False)
    return {
        "type": row["instance_type"],
        "cpu": int(row["vcpu"]),
        "memory_mib": int(row["memory_mib"]),
        "gpu": int(row["gpus"]),
        "gpu_name": row["gpu_name"] if int(row["gpus"]) else "",
        "arch": row["architecture"],
        "spot": int(row["spot"] == "true"),
        "plain": int(plain),
        "usd_per_hour": row["usd_per_hour"],
    }


if __name__ == "__main__":
    main()
