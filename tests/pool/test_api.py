"""The HTTP API, on one service for all tests here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

import jupyter_compute
import services
from homes import Home

pytestmark = pytest.mark.slow

_number = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def service(shared_home: Home) -> Iterator[None]:
    """A service in a home for all tests here."""
    home = Home(shared_home.path.parent)
    with home.entered():
        process = services.start()
        yield
        services.stop(process)
        home.close()


@pytest.fixture(autouse=True)
def _no_runs() -> Iterator[None]:
    """A run left over by one test would be in the way of the next."""
    yield
    services.hang_up()
    for run in services.ask("GET", "/v1/status").json["runs"]:
        services.ask("POST", f"/v1/runs/{run['id']}/cancel", {"action": "kill"})


def test_every_answer_names_the_version() -> None:
    for method, path in [("GET", "/v1/info"), ("GET", "/nowhere"), ("GET", "/v1/runs/r-none")]:
        assert services.ask(method, path).headers["X-Jupyter-Compute"] == (
            jupyter_compute.__version__
        )


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", None, 404),
        ("GET", "/v1/nothing", None, 404),
        ("DELETE", "/v1/runs", None, 405),
        ("GET", "/v1/runs/r-aaaaaaaa", None, 404),
        ("GET", "/v1/runs/..%2f..%2fetc", None, 400),
        ("GET", "/v1/runs/" + "a" * 65, None, 400),
        ("GET", "/v1/runs/R-AAAA", None, 400),
        ("GET", "/v1/runs/r-a%00", None, 400),
        ("GET", "/v1/runs/r-aaaaaaaa/events", None, 404),
        ("GET", "/v1/runs/r-aaaaaaaa/events?since=-1", None, 400),
        ("POST", "/v1/runs/r-aaaaaaaa/cancel", {}, 404),
        ("POST", "/v1/runs/r-aaaaaaaa/cancel", {"action": "explode"}, 400),
        ("POST", "/v1/runs/r-aaaaaaaa/collected", {}, 404),
        ("GET", "/v1/runs?limit=many", None, 400),
        ("GET", "/v1/runs?limit=-1", None, 400),
        ("POST", "/v1/runs", b"", 400),
        ("POST", "/v1/runs", b"{", 400),
        ("POST", "/v1/runs", b"[]", 400),
        ("POST", "/v1/runs", b"\xff\xfe", 400),
        ("POST", "/v1/runs", b"[" * 100_000, 400),
        ("POST", "/v1/runs", b" " * (9 * 2**20), 413),
        ("POST", "/v1/runs", {"name": "x"}, 400),
        ("GET", "/v1/cost?by=week", None, 400),
        ("GET", "/v1/cost?since=7d", None, 400),
        ("GET", "/v1/cost?since=-1", None, 400),
        ("GET", "/v1/cost?since=99999999999", None, 400),
        ("GET", "/v1/cost?since=999999999999999", None, 400),
        ("POST", "/v1/plan", {"cpu": "many"}, 400),
        ("POST", "/v1/plan", {"cpu": [1]}, 400),
        ("POST", "/v1/plan", {"cpu": 1, "memory": "4G"}, 400),
        ("POST", "/v1/plan", {"cpu": 1, "memory": -1}, 400),
        ("POST", "/v1/plan", {"cpu": 1, "layer": "../x"}, 400),
        ("POST", "/v1/plan", {"cpu": 1, "layer": "mars"}, 400),
        ("POST", "/v1/plan", {"cpu": 1, "gpu": 1}, 400),
        ("POST", "/v1/plan", {"cpu": 10_000}, 400),
        ("POST", "/v1/stop", {"force": "yes"}, 400),
    ],
)
def test_a_bad_request_is_refused_in_json(
    method: str, path: str, body: object, status: int
) -> None:
    answer = services.ask(method, path, body)
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    assert set(answer.json) == {"error", "message", "hint", "facts"}


@pytest.mark.parametrize(
    "fields",
    [
        {"cpu": None},
        {"cpu": 0},
        {"cpu": "1"},
        {"cpu": True},
        {"cpu": float("nan")},
        {"cpu": 1e9},
        {"memory": 1},
        {"memory": 1.5e9},
        {"memory": 2**62},
        {"memory": 10**9, "memory_high": 10**8},
        {"payload": "../../etc/passwd"},
        {"payload": ""},
        {"environment": None},
        {"blobs": "abc"},
        {"blobs": ["x"]},
        {"layer": ""},
        {"layer": "mars"},
        {"interpreter": ""},
        {"interpreter": "a\0b"},
        {"name": 5},
        {"name": "x" * 20_000},
        {"retry": []},
        {"retry": {"retries": -1}},
        {"retry": {"retries": 1, "unknown": 1}},
        {"timeout_s": 0},
        {"timeout_s": "1h"},
        {"detached": "no"},
        {"unknown": 1},
        {"gpu": 1},
        {"given": "memory"},
        {"sent": -1},
    ],
    ids=lambda fields: "-".join(fields) + str(next(_number)),
)
def test_a_bad_run_is_refused_and_not_taken_on(fields: dict[str, Any]) -> None:
    before = services.ask("GET", "/v1/runs").json
    answer = services.ask("POST", "/v1/runs", services.spec("1", **fields))
    assert answer.status == 400, answer.text
    assert answer.json["message"]
    assert services.ask("GET", "/v1/runs").json == before


def test_a_run_from_submission_to_receipt() -> None:
    stream = services.submit("print('hello')\n6 * 7")
    events = list(stream)
    run_id = events[0]["id"]
    assert events[0] == {"kind": "accepted", "id": run_id}
    assert [event["seq"] for event in events if "seq" in event] == list(range(1, len(events)))
    states = [event["state"] for event in events if event["kind"] == "state"]
    assert states[0] == "queued"
    assert states[-1] == "running"
    assert "".join(e["text"] for e in events if e["kind"] == "stdout") == "hello\n"
    assert events[-1]["kind"] == "end"
    assert events[-1]["state"] == "done"
    receipt = events[-1]["receipt"]
    assert receipt["attempts"] == 1
    assert receipt["machine"] == "local"
    assert receipt["cost_usd"] == 0
    assert receipt["wait_s"] >= 0
    assert receipt["run_s"] > 0
    run = services.ask("GET", f"/v1/runs/{run_id}").json
    assert run["state"] == "done"
    assert run["receipt"] == receipt
    assert run["envelope"] == events[-1]["envelope"]
    assert services.ask("GET", "/v1/runs?limit=1").json["runs"] == [run]


def test_events_are_replayed_from_where_the_reader_stopped() -> None:
    stream = services.submit("print('hello')")
    end = stream.until(kind="end")
    run_id = stream.events[0]["id"]
    numbered = [event for event in stream.events if event.get("seq")]
    for since in (0, 2, end["seq"] - 1, end["seq"], 10**6):
        replayed = list(services.Stream("GET", f"/v1/runs/{run_id}/events?since={since}"))
        assert replayed == [event for event in numbered if event["seq"] > since]


def test_events_of_a_running_run_are_replayed_and_then_live() -> None:
    first = services.submit("import time\nprint('a', flush=True)\ntime.sleep(60)")
    first.until(kind="stdout")
    run_id = first.events[0]["id"]
    second = services.Stream("GET", f"/v1/runs/{run_id}/events?since=1")
    second.until(kind="stdout", text="a\n")
    services.ask("POST", f"/v1/runs/{run_id}/cancel", {"action": "kill"})
    assert second.until(kind="end")["state"] == "cancelled"
    assert first.until(kind="end") == second.events[-1]


def test_a_client_that_hangs_up_does_not_disturb_the_run(tmp_path: Any) -> None:
    go = tmp_path / "go"
    source = f"import os, time\nprint('up', flush=True)\nwhile not os.path.exists({str(go)!r}):"
    first = services.submit(source + "\n    time.sleep(0.01)\nprint('on')")
    first.until(kind="stdout")
    run_id = first.events[0]["id"]
    first.close()
    go.touch()
    again = services.Stream("GET", f"/v1/runs/{run_id}/events")
    assert again.until(kind="end")["state"] == "done"
    assert "".join(e["text"] for e in again.events if e["kind"] == "stdout") == "up\non\n"


def test_a_submission_that_is_not_followed() -> None:
    answer = services.ask("POST", "/v1/runs?follow=0", services.spec("1 + 1", detached=True))
    run_id = answer.json["id"]
    assert services.Stream("GET", f"/v1/runs/{run_id}/events").until(kind="end")["state"] == "done"


def test_a_queued_run_is_cancelled_at_once() -> None:
    cpus = services.ask("GET", "/v1/layers").json["layers"][0]["offers"][0]["cpu"]
    holder = services.submit("import time\ntime.sleep(60)", cpu=cpus)
    holder.until(kind="started")
    waiting = services.submit("1", cpu=cpus)
    waiting.until(kind="state", state="queued")
    run_id = waiting.events[0]["id"]
    answer = services.ask("POST", f"/v1/runs/{run_id}/cancel", {"action": "interrupt"})
    assert answer.json["state"] == "cancelled"
    end = waiting.until(kind="end")
    assert end["state"] == "cancelled"
    assert end["envelope"]["reason"] == "killed"
    assert not [event for event in waiting.events if event["kind"] == "started"]
    holder_id = holder.events[0]["id"]
    services.ask("POST", f"/v1/runs/{holder_id}/cancel", {"action": "kill"})
    assert holder.until(kind="end")["state"] == "cancelled"


def test_a_run_that_waits_says_why() -> None:
    cpus = services.ask("GET", "/v1/layers").json["layers"][0]["offers"][0]["cpu"]
    holder = services.submit("import time\ntime.sleep(60)", cpu=cpus)
    holder.until(kind="started")
    waiting = services.submit("1", cpu=cpus)
    waiting.until(kind="state", state="queued", reason="")
    assert waiting.until(kind="state", state="queued")["reason"].startswith("waiting for")


def test_stop_is_refused_while_runs_are_active() -> None:
    stream = services.submit("import time\ntime.sleep(60)")
    stream.until(kind="started")
    answer = services.ask("POST", "/v1/stop", {"force": False})
    assert answer.status == 409
    assert answer.json["error"] == "PoolError"
    assert services.ask("GET", "/v1/info").status == 200


def test_an_ask_larger_than_this_computer_is_capped_with_a_note() -> None:
    offer = services.ask("GET", "/v1/layers").json["layers"][0]["offers"][0]
    plan = services.ask("POST", "/v1/plan", {"cpu": 800, "memory": 10**13}).json
    assert (plan["cpu"], plan["memory"]) == (offer["cpu"], offer["memory"])
    assert plan["notes"][0].startswith("asked 800 cpu 10 TB, this computer has")
    stream = services.submit("1", cpu=800)
    note = stream.until(kind="note")
    assert note["text"].startswith("asked 800 cpu")
    assert stream.until(kind="end")["receipt"]["cpu"] == offer["cpu"]


def test_status_shows_machine_and_run() -> None:
    stream = services.submit("import time\ntime.sleep(60)", name="sleeper", notebook="a.ipynb")
    stream.until(kind="sample")
    status = services.ask("GET", "/v1/status").json
    (machine,) = status["machines"]
    assert machine["state"] == "ready"
    assert machine["runs"] == 1
    assert machine["memory_used"] > 0
    (run,) = status["runs"]
    assert (run["name"], run["notebook"], run["state"]) == ("sleeper", "a.ipynb", "running")
    assert run["memory_used"] > 0


def test_hundreds_of_runs_queue_and_are_listed() -> None:
    cpus = services.ask("GET", "/v1/layers").json["layers"][0]["offers"][0]["cpu"]
    holder = services.submit("import time\ntime.sleep(60)", cpu=cpus)
    holder.until(kind="started")
    wire = services.spec("1", cpu=cpus)
    ids = [services.ask("POST", "/v1/runs?follow=0", wire).json["id"] for _ in range(200)]
    active = {run["id"] for run in services.ask("GET", "/v1/status").json["runs"]}
    assert active >= set(ids)
    for run_id in ids:
        services.ask("POST", f"/v1/runs/{run_id}/cancel", {"action": "kill"})
    assert len(services.ask("GET", "/v1/status").json["runs"]) == 1
