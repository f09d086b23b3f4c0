"""AWS Fargate: containers of a size that each task says itself, spot or not.

What tasks need is made once by ``jupyter compute setup aws``: a cluster, a task definition
and the role with which AWS starts them. Nothing of that is changed when cells run.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jupyter_compute import settings
from jupyter_compute.errors import EnvironmentMismatch, PoolError
from jupyter_compute.layers import bootscript
from jupyter_compute.layers.aws import NAME, Account, borrowed, tags
from jupyter_compute.layers.base import Boot, Launch, Launched, Machine, Prices
from jupyter_compute.layers.launching import Launches
from jupyter_compute.layers.memory import Memory
from jupyter_compute.layers.network import Network, find_network, make_group
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.layers.sizes import Size
from jupyter_compute.layers.stock import Archive, Stock
from jupyter_compute.layers.stores import Store
from jupyter_compute.layers.tasks import Tasks
from jupyter_compute.model import Offer

__all__ = ["CONTAINER", "FargateLayer"]

CONTAINER = "machine"
"""The name of the only container in our task definition."""

_IMAGE = "layers.fargate.image"
_SAID_S = 3600.0
_KEEP_S = 60.0
_MOST_TASKS = 10
"""So many tasks one call starts at most."""

_SETUP = "run `jupyter compute setup aws`"


class FargateLayer:
    """Machines that are tasks of AWS Fargate.

    Parameters
    ----------
    account : Account
    offers : callable
        Returns what can be had in the account's region, with prices. The type of an offer
        is as `sizes.Size` writes it.
    clock : callable
        Monotonic seconds.
    stock : Stock, optional
        What containers install whose image has no ``jupyter-compute-node``.
    prices : Prices, optional
        Where the prices of the offers are from.
    """

    name = "fargate"

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
        self._tasks = Tasks(account, clock)
        self._launches = Launches(clock)
        self._memory = Memory(clock)

    def why_not(self) -> str:
        """Return why nothing can be launched here, asking AWS now and then."""
        return str(self._memory.get("why", self._examine, lambda why: 10 if why else _KEEP_S))

    def offers(self) -> Sequence[Offer]:
        """Return every size of a task, with its price."""
        return self._offers()

    def launch(self, launch: Launch) -> Launched:
        """Start tasks: offer by offer, until there are enough."""
        boot = launch.boot
        if not isinstance(boot, Boot):
            raise PoolError(f"the launch {launch.id} has no invitation for its machines")

        def run(token: str, offer: Offer, most: int, count: int) -> Sequence[Machine]:
            # Said again it must be the same, or the token would be refused.
            request = self._memory.get(
                token,
                lambda: {
                    **self._request(launch.id, boot, offer),
                    "clientToken": token,
                    "count": min(most, count),
                },
                _SAID_S,
            )
            return self._tasks.run(request, offer, launch.id)

        return self._launches.carry_out(
            launch,
            lambda: self._tasks.launched_by(launch.id, self._offers),
            lambda: _tries(launch),
            run,
        )

    def terminate(self, machine_id: str) -> bool:
        """Stop the task if it is ours, and return whether it is gone."""
        return self._tasks.stop(machine_id)

    def list(self) -> Sequence[Machine]:
        """Return our tasks by their tag, and those just launched that AWS does not list yet."""
        return self._tasks.list(self._offers)

    def console(self, machine_id: str, lines: int = 5) -> str:
        """Return the last lines that the machine wrote, as far as AWS has them."""
        return self._tasks.console(machine_id, lines)

    def installs(self) -> str:
        """Return the setting that would name an image with the notebook's packages, if unset."""
        return "" if settings.get(_IMAGE) else _IMAGE

    def store(self) -> Store:
        """Return the bucket through which inputs and results travel."""
        return self._account.store()

    def _request(self, launch_id: str, boot: Boot, offer: Offer) -> dict[str, Any]:
        size = Size.parse(offer.type)
        network = self._network()
        subnets = [subnet for subnet, zone in network.subnets if offer.zone in {"", zone}]
        marks = {**_borrowed_tags(), **tags(self._account.owner, launch_id)}
        public = network.public and not borrowed("ecs.fargate_use_private_ip")
        return {
            "cluster": self._tasks.cluster,
            "taskDefinition": NAME,
            "startedBy": launch_id,
            "capacityProviderStrategy": [
                {"capacityProvider": "FARGATE_SPOT" if offer.spot else "FARGATE", "weight": 1}
            ],
            "networkConfiguration": {
                "awsvpcConfiguration": {
                    "subnets": subnets[:16],
                    "securityGroups": list(self._groups()),
                    # Without one, a task in a public subnet cannot fetch its image.
                    "assignPublicIp": "ENABLED" if public else "DISABLED",
                }
            },
            "overrides": {
                "cpu": str(size.cpu),
                "memory": str(size.memory),
                "containerOverrides": [
                    {"name": CONTAINER, "command": bootscript.command(boot, offer, self._archive())}
                ],
            },
            "tags": [{"key": name, "value": text} for name, text in marks.items()],
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
            missing = self._missing() or self._account.missing_store()
            if not missing:
                self._archive()
        except (CallFailed, EnvironmentMismatch) as failure:
            return str(failure)
        return missing

    def _missing(self) -> str:
        region, cluster = self._account.region, self._tasks.cluster
        answer = self._account.call("ecs", "describe_clusters", clusters=[cluster])
        if not any(found["status"] == "ACTIVE" for found in answer["clusters"]):
            return f"there is no ECS cluster '{cluster}' in {region} ({_SETUP})"
        try:
            answer = self._account.call("ecs", "describe_task_definition", taskDefinition=NAME)
        except CallFailed as failure:
            if failure.code != "ClientException":
                raise
            return f"there is no task definition '{NAME}' in {region} ({_SETUP})"
        image = answer["taskDefinition"]["containerDefinitions"][0]["image"]
        wanted = settings.get("layers.fargate.image")
        if wanted not in {None, image}:
            return f"tasks in {region} start from {image} and not from {wanted} ({_SETUP} again)"
        return ""

    def _archive(self) -> Archive | None:
        return self._stock.archive() if self.installs() else None

    def _network(self) -> Network:
        found: Network = self._memory.get("network", lambda: find_network(self._account), _KEEP_S)
        return found

    def _groups(self) -> Sequence[str]:
        network = self._network()
        if network.groups:
            return network.groups
        make = functools.partial(make_group, self._account, network.vpc)
        return [str(self._memory.get("group", make, _KEEP_S))]


def _tries(launch: Launch) -> Iterator[tuple[Offer, int]]:
    for offer in launch.offers:
        for first in range(0, launch.count, _MOST_TASKS):
            yield offer, min(_MOST_TASKS, launch.count - first)


def _borrowed_tags() -> dict[str, str]:
    return {str(name): str(text) for name, text in (borrowed("ecs.tags") or {}).items()}
