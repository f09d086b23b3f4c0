"""``%compute`` in a real kernel."""

from __future__ import annotations

import pytest

from homes import Home
from kernels import Kernel, Reply

pytestmark = pytest.mark.slow


def _said(kernel: Kernel, line: str) -> str:
    reply = kernel.run(line)
    assert reply.status == "ok", reply.traceback or reply
    return reply.stdout


def _refused(kernel: Kernel, line: str) -> str:
    reply: Reply = kernel.run(line)
    assert (reply.status, reply.ename) == ("error", "UsageError")
    return reply.stderr


def test_looking_does_not_start_a_pool(kernel: Kernel, home: Home) -> None:
    kernel.run("%load_ext jupyter_compute")
    assert "no pool is running" in _said(kernel, "%compute")
    assert "no machines" in _said(kernel, "%compute machines")
    assert "no pool is running" in _said(kernel, "%compute stop")
    assert not any("jupyter_compute.pool" in line for line in home.processes().values())


def test_stop_ends_the_pool_unless_it_is_at_work(kernel: Kernel, home: Home) -> None:
    kernel.run("%load_ext jupyter_compute")
    kernel.run("%%remote --bg job\nimport time\ntime.sleep(100)")
    busy = kernel.run("%compute stop")
    assert busy.ename == "PoolError"
    assert "active" in busy.evalue
    _said(kernel, "%compute cancel all")
    assert kernel.run("job.result()").ename == "Cancelled"
    assert "has been stopped" in _said(kernel, "%compute stop")
    kernel.wait_for(lambda: not any("jupyter_compute.pool" in p for p in home.processes().values()))


def test_status_shows_machines_and_runs(shared_kernel: Kernel) -> None:
    shared_kernel.run("%%remote --name 'my run'\n1")
    assert "local" in _said(shared_kernel, "%compute machines")
    status = _said(shared_kernel, "%compute")
    assert "no runs" in status
    assert "my run" in _said(shared_kernel, "%compute runs")


def test_layers_and_plan_answer_for_an_ask(shared_kernel: Kernel) -> None:
    shown = _said(shared_kernel, "%compute layers --cpu 1").splitlines()
    assert any(line.split()[:2] == ["local", "yes"] for line in shown)
    assert any(line.startswith("ec2") and "no AWS region is configured" in line for line in shown)
    assert "1 cpu 512 MB" in _said(shared_kernel, "%compute plan --cpu 1 --memory 512M")
    assert "no such GPU" in _said(shared_kernel, "%compute layers --gpu 1")
    assert "no such GPU" in _refused(shared_kernel, "%compute plan --gpu 1")


def test_defaults_are_those_of_the_notebook(shared_kernel: Kernel) -> None:
    shown = _said(shared_kernel, "%compute defaults --cpu 0.5 --memory 300M..1GiB --quiet")
    assert shown == "--cpu 0.5 --memory 300M..1GiB --quiet\n"
    assert "--timeout 90s" in _said(shared_kernel, "%compute defaults --timeout 1m30s")
    reply = shared_kernel.run("%%remote\n1")
    assert reply.status_lines == []
    assert "0.5 cpu 300 MB" in _said(shared_kernel, "%compute runs").splitlines()[1]
    assert "no defaults" in _said(shared_kernel, "%compute defaults reset")
    assert "%compute defaults" in _refused(shared_kernel, "%compute defaults --bg x")


def test_attach_binds_a_run_to_a_name(shared_kernel: Kernel) -> None:
    shared_kernel.run("%%remote --bg job\nprint('words')\n5")
    shared_kernel.run("job.result()")
    run_id = _said(shared_kernel, "print(job.id)").strip()
    assert _said(shared_kernel, f"%compute attach {run_id} again") == "words\n"
    assert shared_kernel.run("again.result()").result == "5"
    assert shared_kernel.run("%compute attach r-nothing").ename == "PoolError"
    assert "not a Python name" in _refused(shared_kernel, f"%compute attach {run_id} 2x")


def test_doctor_finds_everything_in_order(shared_kernel: Kernel) -> None:
    said = _said(shared_kernel, "%compute doctor")
    assert "✗" not in said
    assert "a run, from end to end" in said


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%compute statsu", "did you mean status?"),
        ("%compute ???", "it has status"),
        ("%compute runs all", "takes nothing more"),
        ("%compute cancel", "needs the id"),
        ("%compute attach", "needs the id"),
        ("%compute attach 'r-1", "quote not closed"),
        ("%compute plan --name x", "%compute plan"),
    ],
)
def test_a_wrong_line_is_refused_in_one_line(shared_kernel: Kernel, line: str, words: str) -> None:
    refusal = _refused(shared_kernel, line)
    assert words in refusal
    assert refusal.count("\n") == 1


def test_help_lists_the_commands(shared_kernel: Kernel) -> None:
    said = _said(shared_kernel, "%compute --help")
    assert "%compute doctor" in said
