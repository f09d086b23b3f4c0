"""What stays stored between runs: for how long, and what it takes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homes import Home
from jupyter_compute import places, settings
from jupyter_compute.blobs import Blobs
from jupyter_compute.errors import TransferError
from jupyter_compute.model import Offer, Receipt, RunSpec
from jupyter_compute.policy.fit import Grant
from jupyter_compute.pool.cache import Cache, CacheLimits
from jupyter_compute.pool.events import EventLog
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.life import Life
from jupyter_compute.pool.receipts import Receipts
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.runs import Runs
from jupyter_compute.pool.stored import Stored
from jupyter_compute.pool.upkeep import Limits, Upkeep

ME = f"{os.getpid()}-ab"


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.time = time.time()

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


async def _nothing(*_: object) -> None:
    """No layer has a store."""


class Books:
    """The books of a pool without the pool."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.journal = Journal(places.journal())
        self.blobs = Blobs(places.blob_dirs())
        self.active: dict[str, Run] = {}
        limits = CacheLimits(max_bytes=3000, max_age_s=100)
        self.cache = Cache(self.journal.cache, self.blobs, places.cache_dir(), limits, self.clock)
        self.stored = Stored(self.journal, self.active, self.blobs, self.cache, self.clock)
        every = Limits.from_settings(settings.get, 10**9)
        self.limits = replace(every, blob_bytes=0, unused_s=0.0, kept_s=1000.0, released_s=60.0)

    def sweep(self) -> None:
        """Age every blob, and let the upkeep look at all."""
        for place in places.blob_dirs():
            for blob in place.iterdir():
                os.utime(blob, (1, 1))
        upkeep = Upkeep(self.journal, self.active, self.stored, self.limits, self.clock, _nothing)
        asyncio.run(upkeep._sweep())

    def ended(self, run_id: str, content: bytes, *, kept: str = "", **fields: Any) -> Run:
        """Have a run end whose result is the content."""
        blob = self.blobs.put(content)
        entry = {"id": kept, "name": "x", "payload": blob, "blobs": [], "nbytes": len(content)}
        envelope: dict[str, Any] = {"outcome": "ok", "payload": blob, "blobs": []}
        if kept:
            envelope |= {"payload": None, "kept": [entry]}
        spec = RunSpec("run", "local", 1, None, None, "python", "", "", **fields)
        log = EventLog(places.run_dir() / f"{run_id}.jsonl", 10**6)
        run = Run(run_id, spec, log, self.clock.now(), 1, 10**9, None)
        self.journal.begin(run_id, spec.to_wire(), run.to_record())
        run.state, run.finished, run.envelope = "done", self.clock.now(), envelope
        run.receipt = Receipt(0, 5.0, 1, "local", "local", 1, 10**9, cost_usd=0.002)
        self.journal.ended(run_id, run.to_record(), "ok", {})
        self.journal.collected(run_id)
        log.append([{"kind": "stdout", "text": "hello\n"}, {"kind": "note", "text": "no output"}])
        log.append([{"kind": "end", "state": "done"}])
        return run

    def kept(self) -> list[str]:
        return [entry["id"] for entry in self.stored.kept()]


@pytest.fixture
def books(home: Home) -> Iterator[Books]:
    own = Books()
    yield own
    own.journal.close()
    for place in places.blob_dirs()[:-1]:
        for blob in place.iterdir():
            blob.unlink()
        place.rmdir()


def _key(number: int) -> str:
    return f"{number:032x}"


def _record(books: Books, number: int, content: bytes, **depends: Any) -> Run:
    run = books.ended(f"r-{number}", content, cache=_key(number))
    run.envelope = {**(run.envelope or {}), "depends": depends or {"files": {}}}
    books.cache.record(run)
    return run


