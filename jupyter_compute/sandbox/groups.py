"""What a machine's security groups let in, for its own packet filter.

Nothing else comes in, and answers always do, as in a VPC.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator
from typing import Any

from .machines import GONE, Machine

__all__ = ["ruleset"]

_RULESET = """\
table inet groups
delete table inet groups
table inet groups {{
  chain inbound {{
    type filter hook input priority 0; policy drop;
    iif lo accept
    ct state established,related accept
    {rules}
  }}
}}
"""
"""It takes the place of the one before at once."""

_ANY = "-1"
_WITH_PORTS = {"tcp", "udp"}


def ruleset(machine: Machine, others: Collection[Machine]) -> str:
    """Return the machine's filter, as ``nft -f`` takes it.

    Parameters
    ----------
    machine : Machine
    others : collection of Machine
        All there are: rules can name groups instead of addresses.
    """
    lines = {
        line
        for group in machine.groups()
        for rule in group.ingress_rules
        for source in _sources(rule, others)
        for line in _lines(rule, source)
    }
    return _RULESET.format(rules="\n    ".join(sorted(lines)))


def _sources(rule: Any, others: Collection[Machine]) -> Iterator[str]:
    if cidr := rule.ip_range.get("CidrIp"):
        yield str(ipaddress.IPv4Network(cidr, strict=False))
    if wanted := rule.source_group.get("GroupId"):
        for other in others:
            if other.state not in GONE and wanted in {group.id for group in other.groups()}:
                yield other.address.private


def _lines(rule: Any, source: str) -> Iterator[str]:
    if rule.ip_protocol == _ANY:
        yield f"ip saddr {source} accept"
    elif rule.ip_protocol in _WITH_PORTS:
        yield f"ip saddr {source} {rule.ip_protocol} dport {rule.from_port}-{rule.to_port} accept"
    else:
        yield f"ip saddr {source} ip protocol {rule.ip_protocol} accept"
