"""What is done during a soak: drawn from a seed beforehand, and then carried out."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["USERS", "Action", "drawn"]

USERS = 2
"""Kernels."""

_WORK: Mapping[str, float] = {"submit": 10, "cell": 6, "map": 3, "raise": 2, "exit": 1}
_TROUBLE: Mapping[str, float] = {
    "interrupt": 3,
    "cancel": 3,
    "kill machine": 3,
    "notice": 2,
    "freeze": 1.5,
    "stop machine": 1,
    "boot fails": 1,
    "fault": 5,
    "kill kernel": 0.7,
    "kill service": 1,
    "kill local machine": 0.7,
}
_FAULTS: tuple[Mapping[str, Any], ...] = (
    {"action": "RunInstances", "code": "InsufficientInstanceCapacity", "count": 3},
    {"action": "RunInstances", "code": "RequestLimitExceeded", "count": 4},
    {"action": "RunInstances", "code": "InternalError", "count": 2},
    {"action": "RunInstances", "drop_reply": True, "count": 2},
    {"action": "RunInstances", "partial": 1, "count": 2},
    {"action": "Describe*", "code": "RequestLimitExceeded", "count": 6},
    {"action": "DescribeInstances", "code": "InternalError", "count": 3},
    {"action": "TerminateInstances", "code": "InternalError", "count": 5},
    {"action": "TerminateInstances", "drop_reply": True, "count": 2},
    {"action": "RunTask", "code": "ThrottlingException", "count": 3},
    {"action": "StopTask", "code": "ServerException", "count": 3},
)
_LAYERS: Mapping[str, float] = {"local": 5, "ec2": 9, "fargate": 2}


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that is done.

    Parameters
    ----------
    at_s : float
        Seconds after the beginning.
    kind : str
    number : int
        Its own; work computes something from it.
    pick : float
        Below 1: which of those that there are, in their order.
    about : mapping
        What it is done with.
    """

    at_s: float
    kind: str
    number: int
    pick: float
    about: Mapping[str, Any]


def drawn(seed: int, lasts_s: float) -> list[Action]:
    """Return the actions of a soak in their order, the last one a while before its end."""
    chance = random.Random(seed)
    found: list[Action] = []
    at_s = 0.0
    while at_s < lasts_s:
        trouble = at_s > 8 and chance.random() < 0.4
        (kind,) = _one_of(chance, _TROUBLE if trouble else _WORK)
        number = len(found) + 1
        found.append(Action(round(at_s, 2), kind, number, chance.random(), _about(kind, chance)))
        at_s += chance.expovariate(1 / 1.5)
    return found


def _about(kind: str, chance: random.Random) -> dict[str, Any]:
    if kind == "fault":
        return dict(chance.choice(_FAULTS))
    if kind == "freeze":
        return {"thaw_s": chance.choice([2.0, 4.0, 15.0])}
    if kind not in _WORK:
        return {}
    (layer,) = _one_of(chance, _LAYERS)
    return {
        "user": chance.randrange(USERS),
        "on": layer,
        "seconds": round(min(chance.lognormvariate(0.3, 0.8), 12.0), 2),
        "cpu": chance.choice([0.25, 0.25, 0.5]) if layer == "fargate" else chance.choice([0.5, 1]),
        "spot": chance.choice(["auto", "always", "never"]) if layer != "local" else "auto",
        "large": chance.random() < 0.2,
        "items": chance.randint(3, 20),
    }


def _one_of(chance: random.Random, weights: Mapping[str, float]) -> list[str]:
    return chance.choices(list(weights), list(weights.values()))
