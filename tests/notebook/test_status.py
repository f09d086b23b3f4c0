"""The status line says what INTERFACE §1 shows, as text and as HTML that needs no styles."""

from __future__ import annotations

import re
from typing import Any

import pytest

from jupyter_compute.model import Receipt
from jupyter_compute.notebook.status import Status, describe_receipt

GB = 10**9


def _state(state: str, reason: str = "", machine: str | None = None, **more: Any) -> dict[str, Any]:
    return {"kind": "state", "state": state, "reason": reason, "machine": machine, **more}


def _receipt(**changes: Any) -> Receipt:
    plain = {
        "wait_s": 0.2,
        "run_s": 41.0,
        "attempts": 1,
        "layer": "local",
        "machine": "local",
        "cpu": 8.0,
        "memory": 32 * GB,
        "cpu_mean": 6.32,
        "memory_peak": 9_800_000_000,
        "cost_usd": 0.0,
    }
    return Receipt(**(plain | changes))


def _end(state: str, envelope: dict[str, Any], receipt: Receipt | None) -> dict[str, Any]:
    wire = None if receipt is None else receipt.to_wire()
    return {"kind": "end", "state": state, "envelope": envelope, "receipt": wire}


def _line(*events: dict[str, Any], **known: Any) -> str:
    status = Status("r-abc", **known)
    for event in events:
        status.take(event)
    return status.line()


def test_a_queued_run_says_what_it_waits_for() -> None:
    assert _line() == "▸ queued"
    assert _line(_state("queued", "2 cpu are in use")) == "▸ queued → 2 cpu are in use"
    assert _line(_state("starting", "on local", "local")) == "▸ queued → starting on local"


def test_a_running_run_says_what_it_has_and_what_it_uses() -> None:
    running = _state("running", machine="local", cpu=8.0, memory=32 * GB)
    sample = {
        "kind": "sample",
        "cpu_used": 6.31,
        "memory_used": 9_800_000_000,
        "memory_peak": 9_800_000_000,
        "elapsed_s": 41.7,
    }
    assert _line(running) == "▸ running on local · 8 cpu 32 GB"
    assert _line(running, sample) == (
        "▸ running on local · 8 cpu 32 GB · 00:41 · cpu 6.3/8 · memory 9.8/32 GB"
    )
    assert "1:01:01" in _line(running, sample | {"elapsed_s": 3661.0})


def test_what_is_not_known_is_left_out_and_never_zero() -> None:
    sample = {"kind": "sample", "cpu_used": None, "memory_used": None, "elapsed_s": 1.0}
    assert _line(_state("running", machine="local"), sample) == "▸ running on local · 00:01"


def test_a_new_attempt_does_not_show_the_use_of_the_one_before() -> None:
    running = _state("running", machine="local", cpu=1.0, memory=GB)
    sample = {"kind": "sample", "cpu_used": 1.0, "memory_used": GB, "elapsed_s": 9.0}
    again = _state("running", machine="local", cpu=1.0, memory=2 * GB)
    assert _line(running, sample, _state("queued"), again) == "▸ running on local · 1 cpu 2 GB"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "41 s on local · cpu 79 % · peak 9.8 GB of 32"),
        ({"wait_s": 38.0}, "41 s on local · waited 38 s · cpu 79 % · peak 9.8 GB of 32"),
        ({"attempts": 3}, "41 s on local · 3 attempts · cpu 79 % · peak 9.8 GB of 32"),
        ({"cpu_mean": None, "memory_peak": None}, "41 s on local"),
        ({"cpu_mean": None, "memory_peak": None, "cost_usd": 0.0034}, "41 s on local · $0.0034"),
        ({"cpu_mean": None, "memory_peak": 98 * 10**6}, "41 s on local · peak 98 MB of 32 GB"),
    ],
)
def test_a_receipt_tells_what_matters(changes: dict[str, Any], text: str) -> None:
    assert describe_receipt(_receipt(**changes)) == text


