"""What an attempt writes, on its way from the node to the pool."""

from __future__ import annotations

import asyncio
import codecs
from collections import deque
from collections.abc import Callable
from typing import Any

from ..policy.lifecycle import TIMERS

__all__ = ["Output"]

HEAD_BYTES = 8 * 2**20
"""Text of one attempt that is passed on as it comes."""

TAIL_BYTES = 64 * 2**10
"""Text that is kept from the end when there is more."""

_JOIN_S = 0.001
"""A first text waits this long for the next: print() writes a line and its end apart."""

_KINDS = {"o": "stdout", "e": "stderr"}


class Output:
    """Passes events on in order, text joined into batches, floods cut in the middle.

    Parameters
    ----------
    send : callable
        Takes a list of events.
    """

    def __init__(self, send: Callable[[list[dict[str, Any]]], None]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._pending: list[dict[str, Any]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0.0
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {kind: decoder("replace") for kind in _KINDS}
        self._room = HEAD_BYTES
        self._tail: deque[tuple[str, str]] = deque()
        self._tail_size = 0
        self._cut_bytes = self._cut_lines = 0
        self._recent = ""

    @property
    def recent(self) -> str:
        """The last text that was written, for people who look for the reason of a crash."""
        return self._recent + "".join(text for _, text in self._tail)[-2000:]

    def text(self, kind: str, data: bytes) -> None:
        """Take text of standard output (``o``) or error (``e``)."""
        text = self._decoders[kind].decode(data)
        if not text:
            return
        if self._room <= 0:
            self._keep(kind, text)
            return
        self._room -= len(text)
        self._recent = (self._recent + text)[-2000:]
        self._add({"kind": _KINDS[kind], "text": text})

    def event(self, event: dict[str, Any]) -> None:
        """Take a display or another event."""
        self._add(event)

    def later(self, event: dict[str, Any]) -> None:
        """Take an event that may wait for the next batch: many attempts end before it."""
        self._pending.append(event)
        self._flush_in(TIMERS.output_batch_s)

    def end(self, event: dict[str, Any]) -> None:
        """Pass everything on, `event` last."""
        if self._cut_bytes or self._tail:
            self._show_tail()
        self._pending.append(event)
        self.flush()

    def flush(self) -> None:
        """Pass on what has been taken so far."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._sent = self._loop.time()
        if self._pending:
            pending, self._pending = self._pending, []
            self._send(pending)

    def _add(self, event: dict[str, Any]) -> None:
        last = self._pending[-1] if self._pending else None
        if last is not None and "text" in event and last["kind"] == event["kind"]:
            last["text"] += event["text"]
        else:
            self._pending.append(event)
        self._flush_in(self._sent + TIMERS.output_batch_s - self._loop.time())

    def _flush_in(self, seconds: float) -> None:
        due = self._loop.time() + max(seconds, _JOIN_S)
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self.flush)

    def _keep(self, kind: str, text: str) -> None:
        self._tail.append((kind, text[-TAIL_BYTES:]))
        self._cut(text[:-TAIL_BYTES])
        self._tail_size += len(self._tail[-1][1])
        while self._tail_size - len(self._tail[0][1]) >= TAIL_BYTES:
            _, dropped = self._tail.popleft()
            self._tail_size -= len(dropped)
            self._cut(dropped)

    def _cut(self, text: str) -> None:
        self._cut_bytes += len(text)
        self._cut_lines += text.count("\n")

    def _show_tail(self) -> None:
        if self._cut_bytes:
            self._pending.append(
                {
                    "kind": "note",
                    "text": f"{self._cut_bytes / 1e6:,.1f} MB of output"
                    f" ({self._cut_lines:,} lines) left out here; the end follows",
                }
            )
        for kind, text in self._tail:
            self._pending.append({"kind": _KINDS[kind], "text": text})
