"""What stands between the life of runs and machines that are apart: order, sharing, refusals."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from broken_lines import Line
from buckets import NAME, Server
from jupyter_compute.blobs import Blobs
from jupyter_compute.errors import PoolError
from jupyter_compute.layers.bucket import Bucket
from jupyter_compute.model import SystemClock
from jupyter_compute.parts import Patience
from jupyter_compute.policy import cargo
from jupyter_compute.pool.transfer import Transfers

pytestmark = pytest.mark.slow

MIB = 2**20


class Ends:
    """Both sides of what is tested: what it was told, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.news = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> str:
            self.calls.append((name, *arguments))
            self.news.set()
            return ""

        return call

    async def until(self, name: str) -> tuple[Any, ...]:
        """Wait until this has been called, and return the arguments of the first time."""
        async with asyncio.timeout(15):
            while not (found := [call for call in self.calls if call[0] == name]):
                self.news.clear()
                await self.news.wait()
        return found[0][1:]

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]


class Bench:
    """Two layers: machines of ``far`` are apart, those of ``near`` are not."""

    def __init__(self, directory: Path, bucket: str = NAME) -> None:
        self.bucket = Bucket(bucket, part_bytes=5 * MIB)
        self.blobs = Blobs([directory])
        self.kept: dict[str, dict[str, Any]] = {}
        self.ends = Ends()
        self.transfers = Transfers(
            lambda layer: self.bucket if layer == "far" else None,
            self.blobs,
            self.kept.get,
            self.ends,  # type: ignore[arg-type]
            SystemClock(),
        )
        self.transfers.attach(self.ends)  # type: ignore[arg-type]

    def submit(self, attempt: str, *blobs: bytes, layer: str = "far", kept: str = "") -> list[str]:
        """Submit an attempt that reads these; return their names."""
        around = {"umask": 0, "variables": {"A": "b", "C": "d"}, "plain": ["A"], "python": "3.11.1"}
        names = [self.blobs.put(blob) for blob in blobs]
        spec = {
            "layer": layer,
            "kept": [kept] if kept else [],
            "environment": self.blobs.put(json.dumps(around).encode()),
            "payload": names[0],
            "blobs": names[1:],
            "packages": "",
        }
        self.transfers.submit(attempt, json.dumps(spec), object())  # type: ignore[arg-type]
        return names

    async def ask(self, attempt: str, verb: str, machine: str = "m", **about: Any) -> Any:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        question = {"attempt": attempt, "verb": verb, "about": about}
        self.transfers.asked(
            machine, question, lambda found: found.get("wait") or answer.set_result(found)
        )
        return await asyncio.wait_for(answer, 15)

    def close(self) -> None:
        self.transfers.close()
        self.bucket._client.close()


def _run(test: Any, *arguments: Any, **options: Any) -> None:
    async def run() -> None:
        bench = Bench(*arguments, **options)
        try:
            await test(bench)
        finally:
            bench.close()

    asyncio.run(run())


