"""What AWS charges, as it says itself: EC2 on demand, EC2 spot, and Fargate.

Price List answers: https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jupyter_compute.layers.catalog import Pages

__all__ = ["FARGATE_LIST", "FARGATE_LIST_DATE", "Rates", "fargate", "on_demand", "spot"]

Rates = Mapping[str, tuple[float, float]]
"""Dollars per vCPU and hour, and per GB and hour, by ``x86_64``, ``arm64``, and the same with
``spot-`` before it.
"""

FARGATE_LIST: Mapping[str, Rates] = {
    "us-east-1": {"x86_64": (0.04048, 0.004445), "arm64": (0.03238, 0.00356)},
}
"""Public list prices by region, for when AWS cannot be asked."""

FARGATE_LIST_DATE = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
"""When they were noted down. They had not changed for years."""

_LINUX = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}
_SYSTEMS = {"Linux/UNIX", "Linux/UNIX (Amazon VPC)"}
_USAGE = re.compile(r"(?:^|-)(Spot\w*-)?Fargate-(ARM-)?(vCPU|GB)-Hours(?::perCPU)?$")


def on_demand(aws: Pages, region: str) -> dict[str, float]:
    """Ask for what Linux machines cost on demand, by type.

    Raises
    ------
    CallFailed
        If AWS does not answer, or not to us.
    """
    found: dict[str, float] = {}
    for product, usd in _products(aws, "AmazonEC2", region, _LINUX):
        name, operation = product.get("instanceType"), product.get("operation", "RunInstances")
        if name and usd > 0 and operation == "RunInstances":
            found[name] = usd
    return found


def fargate(aws: Pages, region: str) -> dict[str, tuple[float, float]]:
    """Ask for the rates of Fargate for Linux.

    Raises
    ------
    CallFailed
        If AWS does not answer, or not to us.
    """
    found: dict[str, dict[str, float]] = {}
    for product, usd in _products(aws, "AmazonECS", region, {}):
        usage = _USAGE.search(product.get("usagetype", ""))
        if usage and usd > 0:
            kind = ("spot-" if usage[1] else "") + ("arm64" if usage[2] else "x86_64")
            found.setdefault(kind, {})[usage[3]] = usd
    return {kind: (one["vCPU"], one["GB"]) for kind, one in found.items() if len(one) == 2}


def spot(aws: Pages, now: float, types: Sequence[str] = ()) -> dict[tuple[str, str], float]:
    """Ask for what Linux machines cost as spot now, by type and zone.

    Parameters
    ----------
    aws : Pages
    now : float
        UTC seconds.
    types : sequence of str
        Only these; all if empty.

    Raises
    ------
    CallFailed
        If AWS does not answer, or not to us.
    """
    found: dict[tuple[str, str], tuple[Any, float]] = {}
    history = aws.pages(
        "ec2",
        "describe_spot_price_history",
        "SpotPriceHistory",
        # From now on means: the price that is in force.
        StartTime=datetime.fromtimestamp(now, UTC),
        ProductDescriptions=["Linux/UNIX"],
        **({"InstanceTypes": list(types)} if types else {}),
    )
    for row in history:
        if row["ProductDescription"] in _SYSTEMS:
            key, since = (row["InstanceType"], row["AvailabilityZone"]), row["Timestamp"]
            if key not in found or since > found[key][0]:
                found[key] = since, float(row["SpotPrice"])
    return {key: usd for key, (_, usd) in sorted(found.items())}


def _products(
    aws: Pages, service: str, region: str, wanted: Mapping[str, str]
) -> Iterator[tuple[Mapping[str, str], float]]:
    """Return the attributes of products, and dollars per unit."""
    fields = {"regionCode": region, **wanted}
    filters = [{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in fields.items()]
    listed = aws.pages("pricing", "get_products", "PriceList", ServiceCode=service, Filters=filters)
    for text in listed:
        product = json.loads(text)
        attributes = product["product"]["attributes"]
        for term in product.get("terms", {}).get("OnDemand", {}).values():
            for dimension in term["priceDimensions"].values():
                usd = dimension["pricePerUnit"].get("USD")
                if usd is not None:
                    yield attributes, float(usd)
