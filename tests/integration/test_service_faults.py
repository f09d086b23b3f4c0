"""What breaks around the machine: kernels, the pool service, floods. One test per fault."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
from homes import Home
from jupyter_compute.model import RunSpec
from jupyter_compute.notebook.client import Client, Event
from kernels import Kernel, ok

pytestmark = pytest.mark.slow

_UNTIL_GO = (
    "import os, time\nprint('up', flush=True)\n"
    "while not os.path.exists('go'):\n    time.sleep(0.01)\nmade = 7\nmade"
)


@contextlib.contextmanager
def _kernel(home: Home) -> Iterator[Kernel]:
    own = Kernel(home)
    try:
        ok(own.run("%load_ext jupyter_compute"))
        yield own
    finally:
        own.close()


def test_row_20_a_killed_kernel_leaves_its_background_run_and_no_other(home: Home) -> None:
    home.env["DASK_JUPYTER_COMPUTE__ABANDONED_TIMEOUT"] = "1s"
    with _kernel(home) as kernel:
        background = ok(kernel.run(f"%%remote --bg job --cpu 0.5\n{_UNTIL_GO}"))
        run_id = ok(kernel.run("print(job.id)")).stdout.strip()
        attached = kernel.start(f"%%remote --cpu 0.5\n{_UNTIL_GO}")
        kernel.wait_for(lambda: "up" in background.stdout and "up" in attached.stdout)
        (other,) = {run["id"] for run in services.ask("GET", "/v1/runs").json["runs"]} - {run_id}
        os.kill(kernel.pid, signal.SIGKILL)
        services.wait_until(lambda: _state(other) == "cancelled")
        assert _state(run_id) == "running"
        (home.notebooks / "go").touch()
        services.wait_until(lambda: _state(run_id) == "done")
        kernel.restart()
        ok(kernel.run("%load_ext jupyter_compute"))
        table = ok(kernel.run("%compute runs")).stdout
        assert f"{run_id}  done" in table
        assert f"{other}  cancelled" in table
        again = ok(kernel.run(f"%compute attach {run_id} job"))
        assert ok(kernel.run("job.result(), made")).result == "(7, 7)"
        kernel.wait_for(lambda: again.status_lines[-1].startswith("✓"))
        assert again.stdout == "up\n"


def _state(run_id: str) -> str:
    return str(services.ask("GET", f"/v1/runs/{run_id}").json["state"])


_POINTS = [
    (method, when)
    for method in ("begin", "placed", "intend", "ended", "collected")
    for when in ("before", "after")
]

_FAILS_ONCE = """\
import os
with open({mark!r}, "a") as file:
    file.write("x")
if os.path.getsize({mark!r}) == 1:
    raise ValueError
