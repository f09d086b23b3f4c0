"""``jupyter compute sandbox``, as a terminal runs it; and what is left when the sandbox ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from homes import Home, marked_processes
from jupyter_compute.cli import main
from jupyter_compute.sandbox import files
from sandboxes import Sandbox, wait

pytestmark = pytest.mark.slow


def command(*words: str) -> Any:
    """Run a command in a process of its own, and return the JSON that it prints."""
    line = [sys.executable, "-m", "jupyter_compute", "sandbox", *words, "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_up_status_down(home):
    assert command("status") == {"running": False}
    first = command("up", "--boot-delay", "0", "--seed", "7")
    assert first["new"]
    again = command("up")
    assert not again["new"]
    assert command("status")["environment"] == first["environment"] == again["environment"]
    assert first["environment"]["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert first["image"] == first["environment"]["DASK_JUPYTER_COMPUTE__LAYERS__EC2__AMI"]
    assert first["seed"] == 7
    assert command("down") == {"ended": True}
    assert marked_processes(home.path) == {}
    assert command("down") == {"ended": False}
    assert command("status") == {"running": False}


def test_nothing_survives_a_sandbox_that_is_killed(home):
    sandbox = Sandbox(home)
    script = "#!/bin/sh\ntrap '' TERM HUP INT\nsetsid sleep 1000 &\nsleep 1001\n"
    (made,) = sandbox.run(UserData=script)
    machine = sandbox.wait_for(made["InstanceId"], "running")
    root = Path(machine["console"]).parents[1]
    wait(lambda: len(psutil.Process(machine["pid"]).children(recursive=True)) >= 1)
    os.kill(sandbox.state["pid"], signal.SIGKILL)
    lock = wait(files.take_lock)
    os.close(lock)
    wait(lambda: not marked_processes(home.path))
    assert not root.exists()
    sandbox.close()


class TestKnobs:
    """Commands against the shared sandbox."""

    @pytest.fixture
    def run(self, sandbox, capsys):
        """Run a command in this process, and return its status and what it printed."""

        def run(*words: str) -> tuple[int, str]:
            with sandbox.home.entered():
                status = main(["sandbox", *words])
            printed = capsys.readouterr()
            return status, printed.out + printed.err

        return run

    def test_machines_and_their_verbs(self, sandbox, run):
        (made,) = sandbox.run(InstanceMarketOptions={"MarketType": "spot"})
        name = made["InstanceId"]
        sandbox.wait_for(name, "running")
        for verb in ("freeze", "thaw", "notice", "kill"):
            status, said = run(verb, name)
            assert status == 0
            assert name in said
        sandbox.wait_for(name, "terminated")
        status, said = run("machines", "--json")
        assert name in {machine["id"] for machine in json.loads(said)}
        status, said = run("kill", name)
        assert (status, "terminated already" in said) == (1, True)
        status, said = run("kill", "i-unknown")
        assert (status, "there is no machine i-unknown" in said) == (1, True)

    def test_faults_strike_until_they_are_cleared(self, sandbox, run):
        code = "InsufficientInstanceCapacity"
        line = ["fault", "RunInstances", "--code", code, "--match", "type=c5.large", "--count", "9"]
        assert run(*line)[0] == 0
        with pytest.raises(sandbox.client("ec2").exceptions.ClientError, match=code):
            sandbox.run()
        assert run("clear") == (0, "1 faults cleared\n")
        sandbox.run()

    def test_quota_and_boot_fail(self, sandbox, run):
        assert run("quota", "1") == (0, "quota: 1\n")
        with pytest.raises(sandbox.client("ec2").exceptions.ClientError, match="VcpuLimitExceeded"):
            sandbox.run()
        assert run("quota", "none")[0] == 0
        assert run("boot-fail", "always")[0] == 0
        (made,) = sandbox.run()
        console = Path(sandbox.wait_for(made["InstanceId"], "running")["console"])
        wait(lambda: "lets this boot fail" in console.read_text())
        assert run("boot-fail", "never")[0] == 0

    def test_calls_and_bill(self, sandbox, run):
        (made,) = sandbox.run()
        sandbox.wait_for(made["InstanceId"], "running")
        last = json.loads(run("calls", "--json")[1])[-1]
        assert last["action"] == "RunInstances"
        assert json.loads(run("calls", "--since", str(last["n"]), "--json")[1]) == []
        assert made["InstanceId"] in run("bill")[1]

    @pytest.mark.parametrize(
        "line",
        [
            "fault",
            "fault RunInstances --match type",
            "fault RunInstances --delay soon",
            "quota -1",
            "boot-fail sometimes",
            "up --clock-rate 0",
            "up --net vpn",
            "explode",
        ],
    )
    def test_wrong_usage(self, run, capsys, line):
        with pytest.raises(SystemExit) as caught:
            run(*line.split())
        assert caught.value.code == 2
        assert "usage: jupyter compute sandbox" in capsys.readouterr().err

    def test_a_fault_that_does_nothing_is_refused(self, run):
        status, said = run("fault", "RunInstances")
        assert (status, "this fault does nothing" in said) == (1, True)


def test_without_a_sandbox_every_knob_says_so(home: Home, capsys):
    assert main(["sandbox", "machines"]) == 1
    assert "no sandbox is running" in capsys.readouterr().err
