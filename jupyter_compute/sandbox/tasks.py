"""Fargate tasks: moto's, with the life that real ones have."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ecs.exceptions import EcsClientException, InvalidParameterException
from moto.ecs.models import EC2ContainerServiceBackend, Task
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.moto_api import state_manager

from .amending import replace
from .booter import Booter
from .machines import GONE, Address
from .task_machine import TaskMachine
from .world import World

__all__ = ["amend"]

_MOST_TASKS = 10
_LONGEST_OVERRIDES = 8192
_NO_CAPACITY = (
    "Capacity is unavailable at this time. Please try again later or in a different"
    " availability zone"
)
_MEMORY = {
    256: [512, 1024, 2048],
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
    8192: range(16384, 61441, 4096),
    16384: range(32768, 122881, 8192),
}
"""Which MiB Fargate has for how many thousandths of a CPU."""


def amend(world: World, booter: Booter) -> None:
    """Give tasks lives of their own, and refuse what Fargate refuses."""
    # Otherwise moto lets every task run on to its end by being looked at.
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": 10**9})
    _amend_run(world)
    _amend_stop(world, booter)
    _amend_describe(world)


def _amend_run(world: World) -> None:
    answer = EC2ContainerServiceResponse.run_task

    def run_task(response: EC2ContainerServiceResponse) -> ActionResult:
        given = response._get_param  # noqa: SLF001 - as moto itself
        backend = response.ecs_backend
        strategy = given("capacityProviderStrategy") or []
        provider = strategy[0]["capacityProvider"] if strategy else given("launchType")
        if provider not in {"FARGATE", "FARGATE_SPOT"}:
            return answer(response)
        definition = backend.describe_task_definition(given("taskDefinition"))
        overrides = given("overrides") or {}
        _check(given("count", 1), overrides, given("networkConfiguration"))
        size = _size(definition, overrides)
        with world.lock:
            zone, groups = _network(response, given("networkConfiguration"))
            about = {"type": "fargate", "zone": zone, "cpu": str(size[0])}
            about["lifecycle"] = "spot" if provider == "FARGATE_SPOT" else "on-demand"
            _check_quota(world, size[0] * int(given("count", 1)))
            if world.faults.of_machine("RunTask", about) is not None:
                return ActionResult({"tasks": [], "failures": [{"reason": _NO_CAPACITY}]})
            answered = answer(response)
            result: dict[str, Any] = answered.result  # type: ignore[assignment]
            for task in result["tasks"]:
                spot = provider == "FARGATE_SPOT"
                _note(world, task, definition, size, zone, groups, spot=spot)
        return answered

    replace(EC2ContainerServiceResponse, "run_task", run_task)
    # Moto cannot do without the memory of each container, which Fargate does not need.
    none = {"CPU": 0, "MEMORY": 0, "PORTS": [], "PORTS_UDP": []}
    name = "_calculate_task_resource_requirements"
    replace(EC2ContainerServiceBackend, name, staticmethod(lambda _: none))


def _check(count: Any, overrides: Mapping[str, Any], network: Mapping[str, Any] | None) -> None:
    if not 1 <= int(count) <= _MOST_TASKS:
        raise InvalidParameterException(f"Count must be between 1 and {_MOST_TASKS}.")
    if len(json.dumps(overrides, separators=(",", ":"))) > _LONGEST_OVERRIDES:
        raise InvalidParameterException(
            f"Container Overrides length must be at most {_LONGEST_OVERRIDES}"
        )
    if not (network or {}).get("awsvpcConfiguration", {}).get("subnets"):
        raise InvalidParameterException(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        )


def _size(definition: Any, overrides: Mapping[str, Any]) -> tuple[float, int]:
    """Return vCPUs and MiB, which must be a combination that Fargate has."""
    cpu = int(overrides.get("cpu") or definition.cpu or 0)
    memory = int(overrides.get("memory") or definition.memory or 0)
    if memory not in _MEMORY.get(cpu, ()):
        raise EcsClientException("No Fargate configuration exists for given values.")
    return cpu / 1024, memory


def _network(response: Any, network: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Return the zone and the security groups, without any the default one of the network."""
    backend = ec2_backends[response.current_account][response.region]
    asked = network["awsvpcConfiguration"]
    subnet = backend.get_subnet(asked["subnets"][0])
    named = [backend.get_security_group_from_id(name) for name in asked.get("securityGroups", ())]
    groups = [group for group in named if group is not None]
    default = backend.get_default_security_group(subnet.vpc_id)
    return str(subnet.availability_zone), groups or [default]


