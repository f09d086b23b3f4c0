"""A machine as a member of its pool: a Dask worker whose attempts run in children."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import task
from ..policy.lifecycle import TIMERS
from .guest import own_variables
from .runner import Runner
from .transfer import Transfer

__all__ = ["Member", "Size", "import_dask"]

EVENTS = "jupyter-compute-events"
SAMPLES = "jupyter-compute-samples"
NOTICE = "jupyter-compute-notice"
CONTROL = "jupyter-compute-control"
LEASE = "jupyter-compute-lease"
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


@dataclass(frozen=True, slots=True)
class Size:
    """What runs can have of this machine.

    Parameters
    ----------
    cpu : float
    memory : int
        Bytes.
    gpu : int
    """

    cpu: float
    memory: int
    gpu: int = 0

    def resources(self) -> dict[str, float]:
        """Return it as Dask counts it."""
        found = {"cpu": self.cpu, "memory": float(self.memory)}
        return found | {"gpu": float(self.gpu)} if self.gpu else found


def import_dask() -> None:
    """Take the half second that this takes while the pool, too, is still starting."""
    gc.disable()  # importing makes no garbage
    import distributed  # noqa: F401 - early, for `Member.join`

    gc.freeze()
    gc.enable()


class Member:
    """The worker and the runner of this machine.

    Parameters
    ----------
    name : str
        The machine's id.
    size : Size
    directories : sequence of str
        Where blobs are.
    host : str
        The address at which this machine listens.
    apart : bool
        True if the pool has other directories.
    """

    def __init__(
        self,
        name: str,
        size: Size,
        directories: Sequence[str],
        host: str = "127.0.0.1",
        *,
        apart: bool = False,
    ) -> None:
        self._name = name
        self._size = size
        self._host = host
        self.worker: Any = None
        self.leased_until = math.inf
        self._transfer = Transfer(directories, self._ask) if apart else None
        self.runner = Runner(directories, self._send, self._transfer)
        if not self.runner.installs:
            # Its imports overlap with those of Dask.
            package = str(Path(__file__).parents[2])
            variables = own_variables(os.environ) if apart else dict(os.environ)
            self.runner.warm(sys.executable, variables, package)
        self._sampling: asyncio.Task[None] | None = None

    async def join(self, invitation: Mapping[str, str]) -> None:
        """Become a worker of the scheduler that has invited this machine."""
        import dask
        from distributed import Worker
        from distributed.security import Security

        dask.config.set(_CONFIG)
        task.runner = self.runner
        self.worker = Worker(
            invitation["scheduler"],
            name=self._name,
            nthreads=max(1, math.ceil(self._size.cpu * 10)),
            resources=self._size.resources(),
            memory_limit=0,
            host=self._host,
            protocol="tls",
            security=Security(
                require_encryption=True,
                tls_ca_file=invitation["authority"],
                tls_worker_cert=invitation["certificate"],
                tls_worker_key=invitation["key"],
            ),
            dashboard=False,
            dashboard_address="127.0.0.1:0",
            validate=False,
        )
        self.worker.stream_handlers[CONTROL] = self._control
        self.worker.stream_handlers[LEASE] = self._renew
        self.worker.stream_handlers[STORE] = self._told
        await self.worker
        self.worker.http_server.stop()  # Dask has no way to not start it
        self._sampling = asyncio.ensure_future(self._sample())

    async def serve(self, invitation: Mapping[str, str]) -> None:
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

    def give_notice(self, at: float) -> None:
        """Tell the pool that this machine will be taken away at this UTC second."""
        if self.worker is not None:
            self._stream({"op": NOTICE, "at": at})

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

    def _renew(self, valid_s: float, **_: Any) -> None:
        self.leased_until = asyncio.get_running_loop().time() + valid_s

    def _stream(self, message: dict[str, Any]) -> None:
        """Speak to the pool; that it is gone shows elsewhere."""
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
