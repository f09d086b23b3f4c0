"""``%compute budget``: what may be spent, and what of it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..ask import parse_money, refuse
from ..errors import AskError
from ..policy.budget import KINDS
from . import session, submission, tables

__all__ = ["command", "table"]

_WHOSE = {"run": "each run", "notebook": "each notebook, ever", "day": "a day"}
_EXAMPLE = "e.g. %compute budget day 5, or %compute budget day off"


def command(words: Sequence[str]) -> str:
    """Carry out a line of ``%compute budget``, and return what the budgets are then.

    Raises
    ------
    AskError
        If the line is wrong. Nothing has changed.
    """
    client = session.client()
    if words:
        kind = words[0]
        if kind not in KINDS:
            refuse("%compute budget", kind, "is not run, notebook or day", _EXAMPLE)
        if len(words) != 2:
            raise AskError(f"%compute budget {kind} needs one amount of dollars", hint=_EXAMPLE)
        off = words[1] == "off"
        client.set_budget(kind, None if off else parse_money(words[1], f"%compute budget {kind}"))
    return table(client.budgets(submission.notebook()))


def table(budgets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the budgets as aligned text."""
    rows = [
        (
            _WHOSE[kind],
            "none" if one["usd"] is None else tables.money(one["usd"]),
            "" if one["spent"] is None else tables.money(one["spent"]),
            tables.money(one["rehearsed"]) if one["rehearsed"] else "",
        )
        for kind, one in budgets.items()
    ]
    head = ["budget of", "limit", "spent", "rehearsed"]
    if not any(row[3] for row in rows):
        return tables.aligned(head[:3], [row[:3] for row in rows])
    return tables.aligned(head, rows)
