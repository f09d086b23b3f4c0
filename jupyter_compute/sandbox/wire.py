"""What a request of the AWS API asks for, and how AWS writes an error."""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

__all__ = ["STATUS", "Request", "error", "read"]

STATUS = {
    "AuthFailure": 401,
    "ExpiredToken": 400,
    "InsufficientCapacity": 500,
    "InsufficientHostCapacity": 500,
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "ServerException": 500,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
    "Unavailable": 503,
    "UnauthorizedOperation": 403,
    "AccessDenied": 403,
    "InvalidAccessKeyId": 403,
    "SignatureDoesNotMatch": 403,
}
"""With which status AWS answers an error, where it is not 400."""

_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]*)/([^/]+)/aws4_request")


@dataclass(frozen=True, slots=True)
class Request:
    """A call.

    Parameters
    ----------
    service, action, region : str
    params : mapping of str to str
        What it was called with; the names of nested ones joined by dots, counted from 1.
    key : str
        The access key that it was signed with, empty if it was not.
    presigned : bool
        Whether it came by a presigned URL.
    """

    service: str
    action: str
    region: str
    params: Mapping[str, str]
    key: str
    presigned: bool


def read(environ: dict[str, Any]) -> Request:
    """Read a request, and leave it as if it had not been read."""
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    signed = environ.get("HTTP_AUTHORIZATION", "")
    presigned = "X-Amz-Credential" in query or "AWSAccessKeyId" in query
    found = _CREDENTIAL.search(
        f"Credential={query['X-Amz-Credential']}" if "X-Amz-Credential" in query else signed
    )
    key, region, service = found.groups() if found else (query.get("AWSAccessKeyId", ""), "", "s3")
    if service == "s3":
        # Moto would take what is only an object for a form.
        if environ["REQUEST_METHOD"] == "PUT" and "form" in environ.get("CONTENT_TYPE", ""):
            environ["CONTENT_TYPE"] = "binary/octet-stream"
        action, params = _s3(environ, query)
        return Request(service, action, region, params, key, presigned)
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        loaded = json.loads(body or b"{}")
        return Request(
            service, target.rpartition(".")[2], region, dict(_flat(loaded)), key, presigned
        )
    form = query | dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    action = form.pop("Action", "") or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    form.pop("Version", None)
    return Request(service, action, region, form, key, presigned)


def error(request: Request, code: str, message: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return AWS's answer that says why a call failed: status, headers and body."""
    status, identity = STATUS.get(code, 400), str(uuid.uuid4())
    if request.service == "ec2":
        text = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message>"
            f"</Error></Errors><RequestID>{identity}</RequestID></Response>"
        )
    elif request.service == "s3":
        text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    elif request.service in {"iam", "sts"}:
        text = (
            f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
            f"<Message>{escape(message)}</Message></Error>"
            f"<RequestId>{identity}</RequestId></ErrorResponse>"
        )
    else:
        body = json.dumps({"__type": code, "message": message}).encode()
        headers = [("Content-Type", "application/x-amz-json-1.1"), ("x-amzn-ErrorType", code)]
        return status, headers, body
    return status, [("Content-Type", "text/xml")], text.encode()


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    match value:
        case dict():
            for key, part in value.items():
                yield from _flat(part, f"{name}.{key}" if name else key)
        case list():
            for number, part in enumerate(value, 1):
                yield from _flat(part, f"{name}.{number}")
        case bool():
            yield name, str(value).lower()
        case _:
            yield name, str(value)


def _s3(environ: dict[str, Any], query: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the operation and what it is about, from method, path and query."""
    from moto.core.request import Request as MotoRequest
    from moto.core.routing import get_service_router
    from werkzeug.exceptions import NotFound

    bare = {**environ, "wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0", "CONTENT_TYPE": ""}
    try:
        operation, about = get_service_router("s3").match(MotoRequest(bare))
        name = str(operation.name)
    except (NotFound, NotImplementedError):
        name, about = str(environ["REQUEST_METHOD"]), {}
    kept = {key: text for key, text in query.items() if not key.startswith("X-Amz-")}
    return name, {**kept, **{key: str(text) for key, text in about.items()}}
