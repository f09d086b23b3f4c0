"""Whether another ask would have done, from what this code has used so far. Pure, no I/O.

The history is that of the same code on the same layer. Only a run that ended well shows
how much is enough; every other one still shows how much is not. So advice never goes
below the highest peak of any run in the history, and says how many runs it rests on.

- *Too much memory or CPUs* is said only of what somebody wrote down, and only if half
  would do. CPUs that were used for a second at a time were used: the peak decides, not
  the mean. Saturated CPUs do not prove that more would help, so nothing is said then.
- *Too little memory* is said after a rerun with more, when a run came close to its limit,
  and when one failed where earlier ones had needed more.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jupyter_compute.ask import (
    LARGEST_MEMORY,
    Ask,
    exact_memory,
    format_cpu,
    format_memory,
    format_money,
)
from jupyter_compute.errors import AskError
from jupyter_compute.model import Offer
from jupyter_compute.policy.cost import price
from jupyter_compute.policy.fit import fit

__all__ = ["HISTORY", "Advice", "Asked", "Use", "advise"]

HISTORY = 20
"""The last runs that count, this one included: what code needs changes with its inputs."""

_MARGIN = 1.2
"""Memory beyond the highest peak seen, as the next inputs are never quite the same."""

_ENOUGH = 0.5
"""A smaller ask is worth saying if this share of what was asked would do."""

_LEAST_SAVED = 500 * 10**6
"""And if it frees this many bytes."""

_CLOSE = 0.9
"""A peak above this share of the limit is close to it."""

_LEAST_MEMORY = 250 * 10**6
"""Below this, what a run happens to import weighs more than what it does."""

_MEASURED_S = 5.0
"""A run that took less has too few samples to tell how many CPUs it keeps busy."""

_SLACK_CPU = 0.1
"""A thread that is always busy reads as a little more than one CPU."""

_LEAST_SAVING = 0.05

_LEAST_USD = 0.0001
"""Less is not worth a number."""

_STEPS = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80)
"""The sizes that people write, in each power of ten."""


@dataclass(frozen=True, slots=True)
class Use:
    """What one run used.

    Parameters
    ----------
    done : bool
        Whether it ended well.
    run_s : float
    cpu_peak : float or None
    memory_peak : int or None
        Bytes.
    """

    done: bool
    run_s: float
    cpu_peak: float | None
    memory_peak: int | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What the run was granted, and asked for.

    Parameters
    ----------
    cpu, memory : float, int
        Granted to the last attempt.
    memory_high : int or None
        Top of the ladder as it was asked for.
    gpu : int
    layer : str
    given : collection of str
        What somebody wrote down.
    sent : int
        Bytes of the inputs: they may be mapped and never counted as used, but a run that
        asks for less is refused.
    steps : int
        Reruns with more memory.
    out_of_memory : bool
        Whether that is how the run ended.
    """

    cpu: float
    memory: int
    memory_high: int | None = None
    gpu: int = 0
    layer: str = "local"
    given: Collection[str] = ()
    sent: int = 0
    steps: int = 0
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Advice:
    """What to ask for next time.

    Parameters
    ----------
    text : str
        One clause, which begins with the options as they are written.
    ask : mapping
        The same as numbers, by the names of the ask.
    """

    text: str
    ask: Mapping[str, float]


def advise(
    use: Use, asked: Asked, history: Sequence[Use], offers: Sequence[Offer]
) -> Advice | None:
    """Return what is worth saying about the ask of a run that has ended.

    Parameters
    ----------
    use : Use
        What the run used.
    asked : Asked
    history : sequence of Use
        The runs before it.
    offers : sequence of Offer
        What the layer has, with prices.

    Returns
    -------
    Advice or None
    """
    if not use.done:
        return _after_failure(use, asked, history, offers) if asked.out_of_memory else None
    runs = [use, *history]
    return _more_memory(use, asked, runs, offers) or _less(use, asked, runs, offers)


def _less(use: Use, asked: Asked, runs: Sequence[Use], offers: Sequence[Offer]) -> Advice | None:
    ask: dict[str, float] = {}
    counts: list[int] = []
    cpu = _cpu_that_does(runs)
    if "cpu" in asked.given and cpu and _busy(use) and cpu <= asked.cpu * _ENOUGH:
        ask["cpu"] = cpu
        counts.append(sum(map(_busy, runs)))
    memory = _memory_that_does(runs, asked)
    worth = memory <= asked.memory * _ENOUGH and asked.memory - memory >= _LEAST_SAVED
    if "memory" in asked.given and use.memory_peak is not None and worth:
        ask |= _ladder(memory, asked)
        counts.append(_known(runs))
    if not ask:
        return None
    remarks = [_as_in(min(counts)), *_savings(asked, ask, offers, use.run_s)]
    return Advice(f"{_written(ask)} would do ({', '.join(remarks)})", ask)


