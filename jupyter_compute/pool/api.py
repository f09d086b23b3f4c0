"""The HTTP API on the service's socket: JSON in, JSON or lines of JSON out.

Every answer names the package's version in ``X-Jupyter-Compute``. A refusal is the JSON
form of a `ComputeError` with a status of 4xx.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.web import Application, HTTPError

from jupyter_compute.errors import ComputeError
from jupyter_compute.pool import panel_api, sandbox_api, stored_api
from jupyter_compute.pool.bodies import (
    read_budget,
    read_conclusion,
    read_group,
    read_order,
    read_plan,
    read_spec,
)
from jupyter_compute.pool.events import Follower
from jupyter_compute.pool.handler import MAX_BODY, Handler, Pool

__all__ = ["Server", "make_server"]

_MOST_RUNS = 1000


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
        (r"/v1/cost", _Cost),
        (r"/v1/budget", _Budget),
        (r"/v1/plan", _Plan),
        (r"/v1/stop", _Stop),
        *panel_api.ROUTES,
        *sandbox_api.ROUTES,
        *stored_api.ROUTES,
    ]
    application = Application(
        [(path, handler, {"pool": pool}) for path, handler in routes],
        default_handler_class=_Nowhere,
        default_handler_args={"pool": pool},
        log_function=lambda _: None,
    )
    # Bodies up to eight times the limit are read, so that they can be refused in JSON.
    return Server(application, max_body_size=8 * MAX_BODY, idle_connection_timeout=86400.0)


class _Streaming(Handler):
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


class _Nowhere(Handler):
    def prepare(self) -> None:
        raise HTTPError(404, reason="there is no such address")


class _Info(Handler):
    def get(self) -> None:
        self.finish(json.dumps(self.pool.info()))


class _Runs(_Streaming):
    def get(self) -> None:
        limit = min(self.number("limit", 50), _MOST_RUNS)
        self.finish(json.dumps({"runs": self.pool.runs.newest(limit)}))

    async def post(self) -> None:
        spec = read_spec(self.body())
        run = await self.pool.submit(spec)
        if self.get_query_argument("follow", "1") == "0":
            self.finish(json.dumps({"id": run.id}))
            return
        accepted = json.dumps({"kind": "accepted", "id": run.id}) + "\n"
        await self.stream(run.id, self.pool.runs.follow(run.id), accepted.encode())


class _Run(Handler):
    def get(self, run_id: str) -> None:
        self.finish(json.dumps(self.pool.runs.wire(self.run_id(run_id))))


class _Events(_Streaming):
    async def get(self, run_id: str) -> None:
        run_id = self.run_id(run_id)
        follower = self.pool.runs.follow(run_id, self.number("since", 0))
        wait = self.get_query_argument("follow", "1") != "0"
        await self.stream(run_id, follower, wait=wait)


class _Cancel(Handler):
    def post(self, run_id: str) -> None:
        action = self.body().get("action", "interrupt")
        if action not in ("interrupt", "kill"):
            raise ComputeError("action must be interrupt or kill")
        self.finish(json.dumps(self.pool.runs.cancel(self.run_id(run_id), action)))


class _Chunks(Handler):
    async def post(self, run_id: str) -> None:
        order = read_order(self.body())
        answer = json.dumps(await self.pool.runs.exchange(self.run_id(run_id), order))
        with contextlib.suppress(StreamClosedError):
            await self.finish(answer)


class _Conclude(Handler):
    def post(self, run_id: str) -> None:
        self.pool.runs.conclude(self.run_id(run_id), read_conclusion(self.body()))
        self.finish(json.dumps({}))


class _Collected(Handler):
    def post(self, run_id: str) -> None:
        self.pool.runs.collected(self.run_id(run_id))
        self.finish(json.dumps({}))


class _Status(Handler):
    def get(self) -> None:
        self.finish(json.dumps(self.pool.status()))


class _Layers(Handler):
    keeps_alive = False

    async def get(self) -> None:
        self.finish(json.dumps(await self.pool.layers()))


class _Cost(Handler):
    def get(self) -> None:
        by = read_group(self.get_query_argument("by", "day"))
        self.finish(json.dumps(self.pool.costs(self.number("since", 0), by)))


class _Budget(Handler):
    def get(self) -> None:
        notebook = self.get_query_argument("notebook", "")
        self.finish(json.dumps(self.pool.budgets.to_wire(notebook)))

    def post(self) -> None:
        self.pool.budgets.set(*read_budget(self.body()))
        self.finish(json.dumps({}))


class _Plan(Handler):
    async def post(self) -> None:
        ask, code = read_plan(self.body())
        self.finish(json.dumps(await self.pool.plan(ask, code)))


class _Stop(Handler):
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
