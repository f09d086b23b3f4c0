"""The client starts, finds, follows and replaces the pool service."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homes import Home
from jupyter_compute import __version__, places
from jupyter_compute.errors import AskError, PoolError
from jupyter_compute.model import RunSpec
from jupyter_compute.notebook import session
from jupyter_compute.notebook.client import Client
from jupyter_compute.notebook.options import from_keywords
from jupyter_compute.notebook.results import Results
from jupyter_compute.notebook.run import Run
from jupyter_compute.notebook.submission import prepare_call

pytestmark = pytest.mark.slow

_OTHER_VERSION = """
import sys, jupyter_compute
jupyter_compute.__version__ = "0.0.1"
from jupyter_compute.pool.start import main
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def fresh_session(home: Home) -> Iterator[None]:
    """What the kernel remembers belongs to one home."""
    session.client.cache_clear()
    session.blobs.cache_clear()
    yield
    session.client.cache_clear()
    session.blobs.cache_clear()


def _spec(function: Any, *args: Any, **options: Any) -> RunSpec:
    asked = from_keywords(cpu=0.1, memory="256M", **options)
    return prepare_call({}, asked, function, args, {}).spec


def _double(x: int) -> int:
    return 2 * x


def _wait_for_file(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.01)
    return "seen"


def _start_other_version() -> subprocess.Popen[bytes]:
    places.runtime_dir()
    service = subprocess.Popen([sys.executable, "-c", _OTHER_VERSION], start_new_session=True)
    deadline = time.monotonic() + 60
    while not Client(start=False).answers() and time.monotonic() < deadline:
        time.sleep(0.02)
    return service


def test_a_client_that_may_not_start_says_that_nothing_runs(home: Home) -> None:
    client = Client(start=False)
    assert not client.answers()
    with pytest.raises(PoolError, match="does not run"):
        client.status()
    assert home.processes() == {}


def test_the_first_call_starts_the_service_in_a_session_of_its_own(home: Home) -> None:
    pid = Client().info()["pid"]
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")


def test_many_starters_find_one_service(home: Home) -> None:
    code = "from jupyter_compute.notebook.client import Client; print(Client().info()['pid'])"
    starters = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(8)
    ]
    pids = {starter.communicate()[0] for starter in starters}
    assert len(pids) == 1
    assert pids.pop().strip().isdigit()


def test_a_service_that_cannot_start_is_reported_with_its_log(home: Home) -> None:
    places.journal().mkdir()
    home.service_was_killed = True
    with pytest.raises(PoolError, match="could not be started") as caught:
        Client().info()
    assert "journal.sqlite" in caught.value.message
    assert "doctor" in caught.value.hint


def test_the_wait_for_a_service_can_be_interrupted(home: Home) -> None:
    with places.start_lock().open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            Client().info()
        assert time.monotonic() - began < 5


def test_a_run_is_followed_from_acceptance_to_its_end(home: Home) -> None:
    client = Client()
    events = list(client.submit(_spec(_double, 21)))
    assert events[0]["kind"] == "accepted"
    assert events[-1]["kind"] == "end"
    assert events[-1]["state"] == "done"
    numbers = [event["seq"] for event in events if "seq" in event]
    assert numbers == list(range(1, len(numbers) + 1))
    run_id = events[0]["id"]
    assert [event["kind"] for event in client.follow(run_id, numbers[-2])] == ["end"]
    assert client.runs()[0]["id"] == client.run(run_id)["id"] == run_id


def test_a_refused_ask_is_raised_and_leaves_no_run(home: Home) -> None:
    client = Client()
    spec = _spec(_double, 1, gpu=1)
    with pytest.raises(AskError):
        list(client.submit(spec))
    assert client.runs() == []


