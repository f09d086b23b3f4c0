"""Which task starts where and when, on real workers in this process."""

from __future__ import annotations

import pickle
import random

import pytest

from inprocess import GB, STARTED, pool_test
from jupyter_compute.pool.scheduler import shape_of


@pool_test
async def test_small_tasks_leave_the_big_machine_free(pool):
    await pool.machine("big", 8)
    await pool.machine("small", 2)
    await pool.runs(("a", 1), ("b", 1), ("c", 8))
    assert [pool.where(name) for name in "abc"] == ["small", "small", "big"]


@pool_test
async def test_memory_decides_like_cpu(pool):
    await pool.machine("roomy", 4, 64 * GB)
    await pool.machine("lean", 4, 8 * GB)
    pool.run("lean-ask", 1, 6 * GB)
    pool.run("roomy-ask", 1, 60 * GB)
    pool.run("third", 1, 6 * GB)
    await pool.until(lambda: pool.waiting() == ["third"])
    assert pool.where("lean-ask") == "lean"
    assert pool.where("roomy-ask") == "roomy"


@pool_test
async def test_room_is_compared_in_shares_of_the_machine(pool):
    await pool.machine("little-memory", 8, 16 * GB)
    await pool.machine("much-memory", 2, 64 * GB)
    await pool.runs(("a", 1))
    assert pool.where("a") == "much-memory"


@pool_test
async def test_machines_with_something_rare_are_left_to_those_who_need_it(pool):
    await pool.machine("a-gpu", 4, gpu=1)
    await pool.machine("plain", 4)
    await pool.runs(("a", 1))
    assert pool.where("a") == "plain"


@pool_test
async def test_equal_tasks_start_in_the_order_of_submission(pool):
    await pool.machine("m", 1)
    names = [f"t{i}" for i in range(8)]
    for name in names:
        pool.run(name, 1)
    for name in names:
        await pool.until(lambda name=name: pool.state(name) == "processing")
        await pool.end(name)
    assert [name for name, _ in STARTED] == names


@pool_test
async def test_priority_goes_before_order(pool):
    await pool.machine("m", 1)
    await pool.runs(("first", 1), ("second", 1))
    pool.run("urgent", 1, priority=1)
    await pool.until(lambda: pool.waiting() == ["second", "urgent"])
    await pool.end("first")
    assert (pool.state("second"), pool.state("urgent")) == ("no-worker", "processing")


@pool_test
async def test_a_small_task_overtakes_a_large_one_that_does_not_fit(pool):
    await pool.machine("m", 4)
    await pool.runs(("running", 3), ("large", 4), ("small", 1))
    assert (pool.state("large"), pool.state("small")) == ("no-worker", "processing")


@pool_test
async def test_a_newcomer_does_not_overtake_an_equal_that_waits(pool):
    await pool.machine("m", 2)
    await pool.runs(("running", 2), ("older", 2))
    pool.scheduler.tasks["running"].processing_on.used_resources["cpu"] = 0  # room, unannounced
    pool.scheduler.tasks["running"].processing_on.used_resources["memory"] = 0
    await pool.runs(("younger", 2))
    assert pool.state("younger") == "no-worker"


@pool_test
async def test_a_new_machine_is_used_at_once(pool):
    await pool.runs(("a", 2), ("b", 2), ("huge", 64))
    assert pool.waiting() == ["a", "b", "huge"]
    await pool.machine("m", 2)
    await pool.until(lambda: pool.state("a") == "processing")
    await pool.machine("n", 2)
    await pool.until(lambda: pool.state("b") == "processing")
    assert pool.waiting() == ["huge"]


@pool_test
async def test_a_machine_that_was_paused_is_used_at_once(pool):
    address = await pool.machine("m", 2)
    pool.scheduler.handle_worker_status_change("paused", address, "test")
    await pool.runs(("a", 2))
    assert pool.state("a") == "no-worker"
    pool.scheduler.handle_worker_status_change("running", address, "test")
    assert pool.state("a") == "processing"


