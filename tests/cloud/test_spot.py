"""Spot machines that are taken back, on the sandbox: moved at the notice, and nobody pays for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
from clouds import Cloud
from kernels import Kernel, ok
from sandboxes import wait

pytestmark = pytest.mark.slow

TIMERS = {"list_s": 0.5, "notice_check_s": 0.5, "sweep_first_s": 0.5, "tick_s": 0.3}


@pytest.fixture(scope="module")
def hurried(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud with a pool that waits for nothing long."""
    with shared_cloud.home.entered(), shared_cloud.hasty(TIMERS):
        yield shared_cloud


@pytest.fixture
def hasty(hurried: Cloud) -> Iterator[Cloud]:
    """The same, without machines."""
    yield hurried
    hurried.clear()


def until_second(path: Path) -> str:
    """Return code that notes each time it runs, and waits until it runs for the second time."""
    return (
        "import pathlib, time\n"
        f"path = pathlib.Path({str(path)!r})\n"
        "with path.open('a') as file:\n    file.write('ran\\n')\n"
        "while path.read_text().count('ran') < 2:\n    time.sleep(0.05)\n"
    )


def test_what_runs_on_it_is_moved_to_another_one_that_starts_at_the_notice(
    hasty: Cloud, tmp_path: Path
) -> None:
    ask = {"cpu": 2, "instances": ["c5.large"], "spot": "always"}
    stream = hasty.submit(until_second(tmp_path / "runs"), **ask)
    stream.until(state="running")
    (first,) = hasty.alive()
    hasty.sandbox.ask("notice", machine=first["id"])
    said = stream.until(kind="note")["text"]
    assert said.startswith("spot machine is being reclaimed, moving: what has not ended in 1")
    second = wait(lambda: [m for m in hasty.alive() if m["id"] != first["id"]], 30)[0]
    assert second["zone"] != first["zone"], "where one is taken back, there is too little"
    wait(lambda: {m["id"]: m["state"] for m in hasty.machines()}.get(second["id"]) == "ready", 30)
    hasty.sandbox.ask("kill", machine=first["id"])
    over = stream.until(kind="attempt")
    assert over["message"].startswith("machine lost after ")
    assert "c5.large spot (sandbox) was reclaimed" in over["message"]
    assert "not counted as a retry" in over["next"]
    end = stream.until(kind="end")
    assert (end["state"], end["receipt"]["attempts"]) == ("done", 2)
    assert [m["id"] for m in hasty.alive()] == [second["id"]], "no third one was launched"


def test_a_task_that_is_told_to_end_goes_on_until_it_must(hasty: Cloud, tmp_path: Path) -> None:
    done = tmp_path / "done"
    code = f"import pathlib, time\nwhile not pathlib.Path({str(done)!r}).exists(): time.sleep(0.05)"
    ask = {"cpu": 0.5, "memory": 10**9, "layer": "fargate", "spot": "always"}
    stream = hasty.submit(code, **ask)
    stream.until(state="running")
    (task,) = hasty.alive()
    hasty.sandbox.ask("notice", machine=task["id"])
    assert "spot machine is being reclaimed, moving" in stream.until(kind="note")["text"]
    wait(lambda: len(hasty.alive()) == 2, 30)
    done.touch()
    end = stream.until(kind="end")
    assert (end["state"], end["receipt"]["attempts"]) == ("done", 1)
    wait(lambda: task["id"] not in {m["id"] for m in hasty.alive()}, 30)


def test_spot_machines_are_used_as_the_ask_has_it(hasty: Cloud) -> None:
    none = {"action": "RunInstances", "code": "InsufficientInstanceCapacity"}
    hasty.sandbox.ask("fault", **none, match={"lifecycle": "spot"})
    ask = {"cpu": 2, "instances": ["m5.large"]}
    always = hasty.submit("1", **ask, spot="always")
    for event in always:
        if "no capacity for m5.large spot" in str(event.get("reason")):
            break
    assert hasty.alive() == []
    auto = hasty.submit("1", **ask)
    assert auto.until(kind="end")["state"] == "done"
    assert [m["spot"] for m in hasty.alive()] == [False]
    said = {(c["params"]["ClientToken"], json.dumps(c["params"])) for c in hasty.launches()}
    assert len(said) == len({token for token, _ in said}), "another launch has another token"
    codes = {call["code"] for call in hasty.launches()}
    assert codes == {"", "InsufficientInstanceCapacity"}, "never IdempotentParameterMismatch"
    services.hang_up()


MAP = """
import pathlib, time
from jupyter_compute import remote

runs = pathlib.Path({path!r})

@remote(on="ec2", cpu=2, memory="1G", instance="c5.large", spot="always")
def work(number):
    with runs.open("a") as file:
        file.write(f"{{number}}\\n")
    while number == 2 and runs.read_text().count("2") < 2:
        time.sleep(0.05)
    return 10 * number

list(work.map(range(4), chunk=1))
"""


def test_a_map_goes_on_elsewhere_with_what_was_not_finished(hasty: Cloud, tmp_path: Path) -> None:
    since, path = len(hasty.sandbox.machines()), tmp_path / "runs"
    kernel = Kernel(hasty.home)
    try:
        ok(kernel.run("%load_ext jupyter_compute"))
        cell = kernel.start(MAP.format(path=str(path)))
        kernel.wait_for(lambda: path.exists() and "2" in path.read_text())
        (first,) = hasty.alive()
        hasty.sandbox.ask("notice", machine=first["id"])
        # Nothing of the map waits for a machine; but what is there will have to.
        second = wait(lambda: [m for m in hasty.alive() if m["id"] != first["id"]], 30)[0]
        assert path.read_text().split() == ["0", "1", "2"]
        state = {second["id"]: "ready", first["id"]: "draining"}
        wait(lambda: state.items() <= {m["id"]: m["state"] for m in hasty.machines()}.items(), 30)
        hasty.sandbox.ask("kill", machine=first["id"])
        assert ok(kernel.finish(cell)).result == "[0, 10, 20, 30]"
    finally:
        kernel.close()
    assert sorted(path.read_text().split()) == ["0", "1", "2", "2", "3"]
    assert len(hasty.sandbox.machines()) == since + 2, "one was replaced by one"
