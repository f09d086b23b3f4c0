"""Why values cannot be pickled: which part of which variable is to blame, all at once.

Pickle's own error names neither the variable nor the place in it. This package looks
for both by pickling ever smaller parts; it is used only after a failure.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from ..errors import TransferError
from .kinds import Culprit, culprit_of, kind_of
from .parts import Part, parts_of
from .search import find_culprits

__all__ = ["Culprit", "find_culprits", "open_files", "summary", "to_error"]

_MOST_NAMES = 6
_MOST_LINES = 20
_SHALLOW = 100


def open_files(values: Mapping[str, object]) -> list[Culprit]:
    """Return the open files among `values` and in the small containers among them.

    cloudpickle sends the contents of a file that is open for reading instead of
    failing, so that the cell would not see the file but a copy of its text.
    """
    found = []
    for name, value in values.items():
        parts: list[Part] = [(name, value)]
        if type(value) in (dict, list, tuple, set) and len(value) <= _SHALLOW:  # type: ignore[arg-type]
            parts += parts_of(value, name)
        for path, part in parts:
            kind = kind_of(part)
            if kind is not None and kind.is_file and part not in (sys.stdout, sys.stderr):
                found.append(culprit_of(name, path, part, kind))
    return found


def summary(culprit: Culprit) -> str:
    """Say in one line what and where the culprit is, and what can be done."""
    where = "it" if culprit.path == culprit.name else culprit.path
    if culprit.what:
        return f"{where} is {culprit.what}; {culprit.hint}"
    return f"{where} (of type {culprit.type_name}) cannot be pickled: {culprit.reason}"


def to_error(culprits: Sequence[Culprit]) -> TransferError:
    """Return one error for all `culprits`: a summary, then a line for each."""
    names = list(dict.fromkeys(culprit.name for culprit in culprits))
    listed = ", ".join(names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        listed += f" and {len(names) - _MOST_NAMES} more"
    facts = [{"name": c.name, "path": c.path, "type": c.type_name} for c in culprits]
    if len(culprits) == 1:
        message = f"{listed} cannot be sent: {summary(culprits[0])}"
    else:
        lines = [f"  {culprit.name}: {summary(culprit)}" for culprit in culprits[:_MOST_LINES]]
        if len(culprits) > _MOST_LINES:
            lines.append(f"  and {len(culprits) - _MOST_LINES} more")
        message = "\n".join([f"{listed} cannot be sent", *lines])
    return TransferError(message, name=facts[0]["name"], path=facts[0]["path"], culprits=facts)