@pytest.mark.parametrize(
    ("state", "envelope", "head"),
    [
        ("done", {"outcome": "ok"}, "✓ 41 s"),
        ("cancelled", {"outcome": "ok"}, "✓ 41 s"),
        ("failed", {"outcome": "error", "type": "ValueError"}, "✗ ValueError after 41 s"),
        ("failed", {"outcome": "died", "reason": "memory"}, "✗ out of memory after 41 s"),
        ("failed", {"outcome": "died", "reason": "timeout"}, "✗ timed out after 41 s"),
        ("failed", {"outcome": "died", "reason": "crash"}, "✗ crashed after 41 s"),
        ("lost", {"outcome": "died", "reason": "lost"}, "✗ machine lost after 41 s"),
        ("cancelled", {"outcome": "error", "type": "KeyboardInterrupt"}, "✗ cancelled after 41 s"),
    ],
)
def test_the_end_says_how_it_ended(state: str, envelope: dict[str, Any], head: str) -> None:
    assert _line(_end(state, envelope, _receipt())).startswith(head)


def test_a_run_that_never_had_a_machine_has_no_receipt_to_show() -> None:
    killed = {"outcome": "died", "reason": "killed"}
    assert _line(_end("cancelled", killed, _receipt(machine="", run_s=0.0))) == "✗ cancelled"
    assert _line(_end("cancelled", killed, None)) == "✗ cancelled"


def test_notes_and_failed_attempts_are_lines_below() -> None:
    status = Status("r-abc")
    status.take({"kind": "note", "text": "asked 64 cpu, this computer has 2"})
    failed = {"n": 1, "outcome": "OSError", "message": "flaky", "next": "rerun 1 of 2 in 1 s"}
    status.take({"kind": "attempt", **failed})
    assert status.text() == (
        "▸ queued\n  asked 64 cpu, this computer has 2\n  attempt 1: rerun 1 of 2 in 1 s · flaky"
    )


def test_many_notes_keep_the_first_and_the_last() -> None:
    status = Status()
    for number in range(100):
        status.note(f"note {number}")
    assert len(status.notes) == 20
    assert status.notes[0] == "note 0"
    assert status.notes[-1] == "note 99"


def test_the_html_names_run_and_state_and_escapes_everything() -> None:
    status = Status("r-abc", notes=["<script>alert(1)</script>"])
    status.take(_state("queued", '<b> & "quotes"'))
    markup = status.markup()
    assert markup.startswith('<div data-jc-run="r-abc" data-jc-state="queued" ')
    assert "<script" not in markup
    assert "<b>" not in markup


def test_the_html_reads_the_same_without_its_tags() -> None:
    status = Status("r-abc", notes=["a note"])
    status.take(_state("running", machine="local", cpu=1.0, memory=GB))
    plain = re.sub(r"<[^>]+>", " ", status.markup()).split()
    assert plain == status.text().split()


def test_a_receipt_with_everything() -> None:
    advice = "--memory 12G would do (as in 3 runs, saves 31 %)"
    everything = _receipt(machine="r7i.2xlarge", wait_s=38.0, cost_usd=0.0034, advice=advice)
    assert describe_receipt(everything) == (
        "41 s on r7i.2xlarge · waited 38 s · cpu 79 % · peak 9.8 GB of 32 · $0.0034 · " + advice
    )


def test_the_receipt_with_its_advice_is_in_the_html_too() -> None:
    status = Status("r-abc")
    advised = _receipt(advice="--memory 12G would do (as in 3 runs)", advised={"memory": 12e9})
    status.take(_end("done", {"outcome": "ok"}, advised))
    assert status.line().endswith(" of 32 · --memory 12G would do (as in 3 runs)")
    assert status.line() in re.sub(r"<[^>]+>", "", status.markup())


def test_only_what_changes_the_line_is_worth_showing() -> None:
    status = Status()
    assert not status.take({"kind": "accepted", "id": "r-abc"})
    assert not status.take({"kind": "started", "pid": 1})
    assert status.run_id == "r-abc"
