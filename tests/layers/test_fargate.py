"""Fargate: what a task is started as, and what becomes of a launch that AWS refuses."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest

from jupyter_compute.errors import AskError, PoolError
from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.base import Boot, Launch
from jupyter_compute.layers.fargate import FargateLayer
from jupyter_compute.layers.sizes import Size, every_size
from jupyter_compute.model import Offer

GIB = 2**30
BOOT = Boot("https://127.0.0.1:1", "ab" * 32, "a-token", lifetime_s=3600)
_numbers = itertools.count(1)


def offer(kind: str = "0.5 vCPU 1 GB", **more: Any) -> Offer:
    return Offer("fargate", kind, 0.5, GIB, usd_per_hour=0.02, region="us-east-1", **more)


def launch(*offers: Offer, count: int = 1) -> Launch:
    return Launch(f"fg-{next(_numbers)}-{time.time_ns() // 1000}", offers, count, BOOT)


@pytest.fixture
def layer(account: Account) -> FargateLayer:
    return FargateLayer(account, lambda: [offer()])


@pytest.mark.slow
class TestTasks:
    def test_a_task_says_its_own_size_and_command(self, sandbox, layer):
        asked = launch(offer("2 vCPU 16 GB"))
        (machine,) = layer.launch(asked).machines
        (task,) = sandbox.client("ecs").describe_tasks(
            cluster="jupyter-compute", tasks=[machine.id], include=["TAGS"]
        )["tasks"]
        assert (task["overrides"]["cpu"], task["overrides"]["memory"]) == ("2048", "16384")
        assert task["capacityProviderName"] == "FARGATE"
        assert task["startedBy"] == asked.id
        assert {tag["key"]: tag["value"] for tag in task["tags"]} == {
            "jupyter-compute:owner": Account().owner,
            "jupyter-compute:launch": asked.id,
            "Name": "jupyter-compute",
        }
        shell, flag, script = task["overrides"]["containerOverrides"][0]["command"]
        assert (shell, flag) == ("/bin/sh", "-c")
        assert "exec timeout $alone 3600 jupyter-compute-node" in script
        told = json.loads(script.partition("JUPYTER_COMPUTE_BOOT='")[2].partition("'\n")[0])
        assert (told["memory"], told["token"]) == (GIB, "a-token")

    def test_spot_that_is_not_to_be_had_becomes_on_demand(self, sandbox, layer):
        sandbox.ask(
            "fault",
            action="RunTask",
            code="InsufficientCapacity",
            match={"lifecycle": "spot"},
        )
        launched = layer.launch(launch(offer(spot=True), offer()))
        assert [machine.offer.spot for machine in launched.machines] == [False]
        assert [refusal.kind for refusal in launched.refused] == ["capacity"]

    def test_more_than_one_call_can_start(self, sandbox, layer):
        launched = layer.launch(launch(offer(), count=12))
        assert len({machine.id for machine in launched.machines}) == 12

    def test_a_reply_that_is_lost_starts_nothing_twice(self, sandbox, layer):
        sandbox.ask("fault", action="RunTask", drop_reply=True, count=2)
        asked = launch(offer(), count=2)
        with pytest.raises(PoolError, match="no answer from AWS"):
            layer.launch(asked)
        launched = layer.launch(asked)
        assert len(launched.machines) == 2
        assert {m["id"] for m in sandbox.machines("pending", "running")} == {
            machine.id for machine in launched.machines
        }

    def test_tasks_of_others_are_neither_listed_nor_stopped(self, sandbox, layer):
        foreign = FargateLayer(Account("0123456789ab"), lambda: [offer()])
        (theirs,) = foreign.launch(launch(offer())).machines
        assert theirs.id not in {machine.id for machine in layer.list()}
        assert layer.terminate(theirs.id)
        assert sandbox.machine(theirs.id)["state"] in {"pending", "running"}

    def test_without_setup_it_says_what_to_run(self, sandbox, layer, monkeypatch):
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        elsewhere = FargateLayer(Account(), lambda: [offer()])
        assert elsewhere.why_not() == (
            "there is no ECS cluster 'jupyter-compute' in eu-west-1 (run `jupyter compute setup aws`)"
        )


def test_sizes_are_those_that_aws_documents() -> None:
    sizes = list(every_size())
    assert len(sizes) == len(set(sizes)) == 3 + 4 + 7 + 13 + 23 + 12 + 12
    assert all(Size.parse(str(size)) == size for size in sizes)


@pytest.mark.parametrize("text", ["0.5 vCPU 8 GB", "3 vCPU 8 GB", "m5.large", "", "16 vCPU 33 GB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(AskError, match="Fargate has no tasks"):
        Size.parse(text)
