"""What a process tree uses, and what it may use."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

__all__ = [
    "Cores",
    "children",
    "kill_tree",
    "proportional_memory",
    "running",
    "trackers",
    "tree",
    "usage",
]

_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_DIRECT = (_PROC / "self/task" / str(os.getpid()) / "children").exists()
"""Linux lists a process's children; elsewhere psutil asks for every process there is."""

_TRACKER = "resource_tracker import main"
"""What resource trackers are started with."""


def children(pid: int) -> list[int]:
    """Return the processes that this one has started and that still exist."""
    if not _DIRECT:
        try:
            return [child.pid for child in psutil.Process(pid).children()]
        except psutil.Error:
            return []
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def tree(pid: int) -> list[int]:
    """Return the process and all its descendants."""
    found = [pid]
    for member in found:
        found += children(member)
    return found


def running(pids: Sequence[int]) -> list[int]:
    """Return those of the processes that have not ended, waited for or not."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def usage(pids: Sequence[int]) -> tuple[int, float]:
    """Return resident memory in bytes and CPU time in seconds, summed over processes."""
    memory, cpu = 0, 0.0
    for pid in pids:
        try:
            resident, seconds = _usage_of(pid)
        except (OSError, psutil.Error):
            continue
        memory += resident
        cpu += seconds
    return memory, cpu


def _usage_of(pid: int) -> tuple[int, float]:
    if not _DIRECT:
        process = psutil.Process(pid)
        times = process.cpu_times()
        return process.memory_info().rss, times.user + times.system
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # utime, stime, and those of children that have been waited for: proc_pid_stat(5)
    return resident, sum(map(int, fields[11:15])) / _TICK


def proportional_memory(pids: Sequence[int]) -> int | None:
    """Return memory in bytes with shared pages counted once, or None if unknown.

    Forked processes share most of their pages; resident memory counts them in each.
    """
    found = [text for pid in pids if (text := _rollup(pid))]
    lines = [line for text in found for line in text.splitlines() if line.startswith("Pss:")]
    return sum(int(line.split()[1]) * 1024 for line in lines) if lines else None


def _rollup(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return ""


def kill_tree(pid: int) -> list[int]:
    """Kill a process and its descendants; return the trackers among these, which end last."""
    members = tree(pid)
    spared = trackers(members[1:])
    if not _DIRECT:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    for member in members:
        if member not in spared:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(member, signal.SIGKILL)
    return spared


def trackers(pids: Sequence[int]) -> list[int]:
    """Return those that are resource trackers, Python's own or joblib's.

    Once all others are gone they remove the shared memory these had, and end. Killed with
    the others they would leave it behind for good.
    """
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            if any(_TRACKER in part for part in _command(pid)):
                found.append(pid)
    return found


def _command(pid: int) -> list[str]:
    """Return a process's command line; one that is just being started has none yet."""
    process = psutil.Process(pid)
    for _ in range(20):
        if command := process.cmdline():
            return list(command)
        time.sleep(0.001)
    return []


class Cores:
    """Gives every attempt the cores that the fewest others use."""

    def __init__(self, available: Sequence[int]) -> None:
        self._load = dict.fromkeys(available, 0.0)

    def take(self, cpu: float) -> list[int]:
        """Return as many cores as `cpu`, rounded up; they count as used until given back."""
        number = min(len(self._load), max(1, -int(-cpu // 1)))
        chosen = sorted(self._load, key=lambda core: (self._load[core], core))[:number]
        for core in chosen:
            self._load[core] += cpu / number
        return chosen

    def give_back(self, cores: Sequence[int], cpu: float) -> None:
        """Undo what :meth:`take` has counted."""
        for core in cores:
            self._load[core] -= cpu / len(cores)
