"""What the end of a run means in the notebook: an exception of the right type, with a hint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..ask import exact_memory, format_memory, format_time
from ..errors import (
    AttemptError,
    BudgetReached,
    Cancelled,
    ComputeError,
    Crashed,
    EnvironmentMismatch,
    LaunchFailed,
    MachineLost,
    OutOfMemory,
    RemoteError,
    TimedOut,
    TransferError,
    from_wire,
)
from .frames import legible

__all__ = ["failure", "not_rebuilt"]

_TAIL = 1500


def failure(envelope: Mapping[str, Any], run_id: str, *, cancelled: bool = False) -> ComputeError:
    """Return the error for an envelope that brings no exception of the user's code.

    Parameters
    ----------
    envelope : mapping
        Of outcome ``died``, or ``error`` without a payload; empty if the run never started.
    run_id : str
    cancelled : bool
        Whether somebody has cancelled the run.
    """
    reason = envelope.get("reason")
    if cancelled or reason in {"interrupted", "killed"}:
        return Cancelled(f"the run {run_id} was cancelled", run_id=run_id)
    if envelope.get("outcome") == "error":
        return _remote(envelope)
    if reason == "refused":
        return from_wire(envelope["error"])
    if reason in _KINDS:
        return _KINDS[reason](envelope)
    return AttemptError(envelope.get("message") or f"the attempt ended without a reason ({reason})")


def not_rebuilt(error: Exception, envelope: Mapping[str, Any], run_id: str) -> ComputeError:
    """Return the error for a result, or an exception, that came and cannot be rebuilt here."""
    if envelope.get("outcome") == "error":
        return _remote(envelope)
    if isinstance(error, FileNotFoundError):
        return TransferError(
            f"the result of {run_id} is no longer stored",
            hint="results go once a notebook has them; run it again",
            run_id=run_id,
        )
    return TransferError(
        f"the result of {run_id} cannot be rebuilt here: {type(error).__name__}: {error}",
        hint="the notebook needs the same modules as the run had; once it has them, "
        f"jupyter_compute.attach({run_id!r}).result() brings it",
        run_id=run_id,
    )


def _lost(envelope: Mapping[str, Any]) -> MachineLost:
    return MachineLost(
        envelope.get("message") or "the machine was lost, more often than is rerun",
        hint=envelope.get("hint") or "run the cell again; `%compute machines` shows what there is",
    )


def _not_started(envelope: Mapping[str, Any]) -> EnvironmentMismatch:
    return EnvironmentMismatch(
        envelope.get("message") or "the machine could not start this Python",
        hint=envelope.get("hint") or "`jupyter compute doctor` tries it and says what is missing",
    )


def _not_launched(envelope: Mapping[str, Any]) -> LaunchFailed:
    return LaunchFailed(
        envelope.get("message") or "no machine could be started",
        hint=envelope.get("hint") or "`jupyter compute doctor` tries it and says what is missing",
    )


def _not_transferred(envelope: Mapping[str, Any]) -> TransferError:
    return TransferError(
        envelope.get("message") or "a value could not be transferred",
        hint="make it inside the cell, or bring back something that can be pickled"
        if "unreachable" not in envelope
        else "run it again: what is missing is sent anew",
        **envelope.get("facts", {}),
    )


def _stopped(envelope: Mapping[str, Any]) -> BudgetReached:
    return BudgetReached(
        envelope.get("message") or "a budget is spent",
        hint=f"{envelope['hint']} raises it" if envelope.get("hint") else "",
        **{name: envelope.get(name) for name in ("budget", "limit", "spent")},
    )


def _remote(envelope: Mapping[str, Any]) -> ComputeError:
    name = f"{envelope['module']}.{envelope['type']}".removeprefix("builtins.")
    message = f"{name}: {envelope['message']}".rstrip(": ")
    trace = str(envelope.get("traceback", ""))
    return RemoteError(
        f"{message}\n{trace}".rstrip(),
        type_name=str(envelope["type"]),
        traceback=trace,
    )


def _out_of_memory(envelope: Mapping[str, Any]) -> ComputeError:
    peak, limit = envelope.get("peak"), envelope.get("limit")
    if not limit:
        return OutOfMemory(
            "the run ran out of memory", hint="ask for more with --memory", peak=peak
        )
    used = f"the run used {format_memory(peak)}" if peak else "the run ran out of memory"
    low, double, high = (exact_memory(_tidy(limit * times)) for times in (1, 2, 4))
    message = f"{used}, with --memory {low} ({format_memory(limit)}) asked for"
    message += _said(envelope)
    stack = legible(str(envelope.get("stack", "")))
    if stack:
        message += f"; it was here:\n{stack}\n"
    return OutOfMemory(
        message,
        hint=f"--memory {double}, or --memory {low}..{high} to let it grow as needed",
        peak=peak,
        limit=limit,
    )


def _said(envelope: Mapping[str, Any]) -> str:
    """Return what else the machine had to say of the end, in parentheses."""
    return f" ({envelope['message']})" if envelope.get("message") else ""


def _tidy(size: int) -> int:
    """Round a size that is no whole number of MB or MiB up to one, to name it briefly."""
    return size if size % 10**6 == 0 or size % 2**20 == 0 else -(-size // 10**6) * 10**6


def _timed_out(envelope: Mapping[str, Any]) -> ComputeError:
    limit, stack = envelope.get("limit"), legible(str(envelope.get("stack", "")))
    message = "the run took longer than its timeout"
    if limit:
        message += f" of {format_time(limit)}"
    message += _said(envelope)
    if stack:
        message += f"; it was here:\n{stack}\n"
    return TimedOut(message, hint="ask for more with --timeout", limit=limit)


def _crashed(envelope: Mapping[str, Any]) -> ComputeError:
    signal, code = envelope.get("signal"), envelope.get("exit_code")
    message = "the process of the run ended before its code did"
    if signal:
        message = f"the process of the run was ended by {signal}"
    elif code is not None:
        message = f"the process of the run ended itself with exit code {code}"
    message += _said(envelope)
    stack = legible(str(envelope.get("stack", "")))
    tail = str(envelope.get("tail", "")).strip("\n")[-_TAIL:]
    if stack:
        message += f"; it was here:\n{stack}\n"
    if tail:
        message += f"{'' if stack else chr(10)}its last output:\n{tail}\n"
    return Crashed(
        message,
        hint="a crash is in compiled code, or somebody killed the process; "
        "--retries N --retry-on Crashed tries again",
        signal=signal,
        exit_code=code,
    )


_KINDS: Mapping[object, Callable[[Mapping[str, Any]], ComputeError]] = {
    "memory": _out_of_memory,
    "timeout": _timed_out,
    "crash": _crashed,
    "lost": _lost,
    "transfer": _not_transferred,
    "budget": _stopped,
    "start": _not_started,
    "launch": _not_launched,
}