def test_a_kept_value_stays_while_it_is_held_and_goes_after_it_was_let_go_of(books: Books) -> None:
    run = books.ended("r-1", b"one", kept="k-1")
    books.stored.hold(ME, {"k-1": "hold"})
    books.clock.time += 5000
    books.sweep()
    assert books.blobs.read(run.envelope["kept"][0]["payload"]) == b"one"
    books.stored.hold(ME, {"k-1": "let_go"})
    books.clock.time += 50
    books.sweep()
    assert books.kept() == ["k-1"]
    books.clock.time += 20
    books.sweep()
    assert books.kept() == []
    assert not books.blobs.has(run.envelope["kept"][0]["payload"])


def test_another_kernel_may_hold_it_longer(books: Books) -> None:
    books.ended("r-1", b"one", kept="k-1")
    with subprocess.Popen(["sleep", "100"]) as other:
        books.stored.hold(ME, {"k-1": "hold"})
        books.stored.hold(f"{other.pid}-1", {"k-1": "hold"})
        books.stored.hold(ME, {"k-1": "let_go"})
        books.clock.time += 5000
        books.sweep()
        assert books.kept() == ["k-1"]
        other.terminate()
    books.sweep()
    assert books.kept() == []


def test_a_kernel_that_ended_has_not_let_go_of_it(books: Books) -> None:
    with subprocess.Popen(["true"]) as kernel:
        pass
    books.ended("r-1", b"one", kept="k-1")
    books.stored.hold(f"{kernel.pid}-1", {"k-1": "hold"})
    books.clock.time += 5000
    books.sweep()
    assert [entry["holders"] for entry in books.stored.kept()] == [0]
    books.clock.time += 900
    books.stored.check(["k-1"])
    books.clock.time += 900
    books.sweep()
    assert books.kept() == ["k-1"], "its use counts"
    books.clock.time += 200
    books.sweep()
    assert books.kept() == []


def test_who_got_it_by_its_id_does_not_let_go_of_it_for_others(books: Books) -> None:
    books.ended("r-1", b"one", kept="k-1")
    books.stored.hold(ME, {"k-1": "hold"})
    books.stored.hold(ME, {"k-1": "release"})
    books.clock.time += 900
    books.sweep()
    assert books.kept() == ["k-1"]


def test_it_stays_while_a_run_reads_it(books: Books) -> None:
    books.ended("r-1", b"one", kept="k-1")
    reader = books.ended("r-2", b"two", kept="", cache="")
    books.active["r-2"] = reader
    reader.spec = replace(reader.spec, kept=("k-1",))
    books.stored.hold(ME, {"k-1": "let_go"})
    books.clock.time += 5000
    books.sweep()
    assert books.stored.drop(None) == {"dropped": [], "nbytes": 0, "in_use": {"k-1": "r-2"}}
    books.active.clear()
    books.sweep()
    assert books.kept() == []


def test_one_whose_storage_was_emptied_says_so(books: Books) -> None:
    run = books.ended("r-1", b"one", kept="k-1")
    books.blobs.discard(run.envelope["kept"][0]["payload"])
    with pytest.raises(TransferError, match="is lost: its storage was emptied"):
        books.stored.check(["k-1"])
    assert books.kept() == []


def test_it_survives_the_pool(books: Books) -> None:
    books.ended("r-1", b"one", kept="k-1")
    books.journal.close()
    books.journal = Journal(places.journal())
    found = books.journal.kept.find("k-1")
    assert found is not None
    assert (found["run"], found["name"], found["nbytes"]) == ("r-1", "x", 3)


def test_a_recorded_result_is_found_with_its_output(books: Books) -> None:
    run = _record(books, 1, b"one")
    books.clock.time += 30
    found = books.cache.find(_key(1))
    assert found is not None
    assert found.output == [{"kind": "stdout", "text": "hello\n"}]
    assert found.envelope["cached"] | {"created": 0} == {
        "saves_s": 5.0,
        "saves_usd": 0.002,
        "age_s": 30.0,
        "created": 0,
    }
    assert books.cache.find(_key(2)) is None
    assert books.cache.find("") is None
    run.log.path.unlink()
    books.journal.forget(["r-1"])
    books.sweep()
    assert books.cache.find(_key(1)) is not None


