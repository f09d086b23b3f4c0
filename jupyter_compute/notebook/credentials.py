"""Which values look like credentials, so that nobody sends them by accident."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import cast

from ..redaction import VALUES

__all__ = ["credential", "held_back"]

_Text = str | bytes | bytearray

_LONGEST = 64 * 2**10
"""Longer texts are documents, not credentials."""

_SHALLOW = 100

_PARTS = (
    ("a private key", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    ("a signed address", r"[?&](?:X-Amz-Signature|X-Goog-Signature|sig)=[\w%+/-]{20,}"),
    ("an account key", r"\bAccountKey=[A-Za-z0-9+/=]{40,}"),
    ("an authorization header", r"\A(?:Bearer|Basic) [\w.~+/=-]{16,}\Z"),
    ("an address with a password", r"\A[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/@]+@"),
)
"""Texts that hold a credential."""

_VALUE = re.compile("|".join(f"(?P<v{n}>{pattern})" for n, (_, pattern) in enumerate(VALUES)))
_PART = re.compile("|".join(f"(?P<p{n}>{pattern})" for n, (_, pattern) in enumerate(_PARTS)))
_AWS_SECRET = re.compile(r"[A-Za-z0-9/+=]{40}")
_TOKEN = re.compile(r"(?=\S*\d)(?=\S*[A-Za-z])\S{16,}")
_KEY = re.compile(r"\S{8,}")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

_PASSWORDS = frozenset({"passphrase", "passwd", "password", "pwd"})
_SECRETS = frozenset({"apikey", "secret"})
_KEYS = frozenset({"access", "account", "api", "encryption", "private", "secret", "signing"})

_CREDENTIAL_MODULES = (
    "aiobotocore.credentials",
    "aiobotocore.session",
    "azure.identity",
    "boto3.session",
    "botocore.credentials",
    "botocore.session",
    "google.auth",
    "google.oauth2",
)
_SECRET_TYPES = ("Secret", "SecretBytes", "SecretStr")
"""Types of pydantic whose only purpose is to hide a value."""


def held_back(values: Mapping[str, object]) -> dict[str, str]:
    """Return what the credentials among `values` look like, by name.

    The descriptions say "a password" or "an AWS access key", never what it is.
    """
    found = {name: credential(name, value) for name, value in values.items()}
    return {name: what for name, what in found.items() if what}


def credential(name: str, value: object) -> str | None:
    """Return what kind of credential a variable looks like, or None.

    Looked at are a text's form, the last words of the name of a text
    (``db_password``, not ``password_column``), and the types of credentials objects;
    of a small container also the texts in it.
    """
    if value is os.environ or value is getattr(os, "environb", None):
        return "the environment variables"
    # isinstance would ask the object, which may lie or raise.
    kind = type(value)
    if issubclass(kind, str | bytes | bytearray):
        return _of_text(name, cast("_Text", value))
    if kind is dict:
        return _of_items(cast("dict[object, object]", value).values())
    if kind in (list, set, tuple):
        return _of_items(cast("Collection[object]", value))
    return _of_object(kind)


def _of_items(items: Collection[object]) -> str | None:
    if len(items) > _SHALLOW:
        return None
    texts = (cast("_Text", item) for item in items if type(item) in (str, bytes))
    return next(filter(None, map(_of_value, texts)), None)


def _of_text(name: str, value: _Text) -> str | None:
    text = _text(value)
    return _of_value(value) or (_of_name(name, text) if text and "\n" not in text else None)


def _text(value: _Text) -> str:
    # Plain copies: a subclass may do anything.
    if isinstance(value, str):
        text = str.__str__(value)
        return "" if len(text) > _LONGEST else text.strip()
    raw = memoryview(value)
    return "" if raw.nbytes > _LONGEST else raw.tobytes().decode("utf-8", "replace").strip()


def _of_value(value: _Text) -> str | None:
    text = _text(value)
    found = _VALUE.fullmatch(text) or _PART.search(text)
    if not found or found.lastgroup is None:
        return None
    table = VALUES if found.lastgroup.startswith("v") else _PARTS
    return table[int(found.lastgroup[1:])][0]


def _of_name(name: str, text: str) -> str | None:
    """Judge by the last words of a name, as the value alone could be anything."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return None
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if "aws" in words and _AWS_SECRET.fullmatch(text):
        return "an AWS secret key"
    if last in _PASSWORDS and not (last == "pwd" and ("/" in text or "\\" in text)):
        return "a password"
    if last == "key" and before in _KEYS and _KEY.fullmatch(text):
        return "a secret key"
    if last in _SECRETS and _KEY.fullmatch(text):
        return "a secret"
    if last == "token" and _TOKEN.fullmatch(text):
        return "a token"
    return None


def _of_object(kind: type) -> str | None:
    for base in type.mro(kind):
        module = getattr(base, "__module__", "")
        if not isinstance(module, str):
            continue
        if any(module == known or module.startswith(f"{known}.") for known in _CREDENTIAL_MODULES):
            return f"a {module.partition('.')[0]} {base.__name__} object"
        if base.__name__ in _SECRET_TYPES and module.partition(".")[0] == "pydantic":
            return "a secret"
    return None
