"""Whether a presigned URL is what it was when it was signed, and still good.

By AWS's Signature Version 4, as documented under "Authenticating Requests: Using Query
Parameters": https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote

__all__ = ["SECRET", "refusal"]

SECRET = "sandbox"  # noqa: S105 - the access key is what keeps others out
_SAFE = "-_.~"
_ALGORITHM = "AWS4-HMAC-SHA256"


def refusal(environ: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return code and message of why AWS would not take the URL; None if it would."""
    pairs = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    query = dict(pairs)
    if query.get("X-Amz-Algorithm") != _ALGORITHM:
        text = f"The authorization mechanism is not supported. Please use {_ALGORITHM}."
        return "InvalidRequest", text
    if not hmac.compare_digest(_signature(environ, pairs), query.get("X-Amz-Signature", "")):
        return (
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        )
    made = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if time.time() > made.timestamp() + float(query.get("X-Amz-Expires", 0)):
        return "AccessDenied", "Request has expired"
    return None


def _signature(environ: Mapping[str, Any], pairs: list[tuple[str, str]]) -> str:
    query = dict(pairs)
    path = str(environ.get("RAW_URI", "")).partition("?")[0]
    names = query.get("X-Amz-SignedHeaders", "").split(";")
    canonical = "\n".join(
        [
            environ["REQUEST_METHOD"],
            path,
            "&".join(
                sorted(
                    f"{quote(name, safe=_SAFE)}={quote(text, safe=_SAFE)}"
                    for name, text in pairs
                    if name != "X-Amz-Signature"
                )
            ),
            *(f"{name}:{_header(environ, name)}" for name in names),
            "",
            ";".join(names),
            "UNSIGNED-PAYLOAD",
        ]
    )
    _, _, scope = query.get("X-Amz-Credential", "").partition("/")
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join([_ALGORITHM, query.get("X-Amz-Date", ""), scope, digest])
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _header(environ: Mapping[str, Any], name: str) -> str:
    key = name.upper().replace("-", "_")
    plain = key in {"CONTENT_LENGTH", "CONTENT_TYPE"}
    return " ".join(str(environ.get(key if plain else f"HTTP_{key}", "")).split())
