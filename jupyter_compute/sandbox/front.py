"""The door of the sandbox: every call is checked, logged, and struck by faults here."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from . import signing, wire
from .faults import Fault
from .tokens import LONGEST
from .world import World

__all__ = ["Front"]

Answer = tuple[int, list[tuple[str, str]], bytes]

_log = logging.getLogger(__name__)
_TOKENS = {"RunInstances": "ClientToken", "CreateFleet": "ClientToken", "RunTask": "clientToken"}
_CODE = re.compile(rb"<Code>([\w.]+)</Code>|\"__type\": *\"(?:[\w.]*#)?(\w+)\"")
_INSTANCE = re.compile(rb"\bi-[0-9a-f]{8,17}\b")


class Front:
    """A WSGI application in front of moto's.

    Parameters
    ----------
    world : World
    moto : WSGI application
    own : mapping
        What answers paths below ``/_sandbox``, and services that moto has not, by name.
    """

    def __init__(self, world: World, moto: Any, own: dict[str, Callable[..., Answer]]) -> None:
        self._world = world
        self._moto = moto
        self._own = own

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        if environ["PATH_INFO"].startswith("/_sandbox/"):
            status, headers, body = self._own["_sandbox"](environ)
        else:
            request = wire.read(environ)
            entry = self._world.calls.begin(
                request.service,
                request.action,
                dict(request.params),
                region=request.region,
                presigned=request.presigned,
            )
            status, headers, body = self._answer(request, environ, entry)
            entry["seconds"] = time.time() - entry["time"]
        lengths = [("Content-Length", str(len(body)))]
        if environ["REQUEST_METHOD"] == "HEAD":
            lengths, body = [], b""
        headers = [pair for pair in headers if lengths == [] or pair[0].lower() != "content-length"]
        start_response(f"{status} {'OK' if status < 400 else 'Error'}", [*headers, *lengths])
        return [body]

    def _answer(
        self, request: wire.Request, environ: dict[str, Any], entry: dict[str, Any]
    ) -> Answer:
        refused = self._refused(request, environ)
        fault = None
        if refused is None:
            fault = self._world.faults.of_call(request.action, request.params)
        if fault is not None and fault.delay_s:
            time.sleep(self._world.scaled(fault.delay_s))
        if fault is not None and fault.code:
            refused = wire.error(request, fault.code, _says(fault))
        answer = refused or self._carry_out(request, environ)
        status, headers, body = answer
        entry["status"] = status
        if status >= 400:
            code = _code(body)
            entry["code"], status = code, wire.STATUS.get(code, status)
            entry["status"] = status
        if fault is not None and fault.drop_reply:
            entry["dropped"] = True
            # Werkzeug takes this for a client that went away, and closes the connection.
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        return status, headers, body

    def _refused(self, request: wire.Request, environ: dict[str, Any]) -> Answer | None:
        """Let nobody in who does not have the key of this sandbox, also on this computer."""
        if request.key != self._world.key:
            if request.service == "s3":
                return wire.error(request, "InvalidAccessKeyId", "The access key does not exist.")
            code = "AuthFailure" if request.service == "ec2" else "UnrecognizedClientException"
            return wire.error(
                request, code, "The security token included in the request is invalid."
            )
        refused = signing.refusal(environ) if request.presigned else None
        return None if refused is None else wire.error(request, *refused)

    def _carry_out(self, request: wire.Request, environ: dict[str, Any]) -> Answer:
        name = _TOKENS.get(request.action, "")
        token = request.params.get(name, "")
        if not token or request.params.get("DryRun") == "true":
            return self._pass_on(request, environ)
        if len(token) > LONGEST:
            return wire.error(request, "InvalidParameterValue", f"{name} is longer than {LONGEST}")
        params = {key: text for key, text in request.params.items() if key != name}
        known = self._world.tokens.of(request.region, request.action, token)
        with known.lock:
            if known.params is None:
                answer = self._pass_on(request, environ)
                if answer[0] < 300:
                    known.params, known.answer = params, answer
                return answer
            if known.params != params:
                return self._mismatch(request)
            if self._all_ended(known.answer[2]):
                text = "The instances of the original request have been terminated."
                return wire.error(request, "IdempotentInstanceTerminated", text)
            return known.answer

    @staticmethod
    def _mismatch(request: wire.Request) -> Answer:
        if request.service == "ecs":
            return wire.error(
                request,
                "ConflictException",
                "The provided clientToken is already in use with a different RunTask request.",
            )
        return wire.error(
            request,
            "IdempotentParameterMismatch",
            "Arguments on this idempotent request are inconsistent with arguments used in"
            " previous request(s).",
        )

    def _all_ended(self, answer: bytes) -> bool:
        machines = [
            self._world.machines.get(found.decode()) for found in set(_INSTANCE.findall(answer))
        ]
        return bool(machines) and all(
            machine is None or machine.state == "terminated" for machine in machines
        )

    def _pass_on(self, request: wire.Request, environ: dict[str, Any]) -> Answer:
        own = self._own.get(request.service)
        if own is not None:
            return own(request)
        try:
            return self._ask_moto(environ)
        except Exception as error:  # noqa: BLE001 - the client is told
            _log.exception("%s:%s", request.service, request.action)
            text = f"The sandbox cannot do this: {type(error).__name__}: {error}"
            return wire.error(request, "InternalFailure", text)

    def _ask_moto(self, environ: dict[str, Any]) -> Answer:
        started: list[Any] = []
        answered = self._moto(
            environ, lambda status, headers, *_: started.extend((status, headers))
        )
        try:
            body = b"".join(answered)
        finally:
            if hasattr(answered, "close"):
                answered.close()
        return int(started[0].split()[0]), list(started[1]), body


def _says(fault: Fault) -> str:
    """Return AWS's own words where they are known."""
    return {
        "RequestLimitExceeded": "Request limit exceeded.",
        "ExpiredToken": "The security token included in the request is expired",
        "UnauthorizedOperation": "You are not authorized to perform this operation.",
    }.get(fault.code, f"The sandbox was told to answer {fault.code}.")


def _code(body: bytes) -> str:
    found = _CODE.search(body)
    return "" if found is None else (found.group(1) or found.group(2)).decode()
