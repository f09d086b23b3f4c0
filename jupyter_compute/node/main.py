"""The program of a machine: a Dask worker that runs every attempt in a child.

``python -m jupyter_compute.node --name NAME --cpu N --memory BYTES --blobs DIR…`` reads
an invitation to a scheduler from its standard input and serves until that ends: whoever
started a node holds the other end, and a node whose owner is gone ends by itself, with
all its children.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import task
from ..policy.lifecycle import TIMERS
from .guest import own_variables
from .runner import Runner
from .transfer import Transfer

__all__ = ["main"]

EVENTS = "jupyter-compute-events"
SAMPLES = "jupyter-compute-samples"
CONTROL = "jupyter-compute-control"
STORE = "jupyter-compute-store"

_CONFIG = {
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.http.routes": [],
    # What nobody looks at here, and costs a percent of a core each.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.system-monitor.gil.enabled": False,
}


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="jupyter_compute.node", allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--cpu", type=float, required=True)
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--blobs", required=True, help="directories, separated by colons")
    parser.add_argument("--apart", action="store_true", help="they are not the pool's")
    options = parser.parse_args()
    asyncio.run(_serve(options))


class _Lease(asyncio.Protocol):
    """Standard input: a line with an invitation, then nothing until it ends."""

    def __init__(self) -> None:
        self.invitation: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self._line = b""

    def data_received(self, data: bytes) -> None:
        self._line += data
        if b"\n" in self._line and not self.invitation.done():
            self.invitation.set_result(self._line.decode().partition("\n")[0])

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


async def _serve(options: argparse.Namespace) -> None:
    lease = _Lease()
    node = _Node(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lease.ended.set)
    await loop.connect_read_pipe(lambda: lease, sys.stdin)
    _import_dask()
    ended = asyncio.ensure_future(lease.ended.wait())
    try:
        waiting: list[asyncio.Future[Any]] = [lease.invitation, ended]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if lease.invitation.done():
            # The owner may go while the scheduler is still being looked for.
            serving = asyncio.ensure_future(node.serve(json.loads(lease.invitation.result())))
            await asyncio.wait([ended, serving], return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            serving.cancel()
    finally:
        await node.close()


def _import_dask() -> None:
    """Take the half second that this takes now, while the pool, too, is still starting."""
    gc.disable()  # importing makes no garbage
    import distributed  # noqa: F401 - early, for `join`

    gc.freeze()
    gc.enable()


class _Node:
    """The worker and the runner of this machine."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.worker: Any = None
        directories = options.blobs.split(":")
        self._transfer = Transfer(directories, self._ask) if options.apart else None
        self.runner = Runner(directories, self._send, self._transfer)
        # Its imports overlap with those of Dask.
        package = str(Path(__file__).parents[2])
        variables = own_variables(os.environ) if options.apart else dict(os.environ)
        self.runner.warm(sys.executable, variables, package)
        self._sampling: asyncio.Task[None] | None = None

    async def join(self, invitation: dict[str, str]) -> None:
        """Become a worker of the scheduler that has invited this machine."""
        import dask
        from distributed import Worker
        from distributed.security import Security

        dask.config.set(_CONFIG)
        options = self._options
        task.runner = self.runner
        certificate, key = invitation["certificate"], invitation["key"]
        self.worker = Worker(
            invitation["scheduler"],
            name=options.name,
            nthreads=max(1, math.ceil(options.cpu * 10)),
            resources={"cpu": options.cpu, "memory": options.memory},
            memory_limit=0,
            host="127.0.0.1",
            protocol="tls",
            security=Security(
                require_encryption=True,
                tls_ca_file=invitation["authority"],
                tls_worker_cert=certificate,
                tls_worker_key=key,
            ),
            dashboard=False,
            dashboard_address="127.0.0.1:0",
            validate=False,
        )
        self.worker.stream_handlers[CONTROL] = self._control
        self.worker.stream_handlers[STORE] = self._told
        await self.worker
        self.worker.http_server.stop()  # Dask has no way to not start it
        self._sampling = asyncio.ensure_future(self._sample())

    async def serve(self, invitation: dict[str, str]) -> None:
        """Join the scheduler, and return once it does not want this machine any more."""
        await self.join(invitation)
        await self.worker.finished()

    async def close(self) -> None:
        """Leave nothing behind."""
        if self._sampling is not None:
            self._sampling.cancel()
        self.runner.close()
        if self._sampling is not None:
            await self.worker.close(nanny=False, reason="the node ends", timeout=2)

    def _send(self, attempt: str, events: list[dict[str, Any]]) -> None:
        self._stream({"op": EVENTS, "attempt": attempt, "events": events})

    def _ask(self, question: Mapping[str, Any]) -> None:
        self._stream({"op": STORE, **question})

    def _told(self, number: int, found: dict[str, Any], **_: Any) -> None:
        if self._transfer is not None:
            self._transfer.answer(number, found)

    def _control(
        self, attempt: str, action: str, message: dict[str, Any] | None = None, **_: Any
    ) -> None:
        if message is None:
            self.runner.stop(attempt, action)
        else:
            self.runner.tell(attempt, message)

    def _stream(self, message: dict[str, Any]) -> None:
        """Speak to the pool; when it is gone, standard input says so."""
        if not self.worker.batched_stream.closed():
            self.worker.batched_stream.send(message)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(TIMERS.sample_s)
            uses = self.runner.uses()
            sample = {
                "cpu_used": sum(use["cpu_used"] for use in uses.values()),
                "memory_used": sum(use["memory_used"] for use in uses.values()),
                "attempts": uses,
            }
            self._stream({"op": SAMPLES, "sample": sample})
