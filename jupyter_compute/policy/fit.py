"""Whether an ask fits what a layer offers, and what it is granted. Pure, no I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jupyter_compute.ask import Ask, format_cpu, format_memory, parse_cpu
from jupyter_compute.errors import AskError
from jupyter_compute.model import Offer

__all__ = ["DEFAULT_MEMORY", "Grant", "Oversize", "fit"]

DEFAULT_MEMORY = 4 * 10**9
"""Bytes granted to an ask that names no memory, if half the largest machine has them."""

_NEAREST = 3

Oversize = Literal["cap", "refuse"]


@dataclass(frozen=True, slots=True)
class Grant:
    """What an ask becomes on a layer.

    Parameters
    ----------
    offer : Offer
        The cheapest machine type that fits it, the smallest of equally cheap ones.
    cpu : float
    memory : int
        Bytes for the first attempt.
    memory_high : int or None
        The most that a later attempt may get; None if the ask is no ladder.
    notes : tuple of str
        What the user must know, one visible line each.
    """

    offer: Offer
    cpu: float
    memory: int
    memory_high: int | None
    notes: tuple[str, ...] = ()


def fit(ask: Ask, offers: Sequence[Offer], oversize: Oversize = "refuse") -> Grant:
    """Return what the ask is granted on the layer that makes these offers.

    Parameters
    ----------
    ask : Ask
    offers : sequence of Offer
        All of one layer; at least one.
    oversize : {"cap", "refuse"}
        What happens to an ask larger than every offer.

    Raises
    ------
    AskError
        If no offer satisfies the ask. ``.nearest`` holds the offers that come closest.
    """
    parse_cpu(ask.cpu, "--cpu")  # an ask beyond any known machine is refused, never capped
    if ask.gpu and not any(offer.gpu >= ask.gpu for offer in offers):
        raise _refusal(ask, offers, "has no such GPU")
    if ask.memory is None:
        largest = max(offer.memory for offer in offers)
        ask = dataclasses.replace(ask, memory=min(DEFAULT_MEMORY, largest // 2))
    assert ask.memory is not None
    fitting = [offer for offer in offers if _fits(ask, offer)]
    if fitting:
        return _granted(ask, min(fitting, key=_price_then_size), offers)
    if oversize == "refuse":
        raise _refusal(ask, offers, "has no machine that large")
    return _capped(ask, offers)


def _fits(ask: Ask, offer: Offer) -> bool:
    memory = ask.memory or 0
    return offer.cpu >= ask.cpu and offer.memory >= memory and offer.gpu >= ask.gpu


def _price_then_size(offer: Offer) -> tuple[float, float, int]:
    price = float("inf") if offer.usd_per_hour is None else offer.usd_per_hour
    return price, offer.cpu, offer.memory


def _granted(ask: Ask, offer: Offer, offers: Sequence[Offer], note: str = "") -> Grant:
    memory, high = ask.memory or 0, ask.memory_high
    top = max(other.memory for other in offers if other.cpu >= ask.cpu)
    notes = [note] if note else []
    if high is not None and high > top:
        if not note:
            asked, has = format_memory(high), format_memory(top)
            notes = [f"asked up to {asked}, {_owner(offer)} has {has}: the ladder ends there"]
        high = top
    return Grant(offer, ask.cpu, memory, high, tuple(notes))


def _capped(ask: Ask, offers: Sequence[Offer]) -> Grant:
    offer = max(offers, key=lambda other: (other.gpu >= ask.gpu, other.cpu, other.memory))
    memory = ask.memory or 0
    granted = dataclasses.replace(
        ask, cpu=min(ask.cpu, offer.cpu), memory=min(memory, offer.memory)
    )
    has = _size(offer.cpu, offer.memory)
    gets = _size(granted.cpu, granted.memory or 0)
    note = f"asked {_size(ask.cpu, memory)}, {_owner(offer)} has {has}: running with "
    note += "those" if gets == has else gets
    return _granted(granted, offer, offers, note)


def _refusal(ask: Ask, offers: Sequence[Offer], why: str) -> AskError:
    nearest = sorted(offers, key=lambda offer: _shortfall(ask, offer))[:_NEAREST]
    best = nearest[0]
    return AskError(
        f"{_owner(best)} {why}: asked {ask}, it has {_size(best.cpu, best.memory)}",
        hint=f"ask for at most --cpu {format_cpu(best.cpu)} --memory "
        f"{max(best.memory // 10**6, 1)}M" + (" and no --gpu" if ask.gpu and not best.gpu else ""),
        nearest=[offer.to_wire() for offer in nearest],
    )


def _shortfall(ask: Ask, offer: Offer) -> tuple[float, float]:
    """Return how far an offer falls short of the ask, as a share, and its price."""
    short = max(0.0, 1 - offer.cpu / ask.cpu) + (1.0 if offer.gpu < ask.gpu else 0.0)
    if ask.memory:
        short += max(0.0, 1 - offer.memory / ask.memory)
    return short, _price_then_size(offer)[0]


def _owner(offer: Offer) -> str:
    return "this computer" if offer.layer == "local" else offer.layer


def _size(cpu: float, memory: int) -> str:
    return f"{format_cpu(cpu)} cpu {format_memory(memory)}"
