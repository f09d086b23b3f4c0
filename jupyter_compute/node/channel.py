"""The channel on which a child speaks to its node.

Frames are a kind (1 byte), a length (4 bytes, big endian) and that many bytes:
``o`` and ``e`` carry text of standard output and error, ``j`` a JSON object.

Text that Python code prints and displays share one pipe, so their order is exact.
What C code and subprocesses write goes to two pipes; the child empties them before
every frame of its own, so that also this text comes in order, and the node empties
them whenever the child does not.
"""

from __future__ import annotations

import builtins
import functools
import io
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
from collections import deque
from typing import Any, Literal

__all__ = ["STACK_SIGNAL", "Channel", "Frames", "TextStream", "encode", "print_whole"]

STACK_SIGNAL = signal.SIGRTMIN + 9 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR2
"""A child answers it with the stacks of its threads."""

_DEFERRED = signal.valid_signals() - {
    STACK_SIGNAL,
    *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT),
}
"""Signals whose handlers, which may raise, wait until a frame is written."""

Kind = Literal["o", "e", "j"]
_HEAD = struct.Struct(">cI")
_READ = 64 * 2**10


def encode(kind: Kind, data: bytes) -> bytes:
    """Return one frame."""
    return _HEAD.pack(kind.encode(), len(data)) + data


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """Return the frames that are complete with `data`, as (kind, bytes).

        Texts of one kind that follow each other are returned as one.
        """
        pending = self._pending + data if self._pending else data
        frames: list[tuple[bytes, list[bytes]]] = []
        last = b""
        start, size = 0, len(pending)
        while size - start >= _HEAD.size:
            kind, length = _HEAD.unpack_from(pending, start)
            end = start + _HEAD.size + length
            if size < end:
                break
            body = pending[start + _HEAD.size : end]
            if kind == last != b"j":
                frames[-1][1].append(body)
            else:
                frames.append((kind, [body]))
                last = kind
            start = end
        self._pending = pending[start:]
        return [(kind.decode(), b"".join(parts)) for kind, parts in frames]


class Channel:
    """The child's end.

    Parameters
    ----------
    control : socket
        Where the node's objects come from.
    frames : int
        Write end of the pipe that carries frames to the node.
    output, error : int
        Read ends of the pipes behind file descriptors 1 and 2, not blocking.
    """

    def __init__(self, control: socket.socket, frames: int, output: int, error: int) -> None:
        self._control = control
        self._frames = frames
        self._pipes: dict[int, Kind] = {output: "o", error: "e"}
        self._poll = select.poll()
        for pipe in self._pipes:
            self._poll.register(pipe, select.POLLIN)
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._received = Frames()
        self._messages: deque[dict[str, Any]] = deque()

    def receive(self) -> dict[str, Any] | None:
        """Wait for the node's next object; None when the node has closed the channel."""
        while not self._messages:
            data = self._control.recv(_READ)
            if not data:
                return None
            self._messages += [json.loads(body) for _, body in self._received.feed(data)]
        return self._messages.popleft()

    def event(self, event: dict[str, Any]) -> None:
        """Send a JSON object; of a display by a process forked by user code, its plain text."""
        if os.getpid() == self._owner:
            self._send("j", json.dumps(event, default=_plain).encode())
        elif event["kind"] == "display":
            self.text("o", f"{event['data'].get('text/plain', '')}\n")

    def text(self, kind: Kind, text: str) -> None:
        """Send text; a process forked by user code writes to the pipes instead."""
        self.data(kind, text.encode("utf-8", "backslashreplace"))

    def data(self, kind: Kind, data: bytes) -> None:
        """Send encoded text, perhaps half a character: the next bytes may be its rest."""
        if os.getpid() == self._owner:
            self._send(kind, data)
        else:
            os.write(1 if kind == "o" else 2, data)

    def drain(self) -> None:
        """Send what C code and subprocesses have written so far."""
        with self._lock:
            self._drain()

    def _send(self, kind: Kind, data: bytes) -> None:
        with self._lock:
            self._drain()
            self._write(encode(kind, data))

    def _drain(self) -> None:
        for pipe, _ in self._poll.poll(0):
            try:
                data = os.read(pipe, _READ)
            except BlockingIOError:
                continue
            if data:
                self._write(encode(self._pipes[pipe], data))

    def _write(self, frame: bytes) -> None:
        """Write a frame whole: one that a signal cuts short would spoil all that follow."""
        if len(frame) <= select.PIPE_BUF:
            os.write(self._frames, frame)
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            # Within try: a handler may run, and raise, once the signals are blocked.
            signal.pthread_sigmask(signal.SIG_BLOCK, _DEFERRED)
            rest = memoryview(frame)
            while rest:
                rest = rest[os.write(self._frames, rest) :]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class TextStream(io.TextIOBase):
    """What ``sys.stdout`` and ``sys.stderr`` are in a child.

    Parameters
    ----------
    channel : Channel
    kind : {"o", "e"}
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, channel: Channel, kind: Kind) -> None:
        self._channel = channel
        self._kind = kind
        self.name = "<stdout>" if kind == "o" else "<stderr>"
        self.buffer = _Bytes(channel, kind)

    def write(self, text: str) -> int:
        """Send the text at once."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self._channel.text(self._kind, text)
        return len(text)

    def fileno(self) -> int:
        """Return the descriptor that subprocesses may write to."""
        return 1 if self._kind == "o" else 2

    def writable(self) -> bool:
        """Tell that text can be written."""
        return True

    def isatty(self) -> bool:
        """Tell that nobody types here."""
        return False


_print = builtins.print


@functools.wraps(_print)
def print_whole(*values: Any, **options: Any) -> None:
    """Print as `print` does, but write the values and the end of the line in one piece.

    Every piece costs a child two system calls, and `print` writes four for ``print(a, b)``.
    """
    given = options.get("file")
    stream = sys.stdout if given is None else given
    separator, end = options.get("sep", " "), options.get("end", "\n")
    simple = isinstance(stream, TextStream) and type(separator) is type(end) is str
    if simple and options.keys() <= _OPTIONS:
        stream.write(separator.join(map(str, values)) + end)
    else:
        _print(*values, **options)


_OPTIONS = {"sep", "end", "file", "flush"}


class _Bytes(io.RawIOBase):
    """``sys.stdout.buffer``: what is no UTF-8 is shown with replacement characters."""

    def __init__(self, channel: Channel, kind: Kind) -> None:
        self._channel = channel
        self._kind = kind

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            self._channel.data(self._kind, view.tobytes())
            return view.nbytes

    def fileno(self) -> int:
        return 1 if self._kind == "o" else 2

    def writable(self) -> bool:
        return True


def _plain(value: object) -> object:
    """Turn what display formatters return, but JSON lacks, into what JSON has."""
    if isinstance(value, bytes):
        import base64

        return base64.b64encode(value).decode()
    return str(value)