print("made")
"""


@pytest.mark.parametrize(("method", "when"), _POINTS)
def test_row_21_a_service_killed_at_any_write_loses_nothing_and_repeats_little(
    home: Home, method: str, when: str
) -> None:
    program = [str(Path(__file__).parents[1] / "deadly_service.py"), method, when]
    service = services.start(program)
    left = set(home.processes())
    mark = home.path / "mark"
    spec = services.spec(_FAILS_ONCE.format(mark=str(mark)), detached=True)
    spec["retry"] = {"retries": 1, "delay_s": 0.0}
    client = Client()
    events = list(client.submit(RunSpec.from_wire(spec)))
    run_id = next(event["id"] for event in events if event["kind"] == "accepted")
    client.collected(run_id)
    assert service.wait(services.PATIENCE_S) == -signal.SIGKILL
    services.wait_until(lambda: not left & set(home.processes()))

    assert [e["state"] for e in events if e["kind"] == "end"] == ["done"]
    assert [e["text"] for e in events if e["kind"] == "stdout"][-1] == "made\n"
    lost = [e for e in events if e["kind"] == "attempt" and e["outcome"] == "lost"]
    assert len(lost) == ((method, when) in _IN_AN_ATTEMPT)
    assert all("rerun 1 of 3, not counted as a retry" in e["next"] for e in lost)
    assert _said_so(events) == ((method, when) not in _UNSEEN)
    (run,) = services.ask("GET", "/v1/runs").json["runs"]
    assert (run["id"], run["state"]) == (run_id, "done")
    executions = len(mark.read_text())
    assert 2 <= executions <= 2 + len(lost)
    assert executions <= run["receipt"]["attempts"] <= 3
    assert len(services.ask("GET", "/v1/status").json["machines"]) == 1


_IN_AN_ATTEMPT = {("placed", "after"), ("intend", "before"), ("ended", "before")}
"""Here the next service does not know how the attempt has ended, nor if it has run."""

_UNSEEN = {("begin", "before"), ("collected", "before"), ("collected", "after")}
"""Here nothing was going on: either it is submitted again, or it had ended."""


def _said_so(events: list[Event]) -> bool:
    notes = [event["text"] for event in events if event["kind"] == "note"]
    return "the pool service was gone, and is started again" in notes


def test_row_21_a_background_run_survives_the_service_and_keeps_its_result(home: Home) -> None:
    with _kernel(home) as kernel:
        ended = ok(kernel.run("%%remote --bg early --cpu 0.5\nprint('first')\n[1, 2]"))
        kernel.wait_for(lambda: ended.status_lines[-1].startswith("✓"))
        running = ok(kernel.run(f"%%remote --bg late --cpu 0.5\n{_UNTIL_GO}"))
        kernel.wait_for(lambda: "up" in running.stdout)
        before = services.ask("GET", "/v1/info").json["pid"]
        os.kill(before, signal.SIGKILL)
        kernel.wait_for(lambda: running.stdout == "up\nup\n")
        assert services.ask("GET", "/v1/info").json["pid"] != before
        (home.notebooks / "go").touch()
        kernel.wait_for(lambda: running.status_lines[-1].startswith("✓"))
        assert "the pool service was gone, and is started again" in running.status_lines[-1]
        assert "the compute service ended while it ran" in running.status_lines[-1]
        assert ok(kernel.run("early.result(), late.result(), made")).result == "([1, 2], 7, 7)"
        assert ok(kernel.run("early.receipt.attempts, late.receipt.attempts")).result == "(1, 2)"
        assert ended.stdout == "first\n"


def test_row_34_two_notebooks_that_start_at_once_share_one_pool(home: Home) -> None:
    with _kernel(home) as one, _kernel(home) as two:
        first = one.start("%%remote --name first\n1")
        second = two.start("%%remote --name second\n2")
        assert ok(one.finish(first)).result == "1"
        assert ok(two.finish(second)).result == "2"
        tables = [ok(kernel.run("%compute runs")).stdout for kernel in (one, two)]
        assert all("first" in table and "second" in table for table in tables)
        assert len(services.ask("GET", "/v1/status").json["machines"]) == 1
        found = [
            line for line in home.processes().values() if line.endswith("jupyter_compute.pool")
        ]
        assert len(found) == 1


def test_row_34_of_two_services_one_steps_back_every_time(home: Home) -> None:
    for _ in range(3):
        both = [services.launch(), services.launch()]
        services.wait_until(lambda both=both: any(p.poll() is not None for p in both))
        (first,) = [p for p in both if p.poll() is None]
        (second,) = [p for p in both if p is not first]
        assert second.returncode == 0
        assert services.ask("GET", "/v1/info").json["pid"] == first.pid
        assert services.submit("1").until(kind="end")["state"] == "done"
        services.hang_up()
        services.stop(first)


_MOST_MEMORY = 300 * 2**20


def _peak_memory() -> int:
    pid = services.ask("GET", "/v1/info").json["pid"]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


@pytest.mark.timeout(400)
def test_row_40_a_thousand_runs_at_once_all_end_and_take_little_memory(home: Home) -> None:
    with _kernel(home) as kernel:
        code = "from jupyter_compute import remote\n@remote(cpu=0.1, memory='64MiB')\ndef f(x):\n    print('run', x)\n    return x"
        ok(kernel.run(code))
        ok(kernel.run("runs = [f.submit(n) for n in range(1000)]", timeout=300))
        results = ok(kernel.run("[run.result() for run in runs] == list(range(1000))", timeout=300))
        assert results.result == "True"
        assert (
            ok(kernel.run("all(r.output == f'run {n}\\n' for n, r in enumerate(runs))")).result
            == "True"
        )
        assert ok(kernel.run("{run.receipt.attempts for run in runs}")).result == "{1}"
        assert _peak_memory() < _MOST_MEMORY
        assert services.ask("GET", "/v1/status").json["runs"] == []
        assert ok(kernel.run("%%remote\n1")).result == "1"


def test_row_40_a_flood_of_lines_keeps_its_order_and_takes_little_memory(home: Home) -> None:
    with _kernel(home) as kernel:
        reply = ok(kernel.run("%%remote\nfor n in range(100_000):\n    print(n)", timeout=100))
        lines = reply.stdout.splitlines()
        numbers = [int(line) for line in lines if line.isdecimal()]
        assert numbers == sorted(set(numbers))
        assert (numbers[0], numbers[-1]) == (0, 99_999)
        gaps = [line for line in lines if not line.isdecimal()]
        assert len(numbers) == 100_000 or gaps
        assert _peak_memory() < _MOST_MEMORY
