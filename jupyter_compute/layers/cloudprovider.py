"""Machines of other clouds, by the VM classes of dask-cloudprovider.

Of those only the calls that create and delete a VM are used (see `vmclass`). What a machine is
for the pool is the same as everywhere: it boots our start script, and joins through our door.

What these classes do not offer cannot be promised:

- They have no client tokens. A machine is written down with its name before it is asked for,
  and none of that name is asked for again; of two with one name the second would not be let in.
- They list nothing. AWS is asked by our tags; on every other cloud a machine counts as alive
  until it has been deleted from here, as the records on this computer say. So `list` does not
  find there what another computer has launched, or whose record was lost.
- Only on AWS is a machine gone that has shut itself down. Elsewhere it goes on costing something
  until the pool, or one after it, deletes it (docs/cloudprovider.md says what).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jupyter_compute import hosts, settings
from jupyter_compute.errors import AskError, EnvironmentMismatch, PoolError
from jupyter_compute.layers import bootscript, vmclass, vmsettings
from jupyter_compute.layers.aws import NAME, Account
from jupyter_compute.layers.base import Boot, Launch, Launched, Machine
from jupyter_compute.layers.jobs import Job
from jupyter_compute.layers.launching import Launches
from jupyter_compute.layers.memory import Memory
from jupyter_compute.layers.nostore import NoStore
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.layers.stock import Archive, Stock
from jupyter_compute.layers.stores import Store
from jupyter_compute.layers.vms import VMs
from jupyter_compute.model import Offer

__all__ = ["CloudproviderLayer"]

_KEEP_S = 60.0
_ANSWER_S = 20.0
"""For so long a class may look for credentials."""


class CloudproviderLayer:
    """Machines of a cloud that dask-cloudprovider has a class for.

    Parameters
    ----------
    name : str
        As it is configured, below ``layers``.
    account : Account
        Whose bucket takes inputs and results, if one is configured.
    """

    def __init__(self, name: str, account: Account) -> None:
        self.name = name
        self._account = account
        self._stock = Stock(account)
        self._memory = Memory(time.monotonic)
        self._launches = Launches(time.monotonic)
        self._construction: Job | None = None
        self._vms = VMs(name, self._cluster, self.offers, self._owner)

    def why_not(self) -> str:
        """Return why nothing can be launched here, without asking the cloud."""
        return str(self._memory.get("why", self._examine, lambda why: 2 if why else _KEEP_S))

    def offers(self) -> Sequence[Offer]:
        """Return the machine types that are configured, with the prices that are."""
        rehearsed = self._account.rehearsed
        kinds = vmsettings.read(self.name).kinds.values()
        return [replace(kind.offer, sandbox=rehearsed) for kind in kinds]

    def launch(self, launch: Launch) -> Launched:
        """Start machines: offer by offer, until there are enough."""
        boot = launch.boot
        if not isinstance(boot, Boot):
            raise PoolError(f"the launch {launch.id} has no invitation for its machines")

        def create(token: str, offer: Offer, _: None, count: int) -> Sequence[Machine]:
            names = [f"{NAME}-{token}-{number}" for number in range(count)]
            return self._create(names, launch.id, offer, boot)

        return self._launches.carry_out(
            launch,
            lambda: [one for one in self._vms.list() if one.launch == launch.id],
            lambda: [(offer, None) for offer in launch.offers],
            create,
        )

    def terminate(self, machine_id: str) -> bool:
        """Delete the machine if it is ours, and return whether it is gone."""
        return self._vms.terminate(machine_id)

    def list(self) -> Sequence[Machine]:
        """Return our machines: on AWS those with our tags, elsewhere those of the records."""
        return self._vms.list()

    def installs(self) -> str:
        """Return the setting that would say that the image has what a notebook needs, if unset."""
        return "" if vmsettings.read(self.name).prepared else f"layers.{self.name}.prepared"

    def store(self) -> Store:
        """Return the bucket through which inputs and results travel, if one is configured."""
        return self._account.store() if settings.get("layers.aws.bucket") else NoStore(self.name)

    def _create(
        self, names: Sequence[str], launch_id: str, offer: Offer, boot: Boot
    ) -> Sequence[Machine]:
        try:
            archive = self._archive()
        except (AskError, EnvironmentMismatch) as error:
            raise CallFailed(str(error)) from error
        # Each boots its own, as it cannot ask everywhere who it is.
        scripts = {name: bootscript.user_data(boot, offer, archive, name) for name in names}
        return self._vms.create(scripts, launch_id, offer)

    def _cluster(self, kind: str = "") -> Any:
        """Return a cluster object for machines of a type, or of any.

        Raises
        ------
        CallFailed
            If the configuration is wrong.
        """
        where = f"layers.{self.name}"
        try:
            chosen = vmsettings.read(self.name)
            cls = vmclass.load(chosen.path, f"{where}.cloudprovider")
            name = kind if kind in chosen.kinds else next(iter(chosen.kinds))
            options = {**chosen.options, **chosen.kinds[name].options}
            return vmclass.construct(cls, options, name, where, self._owner())
        except AskError as error:
            raise CallFailed(str(error)) from error

    def _owner(self) -> str:
        # Machines of the layer `ec2` are another's.
        return f"{self._account.owner}-{self.name}"

    def _archive(self) -> Archive | None:
        return None if vmsettings.read(self.name).prepared else self._stock.archive()

    def _examine(self) -> str:
        """Look whether what every launch needs is there."""

        async def construct() -> bool:
            kinds = vmsettings.read(self.name).kinds
            clusters = [self._cluster(kind) for kind in kinds]
            return all(map(vmclass.describable, clusters))

        # One that hangs goes on, and no other is begun meanwhile.
        job = self._construction = self._construction or Job(construct, _ANSWER_S)
        if job.wait(_ANSWER_S):
            self._construction = None
        try:
            of_aws = job.result()
            if self._account.rehearsed and not of_aws:
                return "the sandbox rehearses AWS only (%compute sandbox off)"
            if not of_aws and hosts.placement() == "cloud":
                return (
                    f"machines of {self.name} cannot reach a relay, which is one of EC2: set "
                    "scheduler-host to an address of this computer that they can reach"
                )
            if why := self._account.out_of_reach(f"machines of {self.name}"):
                return why
            if vmsettings.read(self.name).prepared:
                return ""
            if not settings.get("layers.aws.bucket"):
                return (
                    f"machines of {self.name} have no bucket to install packages from: set "
                    f"layers.aws.bucket, or use an image that has jupyter-compute-node and set "
                    f"layers.{self.name}.prepared"
                )
            self._stock.archive()
        except (AskError, CallFailed, EnvironmentMismatch, TimeoutError) as failure:
            return str(failure)
        return ""
