"""What a run needs of a machine, and on which it may be placed. Pure, no I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from jupyter_compute.ask import Ask
from jupyter_compute.model import Offer, RunSpec
from jupyter_compute.policy.offers import Allowance, Spot
from jupyter_compute.policy.packing import Demand

__all__ = ["GROUPS", "Needs", "Waiting", "Where", "joint", "where_of"]

GROUPS = {"aws": ("ec2", "fargate")}
"""Names that stand for several layers: the cheapest machine of any of them is taken."""


@dataclass(frozen=True, slots=True)
class Where:
    """On which machines a run may be placed.

    Parameters
    ----------
    layer : str
        A layer, or a group of them.
    instances : tuple of str
        The only machine types that will do; empty if any will.
    spot : {"auto", "always", "never"}
    priced : bool
        Only on machines whose price is known.
    free : bool
        Only on machines that cost nothing.
    gpu_name : str
        Only on machines with GPUs of this kind; empty if any will do.
    """

    layer: str
    instances: tuple[str, ...] = ()
    spot: Spot = "auto"
    priced: bool = False
    free: bool = False
    gpu_name: str = ""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that it may be on."""
        return GROUPS.get(self.layer, (self.layer,))

    @property
    def allowance(self) -> Allowance:
        """Which offers it may use."""
        most = 0.0 if self.free else math.inf if self.priced else None
        return Allowance(
            frozenset(self.layers),
            frozenset(self.instances),
            self.spot,
            self.gpu_name,
            most_usd_per_hour=most,
        )

    def permits(self, offer: Offer) -> bool:
        """Tell whether it may be on a machine of this offer, however large that is."""
        return self.allowance(offer)

    def __str__(self) -> str:
        parts = [self.layer, ",".join(self.instances)]
        parts += [] if self.spot == "auto" else [f"--spot {self.spot}"]
        parts += ["free"] if self.free else ["priced"] if self.priced else []
        return " ".join(filter(None, [*parts, self.gpu_name]))


@dataclass(frozen=True, slots=True)
class Needs:
    """What an attempt needs of a machine.

    Parameters
    ----------
    where : Where
    cpu : float
    memory : int
        Bytes.
    gpu : int
    """

    where: Where
    cpu: float
    memory: int
    gpu: int = 0

    def __str__(self) -> str:
        return f"{self.where}: {self.cpu:.6g} cpu {self.memory} B {self.gpu} gpu"

    def resources(self) -> dict[str, float]:
        """Return the amounts as Dask counts them; what is not needed is left out."""
        found = {"cpu": self.cpu, "memory": float(self.memory)}
        return found | {"gpu": float(self.gpu)} if self.gpu else found


@dataclass(frozen=True, slots=True)
class Waiting:
    """Attempts that wait for a machine, and need the same.

    Parameters
    ----------
    needs : Needs
    count : int
    age_s : float
        For how long the first of them has waited.
    """

    needs: Needs
    count: int
    age_s: float

    def demand(self) -> Demand:
        """Return it as the packing sees it."""
        needs = self.needs
        sizes = needs.cpu, needs.memory, needs.gpu, self.count
        return Demand(*sizes, needs.where.allowance, str(needs), self.age_s)


def joint(waiting: Iterable[Waiting]) -> list[Waiting]:
    """Return the same with one entry for equal needs."""
    found: dict[Needs, Waiting] = {}
    for one in waiting:
        other = found.get(one.needs, Waiting(one.needs, 0, 0.0))
        age_s = max(one.age_s, other.age_s)
        found[one.needs] = Waiting(one.needs, one.count + other.count, age_s)
    return list(found.values())


def where_of(spec: Ask | RunSpec) -> Where:
    """Return where what is asked for may be placed."""
    spot: Spot = "always" if spec.spot == "always" else "never" if spec.spot == "never" else "auto"
    bounded = spec.priced or spec.max_cost is not None
    kind = spec.gpu_name if spec.gpu else ""
    return Where(spec.layer, spec.instances, spot, bounded, spec.max_cost == 0, kind)