def _more_memory(
    use: Use, asked: Asked, runs: Sequence[Use], offers: Sequence[Offer]
) -> Advice | None:
    """Return how much memory avoids the reruns that there were, or that are close."""
    peak = use.memory_peak
    if peak is None or not (asked.steps or peak > asked.memory * _CLOSE):
        return None
    memory = _memory_that_does(runs, asked)
    if asked.steps and memory > asked.memory and (held := _written_size_below(asked.memory)):
        # What this run had in the end has held, with whatever margin that left.
        memory = held if held >= max(_worst(runs), asked.sent) else memory
    if memory > _largest(offers, asked) or not (asked.steps or memory > asked.memory):
        return None
    ask = _ladder(memory, asked)
    what = "leaves more room"
    if asked.steps:
        what = "avoids the rerun" if asked.steps == 1 else f"avoids the {asked.steps} reruns"
    return Advice(f"{_written(ask)} {what} ({_as_in(_known(runs))})", ask)


def _after_failure(
    use: Use, asked: Asked, history: Sequence[Use], offers: Sequence[Offer]
) -> Advice | None:
    """Return what earlier runs needed, if that is more than this one had."""
    needed = [past.memory_peak for past in history if past.done and past.memory_peak]
    most = max(needed, default=0)
    memory = _memory_that_does([use, *history], asked)
    # One that used more than all of them would need more than anybody knows.
    if most <= max(asked.memory, use.memory_peak or 0) or memory > _largest(offers, asked):
        return None
    ask = _ladder(memory, asked)
    earlier = "an earlier run" if len(needed) == 1 else f"{len(needed)} earlier runs"
    return Advice(f"{_written(ask)}: {earlier} needed up to {format_memory(most)}", ask)


def _busy(run: Use) -> bool:
    return run.done and run.cpu_peak is not None and run.run_s >= _MEASURED_S


def _known(runs: Iterable[Use]) -> int:
    return sum(run.done and run.memory_peak is not None for run in runs)


def _worst(runs: Iterable[Use]) -> int:
    return max((run.memory_peak or 0 for run in runs), default=0)


def _cpu_that_does(runs: Iterable[Use]) -> float:
    """Return the CPUs that would have held every run's peak: whole ones; 0 if not known."""
    peaks = [run.cpu_peak for run in runs if run.cpu_peak is not None]
    return float(max(1, math.ceil(max(peaks) - _SLACK_CPU))) if peaks else 0.0


def _memory_that_does(runs: Iterable[Use], asked: Asked) -> int:
    """Return the least size that people write which holds every run's peak with a margin."""
    need = max(_worst(runs) * _MARGIN, asked.sent * _MARGIN, _LEAST_MEMORY)
    return next((size for size in _sizes() if size >= need), LARGEST_MEMORY)


def _written_size_below(limit: int) -> int:
    return max((size for size in _sizes() if size <= limit), default=0)


def _sizes() -> Iterable[int]:
    """Return the sizes that people write, ascending, up to the largest machine's."""
    sizes = (step * 10**power for power in range(7, 14) for step in _STEPS)
    return (size for size in sizes if size <= LARGEST_MEMORY)


def _largest(offers: Sequence[Offer], asked: Asked) -> int:
    return max((o.memory for o in offers if o.cpu >= asked.cpu), default=LARGEST_MEMORY)


def _ladder(memory: int, asked: Asked) -> dict[str, float]:
    """Return an ask that starts with this memory and may go as high as before."""
    high = asked.memory_high
    ask: dict[str, float] = {"memory": memory}
    return ask if high is None or high <= memory else ask | {"memory_high": high}


def _as_in(runs: int) -> str:
    return "as in this run" if runs == 1 else f"as in {runs} runs"


def _written(ask: Mapping[str, float]) -> str:
    """Return the ask as options on a line."""
    parts = [f"--cpu {format_cpu(ask['cpu'])}"] if "cpu" in ask else []
    sizes = [_size(int(ask[name])) for name in ("memory", "memory_high") if name in ask]
    return " ".join([*parts, f"--memory {'..'.join(sizes)}"] if sizes else parts)


def _size(size: int) -> str:
    tenths, rest = divmod(size, 10**8)
    broken = 10 < tenths < 1000 and not rest and tenths % 10
    return f"{tenths / 10:g}G" if broken else exact_memory(size)


def _savings(
    asked: Asked, ask: Mapping[str, float], offers: Sequence[Offer], run_s: float
) -> list[str]:
    """Return what the new ask saves of what a run pays, where prices are known."""
    now = _price(asked.cpu, asked.memory, asked, offers)
    then = _price(ask.get("cpu", asked.cpu), ask.get("memory", asked.memory), asked, offers)
    if not now or then is None or 1 - then / now < _LEAST_SAVING:
        return []
    usd = (now - then) * run_s / 3600
    dollars = f", {format_money(usd)} a run" if usd >= _LEAST_USD else ""
    return [f"saves {100 * (1 - then / now):.0f} %{dollars}"]


def _price(cpu: float, memory: float, asked: Asked, offers: Sequence[Offer]) -> float | None:
    if not offers:
        return None
    try:
        grant = fit(Ask(cpu, int(memory), gpu=asked.gpu, layer=asked.layer), offers)
    except AskError:
        return None
    return price(grant.offer, cpu, int(memory), asked.gpu)
