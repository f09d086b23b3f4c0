"""What separates the machines: addresses of their own on loopback."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from .machines import Address, Machine

__all__ = ["Loopback", "Networks"]

_SITE = '''"""Every Python of a machine uses the machine's own loopback address."""
import os
import socket

_resolve = socket.getaddrinfo


def resolve(*arguments, **more):
    # There is no such thing as an IPv6 address of its own here.
    found = _resolve(*arguments, **more)
    return [each for each in found if each[0] != socket.AF_INET6] or found


_own = os.environ.get("JUPYTER_COMPUTE_SANDBOX_ADDRESS")
if _own:
    _bind, _connect, _connect_ex = (
        socket.socket.bind, socket.socket.connect, socket.socket.connect_ex)

    def bind(self, address):
        if self.family == socket.AF_INET and address[0] in ("", "0.0.0.0"):
            address = (_own, *address[1:])
        return _bind(self, address)

    def _from_own(self, address):
        # Only to this computer: nothing else could answer to such an address.
        if self.family == socket.AF_INET and str(address[0]).startswith("127."):
            try:
                if self.getsockname() == ("0.0.0.0", 0):
                    _bind(self, (_own, 0))
            except OSError:
                pass

    def connect(self, address):
        _from_own(self, address)
        return _connect(self, address)

    def connect_ex(self, address):
        _from_own(self, address)
        return _connect_ex(self, address)

    socket.getaddrinfo = resolve
    socket.socket.bind = bind
    socket.socket.connect = connect
    socket.socket.connect_ex = connect_ex
'''


class Networks(Protocol):
    """What the machines of a sandbox are separated by."""

    guarded: bool
    """Whether only that comes in to machines which their security groups allow."""

    def address(self) -> Address:
        """Return an address that no machine has now."""

    def public(self, private: str) -> str:
        """Return the public address that belongs to a private one."""

    def prepare(self, machine: Machine) -> None:
        """Do what is needed before the machine boots."""

    def guard(self, machine: Machine, others: Collection[Machine]) -> None:
        """Let in to the machine what its security groups allow now, of all machines there are."""

    def variables(self, machine: Machine) -> dict[str, str]:
        """Return the variables that give the machine's programs its address."""

    def prefix(self, machine: Machine) -> list[str]:
        """Return what is to be put in front of the machine's first program."""

    def join(self, machine: Machine, *, joined: bool) -> str:
        """Cut the machine off, or let it back; return why that is not possible."""

    def remove(self, machine: Machine) -> None:
        """Remove what a machine that has ended does not need any more."""


class Loopback:
    """Loopback addresses, the lowest free one first: so those of machines that ended come back.

    Parameters
    ----------
    root : Path
        The sandbox's directory.
    """

    guarded = False

    def __init__(self, root: Path) -> None:
        self._site = root / "site"
        self._site.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._site / "sitecustomize.py").write_text(_SITE)
        self._used: set[str] = set()

    def address(self) -> Address:
        """Return an address that no machine has now."""
        for number in itertools.count(1):
            text = f"127.{16 + number // 62500}.{number // 250 % 250 + 1}.{number % 250 + 1}"
            if text not in self._used:
                self._used.add(text)
                return Address(text, text)
        raise AssertionError

    def public(self, private: str) -> str:
        """Return the public address that belongs to a private one: the same."""
        return private

    def variables(self, machine: Machine) -> dict[str, str]:
        """Return the variables that give the machine's programs its address."""
        return {
            "JUPYTER_COMPUTE_SANDBOX_ADDRESS": machine.address.private,
            "PYTHONPATH": str(self._site),
        }

    def prepare(self, machine: Machine) -> None:
        """Do nothing: all of loopback is there."""

    def guard(self, machine: Machine, others: Collection[Machine]) -> None:
        """Do nothing: nobody can be kept from loopback."""

    def prefix(self, machine: Machine) -> list[str]:
        """Return nothing."""
        return []

    def join(self, machine: Machine, *, joined: bool) -> str:
        """Return why a machine cannot be cut off."""
        return "machines can be cut off only in a sandbox with --net netns; freeze is the nearest"

    def remove(self, machine: Machine) -> None:
        """Take the address of a machine that has ended."""
        self._used.discard(machine.address.private)
