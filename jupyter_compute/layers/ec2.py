"""Amazon EC2: virtual machines of several hundred types, in several zones, spot or not.

A launch tries its offers one after the other with RunInstances, and not all of them at once
with CreateFleet: the order of the offers is the packing's, each refusal is about one offer,
and a fleet wants its user-data in a launch template, which is one more thing to be left over.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jupyter_compute import ask, settings
from jupyter_compute.errors import PoolError
from jupyter_compute.layers import bootscript
from jupyter_compute.layers.aws import LAUNCH_TAG, OWNER_TAG, Account, borrowed, tags
from jupyter_compute.layers.base import Launch, Launched, Machine, Refusal
from jupyter_compute.layers.images import Image, architecture, find_image
from jupyter_compute.layers.instances import Instances
from jupyter_compute.layers.network import Network, as_list, find_network
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.model import Offer

__all__ = ["EC2Layer"]

_KEEP_S = 600.0
"""For how long images, subnets and groups are taken to be as they were found."""

_RETRY_S = 10.0
"""For how long a reason why the layer cannot be used is taken to hold."""

_STANDARD = frozenset("acdhimrtz")
"""Families that share one quota, https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html."""


class EC2Layer:
    """Machines of Amazon EC2.

    Parameters
    ----------
    account : Account
    offers : callable
        Returns what can be had in the account's region, with prices.
    clock : callable
        Monotonic seconds.
    """

    name = "ec2"

    def __init__(
        self,
        account: Account,
        offers: Callable[[], Sequence[Offer]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._offers = offers
        self._clock = clock
        self._instances = Instances(account, clock)
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, Any]] = {}
        self._records: dict[str, _Record] = {}

    def why_not(self) -> str:
        """Return why nothing can be launched here, asking AWS now and then."""
        return str(self._remembered("why", self._examine, lambda why: _RETRY_S if why else _KEEP_S))

    def offers(self) -> Sequence[Offer]:
        """Return every machine type that can be launched, with its price.

        If an image is configured: of its architecture only.
        """
        found = self._offers()
        if not (settings.get("layers.ec2.ami") or borrowed("ec2.ami")) or self.why_not():
            return found
        ours = self._image("x86_64").architecture
        return [offer for offer in found if architecture(offer.type) == ours]

    def launch(self, launch: Launch) -> Launched:
        """Start machines: offer by offer, and subnet by subnet, until there are enough."""
        with self._lock:
            self._forget()
            record = self._records.setdefault(launch.id, _Record(self._clock()))
        with record.lock:
            try:
                return self._launch(launch, record)
            except CallFailed as failure:
                return Launched(tuple(record.machines.values()), (failure.refusal(),))

    def terminate(self, machine_id: str) -> bool:
        """Terminate the instance if it is ours, and return whether it is gone."""
        return self._instances.terminate(machine_id)

    def list(self) -> Sequence[Machine]:
        """Return our instances by their tag, and those just launched that AWS does not list yet."""
        return self._instances.list(self._offers)

    def console(self, machine_id: str, lines: int = 5) -> str:
        """Return the last lines that the machine wrote to its console, as far as AWS has them."""
        return self._instances.console(machine_id, lines)

    def _launch(self, launch: Launch, record: _Record) -> Launched:
        if launch.boot is None:
            raise PoolError(f"the launch {launch.id} has no invitation for its machines")
        if not record.looked:
            # A pool before us may have launched it, and may have died before it said so.
            record.add(self._instances.launched_by(launch.id, self._offers))
            record.looked = True
        for number, (offer, place) in enumerate(self._tries(launch)):
            missing = launch.count - len(record.machines)
            if missing <= 0:
                break
            if number in record.tried or _class(offer) in record.full:
                continue
            try:
                request = self._request(launch, number, offer, place, missing)
                record.add(self._instances.run(request, offer, launch.id))
            except CallFailed as failure:
                refusal = failure.refusal(offer)
                if not _passes_by(failure, offer):
                    return Launched(tuple(record.machines.values()), (*record.refused, refusal))
                record.refused.append(refusal)
                if refusal.kind == "quota":
                    record.full.add(_class(offer))
            record.tried.add(number)
        return Launched(tuple(record.machines.values()), tuple(record.refused))

    def _tries(self, launch: Launch) -> Iterator[tuple[Offer, tuple[str, str]]]:
        network = self._network()
        for offer in launch.offers:
            for subnet, zone in network.places(offer.zone):
                yield replace(offer, zone=zone), (subnet, zone)

    def _request(
        self, launch: Launch, number: int, offer: Offer, place: tuple[str, str], count: int
    ) -> dict[str, Any]:
        assert launch.boot is not None
        image = self._image(architecture(offer.type))
        subnet, zone = place
        owner = self._account.owner
        marks = as_list(tags(owner, launch.id))
        request: dict[str, Any] = {
            "ClientToken": f"{launch.id}-{number}",
            "ImageId": image.id,
            "InstanceType": offer.type,
            # As many as there are: the rest is tried elsewhere.
            "MinCount": 1,
            "MaxCount": count,
            "UserData": bootscript.user_data(launch.boot, offer),
            "SecurityGroupIds": list(self._network().groups),
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {
                "HttpEndpoint": "enabled",
                "HttpTokens": "required",
                "HttpPutResponseHopLimit": 1,
            },
            "BlockDeviceMappings": [{"DeviceName": image.root, "Ebs": _disk()}],
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": marks + _borrowed_tags("ec2.instance_tags")},
                {"ResourceType": "volume", "Tags": marks + _borrowed_tags("ec2.volume_tags")},
            ],
        }
        if subnet:
            request["SubnetId"] = subnet
        elif zone:
            request["Placement"] = {"AvailabilityZone": zone}
        if offer.spot:
            once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": once}
        return {**request, **_role()}

    def _examine(self) -> str:
        """Look whether what every launch needs is there."""
        try:
            if not self._account.region:
                hint = "set layers.aws.region or AWS_DEFAULT_REGION"
                return f"no AWS region is configured; {hint}"
            self._account.check_credentials()
            self._network()
            self._image("x86_64")
        except CallFailed as failure:
            return str(failure)
        return ""

    def _network(self) -> Network:
        found: Network = self._remembered("network", lambda: find_network(self._account))
        return found

    def _image(self, wanted: str) -> Image:
        found: Image = self._remembered(wanted, lambda: find_image(self._account, wanted))
        return found

    def _remembered(
        self,
        name: str,
        find: Callable[[], Any],
        keep_s: Callable[[Any], float] = lambda _: _KEEP_S,
    ) -> Any:
        until, value = self._found.get(name, (-math.inf, None))
        if self._clock() >= until:
            value = find()
            self._found[name] = (self._clock() + keep_s(value), value)
        return value

    def _forget(self) -> None:
        """Forget launches of which nobody can speak any more; AWS remembers their tokens."""
        for launch_id, record in list(self._records.items()):
            if self._clock() - record.since > 24 * 3600:
                del self._records[launch_id]


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


def _class(offer: Offer) -> tuple[bool, str]:
    """Return what the quota is about that the offer counts against."""
    letters = offer.type.partition(".")[0].rstrip("0123456789")
    first = letters[:1]
    return offer.spot, "standard" if first in _STANDARD else first


def _passes_by(failure: CallFailed, offer: Offer) -> bool:
    """Tell whether another offer may do."""
    if failure.code == "AuthFailure.ServiceLinkedRoleCreationNotPermitted":
        return offer.spot
    return failure.kind in {"capacity", "quota"}


def _disk() -> dict[str, Any]:
    size = ask.parse_memory(str(settings.get("layers.ec2.disk")))
    if (theirs := borrowed("ec2.filesystem_size")) is not None:
        size = int(theirs) * 2**30
    return {
        "VolumeType": "gp3",
        "VolumeSize": math.ceil(size / 2**30),
        "Encrypted": True,
        "DeleteOnTermination": True,
    }


def _role() -> Mapping[str, Any]:
    chosen = settings.get("layers.ec2.instance-profile")
    if not chosen:
        theirs = borrowed("ec2.iam_instance_profile")
        return {"IamInstanceProfile": dict(theirs)} if theirs else {}
    key = "Arn" if str(chosen).startswith("arn:") else "Name"
    return {"IamInstanceProfile": {key: str(chosen)}}


def _borrowed_tags(name: str) -> list[dict[str, str]]:
    theirs = borrowed(name) or {}
    ours = {OWNER_TAG, LAUNCH_TAG, "Name"}
    return as_list({str(k): str(v) for k, v in theirs.items() if k not in ours})