@pool_test
async def test_room_is_filled_with_as_many_as_fit(pool):
    await pool.machine("m", 4)
    await pool.runs(("large", 4), ("a", 1), ("b", 2), ("c", 3), ("d", 1))
    await pool.end("large")
    await pool.until(lambda: len(pool.waiting()) == 1)
    assert pool.waiting() == ["c"]


@pool_test
async def test_decimal_cpus_fill_a_machine_exactly(pool):
    await pool.machine("m", 1)
    await pool.runs(*((f"t{i}", 0.1) for i in range(11)))
    assert pool.waiting() == ["t10"]


@pool_test
async def test_a_machine_is_quite_free_again_after_decimal_cpus(pool):
    await pool.machine("m", 1)
    await pool.runs(("a", 0.1), ("b", 0.2), ("c", 0.7))
    for name in ("b", "c", "a"):  # in this order the sum falls short of 1
        await pool.end(name)
    pool.run("whole", 1)
    await pool.end("whole")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pool_test
async def test_no_machine_is_ever_oversubscribed(pool, seed):
    rng = random.Random(seed)
    for name, cpu, memory in (("a", 8, 32), ("b", 2, 8), ("c", 4, 6)):
        await pool.machine(name, cpu, memory * GB)
    in_use = {}

    def check():
        for name, worker in pool.workers.items():
            state = pool.scheduler.workers[worker.address]
            asks = [task.resource_restrictions for task in state.processing]
            for resource in ("cpu", "memory"):
                in_use[name, resource] = sum(ask[resource] for ask in asks)
                assert in_use[name, resource] <= state.resources[resource]

    names = [f"t{i}" for i in range(60)]
    for name in names:
        pool.run(name, rng.choice([0.1, 0.5, 1, 2, 7]), rng.choice([0.1, 1, 5, 20]) * GB)
    ended = 0
    while ended < len(names):
        await pool.until(lambda: any(pool.state(name) == "processing" for name in names))
        check()
        going = [name for name in names if pool.state(name) == "processing"]
        batch = rng.sample(going, rng.randint(1, len(going)))
        await pool.end(*batch)
        ended += len(batch)
        check()
    assert sorted(name for name, _ in STARTED) == sorted(names)
    assert set(in_use.values()) == {0}


@pool_test
async def test_pending_demand_counts_each_shape(pool):
    two, four = (("", shape_of({"cpu": cpu, "memory": GB})) for cpu in (2, 4))
    await pool.runs(("a", 2), ("b", 2))
    pool.now = 3
    await pool.runs(("c", 4))
    pool.now = 5
    assert pool.scheduler.pending_demand() == {two: 2, four: 1}
    assert pool.scheduler.waiting_ages() == {two: 5, four: 2}
    await pool.futures["a"].cancel()
    await pool.until(lambda: pool.state("a") is None)
    assert pool.scheduler.pending_demand() == {two: 1, four: 1}
    await pool.machine("m", 4)
    await pool.until(lambda: pool.waiting() == ["c"])
    assert pool.scheduler.pending_demand() == {four: 1}
    await pool.end("b")
    assert pool.scheduler.pending_demand() == {}


@pool_test
async def test_nothing_is_kept_of_tasks_that_left_the_line(pool):
    await pool.machine("m", 1)
    await pool.runs(("running", 1), ("aged", 1))
    pool.now = 10
    await pool.runs(("half", 0.5))
    names = [f"t{i}" for i in range(20)]
    for name in names:
        pool.run(name, 1)
    await pool.until(lambda: len(pool.waiting()) == 22)
    assert "is kept for it" in pool.scheduler.waiting_reason("aged")
    for name in ["aged", *names[::2]]:
        await pool.futures[name].cancel()
    await pool.until(lambda: len(pool.waiting()) == 11)
    for future in pool.futures.values():
        future.release()
    await pool.until(lambda: not pool.scheduler.tasks)
    assert pool.scheduler.pending_demand() == {}
    assert len(pool.scheduler._line) == 0
    assert not pool.scheduler._line._queues
    assert not pool.scheduler._reservations


