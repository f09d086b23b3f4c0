"""How much room is free on a machine, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping

from distributed.scheduler import WorkerState

from jupyter_compute.ask import format_cpu, format_memory

__all__ = ["fits", "holds", "shortage", "show", "slack", "usage"]


def _free(ws: WorkerState, resource: str) -> float:
    return ws.resources.get(resource, 0) - ws.used_resources.get(resource, 0)


def fits(ws: WorkerState, needs: Mapping[str, float]) -> bool:
    """Tell whether the machine has room for the task now."""
    return all(_free(ws, name) >= need for name, need in needs.items())


def holds(ws: WorkerState, needs: Mapping[str, float]) -> bool:
    """Tell whether the machine has room for the task when nothing else is on it."""
    return all(ws.resources.get(name, 0) >= need for name, need in needs.items())


def slack(ws: WorkerState, needs: Mapping[str, float]) -> float:
    """Return the room left on the machine with the task on it, in shares of the machine.

    All that the machine has counts, asked for or not: so a machine with something rare
    is left to those who need it.
    """
    totals = ws.resources.items()
    return sum((_free(ws, name) - needs.get(name, 0)) / total for name, total in totals if total)


def shortage(ws: WorkerState, needs: Mapping[str, float]) -> float:
    """Return how much must become free for the task to fit, in shares of the machine."""
    missing = ((need - _free(ws, name), name) for name, need in needs.items())
    return sum(amount / ws.resources[name] for amount, name in missing if amount > 0)


def show(needs: Mapping[str, float]) -> str:
    """Return e.g. ``"2 cpu, 4 GB"``."""
    return ", ".join(_amount(name, need) for name, need in needs.items()) or "a machine"


def _amount(name: str, amount: float) -> str:
    return format_memory(amount) if name == "memory" else f"{format_cpu(amount)} {name}"


def usage(ws: WorkerState, needs: Mapping[str, float]) -> str:
    """Return e.g. ``"2 of 2 cpu and 4 of 21 GB are in use by 1 run"``."""
    parts = []
    for name in needs:
        used = _amount(name, max(0.0, ws.used_resources.get(name, 0)))
        total = _amount(name, ws.resources.get(name, 0))
        unit = total.partition(" ")[2]
        parts.append(f"{used.removesuffix(f' {unit}')} of {total}")
    runs = len(ws.processing)
    return f"{' and '.join(parts)} are in use by {runs} run{'' if runs == 1 else 's'}"
