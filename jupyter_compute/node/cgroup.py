"""Memory limits that the kernel enforces, where this host lets us set them.

The node looks at memory ten times a second; code that allocates faster than that meets
the control group instead. It is optional: without write access there is none.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Group", "find_parent"]

_ROOT = Path("/sys/fs/cgroup")
_SLACK = 256 * 2**20
"""Room for the node to see it first, in bytes: the node can say where the code was."""


@dataclass(frozen=True, slots=True)
class Group:
    """The control group of one attempt.

    Parameters
    ----------
    path : Path
        Its directory.
    version : {1, 2}
        Of the kernel's interface: cgroups(7).
    """

    path: Path
    version: int

    @classmethod
    def create(cls, parent: Path, name: str) -> Group | None:
        """Make a group below `parent`, or return None if that is not allowed."""
        group = cls(parent / f"jupyter-compute-{name}", 1 if parent.is_relative_to(_V1) else 2)
        try:
            group.path.mkdir()
        except OSError:
            return None
        return group

    def take(self, pid: int) -> None:
        """Put a process, and all that it will start, into the group. It takes milliseconds."""
        with contextlib.suppress(OSError):
            (self.path / "cgroup.procs").write_text(str(pid))
            if self.version == 2:
                (self.path / "memory.oom.group").write_text("1")

    def limit(self, memory: int) -> None:
        """Limit the group's memory to so many bytes.

        The limit may turn out not to be ours to set; then the node's own looks at memory
        are what there is.
        """
        with contextlib.suppress(OSError):
            self._limit.write_text(str(memory + _SLACK))

    def release(self) -> None:
        """Lift the limit: what a run returns is not part of what it asked for."""
        with contextlib.suppress(OSError):
            self._limit.write_text("-1" if self.version == 1 else "max")

    def ran_out(self) -> bool:
        """Tell whether the kernel has killed a process for its memory."""
        events = "memory.oom_control" if self.version == 1 else "memory.events"
        try:
            lines = (self.path / events).read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and int(line.split()[1]) for line in lines)

    def peak(self) -> int:
        """Return the most memory the group has had, in bytes, as the kernel counts it; 0 if unknown."""
        counter = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        try:
            return int((self.path / counter).read_text())
        except (OSError, ValueError):
            return 0

    def remove(self) -> None:
        """Remove the group once its processes are gone."""
        with contextlib.suppress(OSError):
            self.path.rmdir()

    @property
    def _limit(self) -> Path:
        return self.path / ("memory.limit_in_bytes" if self.version == 1 else "memory.max")


_V1 = _ROOT / "memory"


def find_parent() -> Path | None:
    """Return the directory below which this process may make groups, if there is one."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            parent = _V1 / path.lstrip("/")
        elif number == "0" and not controllers:
            parent = _ROOT / path.lstrip("/")
            try:
                if "memory" not in (parent / "cgroup.subtree_control").read_text().split():
                    continue
            except OSError:
                continue
        else:
            continue
        if _may_create(parent):
            return parent
    return None


def _may_create(parent: Path) -> bool:
    probe = Group.create(parent, f"probe-{os.getpid()}")
    if probe is None:
        return False
    for left in parent.glob("jupyter-compute-*"):
        with contextlib.suppress(OSError):  # one that is still in use cannot be removed
            left.rmdir()
    return True
