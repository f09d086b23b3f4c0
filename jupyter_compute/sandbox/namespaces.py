"""Machines in network namespaces of their own, on a bridge: as in a VPC. Needs root.

Private addresses are those of a default VPC, public ones of a range that is reserved for
benchmarks; both are unreachable everywhere but on the bridge, and nothing is forwarded.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import shutil
import socket
import subprocess
from collections.abc import Collection
from pathlib import Path

import psutil

from .groups import ruleset
from .machines import Address, Machine

__all__ = ["FILTER", "GATEWAY", "Namespaces", "sweep", "why_not"]

GATEWAY = "172.31.255.254"
"""Where machines find the sandbox, and whatever else listens there on this computer."""

FILTER = "nft"
"""The program that lets in what security groups allow; without it, everything comes in."""

_RANGES = ("172.31.0.0/16", "198.18.0.0/15")
_PREFIX = "jcs"
_NAMES = "bridge"


def why_not() -> str:
    """Return why there can be no namespaces here, or nothing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for found in itertools.chain.from_iterable(psutil.net_if_addrs().values()):
        if found.family != socket.AF_INET:
            continue
        for each in map(ipaddress.ip_network, _RANGES):
            if ipaddress.ip_address(found.address) in each:
                return f"this computer uses {found.address} itself, or for another sandbox"
    return ""


class Namespaces:
    """One namespace per machine, on a bridge of the sandbox's own.

    Parameters
    ----------
    root : Path
        The sandbox's directory, which says what is to be removed when it ends.
    """

    def __init__(self, root: Path) -> None:
        self._bridge = f"{_PREFIX}{os.getpid()}"
        self._used: set[str] = set()
        self._numbers = itertools.count(1)
        self._names: dict[str, str] = {}
        self._rules: dict[str, str] = {}
        self._filter = shutil.which(FILTER)
        self.guarded = self._filter is not None
        (root / _NAMES).write_text(self._bridge)
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("addr", "add", f"{GATEWAY}/32", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for each in _RANGES:
            _ip("route", "replace", "unreachable", each)

    def address(self) -> Address:
        """Return a private address that no machine has now."""
        for number in itertools.count(1):
            text = f"172.31.{number // 250 + 1}.{number % 250 + 1}"
            if text not in self._used:
                self._used.add(text)
                return Address(text)
        raise AssertionError

    @staticmethod
    def public(private: str) -> str:
        """Return the public address that belongs to a private one."""
        return private.replace("172.31.", "198.18.", 1)

    def prepare(self, machine: Machine) -> None:
        """Make the machine's namespace."""
        number = next(self._numbers)
        name, link = f"{self._bridge}-{number}", f"{self._bridge}v{number}"[:15]
        self._names[machine.id] = name
        _ip("netns", "add", name)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", link, "master", self._bridge, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        for address in filter(None, (machine.address.private, machine.address.public)):
            _ip("-n", name, "addr", "add", f"{address}/32", "dev", "eth0")
            _ip("route", "replace", f"{address}/32", "dev", self._bridge, "src", GATEWAY)
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "route", "add", "default", "dev", "eth0", "src", machine.address.private)
        machine.data["link"] = link

    def guard(self, machine: Machine, others: Collection[Machine]) -> None:
        """Let in to the machine what its security groups allow now."""
        if self._filter is None:
            return
        rules = ruleset(machine, others)
        if rules == self._rules.get(machine.id):
            return
        name = self._names[machine.id]
        _run("ip", "netns", "exec", name, self._filter, "-f", "-", stdin=rules)
        self._rules[machine.id] = rules

    @staticmethod
    def variables(_: Machine) -> dict[str, str]:
        """Return nothing: a machine has its address."""
        return {}

    def prefix(self, machine: Machine) -> list[str]:
        """Return what is to be put in front of the machine's first program."""
        return ["ip", "netns", "exec", self._names[machine.id]]

    @staticmethod
    def join(machine: Machine, *, joined: bool) -> str:
        """Cut the machine off, or let it back; return why that is not possible."""
        _ip("link", "set", machine.data["link"], "up" if joined else "down")
        return ""

    def remove(self, machine: Machine) -> None:
        """Remove the namespace of a machine that has ended."""
        self._used.discard(machine.address.private)
        self._rules.pop(machine.id, None)
        name = self._names.pop(machine.id, None)
        if name is not None:
            _ip("netns", "del", name)
        for address in filter(None, (machine.address.private, machine.address.public)):
            _ip("route", "del", f"{address}/32", check=False)


def sweep(root: Path) -> None:
    """Remove the bridge and the namespaces of a sandbox that has ended, if it had any."""
    try:
        bridge = (root / _NAMES).read_text()
    except FileNotFoundError:
        return
    for line in _ip("netns", "list", check=False).splitlines():
        if line.startswith(f"{bridge}-"):
            _ip("netns", "del", line.split()[0], check=False)
    _ip("link", "del", bridge, check=False)
    for each in _RANGES:
        _ip("route", "del", "unreachable", each, check=False)


def _ip(*words: str, check: bool = True) -> str:
    return _run("ip", *words, check=check)


def _run(*words: str, stdin: str = "", check: bool = True) -> str:
    """Run a program; its own words are what an exception says."""
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise OSError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
