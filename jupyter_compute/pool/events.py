"""The events of one run: a file to replay, and whoever follows it live.

The file is bounded: of a run that prints without end, the beginning and the end stay.
Memory is bounded too: a slow follower reads the file, it has no queue of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["EventLog", "Follower"]

Event = Mapping[str, Any]

_RECENT_BYTES = 2**20
_CHUNK = 2**18
_PREFIX = len(b'{"seq":')


class EventLog:
    """The events of one run, numbered from 1.

    Parameters
    ----------
    path : path
        The file; made with the first event.
    max_bytes : int
        What the file may hold before only the end of the run is kept.
    now : callable
        Returns UTC seconds.
    """

    def __init__(self, path: Path, max_bytes: int, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self.last = 0
        self.ended = False
        self.sample: bytes = b""
        self.followers: set[Follower] = set()
        self._max_bytes = max_bytes
        self._now = now
        self._descriptor = -1
        self._stored = 0
        self._stored_bytes = 0
        self._recent: deque[bytes] = deque()
        self._recent_bytes = 0

    @classmethod
    def load(cls, path: Path, max_bytes: int) -> EventLog:
        """Return the log that an earlier service wrote, without a last line cut short."""
        log = cls(path, max_bytes)
        if not path.exists():
            return log
        with path.open("r+b") as file:
            end, line = _last_line(file.fileno())
            file.truncate(end)
        log._stored_bytes = end
        if line:
            event = json.loads(line)
            log.last = log._stored = event["seq"]
            log.ended = event["kind"] == "end"
        return log

    @property
    def oldest_in_memory(self) -> int:
        """The number of the oldest event that needs no reading of the file."""
        return self.last + 1 - len(self._recent)

    def append(self, events: Iterable[Event]) -> None:
        """Number the events, store them, and wake whoever follows."""
        stamp = round(self._now(), 3)
        lines = []
        for event in events:
            self.last += 1
            lines.append(_encode({"seq": self.last, "t": stamp, **event}))
            self.ended = event["kind"] == "end"
        self._remember(lines)
        if self.ended:
            self._store_tail()
            self._close()
        elif self._stored == self.last - len(lines):
            self._store(lines)
        self._wake()

    def show(self, sample: Event) -> None:
        """Give followers the latest sample. It is not stored and has no number."""
        self.sample = _encode({"t": round(self._now(), 3), **sample})
        self._wake()

    def recent(self, after: int) -> list[bytes]:
        """Return the lines in memory with numbers above `after`."""
        skip = max(0, after + 1 - self.oldest_in_memory)
        return list(self._recent)[skip:]

    def close(self) -> None:
        """Close the file and let followers go; what is stored can be loaded again."""
        self._close()
        for follower in list(self.followers):
            follower.leave()

    def _remember(self, lines: list[bytes]) -> None:
        self._recent.extend(lines)
        self._recent_bytes += sum(map(len, lines))
        while self._recent_bytes > _RECENT_BYTES and len(self._recent) > 1:
            self._recent_bytes -= len(self._recent.popleft())

    def _store(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        if self._stored_bytes + len(data) > self._max_bytes:
            return
        self._write(data)
        self._stored = self.last

    def _store_tail(self) -> None:
        """Store what is in memory and not yet in the file, after a note about what is not."""
        missing = self.oldest_in_memory - 1 - self._stored
        gap = [_gap(self.oldest_in_memory - 1, missing)] if missing > 0 else []
        self._write(b"".join(gap + self.recent(self._stored)))
        self._stored = self.last

    def _write(self, data: bytes) -> None:
        if self._descriptor < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o600)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self._stored_bytes += len(data)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _wake(self) -> None:
        for follower in self.followers:
            follower.woken.set()


class Follower:
    """One reader of a run's events, from number `since` on.

    Parameters
    ----------
    log : EventLog
    since : int
        The last event that the reader has already.
    """

    def __init__(self, log: EventLog, since: int = 0) -> None:
        self.woken = asyncio.Event()
        self._log = log
        self._seq = since
        self._sample = log.sample
        self._offset = 0
        self._left = False
        log.followers.add(self)

    @property
    def last(self) -> int:
        """The number of the run's newest event."""
        return self._log.last

    def leave(self) -> None:
        """Stop following: `batches` ends."""
        self._left = True
        self._log.followers.discard(self)
        self.woken.set()

    async def batches(self, *, wait: bool = True) -> AsyncGenerator[bytes, None]:
        """Yield events as lines of JSON, as many at a time as there are, until the last.

        Without `wait`, stop where the events are that have happened so far.
        """
        while not self._left:
            self.woken.clear()
            batch = self._next()
            if batch:
                yield batch
            elif self._log.ended or not wait:
                return
            else:
                await self.woken.wait()

    def _next(self) -> bytes:
        log = self._log
        if self._seq < log.last and self._seq + 1 < log.oldest_in_memory:
            return self._from_file() or self._skip()
        lines = log.recent(self._seq)
        self._seq = max(self._seq, log.last)
        if self._sample is not log.sample and not log.ended:
            self._sample = log.sample
            lines.append(log.sample)
        return b"".join(lines)

    def _from_file(self) -> bytes:
        """Return the next stored lines that the reader does not have yet."""
        found: list[bytes] = []
        try:
            file = self._log.path.open("rb")
        except FileNotFoundError:
            return b""
        with file:
            file.seek(self._offset)
            while not found:
                lines = file.readlines(_CHUNK)
                if not lines:
                    break
                if not lines[-1].endswith(b"\n"):
                    lines.pop()
                self._offset += sum(map(len, lines))
                found = [line for line in lines if _number(line) > self._seq]
        if found:
            self._seq = _number(found[-1])
        return b"".join(found)

    def _skip(self) -> bytes:
        """Go on with what is in memory, after a note about what nobody has any more."""
        oldest = self._log.oldest_in_memory
        note = _gap(oldest - 1, oldest - 1 - self._seq)
        self._seq = oldest - 1
        return note


def _encode(event: Event) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _number(line: bytes) -> int:
    return int(line[_PREFIX : line.index(b",")])


def _gap(number: int, missing: int) -> bytes:
    text = f"[… {missing} pieces of output are not kept …]"
    return _encode({"seq": number, "t": round(time.time(), 3), "kind": "note", "text": text})


def _last_line(descriptor: int) -> tuple[int, bytes]:
    """Return where the last whole line ends, and that line."""
    size = os.fstat(descriptor).st_size
    reach = 2**16
    while True:
        start = max(0, size - reach)
        data = os.pread(descriptor, size - start, start)
        end = data.rfind(b"\n") + 1
        begin = data.rfind(b"\n", 0, max(end - 1, 0)) + 1
        if end and (begin or start == 0):
            return start + end, data[begin:end]
        if start == 0:
            return 0, b""
        reach *= 8
