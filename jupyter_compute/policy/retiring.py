"""Which machines end. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from jupyter_compute.ask import format_time
from jupyter_compute.model import Offer
from jupyter_compute.policy.lifecycle import Timers
from jupyter_compute.policy.limits import Limits
from jupyter_compute.policy.offers import holds
from jupyter_compute.policy.packing import Packing
from jupyter_compute.policy.steps import Machine, Retirement

__all__ = ["retire", "unwanted"]


def retire(
    machines: Sequence[Machine],
    packing: Packing,
    limits: Limits,
    missing: Mapping[Offer, int],
    timers: Timers,
) -> tuple[Retirement, ...]:
    """Return the machines that end: idle for long, or in the way of others at a limit.

    None of them has a run, or is meant for one.

    Parameters
    ----------
    machines : sequence of Machine
        In the order of the packing's rooms.
    packing : Packing
    limits : Limits
    missing : mapping
        How many machines of an offer could not be started because of a limit.
    timers : Timers
    """
    idle = [
        (machine, machine.idle_s)
        for machine, held in zip(machines, packing.rooms, strict=True)
        if machine.state == "ready" and machine.idle_s is not None and not held
    ]
    idle.sort(key=lambda pair: (-pair[1], pair[0].id))
    wanted = sum(missing.values())
    ended = []
    left = [machine.offer for machine, _ in idle]
    for machine, idle_s in idle:
        if idle_s >= limits.idle_s:
            why = f"nothing has run on it for {format_time(limits.idle_s)}"
        elif _is_spare(machine.offer, left, idle_s, limits):
            why = f"nothing has run on it for {format_time(idle_s)}, and another one is idle"
        elif wanted > 0 and idle_s >= timers.tick_s and _in_the_way(machine.offer, limits, missing):
            why = "idle, while runs wait for another machine and a limit allows no more"
        else:
            continue
        wanted -= 1
        left.remove(machine.offer)
        ended.append(Retirement(machine.id, why))
    return tuple(ended)


def unwanted(
    machines: Sequence[Machine], packing: Packing, waiting: Collection[str]
) -> tuple[Retirement, ...]:
    """Return the machines that start, and that nobody waits for any more.

    Parameters
    ----------
    machines : sequence of Machine
        In the order of the packing's rooms.
    packing : Packing
    waiting : collection of str
        The keys of all demands.
    """
    why = "nobody waits for it any more"
    return tuple(
        Retirement(machine.id, why)
        for machine, held in zip(machines, packing.rooms, strict=True)
        if machine.state == "starting"
        and machine.meant
        and not held
        and not any(key in waiting for key, _ in machine.meant)
    )


def _is_spare(offer: Offer, idle: Sequence[Offer], idle_s: float, limits: Limits) -> bool:
    """Tell whether another idle machine, of those that stay, does for whatever this one does."""
    if limits.spare_s is None or idle_s < limits.spare_s:
        return False
    others = list(idle)
    others.remove(offer)
    return any(
        other.layer == offer.layer
        and other.spot <= offer.spot
        and holds(other, offer.cpu, offer.memory, offer.gpu)
        for other in others
    )


def _in_the_way(offer: Offer, limits: Limits, missing: Mapping[Offer, int]) -> bool:
    """Tell whether ending a machine allows one that is missing, and is not the same again."""
    if offer in missing:
        return False
    everywhere = limits.machines is not None or limits.usd_per_hour is not None
    return everywhere or any(offer.layer == other.layer for other in missing)
