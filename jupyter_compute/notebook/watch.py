"""Looks at the pool from a thread of the kernel, and never starts one."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from .. import __version__, places
from ..absence import NOT_LIVE, why_gone
from ..errors import ComputeError
from ..model import ENDED
from .mirror import Mirror
from .transport import GONE, Connection, connect

__all__ = ["Sight", "State", "Watch"]

State = Literal["no-pool", "live", "empty", "stale", "stopping", "error"]

_BUSY_S = 1.0
_IDLE_S = 5.0
"""How often an idle pool is looked at; one without a service is a file that is not there."""

_CURIOUS_S = 10.0
_PATIENCE_S = 2.0
_LATE_S = 2.0
_STOPPING_S = 15.0
"""A pool that goes on answering after this does not stop."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of the pool, and how far it can be trusted.

    Parameters
    ----------
    state : {"no-pool", "live", "empty", "stale", "stopping", "error"}
    mirror : Mirror
        What the pool told last.
    now : float
        The pool's time, in UTC seconds.
    age : float
        Seconds since the pool was heard last.
    late : float
        For how many seconds nobody could look, as the kernel did something else; mostly 0.
    problem : str
        Why there is nothing newer, or what has been refused, and what to do; often empty.
    """

    state: State
    mirror: Mirror
    now: float = 0.0
    age: float = 0.0
    late: float = 0.0
    problem: str = ""


class Watch:
    """Looks every second while something happens.

    Parameters
    ----------
    show : callable
        Called after every look, in the thread that looks.
    """

    def __init__(self, show: Callable[[Sight], None]) -> None:
        self._show = show
        self._mirror = Mirror()
        self._connection: Connection | None = None
        self._orders: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._woken = threading.Event()
        self._end = threading.Event()
        self._end.set()
        self._thread: threading.Thread | None = None
        self._heard: float | None = None
        self._ahead = 0.0
        self._why = ""
        self._refusal = ""
        self._stopping = float("-inf")
        self._curious = 0.0

    @property
    def running(self) -> bool:
        """Whether it looks."""
        return not self._end.is_set()

    def start(self) -> None:
        """Begin to look, in a thread that ends with the kernel."""
        if not self.running:
            self._end = threading.Event()
            run, former = contextvars.copy_context().run, self._thread
            self._thread = threading.Thread(
                target=run,
                args=(self._follow, self._end, former),
                name="jupyter-compute-watch",
                daemon=True,
            )
            self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._end.set()
        self._woken.set()

    def wake(self, *_: Any) -> None:
        """Look now, and often for a while: something may have happened."""
        self._curious = time.monotonic() + _CURIOUS_S
        self._woken.set()

    def order(self, path: str, body: dict[str, Any]) -> None:
        """Have the service do something; a refusal is shown like everything else."""
        if path == "/v1/stop":
            self._stopping = time.monotonic()
        self._orders.put((path, body))
        self.wake()

    def _follow(self, end: threading.Event, former: threading.Thread | None) -> None:
        if former is not None:
            former.join()  # it has the connection
        try:
            self._run(end)
        finally:
            end.set()
            self._hang_up()

    def _run(self, end: threading.Event) -> None:
        last = time.monotonic()
        pause = 0.0
        late, late_until = 0.0, 0.0
        while not end.is_set():
            began = time.monotonic()
            if began - last > pause + _LATE_S:
                late, late_until = began - last - pause, began + _CURIOUS_S
            self._woken.clear()
            self._look()
            self._show(self._sight(late if began < late_until else 0.0))
            pause = self._pause()
            last = time.monotonic()
            self._woken.wait(pause)

    def _pause(self) -> float:
        active = any(run["state"] not in ENDED for run in self._mirror.runs.values())
        idle = not (self._why or active or time.monotonic() < self._curious)
        return _IDLE_S if idle else _BUSY_S

    def _look(self) -> None:
        try:
            self._carry_out()
            since = self._mirror.cursor
            answer = self._reach().call("GET", f"/v1/state?since={since}", timeout_s=_PATIENCE_S)
        except GONE:
            self._hang_up()
            self._miss(why_gone(places.socket()))
        except ComputeError as error:
            self._hang_up()
            self._miss("other-version" if error.facts.get("version") else "silent")
        else:
            self._mirror.apply(answer)
            self._heard, self._why = time.monotonic(), ""
            self._ahead = answer["time"] - time.time()

    def _carry_out(self) -> None:
        while not self._orders.empty():
            path, body = self._orders.get()
            self._refusal = ""
            try:
                self._reach().call("POST", path, body, timeout_s=_PATIENCE_S)
            except ComputeError as refused:
                self._refusal = str(refused)
                self._stopping = float("-inf")
                self._hang_up()
            except GONE:
                self._refusal = "what was asked last did not reach the pool"
                self._stopping = float("-inf")
                raise

    def _reach(self) -> Connection:
        if self._connection is not None and not self._connection.is_open():
            self._hang_up()  # the service may have been replaced
        if self._connection is None:
            connection = connect()
            version = connection.call("GET", "/v1/info", timeout_s=_PATIENCE_S)["version"]
            if version != __version__:
                connection.close()
                raise ComputeError("another version", version=version)
            self._connection = connection
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _miss(self, why: str) -> None:
        self._why = why
        if why == "none":
            self._mirror, self._heard, self._stopping = Mirror(), None, float("-inf")

    def _sight(self, late: float) -> Sight:
        message, hint = NOT_LIVE.get(self._why, ("", ""))
        problem = " · ".join(filter(None, [self._refusal, message, hint]))
        age = 0.0 if self._heard is None else time.monotonic() - self._heard
        now = time.time() + self._ahead
        return Sight(self._state(), self._mirror, now, age, late, problem)

    def _state(self) -> State:
        told = time.monotonic() - self._stopping < _STOPPING_S
        if self._why == "none":
            return "no-pool"
        if self._why == "stopping" or told:
            return "stopping"
        if self._why == "other-version" or (self._why and self._heard is None):
            return "error"
        if self._why:
            return "stale"
        return "live" if self._mirror.runs else "empty"
