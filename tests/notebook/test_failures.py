"""What a notebook shows when a run dies, and what an interrupt does in every phase."""

from __future__ import annotations

import pytest

from kernels import Kernel, Reply

pytestmark = pytest.mark.slow

_SLEEP = "%%remote\nimport time\nprint('ready')\ntime.sleep(100)"


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    """The shared kernel, with the extension loaded and no names."""
    return shared_kernel


def _interrupt(kernel: Kernel, reply: Reply, after: str, times: int = 1) -> Reply:
    """Interrupt a cell once it has said something, again once it shows it."""
    kernel.wait_for(lambda: after in reply.stdout or after in "".join(reply.status_lines))
    kernel.interrupt()
    for _ in range(times - 1):
        kernel.wait_for(lambda: any("interrupting" in line for line in reply.status_lines))
        kernel.interrupt()
    return kernel.finish(reply)


def _nothing_runs(kernel: Kernel) -> bool:
    return "no runs" in kernel.run("%compute").stdout


def test_out_of_memory_names_peak_limit_and_the_next_step(kernel: Kernel) -> None:
    code = "%%remote --memory 200M\nblock = b'x' * 600_000_000\nimport time\ntime.sleep(30)"
    reply = kernel.run(code)
    assert reply.ename == "OutOfMemory"
    assert "--memory 400M, or --memory 200M..800M" in reply.traceback
    assert "jupyter_compute" not in reply.traceback
    assert reply.status_lines[-1].startswith("✗ out of memory after ")


def test_timed_out_shows_the_line_it_was_at(kernel: Kernel) -> None:
    reply = kernel.run(
        "%%remote --timeout 0.5\nimport time\ndef slow():\n    time.sleep(30)\nslow()"
    )
    assert reply.ename == "TimedOut"
    assert "line 4, in slow" in reply.traceback
    assert "time.sleep(30)" in reply.evalue


def test_a_crash_names_the_signal_and_the_last_output(kernel: Kernel) -> None:
    code = "%%remote\nimport os, signal\nprint('last words')\nos.kill(os.getpid(), signal.SIGSEGV)"
    reply = kernel.run(code)
    assert reply.ename == "Crashed"
    assert "SIGSEGV" in reply.evalue
    assert "last words" in reply.evalue


def test_sys_exit_ends_the_cell_and_not_the_kernel(kernel: Kernel) -> None:
    assert kernel.run("%%remote\nimport sys\nsys.exit(3)").ename == "SystemExit"
    assert kernel.run("1").result == "1"


def test_an_exception_that_cannot_be_pickled_is_told(kernel: Kernel) -> None:
    code = "%%remote\nimport threading\nerror = ValueError(threading.Lock())\nraise error"
    reply = kernel.run(code)
    assert reply.ename == "RemoteError"
    assert "ValueError" in reply.evalue


def test_an_interrupt_is_raised_where_the_cell_was(kernel: Kernel) -> None:
    reply = _interrupt(kernel, kernel.start(_SLEEP), "ready")
    assert reply.ename == "KeyboardInterrupt"
    assert "----> 4 time.sleep(100)" in reply.traceback
    assert reply.status_lines[-1].startswith("✗ cancelled after ")
    assert _nothing_runs(kernel)


def test_a_cell_may_catch_the_interrupt_and_go_on(kernel: Kernel) -> None:
    code = (
        "%%remote\nimport time\nprint('ready')\n"
        "try:\n    time.sleep(100)\nexcept KeyboardInterrupt:\n    stopped = True"
    )
    assert _interrupt(kernel, kernel.start(code), "ready").status == "ok"
    assert kernel.run("stopped").result == "True"


def test_a_second_interrupt_kills_at_once(kernel: Kernel) -> None:
    code = (
        "%%remote\nimport signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('ready')\ntime.sleep(100)"
    )
    reply = _interrupt(kernel, kernel.start(code), "ready", times=2)
    assert reply.ename == "KeyboardInterrupt"
    assert _nothing_runs(kernel)


def test_an_interrupt_takes_a_queued_run_back(kernel: Kernel) -> None:
    kernel.run("%%remote --cpu 500 --bg blocker\nimport time\ntime.sleep(100)")
    reply = _interrupt(kernel, kernel.start("%%remote --cpu 500\n1"), "queued")
    assert reply.ename == "KeyboardInterrupt"
    assert reply.status_lines[-1] == "✗ cancelled" or "asked" in reply.status_lines[-1]
    kernel.run("blocker.cancel()")
    assert kernel.run("blocker.result()").ename == "Cancelled"
    assert _nothing_runs(kernel)


def test_an_interrupt_while_values_are_packed_sends_nothing(kernel: Kernel) -> None:
    code = (
        "class Slow:\n    def __reduce__(self):\n        import time\n        print('ready', flush=True)\n"
        "        time.sleep(100)\nslow = Slow()"
    )
    kernel.run(code)
    reply = _interrupt(kernel, kernel.start("%%remote\nslow"), "ready")
    assert reply.ename == "KeyboardInterrupt"
    assert reply.status_lines == []


def test_a_run_cancelled_from_elsewhere_says_so(kernel: Kernel) -> None:
    kernel.run("%%remote --bg job\nimport time\ntime.sleep(100)")
    assert "being cancelled" in kernel.run("%compute cancel all").stdout
    reply = kernel.run("job.result()")
    assert reply.ename == "Cancelled"


def test_output_of_a_background_run_stays_under_its_cell(kernel: Kernel) -> None:
    code = "%%remote --bg job\nimport time\nfor n in range(3):\n    print(n)\n    time.sleep(0.2)\nmade = 7\nmade"
    reply = kernel.run(code)
    assert reply.status == "ok"
    other = kernel.run("job.result()")
    assert other.result == "7"
    assert other.stdout == ""
    kernel.wait_for(lambda: reply.status_lines[-1].startswith("✓"))
    assert reply.stdout == "0\n1\n2\n"
    assert kernel.run("made, job.state, job.output").result == "(7, 'done', '0\\n1\\n2\\n')"


def test_a_restarted_kernel_attaches_to_its_run(kernel: Kernel) -> None:
    kernel.run(
        "%%remote --bg job\nimport time\nprint('early')\ntime.sleep(1)\nprint('late')\nmade = 7"
    )
    run_id = kernel.run("print(job.id)").stdout.strip()
    kernel.restart()
    kernel.run("%load_ext jupyter_compute")
    reply = kernel.run(f"%compute attach {run_id} again")
    kernel.run("again.result()")
    kernel.wait_for(lambda: reply.status_lines[-1].startswith("✓"))
    assert reply.stdout == "early\nlate\n"
    assert kernel.run("made").result == "7"


def test_an_ended_run_is_replayed_and_brings_its_values_again(kernel: Kernel) -> None:
    kernel.run("shared = [1]\nother = 'x' * 100")
    kernel.run("%%remote --bg job\nprint('words')\nalias = shared\nalias")
    kernel.run("job.result()")
    reply = kernel.run("import jupyter_compute\njupyter_compute.attach(job.id).result()")
    assert reply.stdout == "words\n"
    assert reply.result == "[1]"
