"""Between runs and Dask: one Dask task is one attempt, its key the attempt's id.

Dask places attempts and says when their machine is gone. It never reruns one: that is
decided by `policy.retry`. All calls and all callbacks are on the scheduler's event loop.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dask.config
from distributed import Client, Future
from distributed.diagnostics.plugin import SchedulerPlugin

from jupyter_compute import hosts, task
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.policy.where import Needs, Waiting, Where
from jupyter_compute.pool.authority import Authority
from jupyter_compute.pool.executor import Listener
from jupyter_compute.pool.scheduler import FitScheduler

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

EVENTS = "jupyter-compute-events"
SAMPLES = "jupyter-compute-samples"
NOTICE = "jupyter-compute-notice"
LEASE = "jupyter-compute-lease"
CONTROL = "jupyter-compute-control"
STORE = "jupyter-compute-store"

Reply = Callable[[Mapping[str, Any]], None]
Asked = Callable[[str, Mapping[str, Any], Reply], None]

# Dask awaits what a coroutine function returns; its types do not know.
_run_attempt: Callable[[str], Any] = task.run_attempt

_CONFIG = {
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-ttl": f"{TIMERS.lost_machine_s:g}s",
    "distributed.scheduler.no-workers-timeout": None,
    "distributed.scheduler.idle-timeout": None,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.admin.low-level-log-length": 100,
    "distributed.scheduler.http.routes": [],
    # What nobody looks at here, and costs a percent of a core each.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.system-monitor.gil.enabled": False,
}


class Engine(SchedulerPlugin):
    """The Dask scheduler of this pool, and its only client.

    Parameters
    ----------
    listener : Listener
    permits : callable
        Tells whether a run that may be placed so may be placed on this machine.
    asked : callable
        Called with a machine, what it asks about blobs, and what takes the answer.
    """

    name = "jupyter-compute"

    def __init__(
        self, listener: Listener, permits: Callable[[Where, str], bool], asked: Asked
    ) -> None:
        dask.config.set(_CONFIG)
        self._listener = listener
        self._asked = asked
        self._futures: dict[str, Future[None]] = {}
        self._on: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._where: dict[str, Where] = {}
        self._named: dict[str, Where] = {}
        self.authority = Authority()
        self.scheduler = FitScheduler(
            host=_host(),
            port=0,
            protocol="tls",
            security=self.authority.credentials("scheduler").security(),
            dashboard=False,
            dashboard_address="127.0.0.1:0",
            where=lambda attempt: str(self._where.get(attempt, "")),
            permits=lambda where, machine: permits(self._named[where], machine),
        )
        self.scheduler.http_server.stop()  # Dask has no way to not start it
        self.scheduler.stream_handlers[EVENTS] = self._events
        self.scheduler.stream_handlers[SAMPLES] = self._samples
        self.scheduler.stream_handlers[NOTICE] = self._notice
        self.scheduler.stream_handlers[STORE] = self._questions
        self.scheduler.add_plugin(self)
        self._client: Client | None = None

    async def open(self) -> None:
        """Start the scheduler."""
        await self.scheduler
        # In this process there is no need for a socket between client and scheduler.
        await self.scheduler.listen("inproc://", allow_offload=False)  # type: ignore[no-untyped-call]
        inner = next(a for a in self.scheduler.listeners if a.contact_address[:6] == "inproc")
        self._client = await Client(inner.contact_address, asynchronous=True)

    def invite(self, machine: str) -> str:
        """Return the line that lets a machine at a pipe join the scheduler."""
        return self.authority.invitation(machine, self.scheduler.address)

    async def end(self) -> None:
        """End the scheduler; machines lose their connection."""
        self._futures.clear()
        if self._client is not None:
            await self._client.close(timeout=1)
        await self.scheduler.close()

    def submit(self, attempt: str, spec: str, needs: Needs) -> None:
        """Queue the attempt until a machine has this much free."""
        assert self._client is not None
        self._where[attempt] = self._named.setdefault(str(needs.where), needs.where)
        self._futures[attempt] = self._client.submit(
            _run_attempt,
            spec,
            key=attempt,
            resources=needs.resources(),
            pure=False,
            retries=0,
            allow_other_workers=False,
        )

    def withdraw(self, attempt: str) -> None:
        """Forget the attempt; one that waits will not start."""
        future = self._futures.pop(attempt, None)
        if future is not None:
            future.release()

    def control(self, attempt: str, action: str, message: Mapping[str, Any] | None = None) -> None:
        """Pass an action to the machine that has the attempt, if one has."""
        self._tell(self._on.get(attempt), attempt, action, message)

    def _tell(self, address: str | None, attempt: str, action: str, message: object = None) -> None:
        order = {"op": CONTROL, "attempt": attempt, "action": action, "message": message}
        self._send(address, order)

    def _send(self, address: str | None, message: Mapping[str, Any]) -> None:
        comm = None if address is None else self.scheduler.stream_comms.get(address)
        if comm is not None and not comm.closed():
            comm.send(message)

    def drain(self, machine: str) -> None:
        """Give no new attempt to the machine."""
        for address, name in self._names.items():
            if name == machine:
                self.scheduler.drain(address)

    def dismiss(self, machine: str) -> None:
        """Let the machine go, which then ends by itself; whatever runs there is lost."""
        for address, name in self._names.items():
            if name == machine:
                remove, stimulus = self.scheduler.remove_worker, "jupyter-compute-dismiss"
                self.scheduler.loop.add_callback(remove, address, stimulus_id=stimulus, close=True)

    def why_waiting(self, attempt: str) -> str:
        """Return what the attempt waits for; empty if it does not wait."""
        return self.scheduler.waiting_reason(attempt)

    def demand(self) -> list[Waiting]:
        """Return what waits for a machine."""
        ages = self.scheduler.waiting_ages()
        found = []
        for kind, count in self.scheduler.pending_demand().items():
            name, shape = kind
            amounts = dict(shape)
            where = self._named.get(name)
            if where is not None:
                sizes = amounts["cpu"], math.ceil(amounts["memory"]), int(amounts.get("gpu", 0))
                found.append(Waiting(Needs(where, *sizes), count, ages.get(kind, 0.0)))
        return found

    def free(self, machine: str) -> tuple[float, int, int] | None:
        """Return CPUs, bytes and GPUs that are free on a machine; None if it has not joined."""
        worker = self.scheduler.workers.get(self.scheduler.aliases.get(machine, ""))
        if worker is None:
            return None
        cpu, memory, gpu = (
            worker.resources.get(name, 0) - worker.used_resources.get(name, 0)
            for name in ("cpu", "memory", "gpu")
        )
        return cpu, int(memory), int(gpu)

    def serve_line(self) -> None:
        """Give what waits to machines that have become known after they had joined."""
        serve, stimulus = self.scheduler.stimulus_queue_slots_maybe_opened, "jupyter-compute-known"
        self.scheduler.loop.add_callback(serve, stimulus_id=stimulus)

    def renew_leases(self, valid_s: float) -> None:
        """Let every machine serve this pool for so much longer."""
        for comm in self.scheduler.stream_comms.values():
            if not comm.closed():
                comm.send({"op": LEASE, "valid_s": valid_s})

    def moving(self, attempt: str) -> str:
        """Return nothing: values move elsewhere."""
        return ""

    # called by Dask ---------------------------------------------------------------

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        """Follow the task of an attempt through Dask's states."""
        if finish == "forgotten":
            self._where.pop(key, None)
        if key not in self._futures and key not in self._on:
            if finish == "processing" and (worker := self.scheduler.tasks[key].processing_on):
                # It was withdrawn while Dask gave it away. What runs, Dask does not end.
                self._tell(worker.address, key, "kill")
            return
        if finish == "processing":
            worker = self.scheduler.tasks[key].processing_on
            assert worker is not None
            self._on[key] = worker.address
            self._listener.placed(key, str(worker.name))
        elif start == "processing":
            lost = self._on.pop(key, "") not in self.scheduler.workers
            message = "" if lost or finish != "erred" else _reason(self.scheduler.tasks[key])
            # Not from here: whoever hears of it submits again, in the middle of a transition.
            self.scheduler.loop.add_callback(self._over, key, lost, message)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Learn that a machine has registered."""
        self._names[worker] = str(self.scheduler.workers[worker].name)
        self._listener.joined(self._names[worker])

    def remove_worker(
        self, scheduler: Any, worker: str, *, stimulus_id: str, **kwargs: Any
    ) -> None:
        """Learn that a machine is gone; its attempts have gone through `transition` before."""
        name = self._names.pop(worker, None)
        if name is not None:
            self._listener.left(name)

    def _over(self, attempt: str, lost: bool, message: str) -> None:
        self.withdraw(attempt)
        self._listener.vanished(attempt, lost, message)

    # An exception in one of these would make Dask drop the machine's connection.

    async def _events(self, worker: str, attempt: str, events: Sequence[Mapping[str, Any]]) -> None:
        try:
            self._listener.happened(attempt, events)
        except Exception:
            logger.exception("events of attempt %s", attempt)

    async def _notice(self, worker: str, at: float) -> None:
        name = self._names.get(worker)
        try:
            if name is not None:
                self._listener.noticed(name, at)
        except Exception:
            logger.exception("the notice of machine %s", name)

    async def _questions(
        self, worker: str, attempt: str, number: int, verb: str, about: Mapping[str, Any]
    ) -> None:
        def reply(found: Mapping[str, Any]) -> None:
            self._send(worker, {"op": STORE, "number": number, "found": dict(found)})

        question = {"attempt": attempt, "verb": verb, "about": about}
        try:
            self._asked(self._names.get(worker, ""), question, reply)
        except Exception:
            logger.exception("a question of attempt %s", attempt)

    async def _samples(self, worker: str, sample: Mapping[str, Any]) -> None:
        name = self._names.get(worker)
        try:
            if name is not None:
                self._listener.sampled(name, sample)
        except Exception:
            logger.exception("samples of machine %s", name)


def _host() -> str:
    """Return where to listen; what is wrong with the configured address, layers elsewhere say."""
    host = hosts.scheduler_host()
    return host if hosts.is_ours(host) else hosts.LOOPBACK


def _reason(state: Any) -> str:
    return str(state.exception_text or "")[:2000]
