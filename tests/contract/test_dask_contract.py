"""What the pool relies on in Dask, most of it undocumented: a new version must pass this."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from distributed import Scheduler, get_worker
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.scheduler import DEFAULT_EXTENSIONS

import inprocess
from inprocess import GB

CPU = {"cpu": 1, "memory": GB}


class Log(SchedulerPlugin):
    def __init__(self):
        self.transitions = []
        self.removed = []

    def transition(self, key, start, finish, *args, **kwargs):
        self.transitions.append((key, start, finish))

    def remove_worker(self, scheduler, worker, **kwargs):
        self.removed.append(worker)


class Stock(Scheduler):
    """Stock Dask that notes the calls of the hooks, and holds tasks back if told to."""

    def __init__(self, **options):
        super().__init__(allowed_failures=0, extensions={}, **options)
        self.called = []
        self.closed_to_all = False
        self.log = Log()
        self.add_plugin(self.log)

    def valid_workers(self, ts):
        self.called.append("valid_workers")
        return set() if self.closed_to_all else super().valid_workers(ts)

    def bulk_schedule_unrunnable_after_adding_worker(self, ws):
        self.called.append("bulk_schedule")
        return {}

    def stimulus_queue_slots_maybe_opened(self, *, stimulus_id):
        self.called.append("room")
        super().stimulus_queue_slots_maybe_opened(stimulus_id=stimulus_id)


contract = partial(inprocess.pool_test, scheduler=Stock)


@contract
async def test_a_task_without_a_valid_worker_waits_until_it_is_told_to_start(pool):
    scheduler = pool.scheduler
    await pool.machine("m", 2)
    scheduler.closed_to_all = True
    await pool.runs(("a", 1))
    task = scheduler.tasks["a"]
    assert task.state == "no-worker"
    assert list(scheduler.unrunnable) == [task]
    scheduler.transitions({"a": "processing"}, "test")
    assert task.state == "no-worker"
    scheduler.closed_to_all = False
    scheduler.transitions({"a": "processing"}, "test")
    assert task.state == "processing"
    assert not scheduler.unrunnable
    assert scheduler.log.transitions[-4:] == [
        ("a", "waiting", "waiting"),
        ("a", "waiting", "no-worker"),
        ("a", "no-worker", "no-worker"),
        ("a", "no-worker", "processing"),
    ]


@contract
async def test_the_hook_is_asked_once_for_each_placement_and_its_worker_is_taken(pool):
    for name in "mno":
        await pool.machine(name, 2)
    chosen = pool.scheduler.workers[pool.workers["n"].address]
    pool.scheduler.valid_workers = lambda ts: pool.scheduler.called.append(ts.key) or {chosen}
    await pool.runs(("a", 1), ("b", 1), ("c", 1))
    assert [pool.where(name) for name in "abc"] == ["n", "n", "n"]
    assert [call for call in pool.scheduler.called if call in "abc"] == ["a", "b", "c"]


@contract
async def test_dask_says_when_there_may_be_room(pool):
    called = pool.scheduler.called
    called.clear()
    address = await pool.machine("m", 2)
    assert called[-2:] == ["bulk_schedule", "room"]
    await pool.runs(("a", 1), ("b", 1))
    called.clear()
    await pool.end("a")
    assert called == ["room"]
    called.clear()
    await pool.futures["b"].cancel()
    await pool.until(lambda: pool.state("b") is None)
    assert "room" in called
    pool.scheduler.handle_worker_status_change("paused", address, "test")
    assert not pool.scheduler.running
    called.clear()
    pool.scheduler.handle_worker_status_change("running", address, "test")
    assert called == ["bulk_schedule", "room"]


@contract
async def test_dask_counts_what_is_in_use(pool):
    address = await pool.machine("m", 2.5, 16 * GB)
    state = pool.scheduler.workers[address]
    assert state.resources == {"cpu": 2.5, "memory": 16 * GB}
    await pool.runs(("a", 1), ("b", 0.5))
    assert state.used_resources == {"cpu": 1.5, "memory": 2 * GB}
    assert {task.key for task in state.processing} == {"a", "b"}
    await pool.end("a", "b")
    assert state.used_resources == {"cpu": 0, "memory": 0}


@contract
async def test_stock_dask_gives_away_more_than_there_is_but_the_worker_does_not_start_it(pool):
    address = await pool.machine("m", 2)
    await pool.runs(("a", 2), ("b", 2))
    assert pool.scheduler.workers[address].used_resources["cpu"] == 4
    await pool.client.submit(abs, -1)  # by then the worker has received and judged both
    assert [name for name, _ in inprocess.STARTED] == ["a"]
    await pool.end("a")
    await pool.end("b")
    assert [name for name, _ in inprocess.STARTED] == ["a", "b"]


@contract
async def test_the_worker_compares_without_tolerance_what_the_message_asks_for(pool):
    await pool.machine("m", 1)
    state = pool.workers["m"].state
    state.available_resources["cpu"] -= 1e-16  # as left by sums of decimals
    await pool.runs(("a", 1))
    pool.run("b", 0.5)
    await pool.end("b")
    assert [name for name, _ in inprocess.STARTED] == ["b"]
    state.available_resources["cpu"] = 1
    await pool.runs(("c", 0.1))
    await pool.end("c", "a")


@contract
async def test_a_task_knows_its_priority_and_whether_it_was_given_to_a_worker(pool):
    pool.run("a", 1)
    pool.run("b", 1, priority=7)
    await pool.until(lambda: len(pool.waiting()) == 2)
    a, b = (pool.scheduler.tasks[key] for key in "ab")
    assert (a.priority[0], b.priority[0]) == (0, -7)
    assert a.resource_restrictions == {"cpu": 1, "memory": GB}
    assert a.run_id is None
    await pool.machine("m", 1)
    pool.scheduler.transitions({"a": "processing"}, "test")
    assert a.run_id is not None
    assert a.processing_on.name == "m"


@contract
async def test_a_submitted_task_is_the_one_that_dask_runs(pool):
    """Nothing renames, fuses or wraps it, so its key is the attempt's."""
    await pool.machine("m", 1)
    future = pool.client.submit(abs, -3, key="r-abc.1", pure=False, resources=CPU, retries=0)
    assert await future == 3
    assert set(pool.scheduler.tasks) == {"r-abc.1"}


