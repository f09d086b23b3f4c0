"""The way to the pool service. No other module knows how it is reached.

Each thread has a connection of its own, kept open between calls, and a forked process
opens new ones. The service is started when it does not run; if it dies while a run
is followed, it is started again and the following resumes where it stopped.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from .. import __version__
from ..errors import ComputeError, PoolError
from ..model import RunSpec
from .launch import DEADLINE_S, start_service
from .transport import CALL_TIMEOUT_S, GONE, Connection, Wire, connect

__all__ = ["Client", "Event"]

Event = dict[str, Any]
"""One thing that happened to a run, as the JSON object that the service sent."""

_SANDBOX_S = 60.0
"""The service makes in the sandbox what `setup aws` makes in an account."""

_TRIES = 3


class _Idle(threading.local):
    """The idle connection of this thread, and the process that opened it."""

    connection: Connection | None = None
    pid: int = 0


class Client:
    """Calls to the pool service of this user. Any thread may use it.

    Parameters
    ----------
    start : bool
        Start the service when it does not run. If False, calls then raise `PoolError`.
    refused : callable, optional
        Called with a run that was submitted and not taken on.

    Notes
    -----
    Every method raises the error that the service answered with, and `PoolError` if the
    service cannot be reached or started, or has another version and active runs.
    """

    def __init__(
        self, *, start: bool = True, refused: Callable[[RunSpec], None] = lambda _: None
    ) -> None:
        self._start = start
        self._refused = refused
        self._idle = _Idle()
        self._reached = False

    def warm_up(self) -> None:
        """Begin to start the service, if it may not run yet, and return at once."""
        if self._start and not self._reached:
            threading.Thread(target=self._warm_up, daemon=True).start()

    def submit(self, spec: RunSpec) -> Iterator[Event]:
        """Submit a run and follow it: `accepted` with its id first, `end` last."""
        accepted = False
        try:
            for event in self._follow("POST", "/v1/runs", spec.to_wire(), "", 0):
                accepted = True
                yield event
        finally:
            if not accepted:
                self._refused(spec)

    def submit_only(self, spec: RunSpec) -> str:
        """Submit a run and return its id at once."""
        events = self.submit(spec)
        return str(next(events)["id"])

    def follow(
        self, run_id: str, since: int = 0, *, deadline: float | None = None
    ) -> Iterator[Event]:
        """Replay the run's events after number `since`, then yield new ones until `end`.

        Raises `TimeoutError` at the deadline, which is a moment of the monotonic clock.
        """
        return self._follow("GET", _events(run_id, since), None, run_id, since, deadline)

    def events(self, run_id: str) -> Iterator[Event]:
        """Yield the events that the run has had so far."""
        connection = self._take()
        yield from connection.stream("GET", f"{_events(run_id, 0)}&follow=0")
        self._keep(connection)

    def cancel(self, run_id: str, action: str = "interrupt") -> Wire:
        """Ask for the run's end, politely (``"interrupt"``) or at once (``"kill"``)."""
        return self._call("POST", f"/v1/runs/{run_id}/cancel", {"action": action})

    def exchange(self, run_id: str, order: Wire) -> Wire:
        """Send chunks of a map, and return what has become of earlier ones."""
        return self._call("POST", f"/v1/runs/{run_id}/chunks", order)

    def conclude(self, run_id: str, envelope: Wire) -> None:
        """End a map, as everything is done or an item has failed for good."""
        self._call("POST", f"/v1/runs/{run_id}/conclude", envelope)

    def collected(self, run_id: str) -> None:
        """Tell the service that the results are bound here, so that it may drop them."""
        self._call("POST", f"/v1/runs/{run_id}/collected", {})

    def runs(self, limit: int = 50) -> list[Wire]:
        """Return the recent runs of this user, newest first."""
        return list(self._call("GET", f"/v1/runs?limit={limit}")["runs"])

    def run(self, run_id: str) -> Wire:
        """Return one run."""
        return self._call("GET", f"/v1/runs/{run_id}")

    def kept_values(self) -> list[Wire]:
        """Return the kept values of this user, newest first."""
        return list(self._call("GET", "/v1/kept")["kept"])

    def kept_value(self, kept_id: str) -> Wire:
        """Return one kept value, which counts as used now; `TransferError` if it is gone."""
        return self._call("GET", f"/v1/kept/{quote(str(kept_id), safe='')}")

    def bring_kept(self, kept_id: str) -> Wire:
        """Return one kept value once it is stored on this host, however long that takes.

        Raises
        ------
        TransferError
            If it is gone, or does not come.
        """
        path = f"/v1/kept/{quote(str(kept_id), safe='')}/bring"
        return self._call("POST", path, {}, timeout_s=None)

    def drop_kept(self, kept_ids: list[str] | None) -> Wire:
        """Drop these kept values, or all; say which are still in use, and by which run."""
        return self._call("POST", "/v1/kept/drop", {"ids": kept_ids})

    def hold_kept(self, holder: str, changes: dict[str, str]) -> None:
        """Tell which kept values this kernel begins (``hold``) or ceases to hold."""
        self._call("POST", "/v1/kept/holds", {"holder": holder, "changes": changes})

    def cached(self) -> Wire:
        """Return the results that are recorded for ``--cache``, and what they take."""
        return self._call("GET", "/v1/cache")

    def clear_cache(self) -> Wire:
        """Forget all recorded results; say how many there were."""
        return self._call("POST", "/v1/cache/clear", {})

    def status(self) -> Wire:
        """Return the machines and the active runs."""
        return self._call("GET", "/v1/status")

    def layers(self) -> list[Wire]:
        """Return every layer with its offers."""
        return list(self._call("GET", "/v1/layers")["layers"])

    def costs(self, since: float, by: str) -> Wire:
        """Return what was spent since the day of that moment, by notebook, layer or day."""
        return self._call("GET", f"/v1/cost?since={since:.0f}&by={by}")

    def budgets(self, notebook: str) -> Wire:
        """Return each budget, with what is spent of it, also by this notebook."""
        return self._call("GET", f"/v1/budget?notebook={quote(notebook, safe='')}")

    def set_budget(self, kind: str, usd: float | None) -> None:
        """Change the budget for each run, each notebook or a day; None takes it away."""
        self._call("POST", "/v1/budget", {"kind": kind, "usd": usd})

    def plan(self, ask: Wire) -> Wire:
        """Return where an ask would run, or raise `AskError` with the nearest offers."""
        return self._call("POST", "/v1/plan", ask)

    def sandbox(self, environment: Mapping[str, str] | None) -> None:
        """Have the layers of AWS be those of a sandbox, or of AWS again."""
        body = {"environment": None if environment is None else dict(environment)}
        self._call("POST", "/v1/sandbox", body, timeout_s=_SANDBOX_S)

    def rehearses(self) -> str:
        """Return the address of the sandbox in use; empty if there is none."""
        return str(self._call("GET", "/v1/sandbox")["endpoint"])

    def stop(self, *, force: bool = False) -> None:
        """End the service; with active runs only by `force`, which cancels them."""
        connection = self._take()
        connection.call("POST", "/v1/stop", {"force": force})
        connection.close()

    def info(self) -> Wire:
        """Return version, process id and start time of the service."""
        return self._call("GET", "/v1/info")

    def answers(self, timeout_s: float = CALL_TIMEOUT_S) -> bool:
        """Tell whether a service answers right now; never starts one."""
        try:
            connection = connect()
            connection.call("GET", "/v1/info", timeout_s=timeout_s)
        except (*GONE, PoolError):
            return False
        connection.close()
        return True

    def _warm_up(self) -> None:
        try:
            self.info()
        except ComputeError:
            # Whoever needs the service will meet, and report, the same.
            return

    def _take(self) -> Connection:
        """Return this thread's idle connection, or a new one to a service of our version."""
        kept, self._idle.connection = self._idle.connection, None
        if kept is not None and self._idle.pid == os.getpid() and kept.is_open():
            return kept
        for _ in range(_TRIES):
            try:
                connection = connect()
                # It listens before it can answer, while it starts.
                info = connection.call("GET", "/v1/info", timeout_s=DEADLINE_S)
            except GONE:
                if not self._start:
                    raise PoolError("the pool service does not run") from None
                start_service(self.answers)
                continue
            if info["version"] == __version__:
                self._reached = True
                return connection
            connection.close()
            _retire(info)
        raise PoolError("the pool service ends as soon as it is started", hint=_DOCTOR)

    def _keep(self, connection: Connection) -> None:
        self._idle.connection, self._idle.pid = connection, os.getpid()

    def _call(
        self, method: str, path: str, body: Any = None, timeout_s: float | None = CALL_TIMEOUT_S
    ) -> Wire:
        """Make a call that does no harm when it is made twice."""
        for _ in range(_TRIES):
            connection = self._take()
            try:
                answer = connection.call(method, path, body, timeout_s)
            except GONE:
                continue
            self._keep(connection)
            return answer
        raise PoolError("the pool service goes away whenever it is called", hint=_DOCTOR)

    def _follow(
        self,
        method: str,
        path: str,
        body: Any,
        run_id: str,
        since: int,
        deadline: float | None = None,
    ) -> Iterator[Event]:
        began = time.time()
        for _ in range(_TRIES):
            connection, ended = self._take(), False
            try:
                for event in connection.stream(method, path, body, deadline):
                    run_id = event["id"] if event["kind"] == "accepted" else run_id
                    since = event.get("seq", since)
                    ended = event["kind"] == "end"
                    yield event
                if ended:
                    self._keep(connection)
            except GONE:
                pass
            finally:
                if self._idle.connection is not connection:
                    connection.close()
            if ended:
                return
            if not run_id and (run_id := self._taken_on(body, began)):
                yield {"kind": "accepted", "id": run_id}
            if run_id:
                method, path, body = "GET", _events(run_id, since), None
                yield {"kind": "note", "text": "the pool service was gone, and is started again"}
        raise PoolError("the pool service goes away again and again", hint=_DOCTOR)

    def _taken_on(self, spec: Wire, began: float) -> str:
        """Return the id of a run that was journalled, though its id never arrived here."""
        for run in self.runs():
            same = run["payload"] == spec["payload"] and run["cell"] == spec["cell"]
            if same and run["created"] >= began - 1:
                return str(run["id"])
        return ""


_DOCTOR = "`jupyter compute doctor` checks it; `%compute runs` shows what it has taken on"


def _events(run_id: str, since: int) -> str:
    return f"/v1/runs/{run_id}/events?since={since}"


def _retire(info: Wire) -> None:
    """End a service of another version, if it has nothing to do."""
    old = info["version"]
    active = connect().call("GET", "/v1/status")["runs"]
    if active:
        raise PoolError(
            f"restart needed: the pool service has version {old} and {len(active)} active run(s), "
            f"this is version {__version__}",
            hint="wait for them, or end them with `jupyter compute stop --all`",
            version=old,
        )
    connect().call("POST", "/v1/stop", {"force": False})
    end = time.monotonic() + CALL_TIMEOUT_S
    while time.monotonic() < end:
        try:
            connect().close()
        except GONE:
            return
        time.sleep(0.02)
    raise PoolError(f"the pool service of version {old} does not end", version=old)
