"""Every end has a receipt, and what was spent adds up, whatever has become of the runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import services
from homes import Home
from jupyter_compute import places
from jupyter_compute.model import Offer, RunSpec, SystemClock
from jupyter_compute.pool.costs import Costs
from jupyter_compute.pool.events import EventLog
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.receipts import Receipts
from jupyter_compute.pool.record import Run

GB = 10**9
MACHINE = Offer("ec2", "r7i.2xlarge", cpu=8, memory=64 * GB, usd_per_hour=3.6)
SMALL = Offer("ec2", "r7i.large", cpu=2, memory=16 * GB, usd_per_hour=0.9)
SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(60)"


@pytest.fixture
def own(home: Home) -> Iterator[None]:
    """A home of the test's own."""
    yield
    services.hang_up()


def _receipt(stream: services.Stream, state: str) -> dict[str, Any]:
    end = stream.until(kind="end")
    assert end["state"] == state
    return dict(end["receipt"])


def _cancelled(stream: services.Stream) -> dict[str, Any]:
    run_id = stream.events[0]["id"]
    services.ask("POST", f"/v1/runs/{run_id}/cancel", {"action": "kill"})
    return _receipt(stream, "cancelled")


@pytest.mark.slow
def test_every_end_has_a_receipt_that_the_sums_contain(own: None) -> None:
    service = services.start()
    done = _receipt(services.submit("x = sum(range(10**6))"), "done")
    failed = _receipt(services.submit("1 / 0"), "failed")
    late = _receipt(services.submit(SLEEP, timeout_s=0.5), "failed")
    body = "filled = bytearray(b'x') * 700_000_000\ndel filled"
    climbed = _receipt(services.submit(body, memory=500 * 10**6, memory_high=GB), "done")
    ran_out = _receipt(services.submit(body, memory=400 * 10**6), "failed")
    running = services.submit(SLEEP, cpu=2)
    running.until(kind="stdout")
    waiting = services.submit("1", cpu=2)
    waiting.until(kind="state", state="queued")
    never = _cancelled(waiting)
    stopped = _cancelled(running)

    assert all(r["cost_usd"] == 0 for r in (done, failed, late, climbed, ran_out, never, stopped))
    for ran in (done, failed, late, climbed, ran_out, stopped):
        assert ran["run_s"] > 0
        assert ran["machine"] == "local"
    assert late["run_s"] >= 0.5
    assert (climbed["attempts"], climbed["memory"]) == (2, GB)
    assert 700 * 10**6 < climbed["memory_peak"] < GB
    assert ran_out["memory_peak"] > ran_out["memory"] == 400 * 10**6
    assert (never["run_s"], never["machine"], never["cpu_mean"]) == (0, "", None)
    assert never["wait_s"] > 0

    costs = services.ask("GET", "/v1/cost?by=layer").json
    (local,) = costs["groups"]
    assert local == {"layer": "local", **costs["total"]}
    assert local["runs"] == 7
    every = (done, failed, late, climbed, ran_out, never, stopped)
    assert local["run_s"] == pytest.approx(sum(r["run_s"] for r in every), abs=0.001)
    assert local["usd"] == 0
    assert costs["active"] == {"runs": 0, "usd": 0.0}
    status = services.ask("GET", "/v1/status").json
    assert (status["usd_per_hour"], status["today_usd"]) == (0.0, 0.0)
    services.stop(service)


@pytest.mark.slow
def test_a_bill_does_not_shrink_when_runs_are_forgotten(own: None) -> None:
    service = services.start()
    for number in range(3):
        wire = services.spec("1", notebook=f"{number % 2}.ipynb")
        services.Stream("POST", "/v1/runs", wire).until(kind="end")
    before = services.ask("GET", "/v1/cost?by=notebook").json
    assert [(group["notebook"], group["runs"]) for group in before["groups"]] == [
        ("0.ipynb", 2),
        ("1.ipynb", 1),
    ]
    services.stop(service)
    service = services.start(DASK_JUPYTER_COMPUTE__RETENTION__MAX_RUNS="1")
    services.wait_until(lambda: len(services.ask("GET", "/v1/runs").json["runs"]) == 1)
    assert services.ask("GET", "/v1/cost?by=notebook").json == before
    services.stop(service)


