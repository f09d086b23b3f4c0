"""How a machine that nobody holds a pipe to finds its pool.

It was booted with the address of the pool's door, a token, and the certificate of the
pool's authority. It makes a key, has it certified at the door, and so becomes a member.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["VARIABLE", "Order", "Refused", "join", "own_address", "read_order"]

VARIABLE = "JUPYTER_COMPUTE_BOOT"
"""The variable with what the machine was booted with; what runs here never sees it."""

_REQUEST_S = 10.0
_PAUSE_S = 1.0


class Refused(Exception):
    """The pool does not let this machine in, or cannot be found."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the machine was booted with.

    Parameters
    ----------
    url, authority, token : str
        Where to join, whom to believe there, and what to show.
    cpu : float
    memory : int
        Bytes that runs can have.
    gpu : int
    spot : bool
        True if the machine may be reclaimed, and its cloud tells it before.
    machine : str
        Its id; empty if it is to ask its cloud.
    """

    url: str
    authority: str
    token: str
    cpu: float
    memory: int
    gpu: int = 0
    spot: bool = False
    machine: str = ""


def read_order() -> Order:
    """Return what this machine was booted with, and take it out of the environment.

    Raises
    ------
    Refused
        If it is not there, or incomplete.
    """
    try:
        return Order(**json.loads(os.environ.pop(VARIABLE)))
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(f"{VARIABLE} does not say how to join: {error!r}") from error


def own_address(order: Order) -> str:
    """Return this machine's address on the way to the pool. Nothing is sent.

    Raises
    ------
    OSError
        If there is no such way.
    """
    url = urlsplit(order.url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((url.hostname or "", url.port or 443))
        address: str = probe.getsockname()[0]
        return address


def join(order: Order, machine: str, patience_s: float) -> dict[str, str]:
    """Join the pool, and return the invitation to its scheduler.

    Parameters
    ----------
    order : Order
    machine : str
        The id that the cloud gave this machine.
    patience_s : float
        For how long a pool that does not answer is asked again.

    Raises
    ------
    Refused
        If the pool says no, or did not answer in all this time.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, machine[:64])])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    body = {"token": order.token, "machine": machine, "request": pem}
    answer = _patiently(lambda: _post(order, body), patience_s)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "scheduler": str(answer["scheduler"]),
        "authority": order.authority,
        "certificate": str(answer["certificate"]),
        "key": private.decode(),
    }


def _post(order: Order, body: dict[str, str]) -> dict[str, Any]:
    context = ssl.create_default_context(cadata=order.authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Directly: a proxy that the image is set up with does not lead to the pool.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    request = urllib.request.Request(order.url, json.dumps(body).encode(), method="POST")
    with opener.open(request, timeout=_REQUEST_S) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _patiently(ask: Callable[[], dict[str, Any]], patience_s: float) -> dict[str, Any]:
    end = time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise Refused(f"the pool does not let this machine in: {error}") from error
            why = str(error)
        except ssl.SSLCertVerificationError as error:
            raise Refused(f"whoever answers is not the pool: {error}") from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise Refused(f"whoever answers is not the pool: {error.reason}") from error
            why = str(error.reason)
        except OSError as error:
            why = str(error)
        if time.monotonic() > end:
            raise Refused(f"the pool cannot be reached: {why}")
        time.sleep(_PAUSE_S)
