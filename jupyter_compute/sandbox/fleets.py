"""CreateFleet of type ``instant``: machines of several types and zones by one call.

AWS goes through the overrides in the order of their price or priority, launches what
there is room for, and says for the others why not; the call itself succeeds also if
nothing was launched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.responses.fleets import Fleets
from moto.ec2.utils import convert_tag_spec, random_fleet_id

from .amending import replace
from .launches import Launches
from .prices import Prices
from .world import World

__all__ = ["amend"]


@dataclass(frozen=True, slots=True)
class _Choice:
    """One override of one launch template."""

    template: Mapping[str, Any]
    data: Mapping[str, Any]
    override: Mapping[str, Any]

    @property
    def type(self) -> str:
        return str(self.data.get("InstanceType"))

    @property
    def told(self) -> dict[str, Any]:
        return {"LaunchTemplateSpecification": self.template, "Overrides": self.override}


def amend(world: World, launches: Launches, prices: Prices) -> None:
    """Put this in the place of moto's own, which knows neither capacity nor errors."""

    def create_fleet(response: Fleets) -> ActionResult:
        with world.lock:
            return ActionResult(_Fleet(world, launches, prices, response).launch())

    replace(Fleets, "create_fleet", create_fleet)


class _Fleet:
    """One call."""

    def __init__(self, world: World, launches: Launches, prices: Prices, response: Fleets) -> None:
        self._world = world
        self._launches = launches
        self._prices = prices
        self._backend = response.ec2_backend
        self._given = response._get_param  # noqa: SLF001 - as moto itself
        if self._given("Type", "maintain") != "instant":
            raise EC2ClientError("UnsupportedOperation", "The sandbox has only instant fleets")
        response.error_on_dryrun()
        self._errors: list[dict[str, Any]] = []
        self._made: list[dict[str, Any]] = []

    def launch(self) -> dict[str, Any]:
        """Launch what there is room for, and return AWS's answer."""
        choices = [self._choice(config, override) for config, override in self._overrides()]
        limit = self._world.faults.at_most("CreateFleet", {})
        for spot, count in self._targets().items():
            left = count
            if limit is not None:
                left = min(left, limit)
                limit -= left
            left = self._fill(choices, left, spot=spot)
            if left or self._short(spot, count):
                self._say_why(choices, spot=spot)
        return {"FleetId": random_fleet_id(), "Errors": self._errors, "Instances": self._made}

    def _short(self, spot: bool, count: int) -> bool:
        kind = "spot" if spot else "on-demand"
        made = sum(len(one["InstanceIds"]) for one in self._made if one["Lifecycle"] == kind)
        return made < count

    def _overrides(self) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        return [
            (config, override)
            for config in self._given("LaunchTemplateConfigs", [])
            for override in config.get("Overrides") or [{}]
        ]

    def _choice(self, config: Mapping[str, Any], override: Mapping[str, Any]) -> _Choice:
        wanted = dict(config["LaunchTemplateSpecification"])
        if "Version" not in wanted:
            raise EC2ClientError("MissingParameter", "The launch template needs a version")
        data = self._backend._get_template_from_args(wanted).data  # noqa: SLF001
        return _Choice(wanted, {**data, **override}, override)

    def _targets(self) -> dict[bool, int]:
        """Return how many machines are wanted, by whether they are spot."""
        target = self._given("TargetCapacitySpecification", {})
        total = int(target.get("TotalTargetCapacity", 0))
        spot = int(target.get("SpotTargetCapacity") or 0)
        demand = int(target.get("OnDemandTargetCapacity") or 0)
        rest = max(0, total - spot - demand)
        if target.get("DefaultTargetCapacityType", "on-demand") == "spot":
            spot += rest
        else:
            demand += rest
        return {kind: count for kind, count in ((True, spot), (False, demand)) if count}

    def _fill(self, choices: list[_Choice], count: int, *, spot: bool) -> int:
        """Launch up to so many, the best choices first; return how many there were not."""
        for choice in sorted(choices, key=lambda choice: self._rank(choice, spot=spot)):
            refusals = []
            for number in range(count, 0, -1):
                # As many as there are quota and room for.
                refusal = self._try(choice, number, spot=spot)
                if refusal is None:
                    count -= number
                    break
                refusals.append(refusal)
            if refusals:
                self._refuse(choice, refusals[0], spot=spot)
        return count

    def _rank(self, choice: _Choice, *, spot: bool) -> tuple[float, float]:
        options = self._given("SpotOptions" if spot else "OnDemandOptions", {}) or {}
        strategy = str(options.get("AllocationStrategy", ""))
        price = self._prices.hourly(choice.type, self._zone(choice), spot=spot)
        if "prioritized" in strategy:
            return float(choice.override.get("Priority", 0)), price
        return price, 0.0

    def _zone(self, choice: _Choice) -> str:
        subnet = choice.data.get("SubnetId")
        if subnet:
            return str(self._backend.get_subnet(subnet).availability_zone)
        placement: Mapping[str, Any] = choice.data.get("Placement") or {}
        return str(
            choice.override.get("AvailabilityZone") or placement.get("AvailabilityZone") or ""
        )

    def _tags(self, choice: _Choice) -> dict[str, dict[str, str]]:
        tags = convert_tag_spec(choice.data.get("TagSpecifications") or [])
        given = convert_tag_spec(self._given("TagSpecifications", []))
        return {
            kind: {**tags.get(kind, {}), **given.get(kind, {})} for kind in ("instance", "volume")
        }

    def _try(self, choice: _Choice, count: int, *, spot: bool) -> EC2ClientError | None:
        data = choice.data
        more = {
            "client_token": self._given("ClientToken"),
            "disable_api_termination": bool(data.get("DisableApiTermination")),
            "instance_market_options": "spot" if spot else None,
            "instance_type": choice.type,
            "is_instance_type_default": False,
            "launch_template": dict(choice.template),
            "placement": self._zone(choice) or None,
            "region_name": self._backend.region_name,
            "security_group_ids": list(data.get("SecurityGroupIds") or []),
            "subnet_id": data.get("SubnetId"),
            "tags": self._tags(choice),
        }
        try:
            made = self._launches.run(
                self._backend,
                data.get("ImageId"),
                count,
                count,
                data.get("UserData"),
                [],
                more,
                "CreateFleet",
            )
        except EC2ClientError as refusal:
            return refusal
        self._made.append(
            {
                "LaunchTemplateAndOverrides": choice.told,
                "Lifecycle": "spot" if spot else "on-demand",
                "InstanceIds": [instance.id for instance in made.instances],
                "InstanceType": choice.type,
            }
        )
        return None

    def _refuse(self, choice: _Choice, refusal: EC2ClientError, *, spot: bool) -> None:
        self._errors.append(
            {
                "LaunchTemplateAndOverrides": choice.told,
                "Lifecycle": "spot" if spot else "on-demand",
                "ErrorCode": refusal.code,
                "ErrorMessage": refusal.message,
            }
        )

    def _say_why(self, choices: list[_Choice], *, spot: bool) -> None:
        """Say that capacity was short, where nothing else has been said."""
        if self._errors or not choices:
            return
        known = choices[0].type if choices[0].type in INSTANCE_TYPES else ""
        refusal = self._launches.no_room(
            known, self._zone(choices[0]), "InsufficientInstanceCapacity"
        )
        self._refuse(choices[0], refusal, spot=spot)
