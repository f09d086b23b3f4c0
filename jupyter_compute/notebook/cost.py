"""What runs have used and cost, summed up by the service: the question and the table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..ask import format_time, parse_time, refuse
from ..errors import AskError
from . import options, tables
from .line import split
from .option_table import Option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .client import Client
    from .transport import Wire

__all__ = ["OPTIONS", "Option", "help_text", "read", "sums", "table"]

_LONGEST_S = 3650 * 86400.0
_SINCE_S = 30 * 86400.0
_GROUPS = {
    "notebook": ("notebooks", "name"),
    "layer": ("layers", "on", "where", "machine"),
    "day": ("days", "date", "daily"),
}
"""By what costs are summed, each with what people type who mean it."""


def _parse_since(value: object, what: str) -> float:
    try:
        return parse_time(value, what, _LONGEST_S)
    except AskError:
        rule = "is not how long ago, at most 3650 days"
        refuse(what, value, rule, "e.g. 7d")


def _parse_group(value: object, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if text not in _GROUPS:
        import difflib

        key = text[:40].lower()
        near = [name for name, also in _GROUPS.items() if key == name or key in also]
        near = near or difflib.get_close_matches(key, _GROUPS, n=1)
        hint = f"did you mean {near[0]}?" if near else "e.g. day"
        refuse(what, value, "is not notebook, layer or day", hint)
    return text


OPTIONS = (
    Option(
        "since",
        "how long ago to begin, at the start of that day",
        default="30d",
        example="7d",
        value="TIME",
        parse=_parse_since,
        also=("from", "after", "days", "last"),
    ),
    Option(
        "by",
        "one sum for each notebook, layer or day",
        default="day",
        example="notebook",
        value="notebook|layer|day",
        parse=_parse_group,
        also=("group", "per", "group-by", "each"),
    ),
)


def help_text() -> str:
    """Return the options as text for a cell's output."""
    return options.help_text("%compute cost", table=OPTIONS)


def read(line: str) -> tuple[float | None, str | None]:
    """Return how many seconds ago to begin, and by what to sum, as a line says.

    Raises
    ------
    AskError
        If anything on the line is unknown, misspelt, given twice or out of its limits.
    """
    values = options.read_words(split(line), OPTIONS, "%compute cost")
    named = {option.name: value for option, value in values.items()}
    return named.get("since"), named.get("by")


def sums(client: Client, since_s: float | None, by: str | None) -> Wire:
    """Return the sums of the receipts since the start of the day that long ago."""
    since = max(0.0, time.time() - (since_s or _SINCE_S))
    return client.costs(since, by or "day")


def table(costs: Mapping[str, Any]) -> str:
    """Return the sums as aligned text."""
    by, total = costs["by"], costs["total"]
    head = [by, "runs", "run time", "cpu time asked", "used", "cost", "idle"]
    rows = [[_name(group[by], by), *_cells(group)] for group in costs["groups"]]
    if not rows:
        lines = ["no runs have ended"]
    else:
        rows.append(["total", *_cells(total)])
        if not total["idle"]["machine_s"]:  # where everything is free
            head, rows = head[:-1], [row[:-1] for row in rows]
        lines = [tables.aligned(head, rows)]
    lines[-1] += f"\nsince {costs['since_day']} 00:00 ({costs['time_zone']})"
    if costs["active"]["runs"]:
        going_on = f"{costs['active']['runs']} run(s) go on and are not in it"
        lines.append(f"{going_on}: {tables.money(costs['active']['usd'])} so far")
    if (besides := costs["rehearsed"])["runs"]:
        usd, idle = tables.money(besides["usd"]), tables.money(besides["idle"]["usd"])
        lines.append(
            f"in the sandbox besides: {besides['runs']} run(s), {usd}, and {idle} idle; "
            "nothing of it to pay"
        )
    waste = total["idle"]
    if waste["machine_s"]:
        lines.append(
            f"idle: {format_time(waste['machine_s'])} of machines that no run had: "
            "their start, pauses, the room beside runs, their end"
        )
    if waste["unknown_s"]:
        lines.append(f"idle: the price of {format_time(waste['unknown_s'])} is not known")
    if total["cpu_unknown_s"] >= 1:
        lines.append(f"used: not known of {format_time(total['cpu_unknown_s'])} of what was asked")
    if total["usd_unknown_runs"]:
        lines.append(f"cost: not known of {total['usd_unknown_runs']} run(s)")
    return "\n".join(lines)


def _cells(sums: Mapping[str, Any]) -> tuple[str, ...]:
    used = sums["cpu_used_s"]
    return (
        str(sums["runs"]),
        format_time(sums["run_s"]),
        format_time(sums["cpu_asked_s"]),
        "?" if used is None else format_time(used),
        tables.money(sums["usd"]),
        "" if sums["idle"] is None else tables.money(sums["idle"]["usd"]),
    )


def _name(name: str, by: str) -> str:
    return tables.short(name) or f"(no {by})"
