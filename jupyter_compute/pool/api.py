"""The HTTP API on the service's socket: JSON in, JSON or lines of JSON out.

Every answer names the package's version in ``X-Jupyter-Compute``. A refusal is the JSON
form of a `ComputeError` with a status of 4xx.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Mapping
from typing import Any, Protocol

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.web import Application, HTTPError, RequestHandler

import jupyter_compute
from jupyter_compute.ask import Ask
from jupyter_compute.errors import AskError, ComputeError, PoolError
from jupyter_compute.model import RunSpec
from jupyter_compute.pool.bodies import (
    RUN_ID,
    read_body,
    read_conclusion,
    read_order,
    read_plan,
    read_spec,
)
from jupyter_compute.pool.events import Follower
from jupyter_compute.pool.machines import Machines, UnknownMachine
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.runs import Runs, UnknownRun
from jupyter_compute.pool.state import State

__all__ = ["Handler", "Pool", "Server", "make_server"]

logger = logging.getLogger(__name__)

MAX_BODY = 8 * 2**20
_MOST_RUNS = 1000


class Pool(Protocol):
    """What the API offers to clients."""

    runs: Runs
    machines: Machines
    state: State

    def submit(self, spec: RunSpec) -> Run:
        """Take on a run; `AskError` if it cannot be satisfied."""

    def plan(self, ask: Ask) -> Mapping[str, Any]:
        """Return where an ask would run; `AskError` if it cannot be satisfied."""

    def info(self) -> Mapping[str, Any]:
        """Return version, process id and start of the service."""

    def status(self) -> Mapping[str, Any]:
        """Return machines and active runs."""

    def layers(self) -> Mapping[str, Any]:
        """Return every layer with its offers."""

    def stop(self, force: bool) -> None:
        """End the service; `PoolError` if runs are active and it is not forced."""

    def called(self, more: int) -> None:
        """Count a request that has come (1), or is over (-1)."""


class Server(HTTPServer):
    """An HTTP server that lets only processes of this user in."""

    def handle_stream(self, stream: Any, address: Any) -> None:
        """Close a connection that comes from another user."""
        if _peer_uid(stream.socket) in (os.getuid(), None):
            super().handle_stream(stream, address)
        else:
            stream.close()


def make_server(pool: Pool) -> Server:
    """Return the server, which does not listen yet."""
    from jupyter_compute.pool.panel_api import ROUTES  # made of the handler below

    run = r"/v1/runs/([^/]*)"
    routes: list[Any] = [
        (r"/v1/info", _Info),
        (r"/v1/runs", _Runs),
        (run, _Run),
        (f"{run}/events", _Events),
        (f"{run}/cancel", _Cancel),
        (f"{run}/chunks", _Chunks),
        (f"{run}/conclude", _Conclude),
        (f"{run}/collected", _Collected),
        (r"/v1/status", _Status),
        (r"/v1/layers", _Layers),
        (r"/v1/plan", _Plan),
        (r"/v1/stop", _Stop),
        *ROUTES,
    ]
    application = Application(
        [(path, handler, {"pool": pool}) for path, handler in routes],
        default_handler_class=_Nowhere,
        default_handler_args={"pool": pool},
        log_function=lambda _: None,
    )
    # Bodies up to eight times the limit are read, so that they can be refused in JSON.
    return Server(application, max_body_size=8 * MAX_BODY, idle_connection_timeout=86400.0)


class _Handler(RequestHandler):
    keeps_alive = True
    """Whether the pool is in use while somebody asks this."""

    def initialize(self, pool: Pool) -> None:
        self.pool = pool
        self._counted = False

    def set_default_headers(self) -> None:
        self.set_header("X-Jupyter-Compute", jupyter_compute.__version__)
        self.set_header("Content-Type", "application/json")
        self.clear_header("Server")

    def prepare(self) -> None:
        if self.keeps_alive:
            self.pool.called(1)
            self._counted = True
        if len(self.request.body) > MAX_BODY:
            raise HTTPError(413, reason=f"the body is larger than {MAX_BODY} bytes")

    def on_finish(self) -> None:
        self._uncount()

    def on_connection_close(self) -> None:
        self._uncount()

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self.pool.called(-1)

    def body(self) -> dict[str, Any]:
        return read_body(self.request.body)

    def number(self, name: str, default: int) -> int:
        text = self.get_query_argument(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) <= 15):
            raise ComputeError(f"{name} must be a whole number, not {text[:40]!r}")
        return int(text)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, HTTPError | ComputeError | UnknownRun | UnknownMachine):
            logger.error("%s failed", self.request.path, exc_info=(typ, value, tb))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, UnknownRun):
            hint = "`%compute runs` lists them"
            status_code, error = 404, PoolError(f"there is no run {error.args[0]}", hint=hint)
        elif isinstance(error, UnknownMachine):
            status_code, error = 404, PoolError(f"there is no machine {error.args[0]}")
        elif isinstance(error, PoolError):
            status_code = error.facts.get("status", 503)
        elif isinstance(error, AskError | ComputeError):
            status_code = 400
        else:
            error = PoolError(f"{self.request.method} {self.request.path}: {self._reason}")
        self.set_status(status_code)
        self.finish(json.dumps(error.to_wire()))

    def _run_id(self, text: str) -> str:
        if not RUN_ID.fullmatch(text):
            raise ComputeError(f"{text[:80]!r} is not the id of a run")
        return text


Handler = _Handler
"""What other modules make their addresses of."""


class _Streaming(_Handler):
    _follower: Follower | None = None

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._follower is not None:
            self._follower.leave()

    async def stream(
        self, run_id: str, follower: Follower, first: bytes = b"", *, wait: bool = True
    ) -> None:
        """Send the run's events until the last, or until the client is gone."""
        self.set_header("Content-Type", "application/x-ndjson")
        self._follower = follower
        try:
            if first:
                self.write(first)
            async for batch in follower.batches(wait=wait):
                self.write(batch)
                await self.flush()
        except StreamClosedError:
            pass
        finally:
            self.pool.runs.unfollow(run_id, follower)


