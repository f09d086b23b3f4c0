"""A run's output as text, a piece at a time, for whoever only looks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from jupyter_compute.pool.events import Follower
from jupyter_compute.pool.picture import weight

__all__ = ["excerpt"]

_ROOM = 56 * 1024
_LONGEST = 48 * 1024
_FRAME = 100


async def excerpt(follower: Follower, since: int) -> dict[str, Any]:
    """Return the text after event number `since`, as much as fits into 64 KiB of JSON.

    ``next`` is where to go on, ``last`` the number of the newest event, ``more`` whether
    there is more already, ``events`` are the texts with kind and time.
    """
    pieces: list[dict[str, Any]] = []
    position, room = since, _ROOM
    try:
        async with contextlib.aclosing(_numbered(follower)) as events:
            async for event in events:
                text = _text_of(event)
                if text:
                    size = weight(text) + _FRAME
                    if size > room:
                        break
                    room -= size
                    _add(pieces, event, text)
                position = event["seq"]
    finally:
        follower.leave()
    more = position < follower.last
    return {"next": position, "last": follower.last, "more": more, "events": pieces}


async def _numbered(follower: Follower) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the events that have happened so far; a sample, which has no number, is none."""
    async with contextlib.aclosing(follower.batches(wait=False)) as batches:
        async for batch in batches:
            for line in batch.splitlines():
                event = json.loads(line)
                if "seq" in event:
                    yield event


def _text_of(event: Mapping[str, Any]) -> str:
    match event["kind"]:
        case "stdout" | "stderr" | "note":
            text = event["text"]
        case "display":
            text = event["data"].get("text/plain", "<output without text>")
        case "attempt":
            text = f"attempt {event['n']}: {event['message']}"
        case _:
            return ""
    return _cut("".join(text) if isinstance(text, list) else str(text))


def _cut(text: str) -> str:
    """Return the text; of one that is too long, its beginning and end."""
    shown, kept = text, len(text)
    while weight(shown) > _LONGEST:
        kept = kept * 3 // 4
        half = kept // 2
        shown = f"{text[:half]}\n[… {len(text) - 2 * half} characters …]\n{text[-half:]}"
    return shown


def _add(pieces: list[dict[str, Any]], event: Mapping[str, Any], text: str) -> None:
    stream = event["kind"] in {"stdout", "stderr"}
    if pieces and stream and pieces[-1]["kind"] == event["kind"]:
        pieces[-1]["text"] += text
    else:
        pieces.append({"t": event["t"], "kind": event["kind"], "text": text})
