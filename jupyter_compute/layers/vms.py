"""The VMs of one layer of dask-cloudprovider: created, listed as far as that goes, deleted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jupyter_compute.errors import PoolError
from jupyter_compute.layers import vmclass
from jupyter_compute.layers.aws import tags
from jupyter_compute.layers.base import Machine
from jupyter_compute.layers.jobs import Job
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.layers.vmanswers import Seen, failure, is_unknown, seen
from jupyter_compute.layers.vmrecords import Record, Records
from jupyter_compute.model import Offer

__all__ = ["VMs"]

_CREATE_S, _DELETE_S, _LIST_S = 600.0, 300.0, 20.0
_KNOWN_S = 10.0
"""For so long a launch waits until its cloud has called the VMs something, or refuses. Then they
are taken to be on their way."""

_SOON_S = 2.0
"""For so long a caller waits for the end of a deletion, before it has to ask again."""

_UNSEEN_S = 60.0


class VMs:
    """VMs that carry the mark of this installation and layer.

    Parameters
    ----------
    layer : str
    cluster : callable
        From a machine type, or nothing for any, to a cluster object (see `vmclass.construct`).
    offers : callable
        Returns what the layer offers.
    owner : callable
        Returns whose machines they are.
    """

    def __init__(
        self,
        layer: str,
        cluster: Callable[[str], Any],
        offers: Callable[[], Sequence[Offer]],
        owner: Callable[[], str],
    ) -> None:
        self._layer = layer
        self._cluster = cluster
        self._offers = offers
        self._owner = owner
        self._records = Records(layer)
        self._lock = threading.Lock()
        self._listable = True
        self._creations: dict[str, _Creation] = {}
        self._deletions: dict[str, Job] = {}

    def create(self, scripts: Mapping[str, str], launch_id: str, offer: Offer) -> Sequence[Machine]:
        """Create VMs, each with what it boots by its name, except those asked for before.

        Raises
        ------
        CallFailed
            If none was created.
        """
        before = self._records.all()
        creations = {
            name: self._begin(name, launch_id, offer, script)
            for name, script in scripts.items()
            if name not in before
        }
        end = time.monotonic() + _KNOWN_S
        refused: CallFailed | None = None
        for name, creation in creations.items():
            creation.known.wait(max(0.0, end - time.monotonic()))
            if creation.error is None or creation.error.kind == "unanswered":
                creation.taken = True
                continue
            refused = refused or creation.error
            self._creations.pop(name, None)
        machines = [
            _machine(name, record)
            for name, record in self._records.all().items()
            if name in scripts
        ]
        if refused is not None and not machines:
            raise refused
        return machines

    def list(self) -> Sequence[Machine]:
        """Return those that are alive, and those that have failed since they were launched.

        Raises
        ------
        CallFailed
            If the cloud cannot be asked.
        """
        found, records = self._seen(), self._records.all()
        machines = {
            name: _machine(name, record)
            for name, record in records.items()
            if found is None or self._is_fresh(name, record)
        }
        for name, one in sorted(found or (), key=lambda pair: not pair[1].going):
            offer = records[name].offer if name in records else self._offer(one.type)
            machines[name] = Machine(
                name, one.launch, offer, "gone" if one.going else "alive", one.started, one.why
            )
        for name, creation in list(self._creations.items()):
            if creation.taken and creation.error is not None and name not in records:
                lost = _machine(name, creation.record)
                machines[name] = replace(lost, state="gone", why=creation.error.message)
        return [*machines.values()]

    def terminate(self, name: str) -> bool:
        """Delete one, and return whether it is gone.

        Raises
        ------
        PoolError
            If the cloud refuses, or nobody knows what it has called the VM.
        """
        found, record = self._seen(), self._records.get(name)
        here = [one for its_name, one in found or () if its_name == name]
        if not self._may_be_there(name, record, found, here):
            self._forget(name)
            return True
        known = [one.identity for one in here if not one.going]
        if record is not None and record.identity and not here:
            known = [record.identity]
        if known:
            deleted = self._delete(name, record, known)
            if deleted and found is None:
                self._forget(name)
            return deleted and found is None
        if found is None and not self._is_under_way(name):
            raise PoolError(
                f"nobody knows whether {self._layer} has started {name}",
                hint="look for it in the cloud's console, delete it there, and then "
                f"{self._records.path(name)}",
            )
        return False

    # steps ------------------------------------------------------------------------

    def _begin(self, name: str, launch_id: str, offer: Offer, script: str) -> _Creation:
        creation = _Creation(Record(launch_id, offer, time.time()))
        self._records.put(name, creation.record)
        self._creations[name] = creation

        def note(known: Mapping[str, Any]) -> None:
            with self._lock:
                # It may have been deleted meanwhile.
                if known != creation.record.identity and not creation.forgotten:
                    creation.record = replace(creation.record, identity=known)
                    self._records.put(name, creation.record)
            creation.known.set()

        async def create() -> None:
            vm = None
            try:
                marks = {**tags(self._owner(), launch_id), "Name": name}
                cluster = self._cluster(offer.type)
                vm = vmclass.machine(cluster, name, marks, script, note)
                await vm.create_vm()
                note(vmclass.identity(vm))
            except BaseException as error:
                await self._undo(name, vm, creation, error)
                raise
            finally:
                creation.known.set()

        creation.job = Job(create, _CREATE_S)
        return creation

    async def _undo(self, name: str, vm: Any, creation: _Creation, error: BaseException) -> None:
        """Delete what there is of a VM whose creation has failed."""
        failed = failure(error, self._layer, "start a machine")
        known = {} if vm is None else vmclass.identity(vm)
        try:
            if known:
                await vmclass.remove(vm, {})
            if known or failed.kind != "unanswered":
                self._forget(name, keep=True)
        except Exception as again:  # noqa: BLE001 - each class has its own
            # The record stays, and `terminate` tries again.
            if is_unknown(again):
                self._forget(name, keep=True)
        creation.error = failed

    def _forget(self, name: str, *, keep: bool = False) -> None:
        """Drop what is known of a VM that is gone, but not why it failed if that is to be kept."""
        with self._lock:
            self._records.drop(name)
            creation = self._creations.get(name) if keep else self._creations.pop(name, None)
            if creation is not None:
                creation.forgotten = True

    def _delete(self, name: str, record: Record | None, known: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether all of them are deleted."""

        async def delete() -> None:
            for identity in known:
                cluster = self._cluster("" if record is None else record.offer.type)
                vm = vmclass.machine(cluster, name, {})
                await vmclass.remove(vm, identity)

        with self._lock:
            job = self._deletions.get(name)
            if job is None:
                job = self._deletions[name] = Job(delete, _DELETE_S)
        job.wait(_SOON_S)
        if not job.over:
            return False
        self._deletions.pop(name, None)
        try:
            job.result()
        except Exception as error:
            if not is_unknown(error):
                raise failure(error, self._layer, "delete a machine") from error
        return True

    def _seen(self) -> Sequence[tuple[str, Seen]] | None:
        """Return what the cloud lists; None if it is one that cannot be asked."""
        if not self._listable:
            return None

        async def look() -> Sequence[tuple[str, Seen]] | None:
            cluster = self._cluster("")
            self._listable = vmclass.describable(cluster)
            return await seen(cluster, self._owner()) if self._listable else None

        job = Job(look, _LIST_S)
        job.wait(_LIST_S)
        try:
            found: Sequence[tuple[str, Seen]] | None = job.result()
        except Exception as error:
            raise failure(error, self._layer, "list machines") from error
        return found

    def _may_be_there(
        self,
        name: str,
        record: Record | None,
        found: Sequence[tuple[str, Seen]] | None,
        here: Sequence[Seen],
    ) -> bool:
        if here or record is None:
            return any(not one.over for one in here)
        return found is None or self._is_fresh(name, record)

    def _is_fresh(self, name: str, record: Record) -> bool:
        """Tell whether it may be there although it is not listed yet."""
        return self._is_under_way(name) or time.time() - record.started < _UNSEEN_S

    def _is_under_way(self, name: str) -> bool:
        creation = self._creations.get(name)
        return creation is not None and creation.job is not None and not creation.job.over

    def _offer(self, kind: str) -> Offer:
        like = (offer for offer in self._offers() if offer.type == kind)
        return next(like, Offer(self._layer, kind, cpu=1.0, memory=0))


@dataclass(slots=True)
class _Creation:
    """A VM that this process has asked for.

    `known` is set once the cloud has called it something, or it has failed. It is `taken` if the
    pool has been told that there is such a machine, and `forgotten` once there is none any more.
    """

    record: Record
    known: threading.Event = field(default_factory=threading.Event)
    job: Job | None = None
    error: CallFailed | None = None
    taken: bool = False
    forgotten: bool = False


def _machine(name: str, record: Record) -> Machine:
    return Machine(name, record.launch, record.offer, "alive", record.started)