@pytest.mark.slow
def test_what_an_earlier_service_spent_today_is_in_the_status(own: None, tmp_path: Path) -> None:
    journal = Journal(places.journal())
    receipts = Receipts(journal, SystemClock(), lambda _: [])
    for run_id in ("r-a", "r-b"):
        _end(_run(tmp_path, MACHINE, run_id), journal, receipts, SystemClock().now())
    journal.close()
    service = services.start()
    status = services.ask("GET", "/v1/status").json
    assert (status["usd_per_hour"], status["today_usd"]) == (0.0, pytest.approx(0.02))
    assert services.ask("GET", "/v1/cost").json["total"]["usd"] == pytest.approx(0.02)
    services.stop(service)


def _run(tmp_path: Path, offer: Offer | None, run_id: str = "r-a", **changes: Any) -> Run:
    """Return a run that a machine was found for at second 100."""
    spec = RunSpec(
        name="",
        layer="ec2",
        cpu=4,
        memory=32 * GB,
        memory_high=None,
        interpreter="python",
        payload="p",
        environment="e",
        notebook="a.ipynb",
        code="k",
        given=("memory",),
    )
    run = Run(
        id=run_id,
        spec=dataclasses.replace(spec, **changes),
        log=EventLog(tmp_path / f"{run_id}.jsonl", 10**6, lambda: 0.0),
        created=90.0,
        cpu=4,
        memory=32 * GB,
        memory_high=None,
    )
    run.attempt_started = 100.0
    run.usd = None if offer is None else 0.01
    return run


def _end(run: Run, journal: Journal, receipts: Receipts, now: float) -> Any:
    used = {"run_s": 20.0, "cpu_s": 30.0, "memory_peak": 9 * GB}
    run.add_usage({"usage": used}, now)
    run.state, run.finished = "done", now
    run.receipt = receipts.make(run)
    journal.begin(run.id, {}, run.to_record())
    journal.ended(run.id, run.to_record(), "ok", {}, run.spec.code)
    return run.receipt


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    found = Journal(tmp_path / "journal.sqlite")
    yield found
    found.close()


def test_a_run_on_a_priced_machine_pays_for_its_half_while_it_runs(
    tmp_path: Path, journal: Journal
) -> None:
    clock = SystemClock()
    receipts = Receipts(journal, clock, lambda _: [SMALL, MACHINE])
    run = _run(tmp_path, MACHINE)
    run.usd = 0.005
    costs = Costs(journal, clock, {}, {run.id: run})
    assert costs.now()["today"] == costs.now()["active"] == pytest.approx(0.005)
    run.usd = 0.01
    receipt = _end(run, journal, receipts, clock.now())
    assert receipt.cost_usd == 0.01
    assert receipt.advice == "--memory 12G would do (as in this run)"
    narrow = _run(tmp_path, MACHINE, "r-b", cpu=2)
    narrow.cpu = 2
    assert _end(narrow, journal, receipts, clock.now()).advice == (
        "--memory 12G would do (as in 2 runs, saves 50 %, $0.0050 a run)"
    )
    assert Costs(journal, clock, {}, {}).now()["today"] == pytest.approx(0.02)
    assert receipts.costs(0, "notebook", [])["groups"][0]["usd"] == pytest.approx(0.02)


def test_an_unknown_price_is_unknown_in_every_sum_that_it_is_all_of(
    tmp_path: Path, journal: Journal
) -> None:
    clock = SystemClock()
    receipts = Receipts(journal, clock, lambda _: [])
    run = _run(tmp_path, None)
    assert run.usd is None
    costs = Costs(journal, clock, {}, {run.id: run})
    assert (costs.now()["today"], costs.now()["active"]) == (None, None)
    assert _end(run, journal, receipts, clock.now()).cost_usd is None
    assert Costs(journal, clock, {}, {}).now()["today"] is None
    total = receipts.costs(0, "day", [])["total"]
    assert (total["usd"], total["usd_unknown_runs"]) == (None, 1)
    _end(_run(tmp_path, MACHINE, "r-b"), journal, receipts, clock.now())
    total = receipts.costs(0, "day", [])["total"]
    assert (total["usd"], total["usd_unknown_runs"]) == (pytest.approx(0.01), 1)