async def where_it_runs():
    return id(asyncio.get_running_loop()), get_worker().name


@contract
async def test_async_tasks_run_on_the_loop_of_the_worker(pool):
    await pool.machine("m", 1)
    loop = asyncio.get_running_loop()
    assert await pool.client.submit(where_it_runs, resources=CPU) == (id(loop), "m")


@contract
async def test_the_worker_sends_messages_of_ours_to_the_scheduler(pool):
    received = asyncio.get_running_loop().create_future()

    def handler(worker, attempt, events):
        received.set_result((worker, attempt, events))

    pool.scheduler.stream_handlers["jupyter-compute-events"] = handler
    address = await pool.machine("m", 1)
    events = [{"kind": "stdout", "text": "é\n"}, {"kind": "ended", "envelope": {"outcome": "ok"}}]
    pool.workers["m"].batched_stream.send(
        {"op": "jupyter-compute-events", "attempt": "r-abc.1", "events": events}
    )
    worker, attempt, arrived = await asyncio.wait_for(received, 10)
    assert (worker, attempt, list(arrived)) == (address, "r-abc.1", events)


@contract
async def test_the_scheduler_sends_messages_of_ours_to_the_worker(pool):
    received = asyncio.get_running_loop().create_future()
    address = await pool.machine("m", 1)
    pool.workers["m"].stream_handlers["jupyter-compute-control"] = lambda attempt, action: (
        received.set_result((attempt, action))
    )
    pool.scheduler.stream_comms[address].send(
        {"op": "jupyter-compute-control", "attempt": "r-abc.1", "action": "kill"}
    )
    assert await asyncio.wait_for(received, 10) == ("r-abc.1", "kill")


@contract
async def test_the_task_of_a_worker_that_dies_is_erred_at_once(pool):
    await pool.machine("m", 1)
    await pool.machine("n", 1)
    await pool.runs(("a", 1))
    lost = pool.workers[pool.where("a")]
    lost.batched_stream.abort()
    await pool.until(lambda: pool.scheduler.log.removed == [lost.address])
    assert pool.state("a") == "erred"
    assert ("a", "processing", "erred") in pool.scheduler.log.transitions


@pytest.mark.parametrize("start", ["waiting", "processing"])
@contract
async def test_a_released_task_is_forgotten(pool, start):
    if start == "processing":
        await pool.machine("m", 1)
    await pool.runs(("a", 1))
    pool.futures["a"].release()
    await pool.until(lambda: not pool.scheduler.tasks)
    assert not pool.scheduler.unrunnable


def test_stealing_is_an_extension_that_can_be_left_out():
    assert "stealing" in DEFAULT_EXTENSIONS
