"""What follows a failed attempt: another one, or the end of the run. Pure, no I/O."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_compute.ask import format_memory, format_time
from jupyter_compute.errors import Crashed, OutOfMemory, TimedOut
from jupyter_compute.model import RetryRule, RunState

__all__ = [
    "MAX_DELAY_S",
    "MAX_LOST",
    "MAX_SUSPICIONS",
    "SUSPICIOUS_S",
    "Counts",
    "Decision",
    "Finish",
    "Rerun",
    "decide",
]

MAX_LOST = 3
"""A run is rerun this often because its machine was lost; that is not its fault."""

MAX_DELAY_S = 60.0
"""No pause that grows gets longer: the user waits."""

MAX_SUSPICIONS = 2
"""After so many machines in a row that died as soon as it had started, a run is to blame."""

SUSPICIOUS_S = 30.0
"""How soon that is. A reclaimed spot machine gives notice, and a worn-out one dies at any time."""

_HOPELESS = {"builtins.SyntaxError", "builtins.NameError"}
_LEAVING = {"builtins.KeyboardInterrupt", "builtins.SystemExit"}
_ROOTS = {"BaseException", "builtins.BaseException", "object", "builtins.object"}


@dataclass(frozen=True, slots=True)
class Counts:
    """How often a run has been rerun so far, by cause.

    Parameters
    ----------
    reruns : int
        After its own exceptions, timeouts and crashes: what `RetryRule.retries` bounds.
    lost : int
        After the loss of a machine.
    memory_steps : int
        With more memory than before.
    suspicions : int
        In a row, because a machine died as soon as the run had started on it.
    """

    reruns: int = 0
    lost: int = 0
    memory_steps: int = 0
    suspicions: int = 0


@dataclass(frozen=True, slots=True)
class Rerun:
    """The run gets another attempt.

    Parameters
    ----------
    delay_s : float
        Pause before it is queued again.
    memory : int
        Bytes that the next attempt asks for.
    why : str
        One sentence for the user.
    counts : Counts
        The counts with this rerun in them, for the next decision.
    """

    delay_s: float
    memory: int
    why: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Finish:
    """The run has ended, in `state`; `why` is one sentence for the user, `hint` what to do."""

    state: RunState
    why: str
    hint: str = ""


Decision = Rerun | Finish


def decide(
    envelope: Mapping[str, Any],
    rule: RetryRule,
    counts: Counts,
    *,
    memory: int,
    memory_high: int | None,
    rng: random.Random,
    suspect: bool = False,
) -> Decision:
    """Return what follows the attempt that ended with `envelope`.

    Parameters
    ----------
    envelope : mapping
        The end of the attempt as the machine or the pool reported it.
    rule : RetryRule
    counts : Counts
        The reruns before this attempt.
    memory : int
        Bytes that the attempt had asked for.
    memory_high : int or None
        Top of the memory ladder; None if there is none.
    rng : random.Random
        Spreads the pauses, so that runs that failed together do not come back together.
    suspect : bool
        For a lost attempt: its machine died without notice less than `SUSPICIOUS_S` after the
        start of the attempt, and of no other suspect's. It may have done that.

    Returns
    -------
    Rerun or Finish
        Always a decision: what a newer machine reports and this pool does not know
        finishes the run as failed.
    """
    if envelope.get("outcome") == "ok":
        return Finish("done", "the attempt succeeded")
    if envelope.get("outcome") == "error":
        return _after_exception(envelope, rule, counts, memory, rng)
    match envelope.get("reason"):
        case "memory":
            return _after_memory(rule, counts, memory, memory_high, rng)
        case "timeout":
            return _counted("timed out", _names(TimedOut), rule, counts, memory, rng=rng)
        case "crash":
            return _counted("crashed", _names(Crashed), rule, counts, memory, rng=rng)
        case "lost":
            return _after_loss(counts, memory, suspect)
        case "interrupted" | "killed" as how:
            return Finish("cancelled", f"the attempt was {how}")
        case "transfer":
            return _after_transfer(envelope, counts, memory)
        case "start" | "launch":
            return Finish("failed", "the attempt could not be started, which a rerun cannot mend")
        case other:
            return Finish("failed", f"the attempt ended for a reason unknown here ({other})")


def _after_exception(
    envelope: Mapping[str, Any], rule: RetryRule, counts: Counts, memory: int, rng: random.Random
) -> Decision:
    ended = f"ended with {envelope.get('type', 'an exception')}"
    names = set(envelope.get("mro", ()))
    if names & _HOPELESS:
        return Finish("failed", f"{ended}, which a rerun cannot mend")
    if names & _LEAVING:
        names -= _ROOTS
        if not names & set(rule.retry_on):
            return Finish("failed", f"{ended}, which is only rerun if retry_on names it")
    return _counted(ended, names, rule, counts, memory, rng=rng)


def _after_memory(
    rule: RetryRule, counts: Counts, memory: int, memory_high: int | None, rng: random.Random
) -> Decision:
    if memory_high is not None and memory_high > memory:
        more = min(2 * memory, memory_high)
        return Rerun(
            0.0,
            more,
            f"out of memory with {format_memory(memory)}: rerun at once with {format_memory(more)}",
            dataclasses.replace(counts, memory_steps=counts.memory_steps + 1, suspicions=0),
        )
    # A rerun with the same memory ends the same way, so `Exception` does not cover it.
    own = {OutOfMemory.__name__, f"{OutOfMemory.__module__}.{OutOfMemory.__name__}"}
    if own & set(rule.retry_on):
        return _counted("ran out of memory", own, rule, counts, memory, rng=rng)
    if memory_high is not None:
        return Finish("failed", f"out of memory with {format_memory(memory)}, the most it may have")
    return Finish("failed", f"out of memory with {format_memory(memory)}; it would do so again")


def _after_loss(
    counts: Counts, memory: int, suspect: bool, what: str = "the machine was lost"
) -> Decision:
    lost = counts.lost + 1
    suspicions = counts.suspicions + 1 if suspect else 0
    if suspicions >= MAX_SUSPICIONS:
        return Finish(
            "lost",
            f"this cell seems to kill its machine: {suspicions} in a row died "
            f"within {SUSPICIOUS_S:g} s of its start",
            "look for what ends other processes or exhausts the computer; "
            "running it again may cost another machine",
        )
    if lost > MAX_LOST:
        return Finish("lost", f"{what}, for the {lost}th time")
    why = f"{what}: rerun {lost} of {MAX_LOST}, not counted as a retry"
    return Rerun(0.0, memory, why, dataclasses.replace(counts, lost=lost, suspicions=suspicions))


def _after_transfer(envelope: Mapping[str, Any], counts: Counts, memory: int) -> Decision:
    if envelope.get("unreachable"):
        return _after_loss(
            counts, memory, suspect=False, what="the object store could not be reached"
        )
    return Finish("failed", "a value could not be transferred, which a rerun cannot mend")


def _counted(
    ended: str,
    names: Iterable[str],
    rule: RetryRule,
    counts: Counts,
    memory: int,
    *,
    rng: random.Random,
) -> Decision:
    if rule.retries < 1:
        return Finish("failed", f"{ended}; no retries were asked for")
    if not set(names) & set(rule.retry_on):
        return Finish("failed", f"{ended}, which is not among {', '.join(rule.retry_on)}")
    if counts.reruns >= rule.retries:
        return Finish("failed", f"{ended}; all retries ({rule.retries}) are used up")
    n = counts.reruns + 1
    delay = rule.delay_s if rule.steady else _pause(rule.delay_s, n, rng)
    when = f"in {format_time(delay)}" if delay else "at once"
    why = f"{ended}: rerun {n} of {rule.retries} {when}"
    return Rerun(delay, memory, why, dataclasses.replace(counts, reruns=n, suspicions=0))


def _pause(first: float, n: int, rng: random.Random) -> float:
    """Return the pause before rerun `n`: between half and all of `first` doubled n-1 times."""
    doublings = min(n - 1, 64)  # more would overflow, and the cap is reached long before
    return min(first * 2.0**doublings, MAX_DELAY_S) * rng.uniform(0.5, 1.0)


def _names(error: type[BaseException]) -> set[str]:
    """Return the plain and dotted names by which `retry_on` can mean this error."""
    classes = error.__mro__[:-2]  # all but BaseException and object
    return {n for c in classes for n in (c.__name__, f"{c.__module__}.{c.__qualname__}")}
