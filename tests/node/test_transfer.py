"""What a machine that is apart does when blobs do not come, or do not fit."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from jupyter_compute.blobs import Blobs, hash_of
from jupyter_compute.node import transfer
from jupyter_compute.node.transfer import Failed, Transfer
from jupyter_compute.policy import cargo
from jupyter_compute.policy.lifecycle import Timers


class Pool:
    """Answers as it is told to, and remembers the questions."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self.answers = answers
        self.questions: list[Mapping[str, Any]] = []
        self.asked = asyncio.Event()
        self.transfer: Transfer

    def ask(self, question: Mapping[str, Any]) -> None:
        self.questions.append(question)
        self.asked.set()
        answer = self.answers.get(question["verb"])
        if answer is not None:
            loop = asyncio.get_running_loop()
            loop.call_soon(self.transfer.answer, question["number"], answer)

    async def fetch(self, directory: Path, names: list[str], **inline: str) -> Blobs:
        """Fetch blobs as an attempt does that was told of them."""
        self.transfer = Transfer([str(directory)], self.ask)
        try:
            await self.transfer.fetch("r-1.1", names, inline, Counter())
        finally:
            self.transfer.close()
        return self.transfer.blobs


def test_what_came_with_the_message_is_not_asked_for(tmp_path: Path) -> None:
    pool, name = Pool(), hash_of(b"small")
    blobs = asyncio.run(pool.fetch(tmp_path, [name], **{name: cargo.pack(name, b"small")}))
    assert (blobs.read(name), pool.questions) == (b"small", [])


def test_what_came_damaged_is_refused(tmp_path: Path) -> None:
    name = hash_of(b"small")
    with pytest.raises(Failed, match=f"{name} arrived with another content"):
        asyncio.run(Pool().fetch(tmp_path, [name], **{name: cargo.pack(name, b"large")}))


def test_a_refusal_is_passed_on(tmp_path: Path) -> None:
    pool = Pool(get={"refused": "the store answered AccessDenied"})
    with pytest.raises(Failed, match=r"an input could not be .*AccessDenied") as failed:
        asyncio.run(pool.fetch(tmp_path, ["0" * 32]))
    assert not failed.value.unreachable


def test_a_pool_that_is_silent_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "TIMERS", Timers(lost_machine_s=0.05))
    with pytest.raises(Failed, match=r"did not say within 0\.05 s") as failed:
        asyncio.run(Pool().fetch(tmp_path, ["0" * 32]))
    assert failed.value.unreachable


def test_a_pool_that_says_wait_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "TIMERS", Timers(lost_machine_s=0.2))
    pool = Pool()

    async def answer_late() -> None:
        await pool.asked.wait()
        for _ in range(4):
            await asyncio.sleep(0.1)
            pool.transfer.answer(pool.questions[0]["number"], {"wait": True})
        pool.transfer.answer(pool.questions[0]["number"], {"refused": "late"})

    async def run() -> None:
        late = asyncio.ensure_future(answer_late())
        try:
            await pool.fetch(tmp_path, ["0" * 32])
        finally:
            await late

    with pytest.raises(Failed, match="late"):
        asyncio.run(run())


def test_a_blob_that_does_not_fit_is_named_with_its_size(tmp_path: Path) -> None:
    pool = Pool(get={"url": "http://127.0.0.1:9/x", "hash": "0" * 32, "nbytes": 2**60})
    with pytest.raises(Failed, match=r"it takes 1\.15\S* \wB: no room for .* are free: ") as failed:
        asyncio.run(pool.fetch(tmp_path, ["0" * 32]))
    assert not failed.value.unreachable
    assert list(tmp_path.iterdir()) == []


def test_room_is_made_of_what_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    blobs = Blobs([tmp_path])
    used, unused = blobs.put(b"used" * 100), blobs.put(b"unused" * 100)
    for name in (used, unused):
        os.utime(blobs.path(name), (1, 1))
    full = [OSError(errno.ENOSPC, "no room", "there")]
    expect = Blobs.expect

    def expect_later(self: Blobs, name: str, nbytes: int) -> Path:
        if full:
            raise full.pop()
        return expect(self, name, nbytes)

    monkeypatch.setattr(Blobs, "expect", expect_later)

    async def run() -> None:
        pool = Pool(get={"refused": "no"})
        own = pool.transfer = Transfer([str(tmp_path)], pool.ask)
        own.use(Counter([used]))
        own._expect("0" * 32, 10)
        own.close()

    asyncio.run(run())
    assert {path.name for path in tmp_path.iterdir()} == {used}
