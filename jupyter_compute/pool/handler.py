"""What every address of the service's HTTP API is made of.

A refusal is the JSON form of a `ComputeError` with a status of 4xx.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from tornado.web import HTTPError, RequestHandler

import jupyter_compute
from jupyter_compute.ask import Ask
from jupyter_compute.errors import AskError, ComputeError, PoolError
from jupyter_compute.model import RunSpec
from jupyter_compute.pool.bodies import RUN_ID, read_body
from jupyter_compute.pool.budgets import Budgets
from jupyter_compute.pool.machines import Machines, UnknownMachine
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.rehearsal import Rehearsal
from jupyter_compute.pool.runs import Runs, UnknownRun
from jupyter_compute.pool.state import State
from jupyter_compute.pool.stored import Stored
from jupyter_compute.pool.transfer import Transfers

__all__ = ["MAX_BODY", "Handler", "Pool"]

logger = logging.getLogger(__name__)

MAX_BODY = 8 * 2**20


class Pool(Protocol):
    """What the API offers to clients."""

    runs: Runs
    machines: Machines
    state: State
    stored: Stored
    budgets: Budgets
    transfers: Transfers

    rehearsal: Rehearsal

    async def submit(self, spec: RunSpec) -> Run:
        """Take on a run; `AskError` if it is known already that it cannot be satisfied."""

    async def plan(self, ask: Ask, code: str = "") -> Mapping[str, Any]:
        """Return where an ask would run; `AskError` if it cannot be satisfied."""

    def info(self) -> Mapping[str, Any]:
        """Return version, process id and start of the service."""

    def status(self) -> Mapping[str, Any]:
        """Return machines and active runs."""

    async def layers(self) -> Mapping[str, Any]:
        """Return every layer with its offers."""

    def costs(self, since: float, by: str) -> Mapping[str, Any]:
        """Return the sums of the receipts since the beginning of a day."""

    def stop(self, force: bool) -> None:
        """End the service; `PoolError` if runs are active and it is not forced."""

    def called(self, more: int) -> None:
        """Count a request that has come (1), or is over (-1)."""


class Handler(RequestHandler):
    """Reads requests, answers refusals, and counts who is there."""

    keeps_alive = True
    """Whether the pool is in use while somebody asks this."""

    def initialize(self, pool: Pool) -> None:
        """Keep the pool that it serves."""
        self.pool = pool
        self._counted = False

    def set_default_headers(self) -> None:
        """Say which version answers, and with what."""
        self.set_header("X-Jupyter-Compute", jupyter_compute.__version__)
        self.set_header("Content-Type", "application/json")
        self.clear_header("Server")

    def prepare(self) -> None:
        """Count the request; refuse a body that is too large."""
        if self.keeps_alive:
            self.pool.called(1)
            self._counted = True
        if len(self.request.body) > MAX_BODY:
            raise HTTPError(413, reason=f"the body is larger than {MAX_BODY} bytes")

    def on_finish(self) -> None:
        """Note that the request is over."""
        self._uncount()

    def on_connection_close(self) -> None:
        """Note that who asked is gone."""
        self._uncount()

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self.pool.called(-1)

    def body(self) -> dict[str, Any]:
        """Return the JSON object that was sent, empty if there was no body."""
        return read_body(self.request.body)

    def number(self, name: str, default: int) -> int:
        """Return a whole number from the query; `ComputeError` if it is none."""
        text = self.get_query_argument(name, str(default))
        if not (text.isascii() and text.isdigit() and len(text) <= 15):
            raise ComputeError(f"{name} must be a whole number, not {text[:40]!r}")
        return int(text)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what is our fault, not what is refused."""
        if not isinstance(value, HTTPError | ComputeError | UnknownRun | UnknownMachine):
            logger.error("%s failed", self.request.path, exc_info=(typ, value, tb))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with the JSON form of a `ComputeError`."""
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

    def run_id(self, text: str) -> str:
        """Return what may be the id of a run; `ComputeError` if it cannot be."""
        if not RUN_ID.fullmatch(text):
            raise ComputeError(f"{text[:80]!r} is not the id of a run")
        return text
