"""The address of this computer at which machines elsewhere reach the pool."""

from __future__ import annotations

import socket

from jupyter_compute import settings

__all__ = ["LOOPBACK", "is_loopback", "is_ours", "scheduler_host"]

LOOPBACK = "127.0.0.1"


def scheduler_host() -> str:
    """Return the address as it is configured."""
    return str(settings.get("scheduler-host"))


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
