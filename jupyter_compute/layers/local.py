"""This computer as a compute layer: one machine, which is a process here.

Its capacity is what runs can truly have: the cores and the memory that affinity and
control groups leave to us, less a reserve of memory for everything else.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jupyter_compute import ask, places, settings
from jupyter_compute.layers.base import Launch, Launched, Machine, Refusal
from jupyter_compute.model import Offer

__all__ = ["Capacity", "LocalLayer", "measure"]

_RESERVE_SHARE = 0.15
_LEAST_RESERVE = 256 * 2**20
_LEAST_MEMORY = 64 * 2**20
_UNLIMITED = 2**60
"""cgroup v1 writes a page-rounded 2**63 for no limit at all."""

_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What this computer, or the container that we are in, has.

    Parameters
    ----------
    cpu : float
        CPUs, fractional if a quota says so.
    memory : int
        Bytes, nothing reserved yet.
    """

    cpu: float
    memory: int

    @property
    def memory_for_runs(self) -> int:
        """Bytes left when the reserve for everything else is taken away."""
        reserve = max(int(self.memory * _RESERVE_SHARE), _LEAST_RESERVE)
        return max(self.memory - reserve, _LEAST_MEMORY)


def measure(root: Path = Path("/"), affinity: int | None = None) -> Capacity:
    """Return what this computer has, as limited by affinity and by control groups.

    Parameters
    ----------
    root : path
        Where ``proc`` and ``sys`` are.
    affinity : int, optional
        How many CPUs this process may use; asked of the system if not given.
    """
    cpu = float(affinity or _affinity())
    memory = _physical_memory(root)
    for group in _groups(root, "cpu"):
        cpu = min(cpu, _cpu_quota(group))
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            memory = min(memory, _number(group / name, _UNLIMITED))
    return Capacity(cpu=max(cpu, 0.1), memory=memory)


class LocalLayer:
    """This computer. It offers one machine type: all of it.

    Parameters
    ----------
    root : path
        Where ``proc`` and ``sys`` are.
    command : callable, optional
        From machine id and offer to the command line of the node.
    """

    name = "local"

    def __init__(
        self,
        root: Path = Path("/"),
        command: Callable[[str, Offer], Sequence[str]] | None = None,
    ) -> None:
        self._root = root
        self._command = command or _node_command
        self._nodes: dict[str, _Node] = {}
        self._lock = threading.Lock()
        self._offers: Sequence[Offer] | None = None

    def why_not(self) -> str:
        """Return nothing: this computer can always be used."""
        return ""

    def offers(self) -> Sequence[Offer]:
        """Return the one offer, which is this computer."""
        if self._offers is None:
            capacity = measure(self._root)
            cpu, memory = settings.get("layers.local.cpu"), settings.get("layers.local.memory")
            self._offers = (
                Offer(
                    layer=self.name,
                    type=self.name,
                    cpu=capacity.cpu if cpu is None else ask.parse_cpu(str(cpu)),
                    memory=(
                        capacity.memory_for_runs
                        if memory is None
                        else ask.parse_memory(str(memory))
                    ),
                    usd_per_hour=0.0,
                ),
            )
        return self._offers

    def launch(self, launch: Launch) -> Launched:
        """Start a node process in a session of its own, unless the launch has one already."""
        offer = launch.offers[0]
        with self._lock:
            if launch.id not in self._nodes:
                try:
                    process = subprocess.Popen(
                        self._command(launch.id, offer),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.DEVNULL,
                        cwd="/",
                        start_new_session=True,
                    )
                except OSError as error:
                    why = f"the local machine cannot be started: {error}"
                    return Launched((), (Refusal(offer, "invalid", why),))
                self._nodes[launch.id] = _Node(offer, process, time.time())
            return Launched((self._nodes[launch.id].machine(launch.id),))

    def introduce(self, machine_id: str, invite: Callable[[str], str]) -> None:
        """Write the invitation to the node's stdin, which stays open as its lease."""
        node = self._nodes.get(machine_id)
        if node is None or node.introduced or node.process.stdin is None:
            return
        node.introduced = True
        with contextlib.suppress(BrokenPipeError):  # it is gone, and `list` will say so
            node.process.stdin.write(f"{invite(machine_id)}\n".encode())
            node.process.stdin.flush()

    def terminate(self, machine_id: str) -> bool:
        """End the node by closing its lease; kill it if it is still there two seconds later."""
        with self._lock:
            node = self._nodes.get(machine_id)
            if node is None:
                return True
            if node.process.poll() is None:
                node.end()
                return False
            node.close()
            del self._nodes[machine_id]
            return True

    def lose(self, machine_id: str) -> None:
        """Kill the node; its fork servers see that, and end with all their children."""
        with self._lock:
            node = self._nodes.get(machine_id)
            if node is not None:
                node.process.kill()

    def list(self) -> Sequence[Machine]:
        """Return the node processes that this process has started."""
        with self._lock:
            return [node.machine(machine_id) for machine_id, node in self._nodes.items()]


@dataclass(slots=True)
class _Node:
    offer: Offer
    process: subprocess.Popen[bytes]
    started: float
    introduced: bool = False
    ending_since: float | None = None

    def machine(self, machine_id: str) -> Machine:
        code = self.process.poll()
        if code is None:
            return Machine(machine_id, machine_id, self.offer, "alive", self.started)
        if code < 0:
            why = f"its process was ended by {signal.Signals(-code).name}"
        else:
            why = f"its process ended with exit code {code}"
        return Machine(machine_id, machine_id, self.offer, "gone", self.started, why)

    def end(self) -> None:
        self.close()
        now = time.monotonic()
        if self.ending_since is None:
            self.ending_since = now
        elif now - self.ending_since >= _GRACE_S:
            self.process.kill()

    def close(self) -> None:
        if self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # nobody may be left to read the rest
                self.process.stdin.close()


def _node_command(machine_id: str, offer: Offer) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "jupyter_compute.node"),
        *("--name", machine_id),
        *("--cpu", f"{offer.cpu:g}"),
        *("--memory", str(offer.memory)),
        *("--blobs", ":".join(map(str, places.blob_dirs()))),
    ]


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _physical_memory(root: Path) -> int:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    total = next(line for line in lines if line.startswith("MemTotal:"))
    return int(total.split()[1]) * 1024


def _groups(root: Path, controller: str) -> Sequence[Path]:
    """Return the directories of our control group and its parents, for v1 and v2.

    Inside a container the path that /proc names may not exist below the mount: then
    the mount itself is our group.
    """
    top = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return [top]
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = top / controller if controllers else top
        group = mount / path.lstrip("/")
        while group != mount:
            found.append(group)
            group = group.parent
        found.append(mount)
    return found


def _cpu_quota(group: Path) -> float:
    """Return the CPUs that the group may use at a time, infinite if unlimited."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    limit = _number(group / "cpu.cfs_quota_us", -1)
    return limit / _number(group / "cpu.cfs_period_us", 100_000) if limit > 0 else math.inf


def _number(file: Path, otherwise: int) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return otherwise
