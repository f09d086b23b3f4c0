"""Who may call a relay: machines of their security group, and one pool from its own address."""

from __future__ import annotations

import ipaddress
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from jupyter_compute import settings
from jupyter_compute.layers.aws import NAME, Account
from jupyter_compute.layers.network import find_group, make_group
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.relay import DOOR_PORT, POOL_PORT, SCHEDULER_PORT

__all__ = ["RELAY_GROUP", "clients", "complete", "let_in", "make_relay_group"]

RELAY_GROUP = f"{NAME}-relay"

_ANSWER_S = 10.0
_WIDEST = 16
"""Addresses of an organisation have more bits in common than this; those of the world have none."""

_KNOWN = {"InvalidPermission.Duplicate", "InvalidPermission.NotFound"}


def clients() -> str:
    """Return from which addresses (CIDR) this pool calls: as configured, else as others see it.

    Raises
    ------
    CallFailed
        If nobody says.
    """
    chosen = settings.get("scheduler-clients")
    if chosen:
        return _checked(str(chosen))
    service = str(settings.get("layers.aws.checkip"))
    # Directly: so do the connections to the relay go.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(service, timeout=_ANSWER_S) as answer:
            text = answer.read(100).decode().strip()
        return f"{ipaddress.IPv4Address(text)}/32"
    except (OSError, ValueError) as error:
        raise CallFailed(
            f"{service} does not say from which address this computer is seen: {error}",
            hint="set scheduler-clients to it, e.g. 203.0.113.5/32",
            kind="unanswered",
        ) from error


def make_relay_group(account: Account, vpc: str, machines: Sequence[str]) -> str:
    """Return the id of the relays' security group in the network, made and completed if need be.

    Parameters
    ----------
    account : Account
    vpc : str
    machines : sequence of str
        The groups of the machines, which may call a relay.

    Raises
    ------
    CallFailed
        If it may not be made or changed, or is open to the world.
    """
    what = "Relays of jupyter-compute: machines and one pool may come in"
    group = make_group(account, vpc, RELAY_GROUP, what)
    known = _sources(account, group)
    missing = [{"GroupId": one} for one in machines if one not in known]
    if missing:
        rule = {
            "IpProtocol": "tcp",
            "FromPort": DOOR_PORT,
            "ToPort": SCHEDULER_PORT,
            "UserIdGroupPairs": missing,
        }
        _change(account, "authorize_security_group_ingress", group, rule)
    return group


def complete(account: Account, vpc: str, machines: Sequence[str]) -> bool:
    """Tell whether the relays' group is there, and lets in the machines."""
    group = find_group(account, vpc, RELAY_GROUP)
    return bool(group) and set(machines) <= _sources(account, group)


def let_in(account: Account, group: str, cidr: str) -> None:
    """Let this installation's pool call relays from these addresses, and from no others.

    Raises
    ------
    CallFailed
        If that is not possible, or would let in everybody.
    """
    wanted, ours = _checked(cidr), f"pool of {account.owner}"
    present = [
        (str(source["CidrIp"]), str(source.get("Description", "")))
        for rule in _rules(account, group)
        if rule.get("FromPort") == POOL_PORT
        for source in rule.get("IpRanges", ())
    ]
    if wanted not in {address for address, _ in present}:
        rule = _from(wanted, ours)
        _change(account, "authorize_security_group_ingress", group, rule)
    for address, whose in present:
        if address != wanted and whose == ours:
            _change(account, "revoke_security_group_ingress", group, _from(address, ours))


def _checked(cidr: str) -> str:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        raise CallFailed(
            f"'{cidr}' are no addresses: {error}", hint="set scheduler-clients, e.g. 203.0.113.5/32"
        ) from error
    if network.prefixlen < _WIDEST:
        raise CallFailed(
            f"{cidr} would let in too many", hint=f"scheduler-clients may be /{_WIDEST} or less"
        )
    return str(network)


def _from(cidr: str, description: str) -> dict[str, Any]:
    ranges = [{"CidrIp": cidr, "Description": description}]
    return {
        "IpProtocol": "tcp",
        "FromPort": POOL_PORT,
        "ToPort": POOL_PORT,
        "IpRanges": ranges,
    }


def _change(account: Account, operation: str, group: str, rule: Mapping[str, Any]) -> None:
    try:
        account.call("ec2", operation, GroupId=group, IpPermissions=[rule])
    except CallFailed as failure:
        # Somebody else was quicker.
        if failure.code not in _KNOWN:
            raise


def _sources(account: Account, group: str) -> set[str]:
    """Return the groups whose members may call a relay."""
    return {
        str(pair["GroupId"])
        for rule in _rules(account, group)
        if rule.get("FromPort") == DOOR_PORT and rule.get("ToPort") == SCHEDULER_PORT
        for pair in rule.get("UserIdGroupPairs", ())
    }


def _rules(account: Account, group: str) -> Sequence[Mapping[str, Any]]:
    answer = account.call("ec2", "describe_security_groups", GroupIds=[group])
    found: Sequence[Mapping[str, Any]] = answer["SecurityGroups"][0].get("IpPermissions", ())
    return found
