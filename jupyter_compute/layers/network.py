"""Where machines stand in AWS: subnets, and a security group that is open to nobody.

A machine calls its pool and is called by nobody, so the group lets nothing in. One that
somebody has opened to the world is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_compute import settings
from jupyter_compute.layers.aws import NAME, OWNER_TAG, Account, borrowed, tags
from jupyter_compute.layers.refusals import CallFailed

__all__ = ["Network", "find_group", "find_network", "find_vpc", "make_group"]

_WORLD = {"0.0.0.0/0", "::/0"}


@dataclass(frozen=True, slots=True)
class Network:
    """Where machines of a launch stand.

    Parameters
    ----------
    vpc : str
        The id of the network.
    subnets : tuple of (str, str)
        Id and zone of each.
    default : bool
        True if they are those of the default network, of which EC2 chooses by itself.
    public : bool
        True if what starts in them gets a public address.
    groups : tuple of str
        Ids of security groups; empty if ours has not been made yet.
    """

    vpc: str
    subnets: tuple[tuple[str, str], ...]
    default: bool
    public: bool
    groups: tuple[str, ...]

    def places(self, zone: str) -> Sequence[tuple[str, str]]:
        """Return the (subnet, zone) pairs to try; an empty name leaves it to EC2."""
        if self.default and not zone:
            return [("", "")]
        return [place for place in self.subnets if zone in {"", place[1]}]


def find_network(account: Account) -> Network:
    """Return the network as configured, else the default one.

    Raises
    ------
    CallFailed
        If something configured is not there, or is open to the world.
    """
    vpc = find_vpc(account)
    name = str(vpc["VpcId"])
    chosen = _listed("layers.aws.subnets", "ec2.subnet_id", "ecs.subnets")
    filters = [{"Name": "vpc-id", "Values": [name]}]
    found = [
        subnet
        for subnet in account.pages("ec2", "describe_subnets", "Subnets", Filters=filters)
        if not chosen or subnet["SubnetId"] in chosen
    ]
    if not found:
        raise CallFailed(
            f"the network {name} in {account.region} has no subnet",
            hint="set layers.aws.subnets to subnets of that region",
        )
    return Network(
        vpc=name,
        subnets=tuple(
            sorted((str(subnet["SubnetId"]), str(subnet["AvailabilityZone"])) for subnet in found)
        ),
        default=not chosen and bool(vpc.get("IsDefault")),
        public=all(subnet.get("MapPublicIpOnLaunch") for subnet in found),
        groups=_groups(account, name),
    )


def find_vpc(account: Account) -> Mapping[str, Any]:
    """Return the network that is configured, by itself or by a subnet, else the default one.

    Raises
    ------
    CallFailed
        If there is none.
    """
    subnets = _listed("layers.aws.subnets", "ec2.subnet_id", "ecs.subnets")
    chosen = str(borrowed("ec2.vpc") or borrowed("ecs.vpc") or "default")
    if subnets:
        answer = account.call("ec2", "describe_subnets", SubnetIds=list(subnets))
        chosen = str(answer["Subnets"][0]["VpcId"])
    if chosen == "default":
        request: dict[str, Any] = {"Filters": [{"Name": "is-default", "Values": ["true"]}]}
    else:
        request = {"VpcIds": [chosen]}
    found: Sequence[Mapping[str, Any]] = account.call("ec2", "describe_vpcs", **request)["Vpcs"]
    if not found:
        raise CallFailed(
            f"there is no default network (VPC) in {account.region}",
            hint="set layers.aws.subnets, or layers.aws.region to a region that has one",
        )
    return found[0]


def find_group(account: Account, vpc: str, name: str = NAME) -> str:
    """Return the id of the security group that we made in the network, or nothing.

    Raises
    ------
    CallFailed
        If it is open to the world.
    """
    filters = [
        {"Name": "vpc-id", "Values": [vpc]},
        {"Name": "group-name", "Values": [name]},
        {"Name": f"tag:{OWNER_TAG}", "Values": ["*"]},
    ]
    answer = account.call("ec2", "describe_security_groups", Filters=filters)
    for group in answer["SecurityGroups"]:
        _refuse_open(group)
        return str(group["GroupId"])
    return ""


def make_group(
    account: Account,
    vpc: str,
    name: str = NAME,
    what: str = "Machines of jupyter-compute: nothing may come in",
) -> str:
    """Return the id of our security group in the network, made if it is not there.

    Raises
    ------
    CallFailed
        If it may not be made, or is open to the world.
    """
    try:
        return find_group(account, vpc, name) or str(
            account.call(
                "ec2",
                "create_security_group",
                GroupName=name,
                Description=what,
                VpcId=vpc,
                TagSpecifications=[
                    {"ResourceType": "security-group", "Tags": as_list(tags(account.owner))}
                ],
            )["GroupId"]
        )
    except CallFailed as failure:
        if failure.code != "InvalidGroup.Duplicate":
            raise
        # Somebody else made it just now; or it has our name, and is not ours.
        if group := find_group(account, vpc, name):
            return group
        raise CallFailed(
            f"the security group '{name}' in {vpc} is not of jupyter-compute",
            hint="set layers.aws.security-groups, or give that group another name",
        ) from failure


def as_list(marks: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as EC2 and S3 want them."""
    return [{"Key": name, "Value": text} for name, text in marks.items()]


def _groups(account: Account, vpc: str) -> tuple[str, ...]:
    chosen = _listed("layers.aws.security-groups", "ec2.security_groups", "ecs.security_groups")
    if not chosen:
        ours = find_group(account, vpc)
        return (ours,) if ours else ()
    answer = account.call("ec2", "describe_security_groups", GroupIds=list(chosen))
    for group in answer["SecurityGroups"]:
        _refuse_open(group)
    return chosen


def _refuse_open(group: Mapping[str, Any]) -> None:
    for rule in group.get("IpPermissions", ()):
        sources = {r.get("CidrIp") for r in rule.get("IpRanges", ())}
        sources |= {r.get("CidrIpv6") for r in rule.get("Ipv6Ranges", ())}
        for source in sources & _WORLD:
            raise CallFailed(
                f"the security group {group['GroupId']} lets in everybody ({source}), "
                "and nothing is launched in it",
                hint="remove that rule, or set layers.aws.security-groups to another group",
            )


def _listed(name: str, *others: str) -> tuple[str, ...]:
    """Return the ids of our setting, or of the first setting of dask-cloudprovider that is set."""
    chosen = settings.get(name)
    for other in others:
        chosen = chosen or borrowed(other)
    if isinstance(chosen, str):
        return (chosen,)
    return tuple(str(one) for one in chosen or ())
