"""Which blobs belong to what a pool and its machines tell each other. Pure, no I/O."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "MOST_INLINE",
    "inline",
    "needed",
    "not_sent",
    "pack",
    "produced",
    "unpack",
]

_LARGEST_INLINE = 64 * 2**10
"""A blob up to this size travels inside the message: two round trips to a store cost more."""

MOST_INLINE = 256 * 2**10
"""What one message carries at most, in bytes."""

Event = Mapping[str, Any]


def inline(sizes: Mapping[str, int]) -> list[str]:
    """Return which of these blobs travel inside their message, the smallest first."""
    chosen, room = [], MOST_INLINE
    for name, size in sorted(sizes.items(), key=lambda item: item[1]):
        if size > min(_LARGEST_INLINE, room):
            break
        chosen.append(name)
        room -= size
    return chosen


def pack(digest: str, data: bytes) -> str:
    """Return the form in which a blob travels inside a message: its hash first."""
    return f"{digest}:{base64.b64encode(data).decode()}"


def unpack(text: str) -> tuple[str, bytes]:
    """Return the hash of a blob as it was sent, and what has come of it."""
    digest, _, data = text.partition(":")
    return digest, base64.b64decode(data)


def needed(message: Mapping[str, Any]) -> list[str]:
    """Return the blobs that a message to a lane of a map names."""
    return [message["payload"], *message.get("blobs", ())] if "payload" in message else []


def produced(events: Iterable[Event]) -> tuple[list[str], list[str]]:
    """Return the blobs that events name: what the notebook gets, and what is only kept."""
    found: dict[str, None] = {}
    kept: dict[str, None] = {}
    for event in events:
        if event["kind"] == "piece":
            found.update(dict.fromkeys(_of(event)))
            found.update(dict.fromkeys(event.get("errors", ())))
        elif event["kind"] == "ended":
            found.update(dict.fromkeys(_of(event["envelope"])))
            for entry in event["envelope"].get("kept") or ():
                kept.update(dict.fromkeys(_of(entry)))
    return list(found), [name for name in kept if name not in found]


def not_sent(
    events: Sequence[Event], message: str, *, unreachable: bool, reason: str = "transfer"
) -> list[dict[str, Any]]:
    """Return the events without the blobs that they name, and what to say of it instead."""
    died = {
        "outcome": "died",
        "reason": reason,
        "message": message,
        "unreachable": unreachable,
    }
    found: list[dict[str, Any]] = []
    for event in events:
        if event["kind"] == "piece" and event.get("payload"):
            bare = {key: event[key] for key in ("kind", "n", "start", "stop", "over")}
            found.append({**bare, "died": died})
        elif event["kind"] == "ended" and any(produced([event])):
            envelope = event["envelope"]
            found.append({"kind": "ended", "envelope": {"usage": envelope.get("usage")} | died})
        else:
            found.append(dict(event))
    return found


def _of(entry: Mapping[str, Any]) -> list[str]:
    names = [entry.get("payload"), *(entry.get("blobs") or ())]
    return [name for name in names if name]
