"""What panels ask the service, on real pools."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import services
from homes import Home
from jupyter_compute.pool.picture import MAX_BYTES
from panels import Panel

pytestmark = pytest.mark.slow

_UP = "import time\nprint('up', flush=True)\ntime.sleep(60)"


@pytest.fixture(autouse=True)
def _own_home(home: Home) -> Iterator[None]:
    yield
    services.hang_up()


def _look(panel: Panel) -> dict[str, Any]:
    answer = services.ask("GET", f"/v1/state?since={panel.cursor}")
    assert answer.status == 200, answer.text
    assert len(answer.text) <= MAX_BYTES
    return panel.apply(answer.text)


def _see(panel: Panel, true: Any) -> None:
    def seen() -> bool:
        _look(panel)
        return bool(true())

    services.wait_until(seen)


def _machine(panel: Panel) -> dict[str, Any]:
    (machine,) = panel.machines.values()
    return machine


def test_a_run_is_seen_from_its_start_to_its_receipt(tmp_path: Path) -> None:
    service = services.start()
    panel, go = Panel(), tmp_path / "go"
    source = f"import os\nprint('up', flush=True)\nwhile not os.path.exists({str(go)!r}): pass"
    stream = services.submit(source, name="busy", notebook="a.ipynb", cell="c-1")
    stream.until(kind="sample")
    run_id = stream.events[0]["id"]
    _see(panel, lambda: len(panel.series(0).get(("runs", run_id), {})) >= 2)
    run, machine = panel.runs[run_id], _machine(panel)
    assert (run["name"], run["notebook"], run["cell"]) == ("busy", "a.ipynb", "c-1")
    assert (run["state"], run["machine_id"]) == ("running", machine["id"])
    assert run["cpu_used"] > 0.2
    assert run["memory_used"] > 0
    assert (machine["state"], machine["runs"], machine["idle_s"]) == ("ready", 1, 0)
    assert ("machines", machine["id"]) in panel.series(0)
    assert panel.facts["totals"]["runs"]["running"] == 1
    free = {"usd_per_hour": 0, "today": 0, "active": 0, "idle": 0, "budget_day": None}
    assert panel.facts["cost"] == free
    assert panel.spending["notebooks"] == []
    go.touch()
    stream.until(kind="end")
    _see(panel, lambda: panel.runs[run_id]["finished"])
    assert panel.runs[run_id]["state"] == "done"
    assert panel.runs[run_id]["receipt"]["run_s"] > 0
    spent = {"runs": 1, "usd": 0, "usd_unknown_runs": 0}
    assert panel.spending["notebooks"] == [{"notebook": "a.ipynb", **spent}]
    assert panel.spending["days"][0] == {"day": time.strftime("%Y-%m-%d"), **spent}
    assert panel.runs[run_id]["machine_id"] is None
    assert ("runs", run_id) not in panel.series(0)
    services.stop(service)


def test_a_run_that_waits_says_why() -> None:
    service = services.start()
    panel = Panel()
    cpus = services.ask("GET", "/v1/layers").json["layers"][0]["offers"][0]["cpu"]
    services.submit(_UP, cpu=cpus).until(kind="started")
    queued = services.submit("1", cpu=cpus)
    queued.until(kind="accepted")
    run_id = queued.events[0]["id"]
    _see(panel, lambda: panel.runs.get(run_id, {}).get("reason", "").startswith("waiting for"))
    services.ask("POST", "/v1/stop", {"force": True})
    service.wait(services.PATIENCE_S)


def test_a_machine_says_for_how_long_it_has_been_idle() -> None:
    service = services.start()
    panel = Panel()
    stream = services.submit("import time\ntime.sleep(0.5)")
    stream.until(kind="end")
    ended = time.monotonic()
    _see(panel, lambda: (_machine(panel)["idle_s"] or 0) >= 2)
    assert time.monotonic() - ended >= 2
    services.submit(_UP).until(kind="started")
    _see(panel, lambda: _machine(panel)["idle_s"] == 0)
    services.ask("POST", "/v1/stop", {"force": True})
    service.wait(services.PATIENCE_S)


def test_an_idle_machine_says_when_it_ends_and_ends_then() -> None:
    service = services.start(DASK_JUPYTER_COMPUTE__IDLE_TIMEOUT="4s")
    panel = Panel()
    running = services.submit("import time\nprint('up', flush=True)\ntime.sleep(2)")
    running.until(kind="stdout")
    _look(panel)
    assert _machine(panel)["ends"] is None
    running.until(kind="end")
    _see(panel, lambda: _machine(panel)["ends"])
    foretold = _machine(panel)["ends"]
    assert 0 < foretold - time.time() < 5
    while True:  # looking does not put it off
        try:
            _look(panel)
        except OSError:
            break
        assert _machine(panel)["ends"] in (None, foretold, foretold + 1)
        time.sleep(0.05)
    # Looks at whether it is idle are a second apart.
    assert -1 <= time.time() - foretold < 3
    assert service.wait(services.PATIENCE_S) == 0


def test_being_looked_at_keeps_neither_pool_nor_run() -> None:
    service = services.start(
        DASK_JUPYTER_COMPUTE__IDLE_TIMEOUT="2s", DASK_JUPYTER_COMPUTE__ABANDONED_TIMEOUT="2s"
    )
    stream = services.submit("import time\ntime.sleep(600)")
    run_id = stream.until(kind="accepted")["id"]
    stream.close()
    looks = 0
    while service.poll() is None:
        try:
            services.ask("GET", "/v1/state")
            services.ask("GET", f"/v1/runs/{run_id}/output")
            looks += 1
        except OSError:
            service.wait(services.PATIENCE_S)
        time.sleep(0.05)
    assert service.returncode == 0
    assert looks > 10


def test_a_new_service_gives_a_panel_everything_anew() -> None:
    service = services.start()
    panel = Panel()
    services.submit("1").until(kind="end")
    _look(panel)
    services.stop(service)
    service = services.start()
    assert _look(panel)["resync"]
    assert [run["state"] for run in panel.runs.values()] == ["done"]
    services.stop(service)


def test_a_machine_that_is_idle_is_stopped_and_the_next_run_gets_another() -> None:
    service = services.start()
    panel = Panel()
    services.submit("1").until(kind="end")
    _look(panel)
    first = _machine(panel)["id"]
    answer = services.ask("POST", f"/v1/machines/{first}/stop", {})
    assert (answer.status, answer.json["state"]) == (200, "ending")
    _see(panel, lambda: not panel.machines)
    assert services.submit("1").until(kind="end")["state"] == "done"
    _see(panel, lambda: _machine(panel)["id"] != first)
    services.stop(service)


def test_a_machine_with_a_run_ends_after_it_and_is_given_no_other(tmp_path: Path) -> None:
    service = services.start()
    panel, go = Panel(), tmp_path / "go"
    source = "import os, time\nprint('up', flush=True)\n"
    source += f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
    running = services.submit(source, cpu=0.1)
    running.until(kind="stdout")
    _look(panel)
    first = _machine(panel)["id"]
    answer = services.ask("POST", f"/v1/machines/{first}/stop", {"force": False})
    assert (answer.json["state"], answer.json["runs"]) == ("draining", 1)
    late = services.submit("print('late')", cpu=0.1)
    late.until(kind="accepted")
    late_id = late.events[0]["id"]
    reason = "local was told to stop: it ends after the runs on it, and then starts anew"
    _see(panel, lambda: panel.runs.get(late_id, {}).get("reason") == reason)
    assert _machine(panel)["state"] == "draining"
    go.touch()
    assert running.until(kind="end")["receipt"]["attempts"] == 1
    assert late.until(kind="end")["state"] == "done"
    _see(panel, lambda: _machine(panel)["id"] != first)
    services.stop(service)


def test_a_machine_is_stopped_at_once_by_force_and_its_run_begins_again(tmp_path: Path) -> None:
    service = services.start()
    panel, again = Panel(), tmp_path / "again"
    source = f"import os, time\nagain = os.path.exists({str(again)!r})\n"
    source += f"open({str(again)!r}, 'w')\nprint('up', flush=True)\ntime.sleep(0 if again else 60)"
    stream = services.submit(source)
    stream.until(kind="stdout")
    _look(panel)
    first = _machine(panel)["id"]
    assert services.ask("POST", f"/v1/machines/{first}/stop", {"force": True}).status == 200
    end = stream.until(kind="end")
    assert (end["state"], end["receipt"]["attempts"]) == ("done", 2)
    _see(panel, lambda: _machine(panel)["id"] != first)
    services.stop(service)


def test_what_makes_no_sense_is_refused() -> None:
    service = services.start()
    for since in ("", "x" * 65, "A", "..%2f"):
        assert services.ask("GET", f"/v1/state?since={since}").status == 400
    for machine, body, status in [
        ("local-1-1", {}, 404),
        ("local-1-1", {"force": 1}, 400),
        ("local-1-1", b"[]", 400),
        ("..%2fx", {}, 400),
        ("X", {}, 400),
    ]:
        answer = services.ask("POST", f"/v1/machines/{machine}/stop", body)
        assert answer.status == status
        assert "message" in answer.json
    assert services.ask("GET", "/v1/runs/r-none/output").status == 404
    services.stop(service)


def test_output_comes_as_text_in_pieces() -> None:
    service = services.start()
    source = "import sys, time\nfor n in range(4): print('line', n, 'é')\n"
    source += "for n in range(4): print(str(n) * 60_000, flush=True); time.sleep(0.3)\n"
    source += "for n in range(4, 9): print('line', n, 'é')\n"
    source += "print('oops', file=sys.stderr)\n6 * 7"
    stream = services.submit(source)
    stream.until(kind="end")
    run_id, since, pieces = stream.events[0]["id"], 0, []
    while True:
        answer = services.ask("GET", f"/v1/runs/{run_id}/output?since={since}")
        assert len(answer.text) <= MAX_BYTES
        assert answer.json["next"] > since
        pieces += answer.json["events"]
        since = answer.json["next"]
        if not answer.json["more"]:
            break
    assert (answer.json["state"], since) == ("done", answer.json["last"])
    text = "".join(piece["text"] for piece in pieces if piece["kind"] == "stdout")
    assert text.startswith("line 0 é\nline 1 é\n")
    assert text.endswith("line 7 é\nline 8 é\n")
    assert text.count("characters …]") == 4
    assert all(text.count(str(n) * 10_000) == 4 for n in range(4)), "most of each is there"
    assert "oops\n" in [piece["text"] for piece in pieces if piece["kind"] == "stderr"]
    again = services.ask("GET", f"/v1/runs/{run_id}/output?since={since}").json
    assert (again["events"], again["next"], again["more"]) == ([], since, False)
    services.stop(service)
