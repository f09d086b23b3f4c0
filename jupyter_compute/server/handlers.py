"""The addresses below ``{base_url}jupyter-compute/``: JSON in, JSON out.

Each verb wants an authenticated user whom the server's authorizer allows ``read`` (GET) or
``write`` (POST) on ``jupyter-compute``; a POST wants the XSRF token too. A refusal is
``{"code", "message", "hint"}`` with a status of 4xx or 5xx.

=======  ====================  ============================================================
``GET``  ``state?since=``      what changed, see `pool.picture`; ``pool`` tells what there is
``GET``  ``layers``            every layer with its offers
``GET``  ``runs/ID/output``    the text after event number ``since``
POST     ``runs/ID/cancel``    ``{"action": "interrupt"|"kill"}``
POST     ``machines/ID/stop``  ``{"force": bool}``, see `pool.machines`
POST     ``pool/stop``         ``{"force": bool}``; forced also if runs are active
=======  ====================  ============================================================
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado.web import HTTPError, authenticated

from ..errors import ComputeError
from .link import Absent, Link

__all__ = ["MAX_BODY", "routes"]

MAX_BODY = 16 * 1024
"""No request says more than this."""

_ID = re.compile(r"[a-z0-9-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,15}")

_CODES = {
    400: "bad-request",
    403: "forbidden",
    404: "not-found",
    405: "no-such-verb",
    409: "conflict",
    413: "too-large",
    415: "not-json",
}

_ABSENT_STATUS = {"none": 404, "stopping": 404, "lost": 502, "silent": 504, "other-version": 409}


def routes(base_url: str) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return the handlers of the extension."""
    link = {"link": Link()}
    handlers: list[tuple[str, type[_Handler]]] = [
        ("state", _State),
        ("layers", _Layers),
        (r"runs/([^/]*)/output", _Output),
        (r"runs/([^/]*)/cancel", _Cancel),
        (r"machines/([^/]*)/stop", _StopMachine),
        ("pool/stop", _StopPool),
        (".*", _Nowhere),
    ]
    start = re.escape(f"{base_url.rstrip('/')}/jupyter-compute/")
    return [(f"{start}{path}", handler, link) for path, handler in handlers]


class _Refusal(HTTPError):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(status)
        self.message = message


class _Handler(APIHandler):
    SUPPORTED_METHODS = ("GET", "POST")
    auth_resource = "jupyter-compute"

    def initialize(self, link: Link) -> None:
        self.link = link

    async def prepare(self) -> None:  # type: ignore[override]
        await super().prepare()
        if len(self.request.body) > MAX_BODY:
            raise _Refusal(413, f"a body has at most {MAX_BODY} bytes")

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        code = _CODES.get(status_code, "failed")
        message, hint = f"{self.request.method} of this address is refused: {self._reason}", ""
        if isinstance(error, Absent):
            status_code = _ABSENT_STATUS[error.why]
            code = "no-pool" if error.why == "none" else f"pool-{error.why}"
            message, hint = error.to_wire().values()
        elif isinstance(error, ComputeError):
            status_code = error.facts.get("status", 503)
            code = _CODES.get(status_code, "failed")
            message, hint = error.message, error.hint
        elif isinstance(error, _Refusal):
            message = error.message
        elif not isinstance(error, HTTPError):
            message, hint = "the request failed", "the log of the Jupyter server says why"
        self.set_status(status_code)
        self.finish(json.dumps({"code": code, "message": message, "hint": hint}))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, Absent | ComputeError):
            super().log_exception(typ, value, tb)

    def order(self, **defaults: Any) -> dict[str, Any]:
        """Return the JSON object that was sent, which has fields and types of the defaults."""
        body = self.request.body
        if not body:
            return defaults
        if self.request.headers.get("Content-Type", "").partition(";")[0] != "application/json":
            raise _Refusal(415, "the body must be application/json")
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            raise _Refusal(400, "the body is not JSON") from None
        if not isinstance(given, dict) or given.keys() - defaults.keys():
            fields = ", ".join(defaults)
            raise _Refusal(400, f"the body must be an object with no other fields than {fields}")
        for name, value in given.items():
            if type(value) is not type(defaults[name]):
                kind = "true or false" if isinstance(defaults[name], bool) else "a text"
                raise _Refusal(400, f"{name} must be {kind}")
        return {**defaults, **given}

    def checked(self, text: str, pattern: re.Pattern[str], what: str) -> str:
        """Return the text, which becomes part of an address, if it is what it should be."""
        if not pattern.fullmatch(text):
            raise _Refusal(400, f"{text[:40]!r} is not {what}")
        return text

    async def pass_on(self, method: str, path: str, body: object = None) -> None:
        """Ask the pool service, and answer what it answers."""
        self.finish(await self.link.call(method, path, body))


class _Look(_Handler):
    """What a panel asks again and again: nobody is at work because of that."""

    _track_activity = False

    async def look(self, path: str, **nothing: Any) -> None:
        """Answer what the service answers, or with why there is none to ask."""
        try:
            await self.pass_on("GET", path)
        except Absent as absent:
            found = {"pool": absent.why, "time": round(time.time(), 3), **absent.to_wire()}
            self.finish(json.dumps({**found, **nothing}))


class _State(_Look):
    @authenticated
    @authorized
    async def get(self) -> None:
        cursor = self.get_query_argument("since", "0")
        since = self.checked(cursor, _ID, "a cursor; 0 asks for everything")
        await self.look(f"/v1/state?since={since}", cursor="0")


class _Layers(_Look):
    @authenticated
    @authorized
    async def get(self) -> None:
        await self.look("/v1/layers", layers=None)


class _Output(_Handler):
    _track_activity = False

    @authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        run_id = self.checked(run_id, _ID, "the id of a run")
        since = self.checked(self.get_query_argument("since", "0"), _NUMBER, "a whole number")
        await self.pass_on("GET", f"/v1/runs/{run_id}/output?since={since}")


class _Cancel(_Handler):
    @authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        run_id = self.checked(run_id, _ID, "the id of a run")
        order = self.order(action="interrupt")
        run = json.loads(await self.link.call("POST", f"/v1/runs/{run_id}/cancel", order))
        self.finish(json.dumps({name: run[name] for name in ("id", "state", "reason")}))


class _StopMachine(_Handler):
    @authenticated
    @authorized
    async def post(self, machine_id: str) -> None:
        machine_id = self.checked(machine_id, _ID, "the id of a machine")
        order = self.order(force=False)
        await self.pass_on("POST", f"/v1/machines/{machine_id}/stop", order)


class _StopPool(_Handler):
    @authenticated
    @authorized
    async def post(self) -> None:
        await self.pass_on("POST", "/v1/stop", self.order(force=False))


class _Nowhere(_Handler):
    @authenticated
    @authorized
    async def get(self) -> None:
        raise _Refusal(404, "there is no such address")

    @authenticated
    @authorized
    async def post(self) -> None:
        raise _Refusal(404, "there is no such address")
