"""The sandbox's own record of a machine, from its launch to its end."""

from __future__ import annotations

import abc
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from .guest import Guest

__all__ = ["GONE", "Machine", "State"]

State = Literal["pending", "running", "stopping", "stopped", "shutting-down", "terminated"]
GONE = frozenset({"stopped", "terminated"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a machine is reached."""

    private: str
    public: str | None = None


@dataclass(slots=True, kw_only=True)
class Machine(abc.ABC):
    """A machine as the sandbox knows it.

    Its `show` says what the API tells of it. Times are UTC seconds, except those that
    end in ``_at``, which are on the monotonic clock.
    """

    id: str
    kind: Literal["ec2", "fargate"]
    type: str
    region: str
    zone: str
    spot: bool
    cpu: float
    memory_mib: int
    address: Address
    image: str
    boot_at: float
    launched: float = field(default_factory=time.time)
    started: float | None = None
    ending: float | None = None
    """When it was told to end."""
    ended: float | None = None
    state: State = "pending"
    why: str = ""
    guest: Guest | None = None
    notice: float | None = None
    """When a noticed spot machine is taken away."""
    notice_at: float | None = None
    kill_at: float | None = None
    frozen: bool = False
    cut: bool = False
    boots: bool = True
    data: dict[str, Any] = field(default_factory=dict)

    @abc.abstractmethod
    def command(self) -> tuple[list[str], dict[str, str], bytes | None]:
        """Return what it boots into: arguments, variables, and the text of the script if any."""

    @abc.abstractmethod
    def groups(self) -> list[Any]:
        """Return its security groups, moto's own, as they are now."""

    @abc.abstractmethod
    def show(self) -> None:
        """Make the API tell the machine's state."""

    @property
    def stops_itself(self) -> bool:
        """Whether it is only stopped when it shuts itself down."""
        return False

    @property
    def ends_with_its_program(self) -> bool:
        """Whether it ends when what it booted into ends."""
        return False

    def listed(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "id": self.id,
            "kind": self.kind,
            "type": self.type,
            "region": self.region,
            "zone": self.zone,
            "spot": self.spot,
            "cpu": self.cpu,
            "memory_mib": self.memory_mib,
            "state": self.state,
            "why": self.why,
            "address": self.address.private,
            "image": self.image,
            "launched": self.launched,
            "started": self.started,
            "ending": self.ending,
            "ended": self.ended,
            "noticed": self.notice is not None,
            "frozen": self.frozen,
            "cut": self.cut,
            "pid": None if self.guest is None or self.state in GONE else self.guest.pid,
            "console": None if self.guest is None else str(self.guest.console),
        }
