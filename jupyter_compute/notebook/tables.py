"""Machines, runs and layers as aligned text, for the notebook and the command line."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..ask import format_cpu, format_memory, format_money, format_time

__all__ = ["aligned", "layers", "machines", "money", "origin", "runs", "short", "spending"]

_LONGEST_NAME = 40


def machines(found: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of machines, or a sentence if there are none."""
    if not found:
        return "no machines"
    # This computer alone has no type but its name, and costs nothing.
    elsewhere = any(machine["layer"] != "local" for machine in found)
    rows = [
        (
            machine["type"] if machine["layer"] == "local" else machine["id"],
            machine["layer"],
            *([_type(machine), f"{money(machine['usd_per_hour'])}/h"] if elsewhere else []),
            machine["state"],
            _of(machine["cpu_used"], machine["cpu"], "cpu"),
            _memory_of(machine["memory_used"], machine["memory"]),
            f"{_count(machine['runs'])} runs",
        )
        for machine in found
    ]
    more = ["type", "price"] if elsewhere else []
    return aligned(["machine", "layer", *more, "state", "cpu", "memory", ""], rows)


def runs(found: Sequence[Mapping[str, Any]], now: float | None = None) -> str:
    """Return a table of runs, or a sentence if there are none."""
    if not found:
        return "no runs"
    now = time.time() if now is None else now
    # Where everything is free, a column that says so takes room from the names.
    priced = any(run["usd"] != 0 for run in found)
    rows = [
        (
            run["id"],
            run["state"],
            short(run["name"]),
            run["machine"] or run["layer"],
            f"{format_cpu(run['ask']['cpu'])} cpu {format_memory(run['ask']['memory'])}",
            format_time(max(0.0, (run["finished"] or now) - run["created"])),
            *([money(run["usd"])] if priced else []),
            origin(run),
        )
        for run in found
    ]
    cost = ["cost"] if priced else []
    return aligned(["run", "state", "name", "on", "ask", "took", *cost, "from"], rows)


def spending(status: Mapping[str, Any]) -> str:
    """Return in one line what the machines cost now, and what runs have cost today."""
    now, today, budget = status["usd_per_hour"], status["today_usd"], status.get("budget_day")
    bound = "" if budget is None else f" / {money(budget)}"
    return f"cost: {money(now)}/h now, {money(today)}{bound} today"


def layers(rows: Iterable[tuple[Mapping[str, Any], Mapping[str, Any] | None, str]]) -> str:
    """Return a table of layers: each with what it answered to the ask, and a remark."""
    shown = []
    for layer, answer, remark in rows:
        offers = layer["offers"]
        largest = max(offers, key=lambda offer: (offer["cpu"], offer["memory"]), default=None)
        price = None if answer is None else answer["usd_per_hour"]
        shown.append(
            (
                layer["name"],
                "yes" if layer["configured"] else "no",
                "" if largest is None else _size(largest),
                "" if price is None else f"{format_money(price)}/h",
                _verdict(layer, answer, remark),
            )
        )
    return aligned(("layer", "configured", "largest ask", "price", "this ask"), shown)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, each column as wide as it must be."""
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _verdict(layer: Mapping[str, Any], answer: Mapping[str, Any] | None, remark: str) -> str:
    if not layer["configured"]:
        return str(layer["why_not"])
    if remark or answer is None:
        return remark
    return "fits" if layer["name"] == "local" else f"fits {answer['machine']}"


def _size(offer: Mapping[str, Any]) -> str:
    return f"{format_cpu(offer['cpu'])} cpu {format_memory(offer['memory'])}"


def origin(run: Mapping[str, Any]) -> str:
    """Return the notebook and the cell that something came from, as far as they are known."""
    notebook = short(str(run["notebook"]).removesuffix(".ipynb"))
    return " ".join(filter(None, (notebook, run["cell"] and f"[{run['cell']}]")))


def short(name: str) -> str:
    """Return a name as tables show it, its end left out if it is long."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def money(usd: float | None) -> str:
    """Return dollars, known or not."""
    return "$?" if usd is None else format_money(usd)


def _type(machine: Mapping[str, Any]) -> str:
    return f"{machine['type']}{' spot' if machine['spot'] else ''}"


def _of(used: float | None, total: float, unit: str) -> str:
    shown = "?" if used is None else f"{used:.1f}"
    return f"{shown}/{format_cpu(total)} {unit}"


def _memory_of(used: float | None, total: float) -> str:
    shown = "?" if used is None else format_memory(used)
    return f"{shown} of {format_memory(total)}"


def _count(value: object) -> int:
    return value if isinstance(value, int) else len(value) if isinstance(value, Sequence) else 0
