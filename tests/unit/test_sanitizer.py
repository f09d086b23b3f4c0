"""The file that makes nbval forget how long a run took, against the real status lines."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from nbval.plugin import get_sanitize_patterns

from jupyter_compute.model import Receipt
from jupyter_compute.notebook.status import Status

_RECEIPT = Receipt(
    wait_s=1.5, run_s=41.0, attempts=2, layer="local", machine="local", cpu=2, memory=4 * 10**9
)


def _sanitized(text: str) -> str:
    rules = (files("jupyter_compute") / "nbval-sanitize.cfg").read_text("ascii")
    for pattern, replacement in get_sanitize_patterns(rules):
        text = re.sub(pattern, replacement, text)
    return text


def _status(*events: dict[str, object], notes: tuple[str, ...] = ()) -> dict[str, str]:
    status = Status(run_id="r-abc", cpu=2, memory=4 * 10**9)
    for event in events:
        status.take(event)
    for note in notes:
        status.note(note)
    return status.bundle()


_RUNNING = {"kind": "state", "state": "running", "reason": "", "attempt": 1, "machine": "local"}
_OK = {
    "kind": "end",
    "state": "done",
    "envelope": {"outcome": "ok"},
    "receipt": _RECEIPT.to_wire(),
}
_DIED = {**_OK, "state": "failed", "envelope": {"outcome": "died", "reason": "memory"}}


@pytest.mark.parametrize(
    "bundle",
    [
        _status(),
        _status(_RUNNING),
        _status(_RUNNING, _OK),
        _status(_RUNNING, _DIED, notes=("attempt 1: out of memory", "two\nlines")),
    ],
    ids=["queued", "running", "done", "failed with notes"],
)
def test_every_status_line_becomes_the_same(bundle: dict[str, str]) -> None:
    assert _sanitized(bundle["text/plain"]) == "status"
    assert _sanitized(bundle["text/html"]) == "<div data-jc-run>status</div>"


@pytest.mark.parametrize(
    "text",
    ["0.97", "✓ printed by the user\n", "▸ one\nnot indented", "<div>a table</div>", "a ✓ b"],
)
def test_what_a_user_shows_is_left_alone(text: str) -> None:
    assert _sanitized(text) == text
