"""Nobody waits for ever: machines are reserved for tasks that have waited too long."""

from __future__ import annotations

import pytest

from inprocess import GATES, pool_test


@pytest.mark.slow
@pool_test
async def test_a_large_ask_is_served_although_small_ones_keep_coming(pool):
    await pool.machine("m", 4)
    await pool.runs(*((f"s{i}", 1) for i in range(4)), ("large", 4))
    youngest = 4
    for step in range(20):
        pool.now += 1
        await pool.runs((f"s{youngest}", 1))
        youngest += 1
        going = [name for name in GATES if pool.state(name) == "processing"]
        await pool.end(going[0])
        if pool.state("large") == "processing":
            break
        assert pool.state("large") == "no-worker"
        assert step < 10 or not any(pool.state(f"s{n}") == "processing" for n in range(14, 99))
    assert pool.state("large") == "processing"
    assert pool.now <= 10 + 4  # aged, then one step for each small one that was still running


@pytest.mark.slow
@pool_test
async def test_smaller_ones_go_on_overtaking_on_machines_that_are_not_reserved(pool):
    await pool.machine("kept", 4)
    await pool.machine("other", 2)
    await pool.runs(("a", 3), ("b", 1), ("large", 4))
    assert (pool.where("a"), pool.where("b")) == ("kept", "kept")
    pool.now = 10
    await pool.runs(("c", 1), ("d", 1), ("e", 1))
    assert [pool.where(name) for name in "cd"] == ["other", "other"]
    await pool.end("b")
    assert pool.waiting() == ["large", "e"]
    assert "reserved for an older run" in pool.scheduler.waiting_reason("e")
    assert "is kept for it" in pool.scheduler.waiting_reason("large")
    await pool.end("a")
    await pool.until(lambda: pool.state("large") == "processing")
    assert pool.waiting() == ["e"]


@pool_test
async def test_the_machine_that_lacks_least_is_reserved(pool):
    await pool.machine("busy", 4)
    await pool.machine("calm", 4)
    await pool.runs(("a", 3), ("b", 2), ("large", 4))
    assert pool.where("a") != pool.where("b")
    pool.now = 10
    await pool.runs(("c", 1))
    assert pool.where("c") == pool.where("a")


@pool_test
async def test_reservation_ends_with_the_task_that_held_it(pool):
    await pool.machine("m", 4)
    await pool.runs(("a", 3), ("large", 4))
    pool.now = 10
    await pool.runs(("b", 1))
    assert pool.waiting() == ["large", "b"]
    await pool.futures["large"].cancel()
    await pool.until(lambda: pool.state("b") == "processing")


@pytest.mark.parametrize("how", ["it drains", "it is lost", "it pauses"])
@pool_test
async def test_reservation_moves_when_its_machine_can_no_longer_serve(pool, how):
    await pool.machine("first", 4)
    second = await pool.machine("second", 4)
    await pool.runs(("a", 3), ("b", 2), ("large", 4), ("x", 2), ("tiny", 0.1))
    assert [pool.where(name) for name in "abx"] == ["first", "second", "second"]
    assert pool.where("tiny") == "first"
    pool.now = 10
    await pool.end("x")
    match how:
        case "it drains":
            pool.scheduler.drain(second)
        case "it is lost":
            await pool.workers["second"].close()
        case "it pauses":
            pool.scheduler.handle_worker_status_change("paused", second, "test")
            await pool.end("tiny")
    await pool.runs(("c", 0.5))
    assert "large" in pool.waiting()
    assert "c" in pool.waiting()
    await pool.end("a", *({"tiny"} if how != "it pauses" else ()))
    await pool.until(lambda: pool.where("large") == "first")


@pool_test
async def test_older_tasks_may_use_what_is_reserved_for_younger_ones(pool):
    await pool.machine("m", 2)
    await pool.machine("n", 2)
    await pool.runs(("a", 2), ("b", 2), ("c", 2), ("d", 2))
    pool.now = 10
    pool.scheduler.stimulus_queue_slots_maybe_opened(stimulus_id="test")
    reserved = {name: pool.scheduler.waiting_reason(name) for name in "cd"}
    assert all("is kept for it" in reason for reason in reserved.values())
    await pool.end("b")  # whichever of the two it was reserved for
    assert pool.waiting() == ["d"]
    await pool.end("a")
    assert pool.waiting() == []