def test_events_so_far_do_not_wait_for_the_end(home: Home) -> None:
    client, stop = Client(), str(home.path / "stop")
    run_id = client.submit_only(_spec(_wait_for_file, stop))
    kinds = {event["kind"] for event in client.events(run_id)}
    assert "state" in kinds
    assert "end" not in kinds
    client.cancel(run_id, "kill")
    assert list(client.follow(run_id))[-1]["state"] == "cancelled"


def test_following_stops_at_its_deadline(home: Home) -> None:
    client, stop = Client(), str(home.path / "stop")
    run_id = client.submit_only(_spec(_wait_for_file, stop))
    with pytest.raises(TimeoutError):
        list(client.follow(run_id, deadline=time.monotonic() + 0.2))
    client.cancel(run_id, "kill")


def test_following_goes_on_when_the_service_is_killed(home: Home) -> None:
    client, stop = Client(), home.path / "stop"
    prepared = prepare_call(
        {}, from_keywords(cpu=0.1, memory="256M"), _wait_for_file, (str(stop),), {}
    )
    kinds, notes, end = [], [], {}
    for event in client.submit(prepared.spec):
        kinds.append(event["kind"])
        if event["kind"] == "started" and kinds.count("started") == 1:
            os.kill(Client().info()["pid"], signal.SIGKILL)
            stop.touch()
        if event["kind"] == "note":
            notes.append(event["text"])
        if event["kind"] == "end":
            end = event
    assert any("started again" in note for note in notes)
    assert end["state"] == "done"
    assert Run(client.runs()[0]["id"], Results({}, prepared.packed)).result() == "seen"


def test_a_run_whose_id_never_arrived_is_found_again(home: Home) -> None:
    client, began = Client(), time.time()
    spec = _spec(_double, 21)
    run_id = client.submit_only(spec)
    assert client._taken_on(spec.to_wire(), began) == run_id
    assert client._taken_on(spec.to_wire(), began + 60) == ""
    assert client._taken_on(_spec(_double, 22).to_wire(), began) == ""


def test_calls_go_on_when_the_service_is_killed_between_them(home: Home) -> None:
    client = Client()
    first = client.info()["pid"]
    os.kill(first, signal.SIGKILL)
    assert client.info()["pid"] != first


def test_each_thread_has_a_connection_of_its_own(home: Home) -> None:
    client, stop, answers = Client(), str(home.path / "stop"), []
    run_id = client.submit_only(_spec(_wait_for_file, stop))
    follower = threading.Thread(target=lambda: answers.append(list(client.follow(run_id))[-1]))
    follower.start()
    assert client.run(run_id)["id"] == run_id
    client.cancel(run_id, "kill")
    follower.join(30)
    assert answers[0]["state"] == "cancelled"


def test_a_forked_process_opens_its_own_connection(home: Home) -> None:
    client = Client()
    pid = client.info()["pid"]
    child = os.fork()
    if child == 0:
        os._exit(0 if client.info()["pid"] == pid else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert client.info()["pid"] == pid


def test_an_idle_service_of_another_version_is_replaced(home: Home) -> None:
    other = _start_other_version()
    info = Client().info()
    assert info["version"] == __version__
    assert other.wait(30) == 0


def test_a_busy_service_of_another_version_needs_a_restart(home: Home) -> None:
    other = _start_other_version()
    spec = _spec(_wait_for_file, str(home.path / "stop"), quiet=True)
    code = (
        "import sys, json, jupyter_compute; jupyter_compute.__version__ = '0.0.1'\n"
        "from jupyter_compute.notebook.client import Client\n"
        "from jupyter_compute.model import RunSpec\n"
        "print(Client().submit_only(RunSpec.from_wire(json.load(sys.stdin))))"
    )
    detached = dataclasses.replace(spec, detached=True)
    subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(detached.to_wire()), text=True, check=True
    )
    with pytest.raises(PoolError, match="restart needed") as caught:
        Client().info()
    assert "stop --all" in caught.value.hint
    other.terminate()
    other.wait(30)
