"""What looks like a credential does not stay in logs and records, and other text does."""

from __future__ import annotations

import pytest

from jupyter_compute.redaction import redacted

_TOKEN = "a1" * 20


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"no login at https://me:{_TOKEN}@db/x", "no login at https://me:[held back]@db/x"),
        (f"Authorization: Bearer {_TOKEN}", "Authorization: Bearer [held back]"),
        (f"GET /a?X-Amz-Signature={_TOKEN}&b=1", "GET /a?X-Amz-Signature=[held back]&b=1"),
        ("password='hunter2'", "password='[held back]'"),
        (f"API_TOKEN = {_TOKEN!r}", "API_TOKEN = '[held back]'"),
        (f'{{"api_key": "{_TOKEN}"}}', '{"api_key": "[held back]"}'),
        ("key AKIAIOSFODNN7EXAMPLE was refused", "key [held back] was refused"),
        (f"ghp_{_TOKEN}, and more", "[held back], and more"),
        (
            "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----[held back] PRIVATE KEY-----",
        ),
    ],
)
def test_a_credential_is_replaced(text: str, left: str) -> None:
    assert redacted(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "unexpected token: identifier",
        "KeyError: 'api_key'",
        "http://127.0.0.1:8080/x@y",
        "the secret of i-0123456789abcdef0 is kept",
        "token=short1",
        "/home/me/project/key.pem: 2026-11-23T18:25:53",
        "",
    ],
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert redacted(text) == text
