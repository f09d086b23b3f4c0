"""A Price List service on loopback, which answers in the form that AWS documents."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_PAGE = 2


def product(attributes: Mapping[str, str], usd: str, unit: str = "Hrs") -> str:
    """Return one item of an answer."""
    sku = "ABCDEFGHJKLMNPQR"
    code = f"{sku}.JRTCKXETXF"
    dimension = {
        "unit": unit,
        "endRange": "Inf",
        "description": "",
        "appliesTo": [],
        "rateCode": f"{code}.6YS6EN2CT7",
        "beginRange": "0",
        "pricePerUnit": {"USD": usd},
    }
    term = {
        "priceDimensions": {f"{code}.6YS6EN2CT7": dimension},
        "sku": sku,
        "effectiveDate": "2026-11-01T00:00:00Z",
        "offerTermCode": "JRTCKXETXF",
        "termAttributes": {},
    }
    return json.dumps(
        {
            "product": {
                "productFamily": "Compute Instance",
                "attributes": dict(attributes),
                "sku": sku,
            },
            "serviceCode": attributes["servicecode"],
            "terms": {"OnDemand": {code: term}, "Reserved": {}},
            "version": "20261101000000",
            "publicationDate": "2026-11-01T00:00:00Z",
        }
    )


class PriceList:
    """The service, while it is entered. `asked` holds the requests, `denied` turns them away."""

    def __init__(self, products: Sequence[str]) -> None:
        self.products = [json.loads(one) for one in products]
        self.asked: list[dict[str, Any]] = []
        self.denied = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, target: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer one call."""
        assert target == "AWSPriceListService.GetProducts"
        self.asked.append(request)
        if self.denied:
            return 400, {"__type": "AccessDeniedException", "Message": "not authorized"}
        wanted = {one["Field"]: one["Value"] for one in request["Filters"]}
        found = [
            json.dumps(one)
            for one in self.products
            if one["serviceCode"] == request["ServiceCode"]
            and wanted.items() <= one["product"]["attributes"].items()
        ]
        first = int(request.get("NextToken", 0))
        body: dict[str, Any] = {
            "FormatVersion": "aws_v1",
            "PriceList": found[first : first + _PAGE],
        }
        if first + _PAGE < len(found):
            body["NextToken"] = str(first + _PAGE)
        return 200, body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                request = json.loads(self.rfile.read(length))
                status, body = service.answer(self.headers["X-Amz-Target"], request)
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