class _Nowhere(_Handler):
    def prepare(self) -> None:
        raise HTTPError(404, reason="there is no such address")


class _Info(_Handler):
    def get(self) -> None:
        self.finish(json.dumps(self.pool.info()))


class _Runs(_Streaming):
    def get(self) -> None:
        limit = min(self.number("limit", 50), _MOST_RUNS)
        self.finish(json.dumps({"runs": self.pool.runs.newest(limit)}))

    async def post(self) -> None:
        run = self.pool.submit(read_spec(self.body()))
        if self.get_query_argument("follow", "1") == "0":
            self.finish(json.dumps({"id": run.id}))
            return
        accepted = json.dumps({"kind": "accepted", "id": run.id}) + "\n"
        await self.stream(run.id, self.pool.runs.follow(run.id), accepted.encode())


class _Run(_Handler):
    def get(self, run_id: str) -> None:
        self.finish(json.dumps(self.pool.runs.wire(self._run_id(run_id))))


class _Events(_Streaming):
    async def get(self, run_id: str) -> None:
        run_id = self._run_id(run_id)
        follower = self.pool.runs.follow(run_id, self.number("since", 0))
        wait = self.get_query_argument("follow", "1") != "0"
        await self.stream(run_id, follower, wait=wait)


class _Cancel(_Handler):
    def post(self, run_id: str) -> None:
        action = self.body().get("action", "interrupt")
        if action not in ("interrupt", "kill"):
            raise ComputeError("action must be interrupt or kill")
        self.finish(json.dumps(self.pool.runs.cancel(self._run_id(run_id), action)))


class _Chunks(_Handler):
    async def post(self, run_id: str) -> None:
        order = read_order(self.body())
        answer = json.dumps(await self.pool.runs.exchange(self._run_id(run_id), order))
        with contextlib.suppress(StreamClosedError):
            await self.finish(answer)


class _Conclude(_Handler):
    def post(self, run_id: str) -> None:
        self.pool.runs.conclude(self._run_id(run_id), read_conclusion(self.body()))
        self.finish(json.dumps({}))


class _Collected(_Handler):
    def post(self, run_id: str) -> None:
        self.pool.runs.collected(self._run_id(run_id))
        self.finish(json.dumps({}))


class _Status(_Handler):
    def get(self) -> None:
        self.finish(json.dumps(self.pool.status()))


class _Layers(_Handler):
    def get(self) -> None:
        self.finish(json.dumps(self.pool.layers()))


class _Plan(_Handler):
    def post(self) -> None:
        self.finish(json.dumps(self.pool.plan(read_plan(self.body()))))


class _Stop(_Handler):
    def post(self) -> None:
        force = self.body().get("force", False)
        if not isinstance(force, bool):
            raise ComputeError("force must be true or false")
        self.pool.stop(force)
        self.finish(json.dumps({}))


def _peer_uid(connection: socket.socket) -> int | None:
    """Return the user of the process at the other end; None where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    size = struct.calcsize("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", credentials)[1])
