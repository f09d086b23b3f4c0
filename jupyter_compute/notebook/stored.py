"""``%compute kept``, ``drop`` and ``cache``: what stays stored between runs."""

from __future__ import annotations

import time

from IPython.core.error import UsageError

from ..ask import format_memory, format_time
from . import session, tables

__all__ = ["cache", "drop", "kept"]


def kept(rest: str) -> None:
    """Print the kept values of this user, newest first."""
    if rest:
        raise UsageError(f"%compute kept takes nothing more, but {rest!r} follows")
    found = session.client().kept_values()
    if not found:
        _print("no kept values; %%remote --keep NAME makes one")
        return
    now = time.time()
    rows = [
        (
            entry["id"],
            entry["name"],
            entry["type"],
            entry["shape"],
            format_memory(entry["nbytes"]),
            format_time(max(0.0, now - entry["created"])),
            tables.origin(entry),
        )
        for entry in found
    ]
    _print(tables.aligned(("kept", "name", "type", "shape", "size", "age", "from"), rows))


def drop(rest: str) -> None:
    """Drop kept values: by id, or all that no run reads."""
    words = rest.split()
    if not words or ("all" in words and len(words) > 1):
        raise UsageError("%compute drop needs the id of a kept value, e.g. k-k3m2xq7a, or all")
    answer = session.client().drop_kept(None if words == ["all"] else words)
    if answer["dropped"]:
        _print(f"dropped {', '.join(answer['dropped'])}: {format_memory(answer['nbytes'])}")
    for kept_id, run in answer["in_use"].items():
        _print(f"{kept_id} stays, as {run} reads it; %compute cancel {run} ends that")
    if not (answer["dropped"] or answer["in_use"]):
        _print("nothing to drop")


def cache(rest: str) -> None:
    """Print what is recorded for ``--cache``, or forget it."""
    if rest not in {"", "clear"}:
        raise UsageError(f"%compute cache takes clear or nothing, not {rest!r}")
    client = session.client()
    if rest:
        gone = client.clear_cache()
        _print(f"{_results(gone['count'], 'recorded')} forgotten: {format_memory(gone['nbytes'])}")
        return
    answer = client.cached()
    if not answer["entries"]:
        _print("no recorded results; --cache or cache=True records one")
        return
    now = time.time()
    rows = [
        (
            entry["name"],
            format_memory(entry["nbytes"]),
            format_time(entry["saves_s"]),
            str(entry["hits"]),
            format_time(max(0.0, now - entry["created"])),
            tables.origin(entry),
        )
        for entry in answer["entries"]
    ]
    _print(tables.aligned(("result of", "size", "saves", "used", "age", "from"), rows))
    used, most = format_memory(answer["nbytes"]), format_memory(answer["max_bytes"])
    _print(f"{_results(len(rows))}, {used} of at most {most}")


def _results(count: int, kind: str = "") -> str:
    return " ".join(filter(None, (str(count), kind, "result" if count == 1 else "results")))


def _print(text: str) -> None:
    print(text)  # noqa: T201 - this is what a command of the notebook is for
