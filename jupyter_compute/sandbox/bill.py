"""What AWS would have charged, from the sandbox's own records of start and stop."""

from __future__ import annotations

import time
from typing import Any

from .machines import Machine
from .prices import Prices
from .world import World

__all__ = ["bill"]

_LEAST_S = 60.0
"""AWS charges by the second, and at least one minute."""


def bill(world: World, prices: Prices) -> dict[str, Any]:
    """Return the sum and one item per machine that has run.

    An instance costs while it is running, so not when it shuts down, a task until it has stopped:
    as many seconds as would have passed in a cloud, as the clock rate makes each count for more.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html
    """
    items = [
        _item(world, prices, machine)
        for machine in list(world.machines.values())
        if machine.started is not None
    ]
    return {"usd": sum(item["usd"] for item in items), "time": time.time(), "items": items}


def _item(world: World, prices: Prices, machine: Machine) -> dict[str, Any]:
    assert machine.started is not None
    until = machine.ending or machine.ended if machine.kind == "ec2" else machine.ended
    seconds = world.cloud_seconds(machine.started, until)
    if machine.kind == "ec2":
        hourly = prices.hourly(machine.type, machine.zone, spot=machine.spot)
    else:
        hourly = prices.fargate(machine.cpu, machine.memory_mib, spot=machine.spot)
    charged = max(_LEAST_S, seconds)
    return {
        "machine": machine.id,
        "type": machine.type,
        "zone": machine.zone,
        "spot": machine.spot,
        "usd_per_hour": hourly,
        "seconds": charged,
        "usd": hourly * charged / 3600,
        "started": machine.started,
        "ended": machine.ended,
    }
