"""Work that outlives a cell: where its output goes, and how to get at it again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from homes import Home
from kernels import Kernel, Reply, ok, recent_runs

pytestmark = pytest.mark.slow

_MARKS = "import os, time, pathlib\nfor old in ('go', 'seen'):\n    pathlib.Path(old).unlink(missing_ok=True)"
_PRINTS = (
    "import os, time\nnumber = 0\nwhile not os.path.exists('go'):\n"
    "    print('background', number)\n    number += 1\n    time.sleep(0.01)\n'end'"
)


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    """The shared kernel, with the extension loaded and no names."""
    ok(shared_kernel.run(_MARKS))
    return shared_kernel


def _end(kernel: Kernel, *replies: Reply) -> None:
    ok(kernel.run("open('go', 'w').close()"))
    for reply in replies:
        kernel.wait_for(lambda reply=reply: reply.status_lines[-1][0] in "✓✗")


def test_output_stays_under_its_own_cell_while_others_print(kernel: Kernel) -> None:
    one = ok(kernel.run(f"%%remote --bg one --cpu 0.5\n{_PRINTS}"))
    two = ok(kernel.run(f"%%remote --bg two --cpu 0.5\n{_PRINTS.replace('background', 'second')}"))
    kernel.wait_for(lambda: "background" in one.stdout and "second" in two.stdout)
    lengths = len(one.stdout), len(two.stdout)
    here = ok(kernel.run("for n in range(50):\n    print('here', n)\n    time.sleep(0.02)"))
    remote = ok(
        kernel.run(
            "%%remote --cpu 0.5\nfor n in range(50):\n    print('remote', n)\n    time.sleep(0.02)"
        )
    )
    assert (len(one.stdout) > lengths[0], len(two.stdout) > lengths[1]) == (True, True)
    _end(kernel, one, two)
    assert here.stdout == "".join(f"here {n}\n" for n in range(50))
    assert remote.stdout == "".join(f"remote {n}\n" for n in range(50))
    for reply, word in ((one, "background"), (two, "second")):
        lines = reply.stdout.splitlines()
        assert lines == [f"{word} {n}" for n in range(len(lines))]
        assert {line[0] for line in reply.status_lines} <= set("▸✓")


def test_displays_and_failures_stay_under_their_own_cell_too(kernel: Kernel) -> None:
    code = (
        "%%remote --bg job\nimport os, time\nfrom IPython.display import Markdown, display\n"
        "while not os.path.exists('go'):\n    time.sleep(0.01)\n"
        "display(Markdown('# shown'))\nimport warnings\nwarnings.warn('mind')\n1 / 0"
    )
    reply = ok(kernel.run(code))
    kernel.wait_for(lambda: reply.status_lines[-1].startswith("▸ running"))
    wait = "while job.state != 'failed':\n    time.sleep(0.01)\ntime.sleep(0.5)"
    other = ok(kernel.run(f"open('go', 'w').close()\n{wait}\n5"))
    kernel.wait_for(lambda: reply.status_lines[-1].startswith("✗ ZeroDivisionError"))
    assert [data["text/markdown"] for data in reply.displays] == ["# shown"]
    assert "UserWarning: mind" in reply.stderr
    assert (other.displays, other.stderr, other.stdout, other.result) == ([], "", "", "5")
    assert kernel.run("job.result()").ename == "ZeroDivisionError"


def test_a_run_can_be_awaited(kernel: Kernel) -> None:
    code = "from jupyter_compute import remote\n@remote\ndef half(x):\n    return 1 / x"
    ok(kernel.run(code))
    assert ok(kernel.run("await half.submit(2)")).result == "0.5"
    gathered = "import asyncio\nawait asyncio.gather(*(half.submit(n) for n in (1, 2, 4)))"
    assert ok(kernel.run(gathered)).result == "[1.0, 0.5, 0.25]"
    assert kernel.run("await half.submit(0)").ename == "ZeroDivisionError"


def test_as_many_calls_as_there_are_run_at_once(kernel: Kernel) -> None:
    code = (
        "import os\nfrom jupyter_compute import remote\n@remote(cpu=0.1, memory='100M')\n"
        "async def meet(name, number):\n    import os, time\n    open(f'meet-{name}', 'w').close()\n"
        "    while sum(f.startswith('meet-') for f in os.listdir()) < number:\n        time.sleep(0.01)\n"
        "    return name"
    )
    ok(kernel.run(code))
    reply = kernel.run("import asyncio\nawait asyncio.gather(*(meet(n, 12) for n in range(12)))")
    assert ok(reply).result == str(list(range(12)))
    ok(kernel.run("for n in range(12):\n    os.remove(f'meet-{n}')"))


def test_a_wait_can_be_interrupted_and_the_run_goes_on(kernel: Kernel) -> None:
    reply = ok(kernel.run(f"%%remote --bg job\n{_PRINTS}"))
    kernel.wait_for(lambda: reply.stdout)
    for code in ("job.result()", "await job"):
        waiting = kernel.start(f"print('waits')\n{code}")
        kernel.wait_for(lambda waiting=waiting: waiting.stdout)
        kernel.interrupt()
        began = time.monotonic()
        stopped = kernel.finish(waiting, 10)
        assert (stopped.status, time.monotonic() - began < 5) == ("error", True)
        assert "http" not in stopped.traceback
    assert ok(kernel.run("job.state")).result == "'running'"
    _end(kernel, reply)
    assert ok(kernel.run("job.result()")).result == "'end'"


@pytest.fixture
def second(shared_home: Home, kernel: Kernel) -> Iterator[Kernel]:
    """Another notebook of the same user."""
    own = Kernel(shared_home)
    ok(own.run("%load_ext jupyter_compute\nimport jupyter_compute"))
    yield own
    own.close()


def test_another_notebook_lists_attaches_and_cancels(kernel: Kernel, second: Kernel) -> None:
    first = ok(kernel.run(f"%%remote --bg job --name mine\n{_PRINTS}"))
    kernel.wait_for(lambda: first.stdout)
    run_id = ok(kernel.run("print(job.id)")).stdout.strip()
    assert recent_runs(second)[0] == run_id
    newest = ok(second.run("run = jupyter_compute.runs()[0]\nrun.id, run.name, run.state"))
    assert newest.result == str((run_id, "mine", "running"))
    attached = ok(second.run(f"%compute attach {run_id} again"))
    second.wait_for(lambda: "background 0\n" in attached.stdout)
    assert run_id in ok(second.run(f"%compute cancel {run_id}")).stdout
    for reply, where in ((first, kernel), (attached, second)):
        where.wait_for(lambda reply=reply: reply.status_lines[-1].startswith("✗ cancelled"))
        assert reply.stdout.startswith("background 0\nbackground 1\n")
    assert second.run("again.result()").ename == "Cancelled"
    assert kernel.run("job.result()").ename == "Cancelled"
    assert "mine" in ok(kernel.run("%compute runs")).stdout
