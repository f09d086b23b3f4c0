"""EC2 instances: moto's, with the life that real ones have."""

from __future__ import annotations

import base64
import copy
import time
from dataclasses import dataclass
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import Instance, InstanceState, StateReason
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import filter_dict_attribute_mapping

from .amending import replace
from .booter import Booter
from .machines import Machine
from .world import World

__all__ = ["Ec2Machine", "amend", "architecture", "cpus", "memory_mib", "user_data"]

_FILTERS = {
    "client-token": "client_token",
    "instance-lifecycle": "lifecycle",
    "spot-instance-request-id": "spot_instance_request_id",
}
"""What AWS can filter instances by, and moto cannot."""

_CODES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}


@dataclass(slots=True, kw_only=True)
class Ec2Machine(Machine):
    """An instance.

    Parameters
    ----------
    instance : Instance
        Moto's own, which the API answers from.
    metadata : str
        The address of its instance metadata.
    """

    instance: Instance
    metadata: str

    @property
    def stops_itself(self) -> bool:
        """Whether it is only stopped when it shuts itself down, as AWS has it by default."""
        return bool(self.instance.instance_initiated_shutdown_behavior != "terminate")

    def command(self) -> tuple[list[str], dict[str, str], bytes | None]:
        """Return its user-data as what it boots into."""
        return [], {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata}, user_data(self.instance)

    def groups(self) -> list[Any]:
        """Return its security groups; without any it is in the default one of its network."""
        backend = self.instance.ec2_backend
        return list(self.instance.security_groups) or [
            backend.get_default_security_group(self.instance.vpc_id)
        ]

    def show(self) -> None:
        """Make the API tell the machine's state, and why it ended."""
        self.instance._state = InstanceState(self.state, _CODES[self.state])  # noqa: SLF001
        if self.state in {"pending", "running"}:
            return
        code = self.why.partition(":")[0]
        self.instance.state_reason = StateReason(self.why, code)


def user_data(instance: Instance) -> bytes:
    """Return the raw user-data of an instance."""
    return b"" if instance.user_data is None else base64.b64decode(str(instance.user_data))


def cpus(name: str) -> int:
    """Return the vCPUs of a type, as the quota counts them."""
    return int(INSTANCE_TYPES[name]["VCpuInfo"]["DefaultVCpus"])


def memory_mib(name: str) -> int:
    """Return the memory of a type in MiB."""
    return int(INSTANCE_TYPES[name]["MemoryInfo"]["SizeInMiB"])


def architecture(name: str) -> list[str]:
    """Return what a type can run."""
    return list(INSTANCE_TYPES[name]["ProcessorInfo"]["SupportedArchitectures"])


def amend(world: World, booter: Booter) -> None:
    """Give instances states that last, and ends that are those of their processes."""
    _amend_describe(world)
    filter_dict_attribute_mapping.update(_FILTERS)
    terminate, stop, start = Instance.terminate, Instance.stop, Instance.start

    def ending(instance: Instance, how: Any, *, stopped: bool) -> InstanceState:
        machine = world.machines.get(instance.id)
        previous = copy.copy(instance._state)  # noqa: SLF001 - moto has no other way
        with world.lock:
            if machine is None:
                how(instance)
            elif machine.state not in {"shutting-down", "terminated"}:
                how(instance)
                why = "Client.UserInitiatedShutdown: User initiated shutdown"
                booter.end(machine, why, stop=stopped)
        return previous

    def starting(instance: Instance) -> InstanceState:
        previous = start(instance)
        machine = world.machines.get(instance.id)
        if machine is not None and machine.state == "stopped":
            machine.state, machine.ended, machine.why = "running", None, ""
        return previous

    replace(Instance, "terminate", lambda self: ending(self, terminate, stopped=False))
    replace(Instance, "stop", lambda self: ending(self, stop, stopped=True))
    replace(Instance, "start", starting)


def _amend_describe(world: World) -> None:
    """What was just launched may not be seen yet, as AWS is only consistent in the end."""

    def hidden(response: InstanceResponse, action: str) -> set[str]:
        seconds = world.scaled(world.faults.hidden_s(action))
        now = time.time()
        unseen = {name for name, found in world.machines.items() if now - found.launched < seconds}
        asked = response._get_param("InstanceIds", [])  # noqa: SLF001 - as moto itself
        missing = [name for name in asked if name in unseen]
        if missing:
            raise EC2ClientError(
                "InvalidInstanceID.NotFound",
                f"The instance ID '{', '.join(missing)}' does not exist",
            )
        return unseen

    describe, status = (
        InstanceResponse.describe_instances,
        InstanceResponse.describe_instance_status,
    )

    def describe_instances(response: InstanceResponse) -> ActionResult:
        unseen = hidden(response, "DescribeInstances")
        answered = describe(response)
        result: dict[str, Any] = answered.result  # type: ignore[assignment]
        result["Reservations"] = [
            reservation
            for reservation in result["Reservations"]
            if not any(instance.id in unseen for instance in reservation.instances)
        ]
        return answered

    def describe_instance_status(response: InstanceResponse) -> ActionResult:
        unseen = hidden(response, "DescribeInstanceStatus")
        answered = status(response)
        result: dict[str, Any] = answered.result  # type: ignore[assignment]
        result["InstanceStatuses"] = [
            instance for instance in result["InstanceStatuses"] if instance.id not in unseen
        ]
        return answered

    replace(InstanceResponse, "describe_instances", describe_instances)
    replace(InstanceResponse, "describe_instance_status", describe_instance_status)
