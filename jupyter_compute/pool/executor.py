"""The seam between the life of runs and whatever executes their attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jupyter_compute.policy.where import Needs, Waiting

__all__ = ["Executor", "Listener"]


class Executor(Protocol):
    """Where attempts go."""

    def submit(self, attempt: str, spec: str, needs: Needs) -> None:
        """Queue the attempt until a machine has this much free."""

    def withdraw(self, attempt: str) -> None:
        """Forget the attempt; one that waits will not start."""

    def control(self, attempt: str, action: str, message: Mapping[str, Any] | None = None) -> None:
        """Pass ``interrupt``, ``kill`` or ``tell`` to the machine that has the attempt, if any.

        ``tell`` comes with the `message` that a lane of a map is to get.
        """

    def demand(self) -> Sequence[Waiting]:
        """Return what waits for a machine."""

    def moving(self, attempt: str) -> str:
        """Return what of the attempt's values is on its way; empty if nothing is."""

    def ahead(self, attempt: str) -> int | None:
        """Return how many wait before the attempt that need the same; None if it does not wait."""

    def why_waiting(self, attempt: str) -> str:
        """Return what the attempt waits for; empty if it does not wait."""


class Listener(Protocol):
    """Who learns what happens to attempts and machines."""

    def placed(self, attempt: str, machine: str) -> None:
        """The attempt has been given to the machine, and may run from now on."""

    def happened(self, attempt: str, events: Sequence[Mapping[str, Any]]) -> None:
        """The machine reports events of the attempt, the last of all being ``ended``."""

    def vanished(self, attempt: str, machine_lost: bool, message: str) -> None:
        """The attempt is over. Unless its end was reported, it never will be."""

    def sampled(self, machine: str, sample: Mapping[str, Any]) -> None:
        """The machine reports what it and its attempts use."""

    def noticed(self, machine: str, at: float) -> None:
        """The machine will be taken away at this UTC second."""

    def joined(self, machine: str) -> None:
        """The machine has registered."""

    def left(self, machine: str) -> None:
        """The machine's connection is gone."""
