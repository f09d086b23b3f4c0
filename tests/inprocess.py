"""A scheduler with real workers, all in this process, so that every step can be awaited."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from functools import partial

from distributed import Client, Worker, get_worker
from distributed.diagnostics.plugin import SchedulerPlugin

from jupyter_compute.pool.scheduler import FitScheduler

GB = 10**9
GATES: dict[str, asyncio.Event] = {}
STARTED: list[tuple[str, str]] = []


async def hold(name):
    STARTED.append((name, get_worker().name))
    await GATES[name].wait()


class Changes(SchedulerPlugin):
    """Wakes up who waits for a change."""

    def __init__(self):
        self.event = asyncio.Event()

    def transition(self, *args, **kwargs):
        self.event.set()

    def log_event(self, topic, msg):
        self.event.set()


class Pool:
    """A scheduler, its workers and a client; runs end when they are told to."""

    def __init__(self, scheduler=None):
        self.now = 0.0
        self.new_scheduler = scheduler or partial(FitScheduler, monotonic=lambda: self.now)
        self.workers = {}
        self.futures = {}

    async def __aenter__(self):
        GATES.clear()
        STARTED.clear()
        self.exits = contextlib.AsyncExitStack()
        self.scheduler = await self.exits.enter_async_context(
            self.new_scheduler(
                host="127.0.0.1",
                dashboard=False,
                dashboard_address="127.0.0.1:0",
                validate=True,
            )
        )
        self.changes = Changes()
        self.scheduler.add_plugin(self.changes)
        await self.scheduler.listen("inproc://", allow_offload=False)
        inner = next(a for a in self.scheduler.listeners if a.contact_address[:6] == "inproc")
        self.client = await self.exits.enter_async_context(
            Client(inner.contact_address, asynchronous=True)
        )
        return self

    async def __aexit__(self, *error):
        for gate in GATES.values():
            gate.set()
        await self.exits.aclose()

    async def machine(self, name, cpu, memory=16 * GB, **more):
        resources = {"cpu": cpu, "memory": memory, **more}
        worker = Worker(
            self.scheduler.address,
            name=name,
            nthreads=40,
            resources=resources,
            dashboard_address="127.0.0.1:0",
        )
        self.workers[name] = await self.exits.enter_async_context(worker)
        running = self.scheduler.running
        await self.until(lambda: any(state.name == name for state in running))
        return worker.address

    def run(self, name, cpu, memory=GB, **options):
        GATES[name] = asyncio.Event()
        self.futures[name] = self.client.submit(
            hold, name, key=name, pure=False, resources={"cpu": cpu, "memory": memory}, **options
        )

    async def runs(self, *names_and_cpus):
        """Submit, each once the one before has arrived at the scheduler."""
        for name, cpu in names_and_cpus:
            self.run(name, cpu)
            await self.until(lambda name=name: self.state(name) in {"processing", "no-worker"})

    async def end(self, *names):
        for name in names:
            GATES[name].set()
        await self.until(lambda: all(self.state(name) == "memory" for name in names))

    def state(self, name):
        task = self.scheduler.tasks.get(name)
        return task and task.state

    def where(self, name):
        worker = self.scheduler.tasks[name].processing_on
        return worker and worker.name

    def waiting(self):
        return [name for name in GATES if self.state(name) == "no-worker"]

    async def until(self, condition):
        async with asyncio.timeout(10):
            while not condition():
                self.changes.event.clear()
                await self.changes.event.wait()


def pool_test(test, scheduler=None):
    """Run the coroutine with a pool of its own as its first argument."""
    signature = inspect.signature(test)

    def run(**parameters):
        async def main():
            async with Pool(scheduler) as pool:
                await test(pool, **parameters)

        asyncio.run(main())

    run.__name__ = test.__name__
    run.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])
    return run
