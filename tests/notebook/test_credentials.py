"""Credentials are held back, and nothing else is."""

from __future__ import annotations

import os
import sys
import types

import pytest

from jupyter_compute.notebook.credentials import credential, held_back

AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.Zm9vYmFy"

BY_VALUE = [
    ("AKIAIOSFODNN7EXAMPLE", "an AWS access key"),
    ("ASIAIOSFODNN7EXAMPLE\n", "an AWS access key"),
    (b"AKIAIOSFODNN7EXAMPLE", "an AWS access key"),
    (bytearray(b"AKIAIOSFODNN7EXAMPLE"), "an AWS access key"),
    ("IQoJ" + "b3JpZ2lu" * 20, "an AWS session token"),
    ("AIza" + "Sy0" * 11 + "ab", "a Google API key"),
    ("ghp_" + "a1B2" * 9, "a GitHub token"),
    ("github_pat_" + "a1B2" * 9, "a GitHub token"),
    ("glpat-" + "a1B2" * 5, "a GitLab token"),
    ("hf_" + "aBcD" * 8, "a Hugging Face token"),
    ("sk-proj-" + "a1B2" * 9, "an API key"),
    ("sk_live_" + "a1B2" * 5, "an API key"),
    ("xoxb-1234567890-abcdef", "a Slack token"),
    ("pypi-" + "a1B2" * 15, "a PyPI token"),
    (JWT, "a JSON web token"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n", "a private key"),
    ("# mine\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n", "a private key"),
    ("https://b.s3.amazonaws.com/k?X-Amz-Signature=" + "0f" * 32, "a signed address"),
    ("Protocol=https;AccountKey=" + "a1B2" * 11 + ";", "an account key"),
    (f"Bearer {JWT}", "an authorization header"),
    ("postgresql://user:hunter2@db.example.com/x", "an address with a password"),
    ({"key": "AKIAIOSFODNN7EXAMPLE"}, "an AWS access key"),
    (["x", b"AKIAIOSFODNN7EXAMPLE"], "an AWS access key"),
]

BY_NAME = [
    ("password", "hunter2", "a password"),
    ("db_password", b"hunter2", "a password"),
    ("dbPassword", "a long pass phrase", "a password"),
    ("PASSWD", "x", "a password"),
    ("pwd", "s3cret", "a password"),
    ("client_secret", "c2VjcmV0", "a secret"),
    ("api_key", "0123456789", "a secret key"),
    ("apiKey", "0123456789", "a secret key"),
    ("OPENAI_API_KEY", "0123456789", "a secret key"),
    ("private_key", "0123456789", "a secret key"),
    ("GITHUB_TOKEN", "abcdef0123456789", "a token"),
    ("access_token", "abcdef0123456789", "a token"),
    ("aws_secret", AWS_SECRET, "an AWS secret key"),
    ("AWS_SECRET_ACCESS_KEY", AWS_SECRET, "an AWS secret key"),
    ("aws_sk", AWS_SECRET, "an AWS secret key"),
]

HARMLESS = [
    ("tokens", ["a", "b"]),
    ("token_count", 5),
    ("token", "hello"),
    ("token", "international-house"),
    ("eos_token", "<|endoftext|>"),
    ("secret_santa", object()),
    ("secret_santa", "Anna"),
    ("secret", 7),
    ("password", ""),
    ("password", "  "),
    ("password", None),
    ("passwords", ["hunter2"]),
    ("password_column", "pw"),
    ("password", "a\ndocument"),
    ("pwd", "/home/me/project"),
    ("primary_key", "customer_id"),
    ("api_key", ""),
    ("private_key_path", "/keys/a.pem"),
    ("keyboard", "qwertyuiop"),
    ("url", "https://example.com:80/a@b"),
    ("text", "sk-learn is a library, its successor is named sk-relearn"),
    ("slug", "sk-learn-is-a-very-nice-library"),
    ("digest", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("text", "-----BEGIN CERTIFICATE-----"),
    ("book", "-----BEGIN PRIVATE KEY-----" + "x" * 70_000),
    ("labels", {"password": "Passwort", "token": "Marke"}),
    ("rows", ["AKIAIOSFODNN7EXAMPLE"] * 101),
    ("n", 3),
    ("", "x"),
]


@pytest.mark.parametrize(("value", "what"), BY_VALUE, ids=lambda v: str(v)[:20])
def test_a_credential_is_known_by_its_form(value, what):
    assert credential("x", value) == what


@pytest.mark.parametrize(("name", "value", "what"), BY_NAME, ids=lambda v: str(v)[:20])
def test_a_credential_is_known_by_its_name(name, value, what):
    assert credential(name, value) == what


@pytest.mark.parametrize(("name", "value"), HARMLESS, ids=lambda v: str(v)[:20])
def test_other_values_are_sent(name, value):
    assert credential(name, value) is None


def test_the_environment_variables():
    assert credential("env", os.environ) == "the environment variables"
    assert credential("env", os.environb) == "the environment variables"
    assert credential("env", {"HOME": "/"}) is None


@pytest.mark.parametrize(
    ("module", "name", "held"),
    [
        ("botocore.credentials", "RefreshableCredentials", True),
        ("boto3.session", "Session", True),
        ("google.oauth2.service_account", "Credentials", True),
        ("pydantic.types", "SecretStr", True),
        ("pydantic.types", "Json", False),
        ("botocore.response", "StreamingBody", False),
        ("boto3.sessions", "Session", False),
    ],
)
def test_objects_are_known_by_their_type(module, name, held):
    cls = type(name, (), {"__module__": module})
    derived = type("Own", (cls,), {})
    assert (credential("x", cls()) is not None) == held
    assert (credential("x", derived()) is not None) == held


def test_hostile_objects_are_asked_nothing():
    class Hostile:
        @property
        def __class__(self):
            raise RuntimeError

        def __getattribute__(self, name):
            raise RuntimeError

        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

    class Text(str):
        __slots__ = ()

        def strip(self, *_):
            raise RuntimeError

        def __len__(self):
            raise RuntimeError

    assert credential("password", Hostile()) is None
    assert credential("password", Text("hunter2")) == "a password"
    assert credential("m", sys) is None
    assert credential("m", types.ModuleType("x")) is None


def test_only_the_credentials_of_many_are_named():
    values = {"password": "hunter2", "df": [1, 2], "key": "AKIAIOSFODNN7EXAMPLE"}
    assert held_back(values) == {"password": "a password", "key": "an AWS access key"}


def test_what_is_said_never_holds_the_value():
    for value, what in BY_VALUE:
        assert str(value) not in what