@pool_test
async def test_a_waiting_task_that_fails_leaves_the_line(pool):
    await pool.runs(("a", 1))
    pool.scheduler.transition(
        "a", "erred", "test", cause="a", exception=pickle.dumps(ValueError()), exception_text=""
    )
    assert pool.state("a") == "erred"
    assert pool.scheduler.pending_demand() == {}
    assert isinstance(await pool.futures["a"].exception(), ValueError)


@pool_test
async def test_a_draining_machine_gets_no_new_task_and_keeps_its_own(pool):
    address = await pool.machine("m", 4)
    await pool.runs(("a", 1), ("b", 4))
    pool.scheduler.drain(address)
    await pool.runs(("c", 1))
    await pool.end("a")
    assert pool.waiting() == ["b", "c"]
    assert pool.scheduler.waiting_reason("c").endswith("no machine yet")
    await pool.workers["m"].close()
    await pool.machine("n", 4)
    await pool.until(lambda: pool.state("b") == "processing")
    assert not pool.scheduler._draining


@pytest.mark.parametrize("how", ["it dies", "it closes", "it is retired"])
@pool_test
async def test_tasks_of_a_lost_machine_fail_and_its_successor_serves_the_line(pool, how):
    address = await pool.machine("m", 2)
    await pool.runs(("a", 2), ("b", 2))
    match how:
        case "it dies":
            pool.workers["m"].batched_stream.abort()
        case "it closes":
            await pool.workers["m"].close()
        case "it is retired":
            await pool.scheduler.retire_workers([address])
    await pool.until(lambda: pool.state("a") == "erred")
    assert pool.waiting() == ["b"]
    await pool.machine("n", 2)
    await pool.until(lambda: pool.state("b") == "processing")
    assert (pool.state("a"), [name for name, _ in STARTED].count("a")) == ("erred", 1)


@pool_test
async def test_what_has_ended_is_not_run_again_when_its_machine_is_lost(pool):
    await pool.machine("m", 2)
    await pool.runs(("a", 2))
    await pool.end("a")
    await pool.machine("n", 2)
    await pool.workers["m"].close()
    await pool.until(lambda: pool.state("a") == "erred")
    assert pool.scheduler.pending_demand() == {}
    assert len(STARTED) == 1


@pool_test
async def test_tasks_without_resources_still_run(pool):
    address = await pool.machine("m", 1)
    await pool.runs(("full", 1))
    pool.scheduler.handle_worker_status_change("paused", address, "test")
    future = pool.client.submit(abs, -1, key="plain")
    await pool.until(lambda: pool.state("plain") == "no-worker")
    pool.scheduler.handle_worker_status_change("running", address, "test")
    assert await future == 1


@pool_test
async def test_reasons_for_waiting_say_what_is_missing(pool):
    reason = pool.scheduler.waiting_reason
    await pool.runs(("a", 2))
    assert reason("a") == "waiting for 2 cpu, 1 GB: no machine yet"
    await pool.machine("m", 2, 21 * GB)
    await pool.until(lambda: pool.state("a") == "processing")
    assert reason("a") == ""
    assert reason("unknown") == ""
    pool.run("b", 2, 2 * GB)
    pool.run("c", 64, 2 * GB)
    await pool.until(lambda: len(pool.waiting()) == 2)
    assert reason("c") == "waiting for 64 cpu, 2 GB: no machine of this size yet"
    assert reason("b") == ("waiting for 2 cpu, 2 GB: 2 of 2 cpu and 1 of 21 GB are in use by 1 run")
    await pool.machine("n", 2.5, 21 * GB)
    await pool.until(lambda: pool.state("b") == "processing")
    await pool.runs(("d", 2))
    assert reason("d") == (
        "waiting for 2 cpu, 1 GB: 2 of 2.5 cpu and 2 of 21 GB are in use by 1 run"
        " on the freest of 2 machines"
    )
