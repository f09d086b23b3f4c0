"""What scaling sees, and what it says is to be done. Pure, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jupyter_compute.model import Offer

__all__ = ["Intent", "Machine", "Meant", "Retirement", "Scaling", "Wait", "Waiting"]

Meant = tuple[tuple[str, int], ...]
"""Whom a machine is for: keys of demands, and how many runs of each."""

Waiting = Literal["held", "gathering", "limit", "failing", "impossible"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as far as scaling is concerned.

    Parameters
    ----------
    id : str
    offer : Offer
    state : {"starting", "ready", "draining"}
    cpu, memory, gpu : float, int, int
        What is free there, for one that starts: what will be. What is kept free for a certain
        run is free only for that one, so it does not count here.
    meant : tuple of (str, int)
        For one that starts: whom for, as its `Intent` says.
    idle_s : float or None
        For how long nothing has run there; None if something runs, or if it is not ready.
    """

    id: str
    offer: Offer
    state: Literal["starting", "ready", "draining"]
    cpu: float
    memory: int
    gpu: int = 0
    meant: Meant = ()
    idle_s: float | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """Machines to be started by one launch.

    Parameters
    ----------
    offers : tuple of Offer
        What will do, of one layer: the chosen one first, then what to try when there is none.
    meant : tuple of tuple of (str, int)
        By machine, whom for: the key of a demand, and how many runs of it.
    why : str
        Why this offer, e.g. ``"2nd cheapest of 41; cheapest had no capacity"``.
    """

    offers: tuple[Offer, ...]
    meant: tuple[Meant, ...]
    why: str

    @property
    def count(self) -> int:
        """How many machines."""
        return len(self.meant)


@dataclass(frozen=True, slots=True)
class Retirement:
    """A machine to be ended.

    Parameters
    ----------
    machine : str
        Its id.
    why : str
    """

    machine: str
    why: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Runs that wait, and nothing is started for them now.

    Parameters
    ----------
    key : str
        That of the demand.
    count : int
        How many of its runs.
    kind : str
        ``held``: a machine that is there or starts has room for them. ``gathering``: it is
        planned in a moment. ``limit``: a limit keeps them waiting. ``failing``: machines for them
        cannot be had now. ``impossible``: no offer will ever do.
    why : str
        One sentence for the user.
    """

    key: str
    count: int
    kind: Waiting
    why: str


@dataclass(frozen=True, slots=True)
class Scaling:
    """What to do now.

    Parameters
    ----------
    intents : tuple of Intent
    retirements : tuple of Retirement
    waits : tuple of Wait
        A demand may appear in several.
    again_s : float or None
        In how many seconds to look again, if that is before the next look.
    """

    intents: tuple[Intent, ...] = ()
    retirements: tuple[Retirement, ...] = ()
    waits: tuple[Wait, ...] = ()
    again_s: float | None = None
