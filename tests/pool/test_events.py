"""The event log: numbered, replayable, bounded, whatever the reader's speed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from jupyter_compute.pool.events import EventLog, Follower

END = {"kind": "end", "state": "done"}


def _out(text: str) -> dict[str, Any]:
    return {"kind": "stdout", "text": text}


def _read(log: EventLog, since: int = 0) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        follower = Follower(log, since)
        lines = [line async for batch in follower.batches() for line in batch.splitlines()]
        follower.leave()
        return [json.loads(line) for line in lines]

    return asyncio.run(read())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r-test.jsonl"


def test_a_log_is_the_same_live_and_loaded(path: Path) -> None:
    log = EventLog(path, 10**6)
    log.append([_out("a"), _out("b")])
    log.append([END])
    events = _read(log)
    assert [event["seq"] for event in events] == [1, 2, 3]
    assert _read(EventLog.load(path, 10**6)) == events
    assert _read(EventLog.load(path, 10**6), since=2) == events[2:]


def test_a_last_line_cut_short_is_dropped(path: Path) -> None:
    log = EventLog(path, 10**6)
    log.append([_out("a"), _out("b")])
    log.close()
    path.write_bytes(path.read_bytes()[:-5])
    loaded = EventLog.load(path, 10**6)
    assert loaded.last == 1
    loaded.append([END])
    assert [(event["seq"], event["kind"]) for event in _read(loaded)] == [(1, "stdout"), (2, "end")]


def test_a_slow_reader_gets_everything_from_the_file(path: Path) -> None:
    log = EventLog(path, 10**8)
    for number in range(3000):
        log.append([_out(f"{number}:" + "x" * 1000)])
    log.append([END])
    assert log.oldest_in_memory > 1000
    texts = [event["text"] for event in _read(log) if event["kind"] == "stdout"]
    assert [text.partition(":")[0] for text in texts] == [str(n) for n in range(3000)]


def test_of_too_much_output_the_beginning_and_the_end_are_kept(path: Path) -> None:
    log = EventLog(path, 100_000)
    for number in range(3000):
        log.append([_out(f"{number}:" + "x" * 1000)])
    log.append([END])
    assert path.stat().st_size < 100_000 + 2**20 + 10_000
    events = _read(EventLog.load(path, 100_000))
    assert events == _read(log)
    notes = [event for event in events if event["kind"] == "note"]
    missing = int(notes[0]["text"].split()[1])
    assert len(notes) == 1
    assert events[0]["text"].startswith("0:")
    assert events[-2]["text"].startswith("2999:")
    assert len(events) - 1 + missing == 3001
    seqs = [event["seq"] for event in events]
    assert seqs == sorted(set(seqs))


def test_a_follower_hears_of_events_and_of_the_latest_sample(path: Path) -> None:
    async def follow() -> list[dict[str, Any]]:
        log = EventLog(path, 10**6)
        follower = Follower(log)
        batches = follower.batches()
        log.append([_out("a")])
        found = [await anext(batches)]
        log.show({"kind": "sample", "cpu_used": 1})
        log.show({"kind": "sample", "cpu_used": 2})
        found.append(await anext(batches))
        log.append([END])
        found += [batch async for batch in batches]
        return [json.loads(line) for batch in found for line in batch.splitlines()]

    events = asyncio.run(follow())
    assert [event["kind"] for event in events] == ["stdout", "sample", "end"]
    assert events[1]["cpu_used"] == 2
    assert "seq" not in events[1]


def test_a_follower_that_leaves_is_let_go(path: Path) -> None:
    async def follow() -> None:
        log = EventLog(path, 10**6)
        follower = Follower(log)
        reading = asyncio.ensure_future(anext(follower.batches(), None))
        await asyncio.sleep(0)
        follower.leave()
        assert await reading is None
        assert not log.followers

    asyncio.run(follow())
