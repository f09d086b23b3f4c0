"""``pricing:GetProducts``, which moto has not: the price list's own form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from . import wire
from .prices import FARGATE, PUBLISHED, Prices, attributes

__all__ = ["Pricing"]

Answer = tuple[int, list[tuple[str, str]], bytes]

_MOST = 100
_PLACE = {
    "location": "US East (N. Virginia)",
    "locationType": "AWS Region",
    "regionCode": "us-east-1",
}
_LINUX = {
    "capacitystatus": "Used",
    "licenseModel": "No License required",
    "marketoption": "OnDemand",
    "operatingSystem": "Linux",
    "operation": "RunInstances",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
}


class Pricing:
    """Answers calls of the price list.

    Parameters
    ----------
    prices : Prices
    """

    def __init__(self, prices: Prices) -> None:
        self._products = {
            "AmazonEC2": list(_instances(prices)),
            "AmazonECS": list(_fargate()),
        }

    def answer(self, request: wire.Request) -> Answer:
        """Answer ``GetProducts``."""
        if request.action != "GetProducts":
            return wire.error(request, "InternalFailure", "The sandbox has only GetProducts.")
        params = request.params
        service = params.get("ServiceCode", "")
        if service not in self._products:
            return wire.error(request, "InvalidParameterException", f"no service {service}")
        filters = [
            (params[f"Filters.{number}.Field"], params[f"Filters.{number}.Value"])
            for number in range(1, 51)
            if f"Filters.{number}.Field" in params
        ]
        found = [each for each in self._products[service] if _fits(each, service, filters)]
        first = int(params.get("NextToken", 0))
        size = min(_MOST, int(params.get("MaxResults", _MOST)))
        page = found[first : first + size]
        body: dict[str, Any] = {
            "FormatVersion": "aws_v1",
            "PriceList": [json.dumps(each) for each in page],
        }
        if first + size < len(found):
            body["NextToken"] = str(first + size)
        headers = [("Content-Type", "application/x-amz-json-1.1")]
        return 200, headers, json.dumps(body).encode()


def _fits(product: dict[str, Any], service: str, filters: list[tuple[str, str]]) -> bool:
    known = {
        "productFamily": product["product"]["productFamily"],
        "ServiceCode": service,
        **product["product"]["attributes"],
    }
    return all(known.get(name) == value for name, value in filters)


def _instances(prices: Prices) -> Iterator[dict[str, Any]]:
    for name, price in prices.on_demand.items():
        about = {**_LINUX, **_PLACE, **attributes(name), "usagetype": f"BoxUsage:{name}"}
        text = f"${price:g} per On Demand Linux {name} Instance Hour"
        yield _product("AmazonEC2", "Compute Instance", about, price, "Hrs", text)


def _fargate() -> Iterator[dict[str, Any]]:
    for usage, price in FARGATE.items():
        about = {**_PLACE, "usagetype": usage, "operation": "", "tenancy": "Shared"}
        about |= {"cputype": "perCPU"} if "vCPU" in usage else {"memorytype": "perGB"}
        about |= {"cpuArchitecture": "ARM"} if "ARM" in usage else {}
        text = f"AWS Fargate - {usage} - US East (N.Virginia)"
        yield _product("AmazonECS", "Compute", about, price, "hours", text)


def _product(
    service: str, family: str, about: dict[str, str], price: float, unit: str, text: str
) -> dict[str, Any]:
    sku = hashlib.sha256(about["usagetype"].encode()).hexdigest()[:16].upper()
    offer = f"{sku}.JRTCKXETXF"
    rate = f"{offer}.6YS6EN2CT7"
    return {
        "product": {
            "productFamily": family,
            "attributes": {**about, "servicecode": service},
            "sku": sku,
        },
        "serviceCode": service,
        "terms": {
            "OnDemand": {
                offer: {
                    "priceDimensions": {
                        rate: {
                            "unit": unit,
                            "endRange": "Inf",
                            "description": text,
                            "appliesTo": [],
                            "rateCode": rate,
                            "beginRange": "0",
                            "pricePerUnit": {"USD": f"{price:.10f}"},
                        }
                    },
                    "sku": sku,
                    "effectiveDate": PUBLISHED,
                    "offerTermCode": "JRTCKXETXF",
                    "termAttributes": {},
                }
            }
        },
        "version": PUBLISHED.replace("-", "").replace(":", "").replace("T", "").rstrip("Z"),
        "publicationDate": PUBLISHED,
    }
