"""A lane of a map, in a child: one function, and chunk after chunk of its items.

The node sends slices of chunks. What they give is reported whenever a tenth of a second
has passed, so that a slow item keeps no result waiting, and a child that dies takes
little with it. A slice that turns out to take long is handed back: the pool gives what
is left of it to whoever is free.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection
from types import CoroutineType
from typing import Any

from .. import values
from ..blobs import Blobs
from . import outcome
from .channel import Channel
from .keeping import Arrivals
from .shell import ChildShell

__all__ = ["Lane"]

_REPORT_S = 0.1
"""Results wait no longer than this for the next, unless an item takes longer."""

_TELL_S = 0.05
"""How exactly the node knows when the item that runs has begun."""

_LONGEST_S = 0.3
"""A slice that has taken this long is handed back after the item that runs."""

Message = dict[str, Any]


class Lane:
    """Runs a function for the items that the node sends.

    Parameters
    ----------
    shell : ChildShell
    channel : Channel
    blobs : Blobs
    function : callable
    known : collection of str
        Names that the notebook has sent: functions among the results find them there.
    run : str
        The run's id.
    kept : Arrivals
        The kept values that the function and its items refer to.
    """

    def __init__(
        self,
        shell: ChildShell,
        channel: Channel,
        blobs: Blobs,
        function: Any,
        known: Collection[str],
        run: str,
        kept: Arrivals,
    ) -> None:
        self._shell = shell
        self._channel = channel
        self._blobs = blobs
        self._function = function
        self._known = known
        self._run = run
        self._kept = kept
        self._chunk: tuple[int, list[tuple[Any, ...]]] = (0, [])
        self._loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._before_s = self._after_s = 0.0

    def serve(self, held_s: tuple[float, float]) -> dict[str, Any]:
        """Work until the node says that there is nothing more; return the envelope.

        Parameters
        ----------
        held_s : tuple of float
            How long to wait before the first item and after it, to rehearse a failure.

        Raises
        ------
        KeyboardInterrupt
            When the run is interrupted.
        """
        asyncio.set_event_loop(self._loop)
        self._before_s, self._after_s = held_s
        self._channel.event({"kind": "ready"})
        while (message := self._channel.receive()) is not None and "n" in message:
            self._work(message)
        return {"outcome": "ok", "payload": None, "blobs": []}

    def _work(self, message: Message) -> None:
        self._channel.event({"kind": "executing"})
        try:
            items = self._items(message)
        except Exception as error:  # noqa: BLE001 - any object's own code may run here
            died = outcome.not_loaded(error)
            self._report(message, message["start"], message["stop"], over=True, died=died)
            return
        self._shell.events.trigger("pre_execute")
        piece = _Piece(message["start"])
        careful, whole = message["careful"], message["whole"]
        began = told = time.monotonic()
        for index in range(message["start"], message["stop"]):
            now = time.monotonic()
            if piece.results and (careful or now - piece.began > _REPORT_S):
                self._send(message, piece, now)
                piece = _Piece(index, now)
                if now - began > _LONGEST_S and not whole:
                    break
            if careful or now - told > _TELL_S:
                self._channel.event({"kind": "executing"})
                told = now
            self._hold(self._before_s)
            self._one(items[index], piece)
            self._hold(self._after_s)
            self._before_s = self._after_s = 0.0
        self._shell.events.trigger("post_execute")
        self._shell.events.trigger("post_run_cell", None)
        self._send(message, piece, time.monotonic(), over=True)

    def _hold(self, seconds: float) -> None:
        if seconds:
            time.sleep(seconds)

    def _one(self, arguments: tuple[Any, ...], piece: _Piece) -> None:
        """Run one item. What it raises is its result; only an interrupt is not."""
        try:
            value = self._function(*arguments)
            if type(value) is CoroutineType:
                value = self._loop.run_until_complete(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            self._end_copy(error)
            self._fail(piece, error)
            return
        self._end_copy(None)
        piece.results.append(value)

    def _end_copy(self, error: BaseException | None) -> None:
        """End a process that the item has forked: another one answers for the run."""
        if os.getpid() != self._pid:
            outcome.end_copy(error)

    def _fail(self, piece: _Piece, error: BaseException) -> None:
        envelope = outcome.failed(self._blobs, self._shell.user_ns, error)
        piece.failed[len(piece.results)] = envelope
        piece.results.append(None)

    def _items(self, message: Message) -> list[tuple[Any, ...]]:
        number, items = self._chunk
        if number != message["n"]:
            self._chunk = (0, [])  # before the next one needs the memory
            items, _ = values.fetch(
                self._blobs, message["payload"], self._shell.user_ns, arrived=self._kept
            )
            self._chunk = (message["n"], items)
        return items

    def _send(self, message: Message, piece: _Piece, now: float, *, over: bool = False) -> None:
        """Report what a piece gave, as one pickle."""
        start, stop = piece.start, piece.start + len(piece.results)
        if start == stop:
            self._report(message, start, stop, over=over)
            return
        namespace = self._shell.user_ns
        dumped = outcome.dump_items(namespace, piece.results, piece.failed, self._known)
        private = f"{self._run}/{message['n']}/{start}"
        try:
            payload, buffers = values.store(self._blobs, dumped, private=private)
        except OSError as error:
            self._report(message, start, stop, over=over, died=outcome.no_room(error))
            return
        self._report(
            message,
            start,
            stop,
            over=over,
            payload=payload,
            blobs=buffers,
            errors=piece.errors(),
            nbytes=dumped.nbytes,
            seconds=now - piece.began,
            failed=len(piece.failed),
        )

    def _report(self, message: Message, start: int, stop: int, **more: Any) -> None:
        event = {"kind": "piece", "n": message["n"], "start": start, "stop": stop}
        self._channel.event(event | more)


class _Piece:
    """Results that are not reported yet."""

    __slots__ = ("began", "failed", "results", "start")

    def __init__(self, start: int, began: float | None = None) -> None:
        self.start = start
        self.began = time.monotonic() if began is None else began
        self.results: list[Any] = []
        self.failed: dict[int, dict[str, Any]] = {}

    def errors(self) -> list[str]:
        """Return the blobs of exceptions, whose names are inside the piece's own."""
        failed = self.failed.values()
        names = [n for e in failed for n in (e.get("payload"), *e.get("blobs", ()))]
        return [name for name in names if name]
