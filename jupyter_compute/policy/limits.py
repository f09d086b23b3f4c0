"""How many machines there may be, and what they may cost. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from jupyter_compute.ask import format_money
from jupyter_compute.model import Offer
from jupyter_compute.policy.budget import Purse
from jupyter_compute.policy.lifecycle import TIMERS

__all__ = ["Limits", "Meter", "Spent"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What there may be at most.

    Parameters
    ----------
    machines : int or None
        Of all layers together, those that start and drain included.
    usd_per_hour : float or None
        Likewise. Offers whose price is not known are not launched then.
    idle_s : float
        A machine on which nothing has run for this long ends.
    spare_s : float or None
        The same for a machine beside another idle one that has at least as much of everything:
        that one is there for the next run. As `idle_s` if None.
    of_layer : mapping
        Machines of single layers; there is but one local one.
    priced : bool
        Only machines whose price is known.
    purses : mapping
        What may be spent on launches, in a sandbox (True) and otherwise (False).
    """

    machines: int | None = None
    usd_per_hour: float | None = None
    idle_s: float = TIMERS.machine_idle_s
    spare_s: float | None = None
    of_layer: Mapping[str, int] = field(default_factory=dict)
    priced: bool = False
    purses: Mapping[bool, Purse] = field(default_factory=dict)

    def forbid(self, offer: Offer) -> str:
        """Return why no machine of the offer may be launched; empty if one may, at present."""
        bounded = self.priced or self.usd_per_hour is not None
        if bounded and offer.usd_per_hour is None:
            return f"the price of {offer.label} is not known, and what may be spent is limited"
        purse = self.purses.get(offer.sandbox)
        if purse is not None and purse.least(offer.usd_per_hour) > purse.left:
            return purse.without(offer)
        return ""


@dataclass(frozen=True, slots=True)
class Spent:
    """A machine that counts: its layer, dollars per hour or None, and whether it still starts."""

    layer: str
    usd_per_hour: float | None
    starting: bool


class Meter:
    """Counts machines against the limits.

    Parameters
    ----------
    limits : Limits
    machines : iterable of Spent
        Those that are there.
    starting : callable
        From a layer to how many machines may start there at a time; None if any number.
    """

    def __init__(
        self,
        limits: Limits,
        machines: Iterable[Spent],
        starting: Callable[[str], int | None],
    ) -> None:
        self._limits = limits
        self._starting_at_most = starting
        self._all = 0
        self._usd = 0.0
        self._launched: dict[bool, float] = {}
        """What machines that were taken cost at least, in a sandbox and otherwise."""
        self._of_layer: dict[str, int] = {}
        self._starting: dict[str, int] = {}
        for machine in machines:
            self._add(machine.layer, machine.usd_per_hour, 1, int(machine.starting))

    def take(self, offer: Offer, count: int) -> tuple[int, str]:
        """Count machines that are to be started.

        Returns
        -------
        int
            How many of them may be.
        str
            Why not all; empty if all may.
        """
        layer, limits = offer.layer, self._limits
        bounds = [(count, "")]
        if limits.machines is not None:
            most = limits.machines
            bounds.append((most - self._all, f"max-machines is {most}, and there are {self._all}"))
        if layer in limits.of_layer:
            most, there = limits.of_layer[layer], self._of_layer.get(layer, 0)
            bounds.append((most - there, f"{layer} has at most {most}, and there are {there}"))
        if limits.usd_per_hour is not None and offer.usd_per_hour:
            left = limits.usd_per_hour - self._usd
            why = (
                f"machines may cost {format_money(limits.usd_per_hour)}/h, "
                f"and {format_money(self._usd)}/h is running"
            )
            bounds.append((int(left / offer.usd_per_hour + 1e-9), why))
        purse = limits.purses.get(offer.sandbox)
        if purse is not None and (least := purse.least(offer.usd_per_hour)):
            left = purse.left - self._launched.get(offer.sandbox, 0.0)
            bounds.append((int(left / least + 1e-9), purse.without(offer)))
        at_once = self._starting_at_most(layer)
        if at_once is not None:
            machines = "one machine" if at_once == 1 else f"{at_once} machines"
            why = f"{layer} starts {machines} at a time until one has joined"
            bounds.append((at_once - self._starting.get(layer, 0), why))
        fits, why = min(bounds, key=lambda bound: bound[0])
        fits = max(fits, 0)
        self._add(layer, offer.usd_per_hour, fits, fits)
        self._pay(offer, fits)
        return fits, why

    def dearest(self, offer: Offer, count: int) -> float:
        """Return what each of some machines that were taken may cost at most."""
        price, most = offer.usd_per_hour or 0.0, float("inf")
        if self._limits.usd_per_hour is not None:
            most = price + max(self._limits.usd_per_hour - self._usd, 0.0) / count
        purse = self._limits.purses.get(offer.sandbox)
        if purse is not None:
            left = max(purse.left - self._launched.get(offer.sandbox, 0.0), 0.0)
            most = min(most, price + left / count / purse.least(1.0))
        return most

    def reserve(self, offer: Offer, count: int, dearest: Offer) -> None:
        """Count machines that were taken as those that they may become."""
        self._usd += ((dearest.usd_per_hour or 0.0) - (offer.usd_per_hour or 0.0)) * count
        self._pay(offer, -count)
        self._pay(dearest, count)

    def _pay(self, offer: Offer, count: int) -> None:
        purse = self._limits.purses.get(offer.sandbox)
        if purse is not None:
            usd = self._launched.get(offer.sandbox, 0.0) + purse.least(offer.usd_per_hour) * count
            self._launched[offer.sandbox] = usd

    def _add(self, layer: str, usd_per_hour: float | None, count: int, starting: int) -> None:
        self._all += count
        self._usd += (usd_per_hour or 0.0) * count
        self._of_layer[layer] = self._of_layer.get(layer, 0) + count
        self._starting[layer] = self._starting.get(layer, 0) + starting
