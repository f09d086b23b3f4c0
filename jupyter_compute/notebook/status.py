"""The status line of a run: one line that is replaced in place and ends as the receipt.

Pure: events go in, plain text and HTML come out. The HTML carries its styles inline and
reads the same without them, since untrusted notebooks and GitHub remove them.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import Any

from ..ask import format_cpu, format_memory, format_money, format_time
from ..model import ENDED, Receipt
from .progress import Progress, grouped

__all__ = ["Status", "clock", "describe_receipt", "outcome_name"]

_MOST_NOTES = 20
_LONGEST_NOTE = 200
_UNITS = (("GB", 10**9), ("MB", 10**6))
_CSS = "font-family:var(--jp-code-font-family,monospace);font-size:0.92em;opacity:0.85"
# JupyterLab's, or else ones that can be seen on white and on black.
_GREEN = "var(--jp-success-color1,#388e3c)"
_RED = "var(--jp-error-color1,#d32f2f)"
_AMBER = "var(--jp-warn-color0,#b26a00)"
_COLOURS = {"done": _GREEN, "failed": _RED, "lost": _RED, "cancelled": _AMBER}


@dataclass(slots=True)
class Status:
    """What is known of a run, as its events told.

    Parameters
    ----------
    run_id : str
        Empty until the service has accepted the run.
    cpu : float or None
    memory : int or None
        What it asked for, until a machine grants it.
    progress : Progress or None
        How far it is, if it is a map.
    """

    run_id: str = ""
    cpu: float | None = None
    memory: int | None = None
    state: str = "queued"
    interrupting: bool = False
    saved_s: float = 0.0
    notes: list[str] = field(default_factory=list)
    progress: Progress | None = None
    _reason: str = ""
    _machine: str = ""
    _sample: dict[str, Any] = field(default_factory=dict)
    _end: str = ""

    def take(self, event: dict[str, Any]) -> bool:
        """Take an event in, and tell whether the line is worth showing anew."""
        match event["kind"]:
            case "accepted":
                self.run_id = event["id"]
                return False
            case "state":
                self._take_state(event)
            case "sample":
                self._sample = event
            case "note":
                self.note(event["text"])
            case "attempt":
                told = [event["next"] or event["outcome"], event["message"][:_LONGEST_NOTE]]
                self.note(f"attempt {event['n']}: {' · '.join(filter(None, told))}")
            case "end":
                self.state = event["state"]
                self._end = _ending(event)
                cached = (event.get("envelope") or {}).get("cached") or {}
                self.saved_s = cached.get("saves_s", 0.0)
            case _:
                return False
        return True

    def note(self, text: str) -> None:
        """Add a line below the status line. A flood of them keeps its first and last ones."""
        self.notes.append(text.rstrip("\n"))
        if len(self.notes) > _MOST_NOTES:
            del self.notes[_MOST_NOTES // 2]

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.state in ENDED

    def line(self) -> str:
        """Return the status line."""
        if self.ended:
            return self._end or f"✗ {self.state}"
        if self.interrupting:
            return "▸ interrupting… (interrupt again to kill it)"
        if self.state == "running":
            return " · ".join(["▸ running on " + (self._machine or "?"), *self._use()])
        parts = ["▸ queued", *(part for part in (self._waiting(),) if part)]
        return " → ".join(parts)

    def text(self) -> str:
        """Return the status line and the notes as plain text."""
        return "\n  ".join([self.line(), *"\n".join(self.notes).splitlines()])

    def markup(self) -> str:
        """Return the same as self-contained HTML: a block for each line, its sign in colour."""
        colour = _COLOURS.get(self.state, "inherit")
        sign, _, line = self.line().partition(" ")
        head = f'<span style="color:{colour}">{sign}</span> {html.escape(line)}'
        rows = "".join(
            f'<div style="padding-left:1.2em;white-space:pre-wrap">{html.escape(note)}</div>'
            for note in "\n".join(self.notes).splitlines()
        )
        return (
            f'<div data-jc-run="{html.escape(self.run_id)}" data-jc-state="{self.state}" '
            f'style="{_CSS}">{head}{rows}</div>'
        )

    def bundle(self) -> dict[str, str]:
        """Return both as a mimebundle."""
        return {"text/plain": self.text(), "text/html": self.markup()}

    def _take_state(self, event: dict[str, Any]) -> None:
        if event["state"] != self.state:
            self._sample = {}
        self.state = event["state"]
        self._reason = event.get("reason") or ""
        self._machine = event.get("machine") or ""
        self.cpu = event.get("cpu") or self.cpu
        self.memory = event.get("memory") or self.memory

    def _waiting(self) -> str:
        if self.state == "starting":
            return f"starting {self._reason or self._machine}".rstrip()
        return self._reason

    def _use(self) -> list[str]:
        """Return what a running run was granted and what it uses of it."""
        granted = [f"{format_cpu(self.cpu)} cpu"] if self.cpu else []
        granted += [format_memory(self.memory)] if self.memory else []
        parts = [" ".join(granted)] if granted else []
        if self.progress is not None:
            return parts + self.progress.words()
        if "; " in self._reason:  # what is on its way here
            parts.append(self._reason.partition("; ")[2])
        sample = self._sample
        if sample:
            parts.append(clock(sample["elapsed_s"]))
        if sample.get("cpu_used") is not None:
            of = f"/{format_cpu(self.cpu)}" if self.cpu else ""
            parts.append(f"cpu {sample['cpu_used']:.1f}{of}")
        if sample.get("memory_used") is not None:
            parts.append(f"memory {_share(sample['memory_used'], self.memory)}")
        return parts


def describe_receipt(receipt: Receipt) -> str:
    """Return a receipt on one line, without the sign of how the run ended."""
    parts = [f"{format_time(receipt.run_s)} on {receipt.machine or receipt.layer}"]
    if receipt.items is not None:
        parts.insert(0, f"{grouped(receipt.items)} item{'' if receipt.items == 1 else 's'}")
    elif receipt.attempts > 1:
        parts.append(f"{receipt.attempts} attempts")
    if receipt.wait_s >= 1:
        parts.append(f"waited {format_time(receipt.wait_s)}")
    if receipt.cpu_mean is not None and receipt.cpu:
        parts.append(f"cpu {100 * receipt.cpu_mean / receipt.cpu:.0f} %")
    if receipt.memory_peak is not None:
        parts.append(f"peak {_peak(receipt.memory_peak, receipt.memory)}")
    if receipt.cost_usd:
        parts.append(format_money(receipt.cost_usd))
    if receipt.advice:
        parts.append(receipt.advice)
    return " · ".join(parts)


def describe_hit(cached: dict[str, Any]) -> str:
    """Return in one line what a recorded result has saved."""
    saved = [format_time(cached["saves_s"])]
    saved += [format_money(cached["saves_usd"])] if cached["saves_usd"] else []
    age = format_time(round(cached["age_s"]))
    return f"✓ from cache · saved {', '.join(saved)} · recorded {age} ago"


def outcome_name(envelope: dict[str, Any], state: str) -> str:
    """Return how a run ended, in the words of the notebook: an exception's name if any."""
    if state == "cancelled":
        return "cancelled"
    if envelope.get("outcome") == "error":
        return str(envelope.get("type", "error"))
    names = {
        "memory": "out of memory",
        "timeout": "timed out",
        "crash": "crashed",
        "lost": "machine lost",
        "transfer": "transfer failed",
        "start": "could not be started",
        "budget": "stopped by a budget",
    }
    return names.get(str(envelope.get("reason")), state)


def _ending(event: dict[str, Any]) -> str:
    envelope = event.get("envelope") or {}
    wire: dict[str, Any] = event.get("receipt") or {}
    receipt = describe_receipt(Receipt.from_wire(wire)) if wire else ""
    if cached := envelope.get("cached"):
        return describe_hit(cached)
    if envelope.get("outcome") == "ok":
        return f"✓ {receipt}" if receipt else "✓ done"
    name = outcome_name(envelope, event["state"])
    return f"✗ {name} after {receipt}" if receipt and wire["machine"] else f"✗ {name}"


def clock(seconds: float) -> str:
    """Return a duration as a clock shows it."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _peak(peak: int, memory: int) -> str:
    """Return both sizes; the unit once if it is the same: ``"9.8 GB of 32"``."""
    shown, limit = format_memory(peak), format_memory(memory)
    number, _, unit = limit.partition(" ")
    return f"{shown} of {number if shown.endswith(f' {unit}') else limit}"


def _share(used: float, limit: int | None) -> str:
    if not limit:
        return format_memory(used)
    unit, size = next((pair for pair in _UNITS if limit >= pair[1]), _UNITS[-1])
    return f"{used / size:.1f}/{limit / size:.2f}".rstrip("0").rstrip(".") + f" {unit}"
