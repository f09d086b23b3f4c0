"""Waiting for a run, and what Ctrl-C means meanwhile.

The first interrupt asks the run to end and goes on following it, so that the cell gets
its KeyboardInterrupt and its last output is shown. The second kills it. The third stops
waiting, in case that nobody answers.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from ..errors import ComputeError
from .client import Client, Event
from .endings import failure
from .view import View

__all__ = ["Ending", "follow"]


class Ending:
    """How a run ended, as its last event told.

    Parameters
    ----------
    run_id : str
    event : dict
        The ``end`` event.
    interrupts : int
        How often it was interrupted from here.
    """

    __slots__ = ("envelope", "interrupts", "receipt", "run_id", "state")

    def __init__(self, run_id: str, event: Event, interrupts: int = 0) -> None:
        self.run_id = run_id
        self.state: str = event["state"]
        self.envelope: dict[str, Any] = event.get("envelope") or {}
        self.receipt: dict[str, Any] | None = event.get("receipt")
        self.interrupts = interrupts


def follow(client: Client, events: Iterator[Event], view: View, run_id: str = "") -> Ending:
    """Show a run's events until its end, and return that.

    Parameters
    ----------
    client : Client
        For cancelling.
    events : iterator of dict
        From `Client.submit` or `Client.follow`.
    view : View
    run_id : str
        Empty if the first event will tell.

    Raises
    ------
    KeyboardInterrupt
        At the third interrupt. After the first two the run's end is returned.
    PoolError
        If the service is lost for good.
    """
    with _Interrupts(client, view, run_id) as interrupts:
        try:
            for event in events:
                if event["kind"] == "accepted":
                    interrupts.accepted(event["id"])
                view.take(event)
                if event["kind"] == "end":
                    ending = Ending(interrupts.run_id, event, interrupts.count)
        except ComputeError:
            raise
        except BaseException:
            # Nobody waits for it any more: an interrupt of the waiting, or a broken output.
            interrupts.abandon()
            raise
    if ending.envelope.get("reason") == "refused":
        # As if it had not been taken on: nobody has asked to catch this.
        raise failure(ending.envelope, ending.run_id)
    return ending


class _Interrupts:
    """Takes SIGINT while a run is followed; only the main thread gets signals."""

    def __init__(self, client: Client, view: View, run_id: str) -> None:
        self.count = 0
        self.run_id = run_id
        self._client = client
        self._view = view
        self._previous: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def accepted(self, run_id: str) -> None:
        """The run has an id: an interrupt that came before is passed on now."""
        self.run_id = run_id
        if self.count:
            self._pass_on()

    def abandon(self) -> None:
        """Kill the run, if it is one already."""
        if self.run_id:
            with contextlib.suppress(ComputeError):
                self._client.cancel(self.run_id, "kill")

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 2:
            raise KeyboardInterrupt
        if self.run_id:
            self._pass_on()

    def _pass_on(self) -> None:
        # In a thread: the handler must return at once, and may have interrupted anything.
        action = "interrupt" if self.count == 1 else "kill"
        threading.Thread(target=self._cancel, args=(action,), daemon=True).start()

    def _cancel(self, action: str) -> None:
        self._view.interrupting()
        try:
            self._client.cancel(self.run_id, action)
        except ComputeError as error:
            self._view.say(f"the interrupt could not be passed on: {error}")
