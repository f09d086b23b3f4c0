"""Where machines elsewhere reach the pool: at an address of this computer, or at a relay."""

from __future__ import annotations

import os
import socket
from typing import Literal
from urllib.parse import urlsplit

from jupyter_compute import settings
from jupyter_compute.errors import AskError

__all__ = ["LOOPBACK", "is_loopback", "is_ours", "placement", "rehearsed", "scheduler_host"]

LOOPBACK = "127.0.0.1"


def scheduler_host() -> str:
    """Return the address as it is configured."""
    return str(settings.get("scheduler-host"))


def placement() -> Literal["here", "cloud"]:
    """Return where machines call: this computer, or a relay beside them.

    By itself (``auto``) it is this computer if it has an address for machines, or if they are
    those of a sandbox on it.

    Raises
    ------
    AskError
        If the setting ``scheduler`` is none of its three words.
    """
    chosen = settings.get("scheduler")
    if chosen in {"here", "cloud"}:
        return "here" if chosen == "here" else "cloud"
    if chosen != "auto":
        raise AskError(f"scheduler: {chosen!r} is not auto, here or cloud")
    return "here" if rehearsed() or not is_loopback(scheduler_host()) else "cloud"


def rehearsed() -> bool:
    """Tell whether what is called AWS is a sandbox on this computer."""
    return is_loopback(urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname or "")


def is_loopback(host: str) -> bool:
    """Tell whether nobody but this computer can reach the address."""
    return host == "localhost" or host.startswith("127.")


def is_ours(host: str) -> bool:
    """Tell whether it is an address of this computer, so that one can listen there."""
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True