def test_a_hit_is_a_run_that_has_used_nothing(books: Books) -> None:
    code, offer = "c" * 32, Offer("local", "local", 2, 10**9, usd_per_hour=0.0)
    _record(books, 1, b"one")
    recorded = books.stored.recall(_key(1))
    receipts = Receipts(books.journal, books.clock, lambda _: [offer])
    life = Life(books.journal, books.clock, 60.0, lambda _: None, receipts)
    runs = Runs(books.journal, life, books.clock, places.run_dir(), 10**6)
    spec = RunSpec("again", "local", 1, None, None, "python", "", "", code=code, cache=_key(1))
    run = runs.recall(spec, Grant(offer, 1, 10**9, None), recorded)
    listed = runs.newest(1)[0]
    assert (listed["id"], listed["state"], listed["machine"]) == (run.id, "done", "cache")
    assert (listed["receipt"]["run_s"], listed["receipt"]["cost_usd"]) == (0.0, 0.0)
    assert books.journal.history(code, "local", 10) == [], "no advice is drawn from it"
    assert books.journal.unfinished() == []


def test_it_does_not_wait_in_memory(books: Books) -> None:
    run = _record(books, 1, b"one" * 100)
    books.sweep()
    where = books.blobs.path(run.envelope["payload"])
    assert where.parent == places.blob_dirs()[-1]
    assert len(list(places.blob_dirs()[0].iterdir())) == 0


@pytest.mark.parametrize("gone", ["result", "output", "module", "kept"])
def test_one_that_is_not_whole_does_not_count(books: Books, tmp_path: Path, gone: str) -> None:
    module = tmp_path / "mine.py"
    module.write_text("a = 1")
    books.ended("r-0", b"zero", kept="k-0")
    run = books.ended("r-1", b"one", cache=_key(1), kept="")
    run.spec = replace(run.spec, kept=("k-0",))
    digest = books.blobs.put(module.read_bytes())
    run.envelope = {**run.envelope, "depends": {"files": {str(module): digest}}}
    books.cache.record(run)
    assert books.stored.recall(_key(1)) is not None
    if gone == "result":
        books.blobs.discard(run.envelope["payload"])
    elif gone == "output":
        (places.cache_dir() / f"{_key(1)}.jsonl").unlink()
    elif gone == "module":
        module.write_text("a = 2")
    else:
        books.stored.drop(["k-0"])
    assert books.stored.recall(_key(1)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"state": "failed"},
        {"cancelled": "interrupt"},
        {"envelope": {"outcome": "error", "depends": {"files": {}}}},
        {"envelope": {"outcome": "ok", "depends": {"why_not": "it may have changed"}}},
        {"envelope": {"outcome": "ok"}},
    ],
)
def test_only_a_good_result_is_recorded(books: Books, change: dict[str, Any]) -> None:
    run = books.ended("r-1", b"one", cache=_key(1))
    run.envelope = {**run.envelope, "depends": {"files": {}}}
    for name, value in change.items():
        setattr(run, name, value)
    books.cache.record(run)
    assert books.cache.find(_key(1)) is None


def test_it_is_bounded_and_the_least_recently_used_goes(books: Books) -> None:
    for number in range(1, 4):
        _record(books, number, bytes([number]) * 700)
        books.clock.time += 1
    assert len(books.cache.to_wire()["entries"]) == 3
    assert books.cache.find(_key(1)) is not None
    books.clock.time += 1
    _record(books, 4, b"4" * 700)
    kept = {entry["key"] for entry in books.cache.to_wire()["entries"]}
    assert kept == {_key(1), _key(3), _key(4)}
    assert {log.stem for log in places.cache_dir().iterdir()} == kept
    books.clock.time += 200
    books.sweep()
    assert books.cache.to_wire()["entries"] == []
    assert list(places.cache_dir().iterdir()) == []
    assert sum(len(list(place.iterdir())) for place in places.blob_dirs()) == 0


def test_clearing_forgets_all(books: Books) -> None:
    _record(books, 1, b"one")
    wire = books.cache.to_wire()
    assert json.dumps(wire)
    assert books.cache.clear() == {"count": 1, "nbytes": wire["nbytes"]}
    assert books.cache.find(_key(1)) is None
