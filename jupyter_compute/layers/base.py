"""What every compute layer promises to the pool.

A layer knows nothing of runs: it starts machines, each a `jupyter_compute.node`
process somewhere, and ends them. The pool decides when, and identifies machines by
ids of its own, which it has journalled before it asks for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jupyter_compute.model import Offer

__all__ = ["Layer", "Machine", "Rehearsing"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as its layer sees it.

    Parameters
    ----------
    id : str
        The id that the pool gave it.
    offer : Offer
        What it was launched as.
    state : {"alive", "gone"}
        A machine that is gone uses nothing any more and never comes back.
    started : float
        When it was launched, in UTC seconds.
    why : str
        For one that is gone: how it ended, as far as the layer can tell.
    """

    id: str
    offer: Offer
    state: Literal["alive", "gone"]
    started: float
    why: str = ""


class Layer(Protocol):
    """A source of machines. Calls may block for seconds, and may come from any thread."""

    @property
    def name(self) -> str:
        """The layer's name in asks and in the configuration."""

    def why_not(self) -> str:
        """Return why the layer cannot be used as configured, or nothing if it can."""

    def offers(self) -> Sequence[Offer]:
        """Return every machine type that can be launched, with its price.

        The list is the same until the configuration changes.
        """

    def launch(self, offer: Offer, machine_id: str) -> None:
        """Start a machine of the offered type under the id.

        Calling it again with the same id never starts a second one. When it returns the
        machine is listed; it may still fail to boot, which shows as ``gone``.

        Raises
        ------
        PoolError
            If the layer did not start it. Nothing is left running then.
        """

    def introduce(self, machine_id: str, invitation: str) -> None:
        """Hand a launched machine the line that lets it join the scheduler.

        The invitation holds a key: it must reach nobody but the machine. Does nothing for
        a machine that is gone, or that has it already.
        """

    def terminate(self, machine_id: str) -> bool:
        """Make the machine end, and return whether it is gone.

        The caller repeats the call until it is. A machine that the layer never knew is
        gone. Whatever ran on it has ended with it.
        """

    def list(self) -> Sequence[Machine]:
        """Return the machines launched for this pool that are alive, and those just gone.

        One that is gone is listed until `terminate` has said so once.
        """


@runtime_checkable
class Rehearsing(Protocol):
    """A layer on which the loss of a machine can be rehearsed."""

    def lose(self, machine_id: str) -> None:
        """Kill a machine at once and without notice. One that is gone stays so."""
