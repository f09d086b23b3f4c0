"""Moto with what it lacks: an account whose machines are those of this sandbox."""

from __future__ import annotations

import base64
from typing import Any

import moto.ec2.models.elastic_network_interfaces as interfaces
import moto.ec2.models.instances as instances_model
import moto.ecs.models as ecs_models
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.models.subnets import Subnet
from moto.ec2.responses.general import General
from moto.ecs.models import ecs_backends
from moto.ssm.models import Parameter, ssm_backends

from . import fleets, instances, plain, task_logs, tasks
from .amending import replace
from .booter import Booter
from .launches import Launches
from .networks import Networks
from .prices import Prices
from .world import IMAGE, World

__all__ = ["ACCOUNT", "REGION", "amend"]

ACCOUNT = "123456789012"
REGION = "us-east-1"

_IMAGES = {
    "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64": "x86_64",
    "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64": "arm64",
    "/aws/service/ami-amazon-linux-latest/al2023-ami-minimal-kernel-default-x86_64": "x86_64",
    "/aws/service/ami-amazon-linux-latest/al2023-ami-minimal-kernel-default-arm64": "arm64",
    **{
        f"/aws/service/canonical/ubuntu/server/{version}/stable/current/{name}/hvm/{disk}/ami-id": kind
        for version, disk in (("22.04", "ebs-gp2"), ("24.04", "ebs-gp3"))
        for name, kind in (("amd64", "x86_64"), ("arm64", "arm64"))
    },
}
"""The parameters that name the newest images, and what runs them."""


def amend(world: World, booter: Booter, networks: Networks, prices: Prices) -> None:
    """Change moto for the whole process, and set up what an account has by itself."""
    _addresses(networks)
    instances.amend(world, booter)
    launches = Launches(world)
    launches.amend()
    fleets.amend(world, launches, prices)
    plain.amend()
    prices.amend()
    tasks.amend(world, booter)
    task_logs.amend(world)
    _console(world)
    _public_tasks()
    world.image = _images(world)
    ecs_backends[ACCOUNT][REGION].put_account_setting("taskLongArnFormat", "enabled")


def _addresses(networks: Networks) -> None:
    """Hand out no address but the sandbox's: moto's own are real ones of AWS."""

    def private(*_: Any, **__: Any) -> str:
        return networks.address().private

    def public(interface: Any) -> None:
        if str(interface.public_ip_auto_assign).lower() == "true":
            interface.public_ip = networks.public(interface.private_ip_address)

    replace(Subnet, "get_available_subnet_ip", private)
    for module in (instances_model, interfaces, ecs_models):
        replace(module, "random_private_ip", private)
    replace(interfaces.NetworkInterface, "check_auto_public_ip", public)


def _public_tasks() -> None:
    """A task that asked for a public address has one, as the API of EC2 tells of its interface."""
    make = ecs_models.Task.__init__

    def init(task: Any, *arguments: Any, **more: Any) -> None:
        make(task, *arguments, **more)
        network = getattr(task, "network_configuration", {}).get("awsvpcConfiguration", {})
        if network.get("assignPublicIp") == "ENABLED":
            details = {each["name"]: each["value"] for each in task.attachments[0]["details"]}
            backend = ec2_backends[task._account_id][task.region_name]  # noqa: SLF001
            interface = backend.get_network_interface(details["networkInterfaceId"])
            interface.public_ip_auto_assign = True
            interface.check_auto_public_ip()

    replace(ecs_models.Task, "__init__", init)


def _console(world: World) -> None:
    def get_console_output(response: General) -> ActionResult:
        name = response._get_param("InstanceId")  # noqa: SLF001 - as moto itself
        instance = response.ec2_backend.get_instance(name)
        machine = world.machines.get(name)
        output = b"" if machine is None or machine.guest is None else machine.guest.output()
        return ActionResult(
            {
                "InstanceId": instance.id,
                "Timestamp": utcnow(),
                "Output": base64.b64encode(output).decode(),
            }
        )

    replace(General, "get_console_output", get_console_output)


def _images(world: World) -> str:
    """Put the newest images, and the prepared one, where AWS has them; return the latter's id."""
    backend, parameters = ec2_backends[ACCOUNT][REGION], ssm_backends[ACCOUNT][REGION]._parameters  # noqa: SLF001
    for number, (name, kind) in enumerate(_IMAGES.items(), 1):
        owner = ("099720109477", None) if "canonical" in name else ("137112412989", "amazon")
        ami = _image(backend, f"ami-{number:017x}", name.strip("/").replace("/", "-"), kind, *owner)
        if "amazon-linux" in name:
            world.amazon_linux.add(ami)
        parameters[name][:] = [
            Parameter(  # type: ignore[abstract]  # moto itself does so
                account_id=ACCOUNT,
                name=name,
                value=ami,
                parameter_type="String",
                description=None,
                allowed_pattern=None,
                keyid=None,
                last_modified_date=utcnow(),
                version=1,
                data_type="aws:ec2:image",
            )
        ]
    return _image(backend, f"ami-{0xFEED:017x}", IMAGE, "x86_64", ACCOUNT, None)


def _image(backend: Any, name: str, title: str, kind: str, owner: str, alias: str | None) -> str:
    backend.amis[name] = Ami(
        backend,
        name,
        name=title,
        description=title,
        owner_id=owner,
        owner_alias=alias,
        public=owner != ACCOUNT,
        virtualization_type="hvm",
        architecture=kind,
        hypervisor="xen",
        root_device_type="ebs",
        root_device_name="/dev/xvda" if alias else "/dev/sda1",
        tags={"Name": title} if owner == ACCOUNT else None,
    )
    return name
