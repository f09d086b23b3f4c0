"""The machines of this pool, and what clients see of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jupyter_compute.ask import format_money
from jupyter_compute.layers.base import Machine as Found
from jupyter_compute.model import SANDBOX, Offer
from jupyter_compute.policy.reasons import name
from jupyter_compute.policy.steps import Meant

__all__ = ["Machine", "Payer", "machines_to_wire"]


@dataclass(slots=True)
class Machine:
    """A machine of this pool.

    Parameters
    ----------
    id : str
    offer : Offer
    launched : float
        Monotonic seconds.
    started : float
        UTC seconds.
    state : {"starting", "ready", "draining", "ending"}
        One that is draining ends when nothing runs on it any more.
    launch : str
        The launch that it came from.
    meant : tuple of (str, int)
        For one that starts: whom for (`policy.steps.Machine`).
    why : str
        Why this offer was chosen; for a relay that ends: why it does.
    asked : float
        When it was asked for, in monotonic seconds: it cannot be older.
    role : {"machine", "relay"}
        Nothing runs on a relay.
    noticed : bool
        Whether the cloud has said that it takes it back.
    lost : bool
        Whether its connection was lost, and nobody here had ended it.
    """

    id: str
    offer: Offer
    launched: float
    started: float
    state: Literal["starting", "ready", "draining", "ending"] = "starting"
    launch: str = ""
    meant: Meant = ()
    why: str = ""
    asked: float = float("-inf")
    role: Literal["machine", "relay"] = "machine"
    noticed: bool = False
    lost: bool = False

    @classmethod
    def of(cls, found: Found, now: float, launch: str, **more: Any) -> Machine:
        """Return a machine that a launch has brought at this monotonic second."""
        return cls(found.id, found.offer, now, found.started, launch=launch, **more)

    @property
    def label(self) -> str:
        """How a user reads it: ``"r7i.2xlarge spot, us-east-1b, $0.21/h"``."""
        price = self.offer.usd_per_hour
        cost = "price unknown" if price is None else f"{format_money(price)}/h"
        return f"{name(self.offer)}, {cost}"


class Payer(Protocol):
    """Who is told from when to when machines elsewhere cost something."""

    def opened(self, machine: Machine) -> None:
        """A launch has brought a machine."""

    def found(self, machine: Found) -> None:
        """There is a machine that no record knows."""

    def listed(self, layer: str, alive: set[str]) -> None:
        """The layer has these machines."""

    def ended(self, machine_id: str) -> None:
        """The layer has taken on the end of a machine, or it is gone."""


def machines_to_wire(
    machines: Mapping[str, Machine],
    usage: Callable[[str], Any],
    runs: Callable[[str], int],
    rest: Callable[[Machine], Mapping[str, float | None]],
) -> list[Any]:
    """Return the machines as clients see them.

    Parameters
    ----------
    machines : mapping
        By id.
    usage : callable
        From machine id to its last sample: time, CPUs and bytes used; or None.
    runs : callable
        From machine id to the number of runs on it.
    rest : callable
        From machine to what is known of its rest: for how long, and until when.
    """
    return [_wire(m, usage(m.id), runs(m.id)) | dict(rest(m)) for m in machines.values()]


def _wire(machine: Machine, used: Any, runs: int) -> dict[str, Any]:
    offer = machine.offer
    return {
        "id": machine.id,
        "layer": offer.layer,
        "type": _type(machine),
        "role": machine.role,
        "state": machine.state,
        "spot": offer.spot,
        "usd_per_hour": offer.usd_per_hour,
        "cpu": offer.cpu,
        "memory": offer.memory,
        "cpu_used": None if used is None else used[1],
        "memory_used": None if used is None else used[2],
        "started": machine.started,
        "runs": runs,
    }


def _type(machine: Machine) -> str:
    relay = " (relay)" if machine.role == "relay" else ""
    return f"{machine.offer.type}{relay}{SANDBOX if machine.offer.sandbox else ''}"
