"""Amazon EC2: virtual machines of several hundred types, in several zones, spot or not.

A launch tries its offers one after the other with RunInstances, and not all of them at once
with CreateFleet: the order of the offers is the packing's, each refusal is about one offer,
and a fleet wants its user-data in a launch template, which is one more thing to be left over.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jupyter_compute import ask, settings
from jupyter_compute.errors import EnvironmentMismatch, PoolError
from jupyter_compute.layers import bootscript
from jupyter_compute.layers.aws import LAUNCH_TAG, OWNER_TAG, ROLE_TAG, Account, borrowed, tags
from jupyter_compute.layers.base import Address, Boot, Launch, Launched, Machine, Prices, Relay
from jupyter_compute.layers.images import Image, architecture, find_image
from jupyter_compute.layers.instances import Instances
from jupyter_compute.layers.launching import Launches
from jupyter_compute.layers.memory import Memory
from jupyter_compute.layers.network import Network, as_list, find_network, make_group
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.layers.relay_group import RELAY_GROUP, clients, let_in, make_relay_group
from jupyter_compute.layers.stock import Archive, Stock
from jupyter_compute.layers.stores import Store
from jupyter_compute.model import Offer

__all__ = ["EC2Layer"]

_IMAGE = "layers.ec2.ami"
_SAID_S = 3600.0
_IMAGE_S = 600.0
_NETWORK_S = 60.0
"""For how long images, subnets and groups are taken to be as they were found."""

_RELAY_TYPES = 5
"""So many types are tried for a relay."""


class EC2Layer:
    """Machines of Amazon EC2.

    Parameters
    ----------
    account : Account
    offers : callable
        Returns what can be had in the account's region, with prices.
    clock : callable
        Monotonic seconds.
    stock : Stock, optional
        What machines install that start from an image without ``jupyter-compute-node``.
    prices : Prices, optional
        Where the prices of the offers are from.
    """

    name = "ec2"

    def __init__(
        self,
        account: Account,
        offers: Callable[[], Sequence[Offer]],
        clock: Callable[[], float] = time.monotonic,
        stock: Stock | None = None,
        prices: Prices | None = None,
    ) -> None:
        self.prices = prices
        self._account = account
        self._stock = stock or Stock(account)
        self._offers = offers
        self._clock = clock
        self._instances = Instances(account, clock)
        self._launches = Launches(clock)
        self._memory = Memory(clock)

    def why_not(self) -> str:
        """Return why nothing can be launched here, asking AWS now and then."""
        return str(self._memory.get("why", self._examine, lambda why: 10 if why else _NETWORK_S))

    def offers(self) -> Sequence[Offer]:
        """Return every machine type that can be launched, with its price.

        If an image is configured: of its architecture only.
        """
        found = self._offers()
        if not (settings.get("layers.ec2.ami") or borrowed("ec2.ami")) or self.why_not():
            return found
        ours = self._image("x86_64").architecture
        return [offer for offer in found if architecture(offer.type) == ours]

    def relay_offers(self) -> Sequence[Offer]:
        """Return the cheapest types on demand that the image runs on: a relay needs next to nothing."""
        chosen = settings.get("layers.ec2.ami") or borrowed("ec2.ami")
        ours = self._image("x86_64").architecture if chosen else ""
        known = [
            (offer.usd_per_hour, offer.type, offer)
            for offer in self._offers()
            if offer.usd_per_hour is not None
            and not (offer.spot or offer.gpu)
            and ours in {"", architecture(offer.type)}
        ]
        return [offer for _, _, offer in sorted(known, key=lambda one: one[:2])[:_RELAY_TYPES]]

    def let_in(self) -> str:
        """Let this computer call relays, and return from where."""
        found = clients()
        let_in(self._account, self._relay_group(), found)
        return found

    def where(self, machine_id: str) -> Address | None:
        """Return the addresses of an instance, as soon as AWS tells them."""
        return self._instances.where(machine_id)

    def launch(self, launch: Launch) -> Launched:
        """Start machines: offer by offer, and subnet by subnet, until there are enough."""
        boot = launch.boot
        if boot is None:
            raise PoolError(f"the launch {launch.id} has no invitation for its machines")

        def run(token: str, offer: Offer, subnet: str, count: int) -> Sequence[Machine]:
            # Said again it must be the same, or the token would be refused.
            request = self._memory.get(
                token,
                lambda: {
                    **self._request(launch.id, boot, offer, subnet),
                    "ClientToken": token,
                    "MaxCount": count,
                },
                _SAID_S,
            )
            return self._instances.run(request, offer, launch.id)

        return self._launches.carry_out(
            launch,
            lambda: self._instances.launched_by(launch.id, self._offers),
            lambda: self._tries(launch),
            run,
        )

    def terminate(self, machine_id: str) -> bool:
        """Terminate the instance if it is ours, and return whether it is gone."""
        return self._instances.terminate(machine_id)

    def list(self) -> Sequence[Machine]:
        """Return our instances by their tag, and those just launched that AWS does not list yet."""
        return self._instances.list(self._offers)

    def console(self, machine_id: str, lines: int = 5) -> str:
        """Return the last lines that the machine wrote to its console, as far as AWS has them."""
        return self._instances.console(machine_id, lines)

    def installs(self) -> str:
        """Return the setting that would name an image with the notebook's packages, if unset."""
        return "" if settings.get(_IMAGE) else _IMAGE

    def store(self) -> Store:
        """Return the bucket through which inputs and results travel."""
        return self._account.store()

    def _tries(self, launch: Launch) -> Iterator[tuple[Offer, str]]:
        network = self._network()
        for offer in launch.offers:
            # An interface that is asked for by itself must say where it is.
            relay = isinstance(launch.boot, Relay)
            for subnet, zone in network.subnets if relay else network.places(offer.zone):
                yield replace(offer, zone=zone), subnet

    def _request(
        self, launch_id: str, boot: Boot | Relay, offer: Offer, subnet: str
    ) -> dict[str, Any]:
        if isinstance(boot, Relay):
            return self._relay(launch_id, boot, offer, subnet)
        marks = tags(self._account.owner, launch_id)
        request = {
            **self._instance(offer, marks),
            "UserData": bootscript.user_data(boot, offer, self._archive()),
            "SecurityGroupIds": list(self._groups()),
        }
        if subnet:
            request["SubnetId"] = subnet
        elif offer.zone:
            request["Placement"] = {"AvailabilityZone": offer.zone}
        if offer.spot:
            once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": once}
        return {**request, **_role()}

    def _relay(self, launch_id: str, boot: Relay, offer: Offer, subnet: str) -> dict[str, Any]:
        marks = {**tags(self._account.owner, launch_id), "Name": RELAY_GROUP, ROLE_TAG: "relay"}
        interface = {
            "DeviceIndex": 0,
            "Groups": [self._relay_group()],
            # The pool calls it from outside, also where machines have none.
            "AssociatePublicIpAddress": True,
            "DeleteOnTermination": True,
            **({"SubnetId": subnet} if subnet else {}),
        }
        return {
            **self._instance(offer, marks),
            "UserData": bootscript.relay_data(boot),
            "NetworkInterfaces": [interface],
        }

    def _instance(self, offer: Offer, tagged: Mapping[str, str]) -> dict[str, Any]:
        """Return what is asked for whatever the instance is for."""
        image, marks = self._image(architecture(offer.type)), as_list(tagged)
        return {
            "ImageId": image.id,
            "InstanceType": offer.type,
            # As many as there are: the rest is tried elsewhere.
            "MinCount": 1,
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

    def _examine(self) -> str:
        """Look whether what every launch needs is there."""
        try:
            if not self._account.region:
                hint = "set layers.aws.region or AWS_DEFAULT_REGION"
                return f"no AWS region is configured; {hint}"
            if why := self._account.out_of_reach():
                return why
            self._account.check_credentials()
            self._network()
            self._image("x86_64")
            missing = self._account.missing_store()
            if not missing:
                self._archive()
        except (CallFailed, EnvironmentMismatch) as failure:
            return str(failure)
        return missing

    def _network(self) -> Network:
        found: Network = self._memory.get(
            "network", lambda: find_network(self._account), _NETWORK_S
        )
        return found

    def _groups(self) -> Sequence[str]:
        network = self._network()
        if network.groups:
            return network.groups
        make = functools.partial(make_group, self._account, network.vpc)
        return [str(self._memory.get("group", make, _NETWORK_S))]

    def _relay_group(self) -> str:
        machines = self._groups()
        make = functools.partial(make_relay_group, self._account, self._network().vpc, machines)
        return str(self._memory.get(f"relay {machines}", make, _NETWORK_S))

    def _archive(self) -> Archive | None:
        return self._stock.archive() if self.installs() else None

    def _image(self, wanted: str) -> Image:
        found: Image = self._memory.get(wanted, lambda: find_image(self._account, wanted), _IMAGE_S)
        return found


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
    ours = {OWNER_TAG, LAUNCH_TAG, ROLE_TAG, "Name"}
    return as_list({str(k): str(v) for k, v in theirs.items() if k not in ours})
