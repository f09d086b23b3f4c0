"""``jupyter compute``, as a terminal runs it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import pytest

from homes import Home
from jupyter_compute import __version__
from jupyter_compute.cli import main
from jupyter_compute.notebook import session
from jupyter_compute.notebook.options import from_keywords
from jupyter_compute.notebook.submission import prepare_call


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jupyter_compute", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _json(*arguments: str) -> Any:
    done = _run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _submit(function: Any, *args: Any) -> str:
    session.client.cache_clear()
    session.blobs.cache_clear()
    asked = from_keywords(cpu=0.1, memory="256M")
    prepared = prepare_call({}, asked, function, args, {}, detached=True)
    return session.client().submit_only(prepared.spec)


def _speak() -> None:
    sys.stdout.write("spoken\n")
    sys.stderr.write("complaint\n")


def _sleep() -> None:
    time.sleep(100)


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["logs"], ["runs", "--limit", "0"]])
def test_wrong_usage_has_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--by", "dy"], "argument --by: 'dy' is not notebook, layer or day; did you mean day?"),
        (["--since", "soon"], "argument --since: 'soon' is not how long ago"),
        (["--since", "0d"], "e.g. 7d"),
    ],
)
def test_a_wrong_question_about_costs_says_what_is_right(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["cost", *arguments])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == __version__


def test_status_and_stop_never_start_the_service(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 0
    assert "no pool is running" in capsys.readouterr().out
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"running": False, "machines": [], "runs": []}
    assert main(["stop", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": False}
    assert home.processes() == {}


@pytest.mark.slow
def test_the_life_of_a_run_from_a_terminal(home: Home) -> None:
    done = _submit(_speak)
    followed = _run("logs", done, "-f")
    assert (followed.stdout, followed.returncode) == ("spoken\n", 0)
    assert followed.stderr == "complaint\ndone\n"
    again = [json.loads(line) for line in _run("logs", done, "--json").stdout.splitlines()]
    assert again[-1]["kind"] == "end"
    assert {event["text"] for event in again if event["kind"] == "stdout"} == {"spoken\n"}

    asleep = _submit(_sleep)
    status = _json("status")
    assert [run["id"] for run in status["runs"]] == [asleep]
    assert asleep in _run("status").stdout
    assert [run["id"] for run in _json("runs")] == [asleep, done]
    assert [run["id"] for run in _json("runs", "--limit", "1")] == [asleep]
    refused = _run("stop")
    assert (refused.returncode, "active" in refused.stderr) == (1, True)
    assert _json("cancel", asleep) == {"id": asleep, "state": "cancelled"}
    assert _run("cancel", asleep).returncode == 1
    unknown = _run("logs", "r-nothing", "--json")
    assert unknown.returncode == 1
    assert json.loads(unknown.stdout)["error"] == "PoolError"
    assert _run("stop").stdout == "the pool has been stopped\n"


@pytest.mark.slow
def test_stop_all_ends_active_runs_too(home: Home) -> None:
    _submit(_sleep)
    assert _json("stop", "--all") == {"stopped": True}
    assert _json("status")["running"] is False


@pytest.mark.slow
def test_doctor_passes_here_and_says_what_it_found(home: Home) -> None:
    checks = _json("doctor")
    assert all(check["passed"] for check in checks), checks
    assert [check["name"] for check in checks][-1] == "a run, from end to end"


@pytest.mark.slow
def test_doctor_says_what_to_do(home: Home) -> None:
    runtime = home.path / "run"
    runtime.mkdir(exist_ok=True)
    (runtime / "compute").write_text("in the way")
    done = _run("doctor")
    (runtime / "compute").unlink()
    assert done.returncode == 1
    assert "✗ directories" in done.stdout
    assert "→ " in done.stdout
