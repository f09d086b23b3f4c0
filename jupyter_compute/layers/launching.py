"""A launch, try after try, that never starts more than it was asked for.

Every try has a client token of its own, so that a reply which was lost can be asked for
again. What came of a try is remembered: a launch that is repeated goes on where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from jupyter_compute.layers.base import Launch, Launched, Machine, Refusal
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.model import Offer

__all__ = ["Fresh", "Launches"]

_UNSEEN_S = 60.0
_REMEMBERED_S = 86400.0

_STANDARD = frozenset("acdhimrtz")
"""Families of EC2 that share one quota, see its documentation of quotas."""

Place = TypeVar("Place")


class Launches:
    """The launches of one layer.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._records: dict[str, _Record] = {}

    def carry_out(
        self,
        launch: Launch,
        find: Callable[[], Sequence[Machine]],
        tries: Callable[[], Iterable[tuple[Offer, Place]]],
        attempt: Callable[[str, Offer, Place, int], Sequence[Machine]],
    ) -> Launched:
        """Start machines until there are enough, or no try is left.

        Parameters
        ----------
        launch : Launch
        find : callable
            Returns the machines that the launch has already, as the layer lists them.
        tries : callable
            Returns what to try, each an offer and a place, always in the same order.
        attempt : callable
            Starts at most so many machines: token, offer, place, count.

        Raises
        ------
        CallFailed
            If nobody knows what came of a try.
        """
        record = self._record(launch.id)
        with record.lock:
            try:
                return self._go_on(record, launch, find, tries, attempt)
            except CallFailed as failure:
                return record.launched(failure.refusal())

    def _go_on(
        self,
        record: _Record,
        launch: Launch,
        find: Callable[[], Sequence[Machine]],
        tries: Callable[[], Iterable[tuple[Offer, Place]]],
        attempt: Callable[[str, Offer, Place, int], Sequence[Machine]],
    ) -> Launched:
        if not record.looked:
            # A pool before us may have launched it, and died before it said so.
            record.add(find())
            record.looked = True
        if len(record.machines) >= launch.count:
            return record.launched()
        for number, (offer, place) in enumerate(tries()):
            missing = launch.count - len(record.machines)
            if missing <= 0:
                break
            if number in record.tried or _quota(offer) in record.full:
                continue
            try:
                record.add(attempt(f"{launch.id}-{number}", offer, place, missing))
            except CallFailed as failure:
                refusal = failure.refusal(offer)
                if not _others_may_do(failure, offer):
                    return record.launched(refusal)
                record.refused.append(refusal)
                if refusal.kind == "quota":
                    record.full.add(_quota(offer))
            record.tried.add(number)
        return record.launched()

    def _record(self, launch_id: str) -> _Record:
        with self._lock:
            now = self._clock()
            for known, record in list(self._records.items()):
                if now - record.since > _REMEMBERED_S:
                    del self._records[known]
            return self._records.setdefault(launch_id, _Record(now))


class Fresh:
    """Machines launched a moment ago, which may be unknown to every other call for a while.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._machines: dict[str, tuple[float, Machine]] = {}

    def add(self, machines: Sequence[Machine]) -> None:
        """Remember machines that have just been launched."""
        with self._lock:
            now = self._clock()
            self._machines |= {machine.id: (now, machine) for machine in machines}

    def ids(self) -> set[str]:
        """Return the ids of those launched less than a minute ago."""
        with self._lock:
            now = self._clock()
            for machine_id, (since, _) in list(self._machines.items()):
                if now - since > _UNSEEN_S:
                    del self._machines[machine_id]
            return set(self._machines)

    def completed(self, listed: Sequence[Machine]) -> Sequence[Machine]:
        """Return what has been listed, and those that should have been."""
        missing = self.ids() - {machine.id for machine in listed}
        with self._lock:
            for machine in listed:
                if machine.id in self._machines:
                    # It may be unknown once more, at the next look.
                    self._machines[machine.id] = self._machines[machine.id][0], machine
            return [*listed, *(self._machines[machine_id][1] for machine_id in sorted(missing))]


@dataclass(slots=True)
class _Record:
    """What has come of a launch so far."""

    since: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    looked: bool = False
    machines: dict[str, Machine] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)
    tried: set[int] = field(default_factory=set)
    full: set[tuple[bool, str]] = field(default_factory=set)

    def add(self, machines: Sequence[Machine]) -> None:
        self.machines |= {machine.id: machine for machine in machines}

    def launched(self, *refused: Refusal) -> Launched:
        return Launched(tuple(self.machines.values()), (*self.refused, *refused))


def _quota(offer: Offer) -> tuple[bool, str]:
    """Return what names the quota that the offer counts against."""
    first = offer.type[:1]
    return offer.spot, "standard" if first in _STANDARD else first


def _others_may_do(failure: CallFailed, offer: Offer) -> bool:
    if failure.code == "AuthFailure.ServiceLinkedRoleCreationNotPermitted":
        return offer.spot  # it is only needed for spot machines
    return failure.kind in {"capacity", "quota"}
