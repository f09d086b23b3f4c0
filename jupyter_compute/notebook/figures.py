"""The dashboard's figures as HTML, in the words of the JupyterLab panel. Pure.

All styles are inline, colours are JupyterLab's with a fallback, names are escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..ask import format_cpu, format_memory, format_money, format_time
from ..model import ENDED
from .mirror import SPAN_S, Points
from .status import clock
from .watch import Sight

__all__ = ["banner", "costs", "machine", "now", "run"]

UNKNOWN = "\N{EN DASH}"

_OLD_S = 10
_MUTED = "color:var(--jp-ui-font-color2,#757575)"
_ERROR = "color:var(--jp-error-color1,#d32f2f)"
_BRAND = "var(--jp-brand-color1,#1976d2)"
_LINE = (
    "display:flex;flex-wrap:wrap;gap:2px 12px;align-items:center;line-height:1.5;"
    "font-variant-numeric:tabular-nums"
)
_NAMES = {
    "no-pool": "no pool",
    "live": "live",
    "empty": "ready",
    "stale": "not up to date",
    "stopping": "stopping…",
    "error": "error",
}
_ENDS = {"done": "✓ done", "failed": "✗ failed", "cancelled": "✗ cancelled", "lost": "✗ lost"}
_AGES = (
    "<style>@keyframes jc-old{to{visibility:visible;font-size:inherit}}"
    "@keyframes jc-gone{to{visibility:hidden;font-size:0}}"
    ".jc-dashboard .jc-old{opacity:.55;filter:grayscale(1)}</style>"
)
_WIDTH, _HEIGHT, _GAP = 150, 24, 30


def banner(sight: Sight) -> str:
    """Return how the pool is, and what to do about it.

    A front end that hears no more of the kernel sees that by itself after some seconds, by
    means of styles: whatever it shows is then replaced by the words that it is old.
    """
    state, told = sight.state, sight.problem
    if state == "no-pool":
        told = "No pool is running. The first %%remote cell starts one."
    elif state == "stale":
        age = f"Last heard {format_time(round(sight.age))} ago; the numbers below are old."
        told = " ".join(filter(None, [age, told]))
    elif state == "stopping":
        told = told or "The pool is ending its runs and machines."
    elif sight.late:
        busy = f"The kernel was busy: nothing was seen for {format_time(round(sight.late))}."
        told = " ".join(filter(None, [busy, told]))
    colour = f";{_ERROR}" if state == "error" else ""
    since = (
        f'<span style="visibility:hidden;font-size:0;animation:jc-old 0s {_OLD_S}s forwards">'
        f"not up to date: nothing came from the kernel for {_OLD_S} s; it is busy, or has ended</span>"
    )
    return (
        f'{_AGES}<div data-state="{state}" style="{_LINE}"><b>Compute</b>'
        f'<span data-value="state" style="animation:jc-gone 0s {_OLD_S}s forwards{colour}">'
        f"{_NAMES[state]}</span>{since}"
        f'<span data-value="notice" style="{_MUTED}">{html.escape(told)}</span></div>'
    )


def now(sight: Sight) -> str:
    """Return what is used now, by everything together."""
    totals, cost = sight.mirror.facts["totals"], sight.mirror.facts["cost"]
    cpu = f"{_cpus(totals['cpu_used'])} / {format_cpu(totals['cpu'])}"
    memory = _share(totals["memory_used"], totals["memory"])
    today, budget = cost["today"], cost["budget_day"]
    spent = _money(today) + ("" if budget is None else f" / {_money(budget)}")
    parts = [
        f"Machines {_value('machines', str(totals['machines']))}",
        f"CPU {_value('cpu_used', cpu)} {_spark(sight, 0, totals['cpu'])}",
        f"Memory {_value('memory_used', memory)} {_spark(sight, 1, totals['memory'])}",
        _value("usd_per_hour", f"{_money(cost['usd_per_hour'])}/h"),
        f"Today {_value('today', spent)}",
    ]
    return _row(parts)


def run(item: Mapping[str, Any], at: float) -> str:
    """Return a run: why it waits, what it uses, or how it ended and what it took."""
    state = item["state"]
    place = " ".join(filter(None, [item["notebook"], item["cell"] and f"[{item['cell']}]"]))
    name = html.escape(item["name"] or item["id"])
    parts = [
        f'<b title="{html.escape(item["id"])}">{name}</b>',
        f"<span>{_ENDS.get(state, state)}</span>",
        f'<span style="{_MUTED}">{html.escape(place)}</span>',
    ]
    if state in ENDED:
        parts += _took(item)
    elif state == "running":
        parts += _uses(item, at)
    else:
        parts.append(_value("reason", item["reason"]))
        parts.append(_value("waited", clock(at - item["created"])))
    ident = html.escape(item["id"])
    return f'<div data-run-id="{ident}" data-state="{state}">{_row(parts)}</div>'


def machine(item: Mapping[str, Any], at: float) -> str:
    """Return a machine: what it is, costs and does."""
    age = item["started"] is not None and f"{format_time(max(0, int(at - item['started'])))} old"
    facts = " · ".join(filter(None, [item["layer"], "spot" if item["spot"] else "", age or ""]))
    idle = item["runs"] == 0 and item["idle_s"] is not None
    runs = f"{item['runs']} run{'' if item['runs'] == 1 else 's'}"
    cpu = f"{_cpus(item['cpu_used'])} / {format_cpu(item['cpu'])}"
    parts = [
        f'<b title="{html.escape(item["id"])}">{html.escape(item["type"])}</b>',
        f"<span>{html.escape(item['state'])}</span>",
        f'<span style="{_MUTED}">{html.escape(facts)}</span>',
        _value("usd_per_hour", f"{_money(item['usd_per_hour'])}/h"),
        _value("idle_s", f"idle for {format_time(item['idle_s'])}{_ending(item, at)}")
        if idle
        else _value("runs", runs),
        f"cpu {_meter(item['cpu_used'], item['cpu'])} {_value('cpu_used', cpu)}",
        f"memory {_meter(item['memory_used'], item['memory'])} "
        + _value("memory_used", _share(item["memory_used"], item["memory"])),
    ]
    ident = html.escape(item["id"])
    return f'<div data-machine-id="{ident}" data-state="{item["state"]}">{_row(parts)}</div>'


def _ending(item: Mapping[str, Any], at: float) -> str:
    left_s = None if item["ends"] is None else max(0, round(item["ends"] - at))
    return "" if left_s is None else f" · ends in {format_time(left_s)}"


def costs(spending: Mapping[str, Any]) -> str:
    """Return what the runs cost that ended today, by notebook."""
    sums = [(item["notebook"] or "no notebook", item) for item in spending["notebooks"]]
    if spending["others"]:
        sums.append((f"{spending['others']['notebooks']} others", spending["others"]))
    return _row(
        f'<span data-cost-of="{html.escape(name)}">{html.escape(name)} {_value("usd", _sum(item))}</span>'
        for name, item in sums
    )


def _sum(item: Mapping[str, Any]) -> str:
    least = "≥ " if item["usd_unknown_runs"] and item["usd"] is not None else ""
    return least + _money(item["usd"])


def _took(item: Mapping[str, Any]) -> list[str]:
    receipt, parts = item["receipt"], []
    if item["error"]:
        error = html.escape(item["error"])
        parts.append(f'<span data-value="error" style="{_ERROR}">{error}</span>')
    if receipt is None:
        return parts
    ask, told = item["ask"], []
    if item["started"] is not None:
        told.append(("run_s", format_time(receipt["run_s"])))
    told.append(("machine", item["machine"] or ""))
    if receipt["wait_s"] >= 1:
        told.append(("wait_s", f"waited {format_time(receipt['wait_s'])}"))
    if receipt["attempts"] > 1 and receipt["items"] is None:
        told.append(("attempt", f"{receipt['attempts']} attempts"))
    if receipt["cpu_mean"] is not None and ask["cpu"]:
        told.append(("cpu_mean", f"cpu {100 * receipt['cpu_mean'] / ask['cpu']:.0f} %"))
    if receipt["memory_peak"] is not None:
        peak = f"peak {format_memory(receipt['memory_peak'])} of {_memory(ask['memory'])}"
        told.append(("memory_peak", peak))
    told += [("usd", _money(receipt["cost_usd"])), ("advice", receipt["advice"])]
    joined = " · ".join(_value(name, text) for name, text in told if text)
    return [*parts, f'<span style="{_MUTED}">{joined}</span>']


def _uses(item: Mapping[str, Any], at: float) -> list[str]:
    ask, begun = item["ask"], item["started"]
    cpu = f"{_cpus(item['cpu_used'])} / {format_cpu(ask['cpu'])}"
    attempt = f"attempt {item['attempt']}" if item["attempt"] > 1 else ""
    return [
        _value("elapsed", UNKNOWN if begun is None else clock(at - begun)),
        *([_value("attempt", attempt)] if attempt else []),
        f'<span style="{_MUTED}">{html.escape(item["machine"] or "")}</span>',
        f"cpu {_meter(item['cpu_used'], ask['cpu'])} {_value('cpu_used', cpu)}",
        f"memory {_meter(item['memory_used'], ask['memory'])} "
        + _value("memory_used", _share(item["memory_used"], ask["memory"])),
        _value("usd", _money(item["usd"])),
    ]


def _row(parts: Iterable[str]) -> str:
    cells = "".join(f'<span style="white-space:nowrap">{part}</span>' for part in parts)
    return f'<div style="{_LINE}">{cells}</div>'


def _value(name: str, text: str) -> str:
    return f'<span data-value="{name}">{html.escape(text)}</span>'


def _cpus(used: float | None) -> str:
    return UNKNOWN if used is None else f"{used:.1f}"


def _money(usd: float | None) -> str:
    return UNKNOWN if usd is None else format_money(usd)


def _memory(size: float | None) -> str:
    return UNKNOWN if size is None else format_memory(size)


def _share(used: float | None, most: float | None) -> str:
    """Return how much of it is used, in the unit of the whole."""
    if used is None or not most:
        return f"{_memory(used)} / {_memory(most)}"
    shown = format_memory(most)
    unit = 1000 ** ("B", "kB", "MB", "GB", "TB").index(shown.rpartition(" ")[2])
    return f"{used / unit:.1f} / {shown}"


def _meter(value: float | None, most: float | None) -> str:
    part = 0.0 if value is None or not most else min(1.0, value / most)
    colour = "var(--jp-warn-color1,#f57c00)" if part > 0.9 else _BRAND
    return (
        '<span style="display:inline-block;width:60px;height:8px;vertical-align:middle;'
        'background:var(--jp-layout-color3,#bdbdbd)">'
        f'<span style="display:block;width:{100 * part:.0f}%;height:100%;background:{colour}"></span>'
        "</span>"
    )


def _spark(sight: Sight, column: int, most: float) -> str:
    line, last = [], float("-inf")
    for second, value in _known(sight.mirror.total):
        x = _WIDTH - (sight.now - second) * _WIDTH / SPAN_S
        if x < 0:
            continue
        y = _HEIGHT - 1 - (_HEIGHT - 2) * (min(1.0, value[column] / most) if most else 0.0)
        line.append(f"{'L' if x - last <= _GAP else 'M'}{x:.1f} {y:.1f}")
        last = x
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="the last five minutes" '
        f'style="vertical-align:middle"><path d="{"".join(line) or "M0 0"}" fill="none" '
        f'style="stroke:{_BRAND}" stroke-width="1.2"/></svg>'
    )


def _known(points: Points) -> Sequence[tuple[int, tuple[float, int]]]:
    return [(second, value) for second, value in sorted(points.items()) if value is not None]