def test_small_blobs_travel_with_the_attempt(line: Line, server: Server, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        names = bench.submit("r-1.1", b"small", b"x" * 70_000)
        _, spec, _ = await bench.ends.until("submit")
        sent = json.loads(spec)
        inline = sent["cargo"]["inline"]
        assert cargo.unpack(inline[names[0]]) == (names[0], b"small")
        assert names[1] not in inline
        around = json.loads(cargo.unpack(inline[sent["environment"]])[1])
        assert around == {"python": "3.11.1", "umask": 0, "variables": {"A": "b"}}
        bench.transfers.placed("r-1.1", "m")
        found = await bench.ask("r-1.1", "get", name=names[1])
        assert (found["hash"], found["nbytes"]) == (names[1], 70_000)

    _run(test, tmp_path)


def test_two_attempts_share_one_upload(line: Line, server: Server, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        big = b"shared" * MIB
        (name, *_), _ = bench.submit("r-1.1", big), bench.submit("r-2.1", big)
        for attempt in ("r-1.1", "r-2.1"):
            bench.transfers.placed(attempt, "m")
        await asyncio.gather(*(bench.ask(a, "get", name=name) for a in ("r-1.1", "r-2.1")))
        bench.submit("r-3.1", big)
        bench.transfers.placed("r-3.1", "m")
        await bench.ask("r-3.1", "get", name=name)
        assert server.count("PUT", name) == 2  # its two parts
        assert server.count("HEAD", name) == 1

    _run(test, tmp_path)


def test_a_machine_gets_what_its_own_attempts_need(line: Line, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        (name,) = bench.submit("r-1.1", b"a" * 70_000)
        (other,) = bench.submit("r-2.1", b"b" * 70_000)
        bench.transfers.placed("r-1.1", "m")
        assert "has no blob" in (await bench.ask("r-1.1", "get", name=other))["refused"]
        there = await bench.ask("r-1.1", "get", machine="another", name=name)
        assert "does not run there" in there["refused"]
        assert "url" in await bench.ask("r-1.1", "get", name=name)

    _run(test, tmp_path)


def test_events_wait_for_their_blobs_and_those_after_them(line: Line, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.submit("r-1.1", b"code")
        bench.transfers.placed("r-1.1", "m")
        data = b"result" * 200_000
        name = Blobs([tmp_path / "there"]).put(data)
        path = Blobs([tmp_path / "there"]).path(name)
        await asyncio.to_thread(bench.bucket.upload, name, path, Patience(5))
        ended = {"kind": "ended", "envelope": {"outcome": "ok", "payload": name, "blobs": []}}
        how = {"hash": name, "nbytes": len(data)}
        bench.transfers.happened("r-1.1", [{"kind": "blobs", "blobs": {name: how}}, ended])
        bench.transfers.vanished("r-1.1", True, "")
        assert "vanished" not in bench.ends.names()
        await bench.ends.until("vanished")
        assert bench.ends.names()[-2:] == ["happened", "vanished"]
        assert bench.ends.calls[-2][2] == [ended]
        assert bench.blobs.read(name) == data

    _run(test, tmp_path / "here")


def test_a_result_that_is_not_in_the_store_ends_the_attempt(line: Line, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.submit("r-1.1", b"code")
        name = "0" * 32
        envelope = {"outcome": "ok", "payload": name, "blobs": [], "usage": {"run_s": 1}}
        blobs = {"kind": "blobs", "blobs": {name: {"hash": name, "nbytes": 5}}}
        bench.transfers.happened("r-1.1", [blobs, {"kind": "ended", "envelope": envelope}])
        _, events = await bench.ends.until("happened")
        assert events[0]["envelope"]["reason"] == "transfer"
        assert "NoSuchKey" in events[0]["envelope"]["message"]
        assert events[0]["envelope"]["usage"] == {"run_s": 1}

    _run(test, tmp_path)


def test_a_layer_that_cannot_say_its_store_ends_the_run(line: Line, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        def refuse(layer: str) -> None:
            raise PoolError("AWS does not say which account this is")

        bench.transfers._store_of = refuse
        bench.submit("r-1.1", b"code")
        assert bench.ends.calls == []  # the run is not taken on yet
        _, events = await bench.ends.until("happened")
        assert "which account" in events[0]["envelope"]["message"]

    _run(test, tmp_path)


def test_what_the_store_does_not_take_ends_a_run_before_it_has_a_machine(
    line: Line, tmp_path: Path
) -> None:
    async def test(bench: Bench) -> None:
        bench.submit("r-1.1", b"a" * 70_000)
        _, events = await bench.ends.until("happened")
        envelope = events[0]["envelope"]
        assert (envelope["reason"], envelope["unreachable"]) == ("transfer", False)
        assert "the store answered" in envelope["message"]
        assert "withdraw" in bench.ends.names()

    _run(test, tmp_path, bucket="no-such-bucket-of-ours")


def test_what_a_withdrawn_attempt_needs_is_not_sent(line: Line, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        line.cut = True
        bench.submit("r-1.1", b"a" * 70_000)
        assert bench.transfers.moving("r-1.1") == "sending 0 B of 70 kB"
        depot = bench.transfers._depot("far")
        assert depot is not None
        await asyncio.sleep(0)  # it begins as soon as nothing else is to be done
        sending = next(iter(depot._sending._jobs.values()))
        bench.transfers.withdraw("r-1.1")
        async with asyncio.timeout(15):
            await asyncio.wait([sending.task])
        assert bench.transfers.moving("r-1.1") == ""
        assert "happened" not in bench.ends.names()

    _run(test, tmp_path)


def test_a_kept_value_comes_here_before_a_run_that_reads_it_here(
    line: Line, tmp_path: Path
) -> None:
    async def test(bench: Bench) -> None:
        there = Blobs([tmp_path / "there"])
        name, buffer = there.put(b"kept"), there.put(b"buffer" * 20_000)
        for blob in (name, buffer):
            await asyncio.to_thread(bench.bucket.upload, blob, there.path(blob), Patience(5))
        entry = {"id": "k-1", "payload": name, "blobs": [buffer], "apart": "far"}
        bench.kept["k-1"] = entry
        bench.submit("r-1.1", b"code", layer="far", kept="k-1")
        await bench.ends.until("submit")
        assert not bench.blobs.has(buffer)  # its machine gets it from the store
        bench.ends.calls.clear()
        bench.submit("r-2.1", b"code", layer="near", kept="k-1")
        assert bench.transfers.moving("r-2.1") == "bringing kept values"
        assert "submit" not in bench.ends.names()
        await bench.ends.until("submit")
        assert bench.blobs.read(buffer) == b"buffer" * 20_000

    _run(test, tmp_path / "here")


def test_a_message_to_a_lane_takes_its_small_blobs_along(line: Line, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.submit("r-1.1", b"function")
        items = bench.blobs.put_private("owner", b"items")
        message = {"n": 0, "payload": items, "blobs": []}
        bench.transfers.control("r-1.1", "tell", message)
        bench.transfers.control("r-1.1", "tell", {"op": "finish"})
        _, told, finish = (call for call in bench.ends.calls if call[0] != "withdraw")
        assert cargo.unpack(told[3]["inline"][items])[1] == b"items"
        assert finish[3] == {"op": "finish"}

    _run(test, tmp_path)
