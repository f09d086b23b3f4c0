"""What a run would send, where it would run and what it would cost. Nothing is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..ask import format_cpu, format_memory, format_money, format_time
from . import payload, session
from .options import Options

__all__ = ["costs", "describe", "show", "where"]


def show(
    options: Options,
    names: dict[str, Any],
    inputs: Iterable[str],
    notes: Iterable[str],
    code: str,
) -> None:
    """Print the plan of a cell."""
    print(describe(options, payload.measure(names, inputs), notes, code))  # noqa: T201 - asked for


def describe(
    options: Options,
    sent: Mapping[str, tuple[str, int | None]],
    notes: Iterable[str] = (),
    code: str = "",
) -> str:
    """Return the plan as text.

    Parameters
    ----------
    options : Options
    sent : mapping
        Type and bytes of each input, by name; None for what cannot be pickled.
    notes : iterable of str
        More lines.
    code : str
        The key of the code, by which its earlier runs are found.

    Raises
    ------
    AskError
        If no offer of the layer can satisfy the ask.
    """
    answer = session.client().plan({**session.ask_of(options), "code": code})
    most = options.memory_high or answer["memory"]
    lines = [where(answer), *costs(answer), *answer["notes"], _what(sent, most)]
    width = max(map(len, sent), default=0)
    for name, (kind, size) in sorted(sent.items(), key=lambda item: -(item[1][1] or 0)):
        shown = "cannot be sent" if size is None else format_memory(size)
        lines.append(f"  {name:<{width}}  {shown:>9}  {kind}")
    return "\n".join([*lines, *notes])


def where(answer: Mapping[str, Any]) -> str:
    """Return in one sentence where a run would go, as the service answered."""
    machine, layer = answer["machine"], answer["layer"]
    zone = f", {answer['zone']}" if answer.get("zone") else ""
    where = layer if machine == layer else f"{machine} of {layer}{zone}"
    granted = f"{format_cpu(answer['cpu'])} cpu {format_memory(answer['memory'])}"
    price = answer["usd_per_hour"]
    cost = "at no cost" if price == 0 else "price unknown"
    if price:
        cost = f"for {format_money(price)}/h{_as_of(answer)}"
    return f"would run on {where} with {granted}, {cost}"


def costs(answer: Mapping[str, Any]) -> list[str]:
    """Return what a run would cost, as far as that is known: its share, and as it was before."""
    share, past, most = answer["share_usd_per_hour"], answer["past"], answer["max_cost"]
    lines = [f"a run pays {format_money(share)} per hour of it for its share"] if share else []
    if past is not None:
        runs = "its last run" if past["runs"] == 1 else f"its last {past['runs']} runs"
        took = _range(past["shortest_s"], past["longest_s"], format_time)
        usd = past["least_usd"], past["most_usd"]
        cost = f", {_range(*usd, format_money)}" if share else ""
        lines.append(f"as in {runs}: {took}{cost}")
    if most is not None and answer["usd_per_hour"] != 0:
        lines.append(f"is stopped at {format_money(most)}")
    return lines


def _range(low: float, high: float, shown: Callable[[float], str]) -> str:
    return shown(low) if shown(low) == shown(high) else f"{shown(low)} to {shown(high)}"


def _as_of(answer: Mapping[str, Any]) -> str:
    if not answer.get("priced"):
        return ""
    day = time.strftime("%Y-%m-%d", time.gmtime(answer["priced"]))
    return f" ({answer['region']}, as of {day})"


def _what(sent: Mapping[str, tuple[str, int | None]], most: int) -> str:
    if not sent:
        return "would send nothing but the code"
    total = sum(size or 0 for _, size in sent.values())
    if total > most:
        return f"would be refused: {format_memory(total)} to send, more than it may use:"
    return f"would send {format_memory(total)}:"
