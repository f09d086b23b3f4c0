"""Environments that a machine installs, with a uv that does what a test says."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import psutil
import pytest

import services
from jupyter_compute.node.environments import Environments, NotInstalled

pytestmark = pytest.mark.slow

LISTED = {"python": "3.12", "packages": ["thing==1.0"]}


def begin(place: Path, program: str) -> Environments:
    """Have a machine whose uv is this shell script, which notes each call."""
    (place / "plan.json").write_text(
        json.dumps({"index": "http://127.0.0.1:9", "wheel": "our.whl"})
    )
    uv = place / "uv"
    uv.write_text(f'#!/bin/sh\necho "$@" >>"{place}/calls"\n{program}\n')
    uv.chmod(0o755)
    return Environments(place, dict(os.environ))


def calls(place: Path) -> list[str]:
    return (place / "calls").read_text().splitlines()


def test_those_who_need_the_same_share_one_installation(tmp_path: Path) -> None:
    async def run() -> None:
        environments = begin(tmp_path, "")
        assert not environments.has("e1")
        first, again = await asyncio.gather(*(environments.get("e1", LISTED) for _ in range(2)))
        assert first == again == await environments.get("e1", LISTED)
        assert environments.has("e1")
        assert first.interpreter == str(tmp_path / "e1" / "bin" / "python")
        assert first.variables("/bin")["PATH"] == f"{tmp_path}/e1/bin:/bin"

    asyncio.run(run())
    made, installed = calls(tmp_path)
    assert made.startswith("venv --python 3.12 ")
    assert installed.endswith(f"--no-deps -r {tmp_path}/e1.txt {tmp_path}/our.whl")
    assert (tmp_path / "e1.txt").read_text() == "thing==1.0\n"


def test_what_uv_says_of_a_failure_is_told_and_it_is_tried_again(tmp_path: Path) -> None:
    async def run() -> None:
        # As uv draws it: a cross, a line, and an arrow.
        said = r"Resolved 1\n  \303\227 No way:\n  \342\225\260\342\224\200 thing==1.0\n"
        program = f"test -e {tmp_path}/cured || {{ printf '{said}' >&2; exit 1; }}"
        environments = begin(tmp_path, program)
        with pytest.raises(NotInstalled, match=r"^No way: thing==1\.0$"):
            await environments.get("e1", LISTED)
        (tmp_path / "cured").touch()
        await environments.get("e1", LISTED)

    asyncio.run(run())


def test_nothing_of_an_installation_outlives_the_machines_program(tmp_path: Path) -> None:
    async def run() -> None:
        program = f"echo $$ >{tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 1000"
        environments = begin(tmp_path, program)
        waiting = [asyncio.ensure_future(environments.get(e, LISTED)) for e in ("e1", "e2")]
        await asyncio.to_thread(services.wait_until, (tmp_path / "pid").exists)
        process = psutil.Process(int((tmp_path / "pid").read_text()))
        environments.close()
        for each in waiting:
            with pytest.raises(NotInstalled):
                await each
        assert len(calls(tmp_path)) == 1
        await asyncio.to_thread(services.wait_until, lambda: _is_over(process))

    asyncio.run(run())


def _is_over(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
