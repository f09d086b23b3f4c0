"""The life of the service process: one per user, and what a killed one leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
from homes import Home
from jupyter_compute import places

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _own_home(home: Home) -> Iterator[None]:
    yield
    services.hang_up()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_fifty_starters_end_up_with_one_service() -> None:
    code = "from jupyter_compute.notebook.client import Client; print(Client().info()['pid'])"
    starters = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(50)
    ]
    pids = {starter.communicate(timeout=100)[0].strip() for starter in starters}
    assert len(pids) == 1
    assert all(starter.returncode == 0 for starter in starters)


def test_a_second_service_steps_back() -> None:
    first = services.start()
    second = services.launch()
    assert second.wait(services.PATIENCE_S) == 0
    assert services.ask("GET", "/v1/info").json["pid"] == first.pid
    services.stop(first)


def test_nobody_else_can_read_or_connect() -> None:
    service = services.start()
    services.submit("print(1)").until(kind="end")
    directories = [places.runtime_dir(), places.data_dir(), places.run_dir(), *places.blob_dirs()]
    assert {_mode(directory) for directory in directories} == {0o700}
    files = [path for top in directories for path in top.rglob("*") if not path.is_dir()]
    assert places.socket() in files
    assert places.journal() in files
    readable = [path for path in files if _mode(path) & 0o077]
    assert readable == []
    services.stop(service)


def test_a_stale_socket_is_taken_over() -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(places.socket()))
    left.close()
    service = services.start()
    services.stop(service)
    assert not places.socket().exists()


def test_a_directory_of_somebody_else_is_refused() -> None:
    places.runtime_dir().rmdir()
    target = Path(os.environ["HOME"], "elsewhere")
    target.mkdir()
    Path(os.environ["JUPYTER_RUNTIME_DIR"], "compute").symlink_to(target)
    with pytest.raises(Exception, match="not a directory of this user"):
        places.socket()
    Path(os.environ["JUPYTER_RUNTIME_DIR"], "compute").unlink()


@pytest.mark.parametrize("how", [services.kill, services.stop], ids=["kill", "term"])
def test_a_service_that_ends_is_followed_by_one_that_knows_its_runs(how: object) -> None:
    mark = Path(os.environ["HOME"], "mark")
    source = (
        f"import os, pathlib, time\nmark = pathlib.Path({str(mark)!r})\n"
        "first = not mark.exists()\nmark.touch()\nprint('first' if first else 'again', flush=True)\n"
        "while first: time.sleep(0.05)"
    )
    service = services.start()
    done = services.submit("print('done')")
    done.until(kind="end")
    cpus = services.ask("GET", "/v1/layers").json["layers"][0]["offers"][0]["cpu"]
    running = services.submit(source, cpu=cpus)
    running.until(kind="stdout", text="first\n")
    queued = services.submit("print('queued')", cpu=cpus)
    queued.until(kind="state", state="queued")
    ids = [stream.events[0]["id"] for stream in (done, running, queued)]
    node = services.node()
    how(service)  # type: ignore[operator]
    services.wait_until(lambda: not Path(f"/proc/{node}/exe").exists())

    service = services.start()
    assert services.ask("GET", f"/v1/runs/{ids[0]}").json["state"] == "done"
    seen = running.events[-1]["seq"]
    again = services.Stream("GET", f"/v1/runs/{ids[1]}/events?since={seen}")
    end = again.until(kind="end")
    assert end["state"] == "done"
    assert end["receipt"]["attempts"] == 2
    assert end["receipt"]["cost_usd"] == 0
    assert again.events[0]["seq"] == seen + 1
    (attempt,) = [event for event in again.events if event["kind"] == "attempt"]
    assert (attempt["n"], attempt["outcome"]) == (1, "lost")
    assert [e["text"] for e in again.events if e["kind"] == "stdout"] == ["again\n"]
    last = services.Stream("GET", f"/v1/runs/{ids[2]}/events").until(kind="end")
    assert last["state"] == "done"
    assert last["receipt"]["attempts"] == 1
    services.stop(service)


def test_a_machine_that_goes_is_replaced_and_its_run_is_rerun_three_times() -> None:
    service = services.start()
    stream = services.submit("import time\nprint('up', flush=True)\ntime.sleep(60)")
    nodes = set()
    for _ in range(4):
        stream.until(kind="stdout", text="up\n")
        nodes.add(node := services.node())
        os.kill(node, signal.SIGTERM)  # it gives notice, so the run is no suspect
    end = stream.until(kind="end")
    assert len(nodes) == 4
    assert end["state"] == "lost"
    assert end["envelope"]["reason"] == "lost"
    receipt = end["receipt"]
    assert (receipt["attempts"], receipt["machine"], receipt["cost_usd"]) == (4, "local", 0)
    assert receipt["run_s"] > 0
    assert receipt["cpu_mean"] is not None  # each machine has told before it went
    assert end["envelope"]["message"] == "the machine was lost, for the 4th time"
    attempts = [event for event in stream.events if event["kind"] == "attempt"]
    assert [attempt["outcome"] for attempt in attempts] == ["lost"] * 3
    assert services.submit("1").until(kind="end")["state"] == "done"
    services.stop(service)


def test_a_forced_stop_cancels_and_leaves_nothing() -> None:
    service = services.start()
    stream = services.submit("import time\ntime.sleep(60)")
    stream.until(kind="started")
    assert services.ask("POST", "/v1/stop", {"force": True}).status == 200
    assert stream.until(kind="end")["state"] == "cancelled"
    assert service.wait(services.PATIENCE_S) == 0
    assert not places.socket().exists()


def test_an_idle_service_ends_itself() -> None:
    service = services.start(DASK_JUPYTER_COMPUTE__IDLE_TIMEOUT="1s")
    services.submit("1").until(kind="end")
    assert service.wait(services.PATIENCE_S) == 0
    assert not places.socket().exists()


def test_a_service_with_a_follower_is_not_idle() -> None:
    service = services.start(DASK_JUPYTER_COMPUTE__IDLE_TIMEOUT="0.5s")
    stream = services.submit("import time\ntime.sleep(3)")
    assert stream.until(kind="end")["state"] == "done"
    assert service.wait(services.PATIENCE_S) == 0


def test_a_run_without_its_notebook_is_cancelled_after_a_while() -> None:
    service = services.start(DASK_JUPYTER_COMPUTE__ABANDONED_TIMEOUT="1s")
    attached = services.submit("import time\ntime.sleep(60)")
    attached.until(kind="started")
    followed = services.submit("import time\ntime.sleep(4)")
    background = services.submit("import time\ntime.sleep(4)", detached=True)
    run_id, kept_id = attached.events[0]["id"], next(iter(background))["id"]
    attached.close()
    background.close()
    services.wait_until(
        lambda: services.ask("GET", f"/v1/runs/{run_id}").json["state"] == "cancelled"
    )
    assert followed.until(kind="end")["state"] == "done"
    kept = services.Stream("GET", f"/v1/runs/{kept_id}/events")
    assert kept.until(kind="end")["state"] == "done"
    services.stop(service)


def test_oversize_can_be_refused() -> None:
    service = services.start(
        DASK_JUPYTER_COMPUTE__LAYERS__LOCAL__OVERSIZE="refuse",
        DASK_JUPYTER_COMPUTE__LAYERS__LOCAL__CPU="1.5",
        DASK_JUPYTER_COMPUTE__LAYERS__LOCAL__MEMORY="1G",
    )
    answer = services.ask("POST", "/v1/runs", services.spec("1", cpu=2))
    assert answer.status == 400
    assert answer.json["error"] == "AskError"
    (nearest,) = answer.json["facts"]["nearest"]
    assert (nearest["cpu"], nearest["memory"]) == (1.5, 10**9)
    plan = services.ask("POST", "/v1/plan", {"cpu": 1}).json
    assert plan["memory"] == 5 * 10**8
    services.stop(service)


def test_an_unreadable_journal_is_moved_aside_and_said() -> None:
    places.journal().write_bytes(b"this is no database" * 1000)
    service = services.start()
    (note,) = services.ask("GET", "/v1/status").json["notes"]
    (aside,) = places.data_dir().glob("journal.sqlite.unreadable-*")
    assert str(aside) in note
    assert services.submit("1").until(kind="end")["state"] == "done"
    services.stop(service)


def test_a_map_says_that_it_waits_for_its_notebook() -> None:
    process = services.start()
    run = services.ask("POST", "/v1/runs?follow=0", services.spec("1", map=True)).json["id"]
    path = f"/v1/runs/{run}"
    services.wait_until(lambda: "its notebook" in services.ask("GET", path).json["reason"])
    services.ask("POST", f"{path}/cancel", {"action": "kill"})
    services.stop(process)
