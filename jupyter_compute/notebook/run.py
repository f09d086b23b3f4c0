"""A submitted run, seen from Python: wait for it, read its output, cancel it."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from typing import Any

from ..errors import ComputeError
from ..model import ENDED, Receipt, RunState
from . import session
from .client import Client, Event
from .follow import Ending, follow
from .frames import shown
from .output import Output, background, foreground
from .results import Results
from .status import Status
from .view import View
from .waiting import in_thread

__all__ = ["Run", "attach", "runs", "watch"]


class Run:
    """One submitted cell or call.

    Instances come from `remote(...).submit`, ``%%remote --bg``, `runs` and `attach`. They
    stay valid when the notebook's kernel restarts: `attach` returns an equal one.

    Parameters
    ----------
    run_id : str
    results : Results, optional
        How the values come back; by default as another kernel's would.
    """

    def __init__(self, run_id: str, results: Results | None = None) -> None:
        self._id = run_id
        self._client: Client = session.client()
        self._results = results
        self._ended: dict[str, Any] | None = None
        self._outcome: tuple[object, BaseException | None] | None = None

    @property
    def id(self) -> str:
        """The run's id, e.g. ``"r-k3v9q2xa"``."""
        return self._id

    @property
    def state(self) -> RunState:
        """``queued``, ``starting``, ``running``, ``done``, ``failed``, ``cancelled`` or ``lost``."""
        state: RunState = self._record()["state"]
        return state

    @property
    def name(self) -> str:
        """The label: given, or the first line of the code."""
        return str(self._record()["name"])

    @property
    def output(self) -> str:
        """The text that the run has printed so far."""
        return "".join(
            event["text"]
            for event in self._client.events(self._id)
            if event["kind"] in {"stdout", "stderr"}
        )

    @property
    def receipt(self) -> Receipt | None:
        """What the run used, once it has ended."""
        wire = self._record().get("receipt")
        return Receipt.from_wire(wire) if wire else None

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the run's end; return its value or raise what it raised.

        For a cell, the names it assigned are bound in the notebook, and the value is that
        of its last expression. Asking again gives the same object.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait. An interrupt stops the waiting, too; the run goes on.

        Raises
        ------
        TimeoutError
            If the run has not ended by then.
        ComputeError
            If it ended without an exception of its own code, or is a map, whose results go to
            whoever iterates it.
        """
        __tracebackhide__ = True
        if self._outcome is None and self._record()["map"]:
            raise ComputeError(
                f"{self._id} is a map: its results go to whoever iterates it",
                hint="its output and receipt are here; call .map(...) again for the results",
            )
        if self._outcome is None:
            deadline = None if timeout is None else time.monotonic() + timeout
            try:
                ending = self._wait(deadline)
            except KeyboardInterrupt as interrupt:
                raise shown(interrupt.with_traceback(None)) from None
            results = self._results or Results.of_run(self._record())
            try:
                self._outcome = results.receive(ending), None
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt) and not ending.envelope:
                    raise
                self._outcome = None, error
        value, raised = self._outcome
        if raised is not None:
            raise raised
        return value

    def __await__(self) -> Generator[Any, None, Any]:
        return in_thread(self.result).__await__()

    def cancel(self) -> None:
        """Ask the run to end: KeyboardInterrupt there, and after 7 s the end of its process.

        Does nothing to a run that has ended.
        """
        if self._ended is None and self._record()["state"] not in ENDED:
            self._client.cancel(self._id)

    def __repr__(self) -> str:
        return f"<Run {self._id} {_summary(self._record())}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        record = self._record()
        status = Status(self._id, record["ask"]["cpu"], record["ask"]["memory"])
        status.take(_as_event(record))
        return {"text/plain": repr(self), "text/html": status.markup()}

    def _record(self) -> dict[str, Any]:
        if self._ended is not None:
            return self._ended
        record = self._client.run(self._id)
        if record["state"] in ENDED:
            self._ended = record
        return record

    def _wait(self, deadline: float | None) -> Ending:
        record = self._record()
        if record["state"] in ENDED:
            return Ending(self._id, record)
        for event in self._client.follow(self._id, deadline=deadline):
            if event["kind"] == "end":
                return Ending(self._id, event)
        return Ending(self._id, self._record())


def runs(limit: int = 50) -> list[Run]:
    """Return the recent runs of all notebooks of this user, newest first."""
    return [Run(record["id"]) for record in session.client().runs(limit)]


def attach(run_id: str) -> Run:
    """Return a run again, from any notebook and after a kernel restart; replay its output.

    The output of a run that goes on keeps appearing under the cell that attached to it.

    Raises
    ------
    PoolError
        If there is no such run.
    """
    run = Run(run_id)
    record = session.client().run(run_id)
    if record["state"] in ENDED:
        view = View(foreground(), _status(record))
        follow(session.client(), session.client().follow(run_id), view, run_id)
        view.finish()
    else:
        watch(run_id, background(), _status(record))
    return run


def watch(run_id: str, output: Output, status: Status, *, quiet: bool = False) -> threading.Thread:
    """Show a run's events from a thread of their own, until its end; return the thread."""
    view = View(output, status, quiet=quiet)
    view.take({"kind": "state", "state": "queued"})

    def show() -> None:
        try:
            for event in session.client().follow(run_id):
                view.take(event)
        except ComputeError as error:
            view.say(str(error))
        view.finish()

    thread = threading.Thread(target=show, name=f"jupyter-compute-{run_id}", daemon=True)
    thread.start()
    return thread


def _status(record: dict[str, Any]) -> Status:
    return Status(record["id"], record["ask"]["cpu"], record["ask"]["memory"])


def _summary(record: dict[str, Any]) -> str:
    where = f" on {record['machine']}" if record.get("machine") else ""
    return f"{record['name']!r} {record['state']}{where}"


def _as_event(record: dict[str, Any]) -> Event:
    kind = "end" if record["state"] in ENDED else "state"
    return {**record, "kind": kind}
