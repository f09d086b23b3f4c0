"""Machines of this installation that no pool knows, on all layers elsewhere."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from jupyter_compute.errors import PoolError
from jupyter_compute.layers import known
from jupyter_compute.layers.base import Machine

__all__ = ["Found", "end", "find"]

_ENDS_S = 120.0
_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found.

    Parameters
    ----------
    machines : tuple of Machine
        Those that are up and that no pool knows.
    unasked : mapping
        By layer, why it could not be asked.
    """

    machines: tuple[Machine, ...]
    unasked: Mapping[str, str]


def find(ours: Collection[str], older_than_s: float) -> Found:
    """Look on every layer for machines of this installation.

    Parameters
    ----------
    ours : collection of str
        Ids of machines that a pool knows.
    older_than_s : float
        Younger ones may be on their way to a pool.
    """
    found: list[Machine] = []
    unasked: dict[str, str] = {}
    for name, layer in known.others().items():
        try:
            found += [machine for machine in layer.list() if machine.state == "alive"]
        except PoolError as error:
            unasked[name] = str(error)
    old = time.time() - older_than_s
    strays = [one for one in found if one.id not in ours and one.started <= old]
    return Found(tuple(strays), unasked)


def end(machine: Machine) -> None:
    """End a machine, and return once it is gone.

    Raises
    ------
    PoolError
        If it is not gone two minutes later, or the layer cannot be asked.
    """
    layer = known.others()[machine.offer.layer]
    layer.list()  # what it has not listed it does not touch
    deadline = time.monotonic() + _ENDS_S
    while not layer.terminate(machine.id):
        if time.monotonic() > deadline:
            raise PoolError(f"{machine.id} has not ended within {_ENDS_S:g} s")
        time.sleep(_AGAIN_S)
