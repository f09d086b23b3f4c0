"""Every way for a run to end has an error of its own that says what to do."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from jupyter_compute import errors
from jupyter_compute.notebook.endings import failure, not_rebuilt


def _died(reason: str, **facts: Any) -> dict[str, Any]:
    return {"outcome": "died", "reason": reason, "message": "", **facts}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("memory", errors.OutOfMemory),
        ("timeout", errors.TimedOut),
        ("crash", errors.Crashed),
        ("lost", errors.MachineLost),
        ("transfer", errors.TransferError),
        ("start", errors.EnvironmentMismatch),
        ("launch", errors.LaunchFailed),
        ("killed", errors.Cancelled),
        ("interrupted", errors.Cancelled),
        ("something new", errors.AttemptError),
    ],
)
def test_each_reason_has_its_error(reason: str, kind: type[errors.ComputeError]) -> None:
    error = failure(_died(reason), "r-abc")
    assert type(error) is kind
    assert error.message
    assert type(pickle.loads(pickle.dumps(error))) is kind


def test_out_of_memory_names_peak_limit_and_the_next_step() -> None:
    error = failure(_died("memory", peak=2_100_000_000, limit=2 * 10**9), "r-abc")
    assert isinstance(error, errors.OutOfMemory)
    assert (error.peak, error.limit) == (2_100_000_000, 2 * 10**9)
    assert "2.1 GB" in error.message
    assert "--memory 2G" in error.message
    assert error.hint == "--memory 4G, or --memory 2G..8G to let it grow as needed"


def test_a_limit_that_is_no_round_number_is_named_briefly() -> None:
    error = failure(_died("memory", peak=2, limit=10_742_516_838), "r-abc")
    assert "--memory 10743M" in error.message


def test_timed_out_shows_where_the_code_was_innermost_last() -> None:
    stack = (
        "Current thread 0x00 (most recent call first):\n"
        f'  File "{__file__}", line 1 in slow\n'
        '  File "/tmp/elsewhere.py", line 5 in <module>\n'
    )
    error = failure(_died("timeout", limit=90.0, stack=stack), "r-abc")
    assert isinstance(error, errors.TimedOut)
    assert error.limit == 90.0
    assert "its timeout of 1 min 30 s" in error.message
    lines = error.message.splitlines()
    assert lines[1].strip() == "File /tmp/elsewhere.py, line 5"
    assert lines[2].strip() == f"File {__file__}, line 1, in slow"
    assert "Every way for a run to end" in lines[3]
    assert "--timeout" in error.hint


def test_a_crash_names_signal_or_exit_code_and_the_last_output() -> None:
    error = failure(_died("crash", signal="SIGSEGV", tail="last words\n"), "r-abc")
    assert isinstance(error, errors.Crashed)
    assert error.signal == "SIGSEGV"
    assert "SIGSEGV" in error.message
    assert "last words" in error.message
    error = failure(_died("crash", exit_code=3), "r-abc")
    assert isinstance(error, errors.Crashed)
    assert error.exit_code == 3
    assert "exit code 3" in error.message


def test_an_exception_that_cannot_travel_is_told_in_words() -> None:
    envelope = {
        "outcome": "error",
        "type": "Weird",
        "module": "lab",
        "message": "boom",
        "traceback": "Traceback (most recent call last): …",
    }
    error = failure(envelope, "r-abc")
    assert isinstance(error, errors.RemoteError)
    assert error.type_name == "Weird"
    assert "lab.Weird: boom" in str(error)
    assert "Traceback" in error.traceback


def test_a_cancelled_run_is_cancelled_whatever_its_code_raised() -> None:
    envelope = {
        "outcome": "error",
        "type": "KeyboardInterrupt",
        "module": "builtins",
        "message": "",
    }
    assert isinstance(failure(envelope, "r-abc", cancelled=True), errors.Cancelled)


def test_a_result_that_cannot_be_rebuilt_says_why() -> None:
    gone = not_rebuilt(FileNotFoundError("x"), {"outcome": "ok"}, "r-abc")
    assert "no longer stored" in gone.message
    other = not_rebuilt(ModuleNotFoundError("no module named 'lab'"), {"outcome": "ok"}, "r-abc")
    assert "no module named 'lab'" in other.message