def _check_quota(world: World, more: float) -> None:
    used = sum(
        machine.cpu
        for machine in world.machines.values()
        if machine.kind == "fargate" and machine.state not in GONE
    )
    if world.quota is not None and used + more > world.quota:
        raise EcsClientException(
            "You've reached the limit on the number of vCPUs you can run concurrently"
        )


def _note(
    world: World,
    task: Task,
    definition: Any,
    size: tuple[float, int],
    zone: str,
    groups: list[Any],
    *,
    spot: bool,
) -> None:
    container = definition.container_definitions[0]
    attached: list[dict[str, str]] = task.attachments[0]["details"]  # type: ignore[assignment]
    details = {each["name"]: each["value"] for each in attached}
    overrides: list[dict[str, Any]] = task.overrides.get("containerOverrides") or []
    task.cpu, task.memory = str(int(size[0] * 1024)), str(size[1])  # type: ignore[attr-defined]
    task.created_at = utcnow()  # type: ignore[attr-defined]
    task.availability_zone = zone  # type: ignore[attr-defined]
    task.launch_type = "FARGATE"
    machine = TaskMachine(
        id=task.id,
        kind="fargate",
        type=f"fargate-{size[0]:g}x{size[1] / 1024:g}",
        region=task.region_name,
        zone=zone,
        spot=spot,
        cpu=size[0],
        memory_mib=size[1],
        address=Address(details["privateIPv4Address"], details["privateIPv4Address"]),
        image=str(container.get("image")),
        boot_at=time.monotonic() + world.scaled(world.settings.boot_delay_s),
        task=task,
        container=container,
        override=next((each for each in overrides if each["name"] == container["name"]), {}),
        metadata=f"{world.endpoint}/_sandbox/metadata/{task.id}/v4",
        security_groups=groups,
    )
    world.machines[machine.id] = machine
    machine.show()


def _amend_stop(world: World, booter: Booter) -> None:
    def stop_task(backend: Any, cluster: str, name: str, reason: str | None) -> Task:
        machine = world.machines.get(name.rpartition("/")[2])
        backend._get_cluster(cluster)  # noqa: SLF001 - refuses an unknown one
        if not isinstance(machine, TaskMachine):
            raise InvalidParameterException("The referenced task was not found.")
        with world.lock:
            booter.end(machine, reason or "Task stopped by user")
        return machine.task

    replace(EC2ContainerServiceBackend, "stop_task", stop_task)


def _hidden(world: World, action: str) -> set[str]:
    """Return the machines that were launched too recently to be told of."""
    seconds = world.scaled(world.faults.hidden_s(action))
    now = time.time()
    return {name for name, found in world.machines.items() if now - found.launched < seconds}


def _amend_describe(world: World) -> None:
    """What is not there is said to be missing, and what was just launched may not be there yet."""
    describe, listing = (
        EC2ContainerServiceResponse.describe_tasks,
        EC2ContainerServiceResponse.list_tasks,
    )

    def describe_tasks(response: EC2ContainerServiceResponse) -> ActionResult:
        answered = describe(response)
        unseen = _hidden(world, "DescribeTasks")
        result: dict[str, Any] = answered.result  # type: ignore[assignment]
        result["tasks"] = [task for task in result["tasks"] if task.id not in unseen]
        seen = {task.id for task in result["tasks"]}
        result["failures"] = [
            {"arn": name, "reason": "MISSING"}
            for name in response._get_param("tasks", [])  # noqa: SLF001
            if name.rpartition("/")[2] not in seen
        ]
        return answered

    def list_tasks(response: EC2ContainerServiceResponse) -> ActionResult:
        answered = listing(response)
        unseen = _hidden(world, "ListTasks")
        result: dict[str, Any] = answered.result  # type: ignore[assignment]
        # AWS lists those that are to run, unless asked for others.
        if not response._get_param("desiredStatus"):  # noqa: SLF001
            unseen |= {
                name
                for name, found in world.machines.items()
                if found.state not in {"pending", "running"}
            }
        result["taskArns"] = [
            name for name in result["taskArns"] if name.rpartition("/")[2] not in unseen
        ]
        return answered

    replace(EC2ContainerServiceResponse, "describe_tasks", describe_tasks)
    replace(EC2ContainerServiceResponse, "list_tasks", list_tasks)
