"""`%compute chaos`: users see their retries work, and what was done to them on purpose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import services
from homes import Home
from kernels import Kernel, Reply, ok

pytestmark = pytest.mark.slow


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    """The shared kernel, with the extension loaded and no names."""
    ok(shared_kernel.run("%compute chaos off"))
    return shared_kernel


@pytest.fixture
def own(home: Home) -> Iterator[Kernel]:
    """A kernel with a pool of its own."""
    made = Kernel(home)
    yield made
    made.close()


def _notes(reply: Reply) -> str:
    return reply.status_lines[-1]


def test_it_is_off_until_armed_shown_and_taken_back(kernel: Kernel) -> None:
    assert ok(kernel.run("%compute chaos")).stdout == "no failure is armed\n"
    armed = ok(kernel.run("%compute chaos kill")).stdout
    assert "armed for the next run, once: the process of its first attempt will be killed" in armed
    assert ok(kernel.run("%compute chaos")).stdout == armed
    assert armed in ok(kernel.run("%compute")).stdout
    assert "kill, oom, slow [TIME] or lose-machine" in ok(kernel.run("%compute --help")).stdout
    assert ok(kernel.run("%compute chaos off")).stdout == "no failure is armed\n"
    reply = ok(kernel.run("%%remote\n1 + 1"))
    assert "chaos" not in _notes(reply)


def test_unknown_words_are_refused_and_arm_nothing(kernel: Kernel) -> None:
    reply = kernel.run("%compute chaos kil")
    assert reply.ename == "UsageError"
    assert "did you mean kill?" in reply.evalue
    assert ok(kernel.run("%compute chaos")).stdout == "no failure is armed\n"


def test_a_killed_process_is_rerun_if_retries_are_asked_for_and_only_once(kernel: Kernel) -> None:
    kernel.run("%compute chaos kill")
    reply = ok(kernel.run("%%remote --retries 1 --retry-delay 0.1\nprint('hello')\n1 + 1"))
    assert reply.result == "2"
    assert reply.stdout == "hello\nhello\n"
    assert _notes(reply).startswith("✓ ")
    assert "2 attempts" in _notes(reply)
    assert "chaos: the process was killed on purpose" in _notes(reply)
    assert "attempt 1: crashed: rerun 1 of 1" in _notes(reply)
    again = ok(kernel.run("%%remote --retries 1\n1 + 1"))
    assert "attempts" not in _notes(again)


def test_without_retries_the_crash_says_that_it_was_on_purpose(kernel: Kernel) -> None:
    kernel.run("%compute chaos kill")
    reply = kernel.run("%%remote\nprint('hello')")
    assert reply.ename == "Crashed"
    assert "ended by SIGKILL (on purpose: %compute chaos kill)" in reply.evalue
    assert "hello" in reply.evalue


def test_out_of_memory_climbs_the_ladder(kernel: Kernel) -> None:
    kernel.run("%compute chaos oom")
    reply = ok(kernel.run("%%remote --memory 200M..800M\nmade = 1"))
    assert "2 attempts" in _notes(reply)
    assert "of 400" in _notes(reply)
    assert "avoids the rerun" not in _notes(reply)
    assert "out of memory with 200 MB: rerun at once with 400 MB" in _notes(reply)
    assert "ended on purpose, as if it had outgrown its memory" in _notes(reply)


def test_out_of_memory_without_a_ladder_is_the_error_that_users_know(kernel: Kernel) -> None:
    kernel.run("%compute chaos oom")
    reply = kernel.run("%%remote --memory 200M\nimport time\ntime.sleep(60)")
    assert reply.ename == "OutOfMemory"
    assert "--memory 200M (200 MB) asked for (on purpose: %compute chaos oom)" in reply.evalue
    assert "time.sleep(60)" in reply.evalue
    assert "--memory 200M..800M" in reply.evalue


def test_a_slow_attempt_meets_its_timeout(kernel: Kernel) -> None:
    kernel.run("%compute chaos slow 30s")
    reply = kernel.run("%%remote --timeout 0.3s\n1 + 1")
    assert reply.ename == "TimedOut"
    assert reply.evalue.startswith(
        "the run took longer than its timeout of 0.3 s (on purpose: %compute chaos slow 30s)"
    )
    assert "thread" not in reply.evalue
    assert "held up for 30 s on purpose" in _notes(reply)


def test_a_slow_attempt_without_a_timeout_ends_well_and_later(kernel: Kernel) -> None:
    kernel.run("%compute chaos slow 1s")
    reply = ok(kernel.run("%%remote --bg job\n1 + 1"))
    assert ok(kernel.run("job.result(), job.receipt.run_s >= 1")).result == "(2, True)"
    kernel.wait_for(lambda: _notes(reply).startswith("✓ "))


def test_a_slow_attempt_can_be_interrupted(kernel: Kernel) -> None:
    kernel.run("%compute chaos slow 60s")
    reply = kernel.start("%%remote\n1 + 1")
    kernel.wait_for(lambda: any("held up" in line for line in reply.status_lines))
    kernel.interrupt()
    assert kernel.finish(reply, 10).ename == "KeyboardInterrupt"


def test_a_lost_machine_is_replaced_and_its_neighbours_are_rerun(own: Kernel, home: Home) -> None:
    ok(own.run("%load_ext jupyter_compute"))
    wait = "import os, time\nwhile not os.path.exists('go'):\n    time.sleep(0.01)"
    neighbour = own.run(f"%%remote --bg job --cpu 0.5\n{wait}\nprint('end')")
    own.wait_for(lambda: "running" in neighbour.status_lines[-1])
    run_id = ok(own.run("print(job.id)")).stdout.strip()
    armed = ok(own.run("%compute chaos lose-machine")).stdout
    assert "every other run on that machine is rerun too" in armed
    assert f"running now: {run_id} import os, time" in armed
    before = services.ask("GET", "/v1/status").json["machines"][0]["id"]
    reply = ok(own.run("%%remote --cpu 0.5\n1 + 1"))
    assert reply.result == "2"
    assert "chaos: the machine was killed on purpose" in _notes(reply)
    assert "rerun 1 of 3, not counted as a retry" in _notes(reply)
    (home.notebooks / "go").touch()
    own.wait_for(lambda: neighbour.status_lines[-1].startswith("✓ "))
    assert neighbour.stdout == "end\n"
    assert not any("does not kill" in line for line in reply.status_lines + neighbour.status_lines)
    assert "the machine was killed on purpose, for r-" in neighbour.status_lines[-1]
    assert services.ask("GET", "/v1/status").json["machines"][0]["id"] != before


def test_calls_and_background_calls_are_hit_too(kernel: Kernel) -> None:
    code = "from jupyter_compute import remote\n@remote(retries=1, retry_delay='0.1s')\ndef f(x): return 2 * x"
    ok(kernel.run(code))
    kernel.run("%compute chaos kill")
    reply = ok(kernel.run("f(2)"))
    assert (reply.result, "2 attempts" in _notes(reply)) == ("4", True)
    kernel.run("%compute chaos kill")
    later = ok(kernel.run("runs = f.submit(3), f.submit(4)\n[run.result() for run in runs]"))
    assert later.result == "[6, 8]"
    assert ok(kernel.run("[run.receipt.attempts for run in runs]")).result == "[2, 1]"


def test_of_calls_at_the_same_time_one_is_hit(kernel: Kernel) -> None:
    code = (
        "from jupyter_compute import remote\nimport asyncio\n"
        "@remote(retries=1, retry_delay='0.1s')\nasync def f(x): return 2 * x"
    )
    ok(kernel.run(code))
    kernel.run("%compute chaos kill")
    assert ok(kernel.run("await asyncio.gather(f(1), f(2), f(3))")).result == "[2, 4, 6]"
    table = services.ask("GET", "/v1/runs?limit=3").json["runs"]
    assert sorted(run["attempt"] for run in table) == [1, 1, 2]


def test_a_refused_run_leaves_it_armed(kernel: Kernel) -> None:
    kernel.run("%compute chaos kill")
    assert kernel.run("%%remote --gpu 1\n1").ename == "UsageError"
    assert "will be killed" in ok(kernel.run("%compute chaos")).stdout
    ok(kernel.run("%%remote --plan\n1"))
    assert "will be killed" in ok(kernel.run("%compute chaos")).stdout


def test_the_service_refuses_it_elsewhere(kernel: Kernel) -> None:
    answer = services.ask("POST", "/v1/runs", services.spec("1", layer="ec2", chaos="kill"))
    assert answer.status == 400
    assert "not on ec2" in answer.json["message"]
    for wrong in ("fire", "slow 99h", 7):
        assert services.ask("POST", "/v1/runs", services.spec("1", chaos=wrong)).status == 400
