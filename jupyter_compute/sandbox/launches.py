"""RunInstances: what AWS checks before it launches, and where it finds room."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.responses.instances import InstanceResponse

from .amending import replace
from .instances import Ec2Machine, architecture, cpus, memory_mib, user_data
from .machines import GONE, Address
from .world import World

__all__ = ["Launches"]

_LONGEST_USER_DATA = 16384
_most: ContextVar[int] = ContextVar("most")
"""MaxCount of the call that is being answered, which moto leaves out."""

_BY_TEMPLATE = {
    "instance_initiated_shutdown_behavior": "InstanceInitiatedShutdownBehavior",
    "metadata_options": "MetadataOptions",
    "nics": "NetworkInterfaces",
    "subnet_id": "SubnetId",
}
"""What moto does not take from a launch template."""


class Launches:
    """Launches instances as AWS would, or says why not.

    Parameters
    ----------
    world : World
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._run = InstanceBackend.run_instances

    def amend(self) -> None:
        """Put this in the place of moto's own."""
        answer, launches = InstanceResponse.run_instances, self

        def run_instances(response: InstanceResponse) -> Any:
            least = int(response._get_param("MinCount", "1"))  # noqa: SLF001 - as moto itself
            most = int(response._get_param("MaxCount", "1"))  # noqa: SLF001
            if not 1 <= least <= most:
                raise EC2ClientError(
                    "InvalidParameterValue", f"minCount {least} and maxCount {most} do not fit"
                )
            token = _most.set(most)
            try:
                return answer(response)
            finally:
                _most.reset(token)

        def backend_run(
            backend: Any, image: Any, count: int, data: Any, names: Any, **more: Any
        ) -> Any:
            most = _most.get(count)
            with launches._world.lock:
                return launches.run(backend, image, count, most, data, names, more)

        replace(InstanceResponse, "run_instances", run_instances)
        replace(InstanceBackend, "run_instances", backend_run)

    def run(
        self,
        backend: Any,
        image: str | None,
        least: int,
        most: int,
        data: Any,
        names: list[str],
        more: dict[str, Any],
        action: str = "RunInstances",
    ) -> Any:
        """Launch between ``least`` and ``most`` instances of one type in one zone."""
        template = self._template(backend, more)
        more = self._complete(more, template)
        kind = str(more.get("instance_type"))
        if more.get("is_instance_type_default") and template.get("InstanceType"):
            kind = str(template["InstanceType"])
        spot = bool(more.get("instance_market_options")) or more.get("lifecycle") == "spot"
        self._check(
            backend, image or template.get("ImageId"), kind, data or template.get("UserData")
        )
        count = most
        limit = self._world.faults.at_most(action, {"type": kind})
        if limit is not None:
            count = min(count, limit)
        if count < least:
            raise self.no_room(kind, "", "InsufficientInstanceCapacity")
        self.check_quota(kind, count, spot=spot)
        subnet = self._room(backend, more, kind, spot=spot, action=action)
        more |= {"placement": None, "subnet_id": None if more.get("nics") else subnet.id}
        for nic in more.get("nics") or []:
            nic.setdefault("SubnetId", subnet.id)
            # Moto knows them of the interface only, AWS tells them of the instance too.
            more["security_group_ids"] = more.get("security_group_ids") or nic.get("Groups") or []
        reservation = self._run(backend, image, count, data, names, **more)  # type: ignore[arg-type]
        for instance in reservation.instances:
            self._note(instance, spot=spot)
        return reservation

    def check_quota(self, kind: str, count: int, *, spot: bool) -> None:
        """Refuse what is beyond the account's vCPUs, which are counted for spot apart."""
        quota = self._world.quota
        if quota is None:
            return
        used = sum(
            machine.cpu
            for machine in self._world.machines.values()
            if machine.kind == "ec2" and machine.spot == spot and machine.state not in GONE
        )
        if used + count * cpus(kind) <= quota:
            return
        if spot:
            raise EC2ClientError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        raise EC2ClientError(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {quota} allows"
            " for the instance bucket that the specified instance type belongs to. Please visit"
            " http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit.",
        )

    @staticmethod
    def no_room(kind: str, zone: str, code: str) -> EC2ClientError:
        """Return AWS's refusal of one type in one zone."""
        if code == "InsufficientInstanceCapacity":
            where = f"the Availability Zone you requested ({zone})" if zone else "this Region"
            return EC2ClientError(
                code, f"We currently do not have sufficient {kind} capacity in {where}."
            )
        return EC2ClientError(code, f"The sandbox was told so for {kind} in {zone}.")

    @staticmethod
    def _template(backend: Any, more: Mapping[str, Any]) -> dict[str, Any]:
        wanted = more.get("launch_template")
        return dict(backend._get_template_from_args(wanted).data) if wanted else {}  # noqa: SLF001

    @staticmethod
    def _complete(more: dict[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
        more = dict(more)
        for name, key in _BY_TEMPLATE.items():
            if not more.get(name) and template.get(key):
                more[name] = template[key]
        if not more.get("instance_market_options"):
            more["instance_market_options"] = (template.get("InstanceMarketOptions") or {}).get(
                "MarketType"
            )
        if not more.get("placement"):
            more["placement"] = (template.get("Placement") or {}).get("AvailabilityZone")
        return more

    @staticmethod
    def _check(backend: Any, image: str | None, kind: str, data: Any) -> None:
        raw = b"" if data is None else str(data)
        size = len(raw) * 3 // 4 - str(raw)[-2:].count("=") if raw else 0
        if size > _LONGEST_USER_DATA:
            raise EC2ClientError(
                "InvalidParameterValue", f"User data is limited to {_LONGEST_USER_DATA} bytes"
            )
        if kind not in INSTANCE_TYPES:
            raise EC2ClientError(
                "InvalidInstanceType",
                f"The following supplied instance types do not exist: [{kind}]",
            )
        found = backend.describe_images(ami_ids=[image] if image else [])
        if not image:
            raise EC2ClientError(
                "MissingParameter", "The request must contain the parameter ImageId"
            )
        if found and (found[0].architecture or "x86_64") not in architecture(kind):
            raise EC2ClientError(
                "InvalidParameterValue",
                f"The architecture '{','.join(architecture(kind))}' of the specified instance type"
                f" does not match the architecture '{found[0].architecture}' of the specified AMI.",
            )

    def _room(
        self, backend: Any, more: Mapping[str, Any], kind: str, *, spot: bool, action: str
    ) -> Any:
        """Return the subnet in which there is room; AWS chooses among the zones not asked for."""
        subnet = more.get("subnet_id") or next(
            (nic["SubnetId"] for nic in more.get("nics") or [] if "SubnetId" in nic), None
        )
        if subnet:
            choice = [backend.get_subnet(subnet)]
        else:
            by_zone = backend.get_default_subnets()
            if not by_zone:
                raise EC2ClientError(
                    "MissingInput", "No subnets found for the default VPC. Please specify a subnet."
                )
            zone = more.get("placement")
            if zone and zone not in by_zone:
                raise EC2ClientError(
                    "InvalidParameterValue", f"Invalid availability zone: [{zone}]"
                )
            choice = [by_zone[zone]] if zone else [by_zone[name] for name in sorted(by_zone)]
        refusal: EC2ClientError | None = None
        for each in choice:
            about = {"type": kind, "zone": each.availability_zone}
            about["lifecycle"] = "spot" if spot else "on-demand"
            fault = self._world.faults.of_machine(action, about)
            if fault is None:
                return each
            refusal = self.no_room(kind, each.availability_zone, fault.code)
        assert refusal is not None
        raise refusal

    def _note(self, instance: Any, *, spot: bool) -> None:
        world = self._world
        if spot:
            instance.lifecycle = "spot"
            instance.spot_instance_request_id = f"sir-{world.chance.getrandbits(40):010x}"[:12]
        private, public = instance.private_ip_address, instance.public_ip_address
        machine = Ec2Machine(
            id=instance.id,
            kind="ec2",
            type=instance.instance_type,
            region=instance.region_name,
            zone=str(instance.availability_zone),
            spot=spot,
            cpu=cpus(instance.instance_type),
            memory_mib=memory_mib(instance.instance_type),
            address=Address(private, public),
            image=str(instance.image_id),
            boot_at=time.monotonic() + world.scaled(world.settings.boot_delay_s),
            instance=instance,
            metadata=f"{world.endpoint}/_sandbox/metadata/{instance.id}",
        )
        world.machines[machine.id] = machine
        machine.show()
        assert len(user_data(instance)) <= _LONGEST_USER_DATA
