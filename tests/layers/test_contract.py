"""What `layers.base` promises, of every layer."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import pytest

from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.base import Boot, Launch, Layer, Machine
from jupyter_compute.layers.cloudprovider import CloudproviderLayer
from jupyter_compute.layers.ec2 import EC2Layer
from jupyter_compute.layers.fargate import FargateLayer
from jupyter_compute.layers.local import LocalLayer
from jupyter_compute.model import Offer
from services import wait_until
from virtual import instance

pytestmark = pytest.mark.slow

GIB = 2**30
BOOT = Boot("https://127.0.0.1:1", "ab" * 32, "a-token")
_numbers = count(1)


class Bench(ABC):
    """A layer to try, and the world that it is in."""

    most = 3
    """How many machines one launch can have."""

    remembers = True
    """Whether machines outlive the layer's own process."""

    def __init__(self) -> None:
        self.layer = self.again()

    @abstractmethod
    def again(self) -> Layer:
        """Return the layer anew, as another process would have it."""

    @abstractmethod
    def offers(self) -> tuple[Offer, ...]:
        """Return what it launches here."""

    @abstractmethod
    def kill(self, machine: Machine) -> None:
        """End a machine without the layer."""

    def launch(self, machines: int = 1) -> Launch:
        """Return a launch with a name of its own."""
        name = f"contract-{next(_numbers)}-{time.time_ns() // 1000}"
        return Launch(name, self.offers(), machines, BOOT)

    def alive(self, launch: Launch) -> list[str]:
        """Return the machines of the launch that the layer lists as alive."""
        return sorted(
            m.id for m in self.layer.list() if m.launch == launch.id and m.state == "alive"
        )


class Local(Bench):
    most = 1
    remembers = False

    def again(self) -> Layer:
        code = "import sys; sys.stdin.read()"
        return LocalLayer(command=lambda *_: [sys.executable, "-c", code])

    def offers(self) -> tuple[Offer, ...]:
        return tuple(self.layer.offers())

    def kill(self, machine: Machine) -> None:
        assert isinstance(self.layer, LocalLayer)
        self.layer.lose(machine.id)


class EC2(Bench):
    def __init__(self, sandbox: Any, account: Account) -> None:
        self.sandbox = sandbox
        self.account = account
        super().__init__()

    def again(self) -> Layer:
        return EC2Layer(self.account, self.offers)

    def offers(self) -> tuple[Offer, ...]:
        return (
            Offer("ec2", "m5.large", 2, 6 * GIB, 0, 0.02, spot=True, region="us-east-1"),
            Offer("ec2", "c5.large", 2, 3 * GIB, 0, 0.09, region="us-east-1"),
        )

    def kill(self, machine: Machine) -> None:
        self.sandbox.ask("kill", machine=machine.id)


class Fargate(EC2):
    def again(self) -> Layer:
        return FargateLayer(self.account, self.offers)

    def offers(self) -> tuple[Offer, ...]:
        return (
            Offer("fargate", "0.5 vCPU 1 GB", 0.5, GIB, 0, 0.01, spot=True, region="us-east-1"),
            Offer("fargate", "0.5 vCPU 1 GB", 0.5, GIB, 0, 0.03, region="us-east-1"),
        )


class Cloudprovider(EC2):
    """A layer that is configured with dask-cloudprovider's class for EC2."""

    def again(self) -> Layer:
        return CloudproviderLayer("dcp", self.account)

    def offers(self) -> tuple[Offer, ...]:
        return tuple(self.layer.offers())

    def kill(self, machine: Machine) -> None:
        self.sandbox.ask("kill", machine=instance(self.sandbox, machine.id))


@pytest.fixture(params=[Local, EC2, Fargate, Cloudprovider], ids=lambda bench: bench.__name__)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    needs = () if request.param is Local else ("sandbox", "account")
    if request.param is Cloudprovider:
        request.getfixturevalue("dcp")
    bench = request.param(*map(request.getfixturevalue, needs))
    yield bench
    end(bench.layer, bench.layer.list())


def end(layer: Layer, machines: Sequence[Machine]) -> None:
    """Repeat the call until every machine is gone."""
    for machine in machines:
        wait_until(lambda machine=machine: layer.terminate(machine.id))


def test_it_says_whether_it_can_be_used_and_what_it_offers(bench: Bench) -> None:
    assert bench.layer.why_not() == ""
    assert {offer.layer for offer in bench.layer.offers()} == {bench.layer.name}


def test_what_is_launched_is_listed_with_its_launch_and_offer(bench: Bench) -> None:
    launch = bench.launch(bench.most)
    before = time.time()
    launched = bench.layer.launch(launch)
    assert launched.refused == ()
    assert len({machine.id for machine in launched.machines}) == bench.most
    listed = [machine for machine in bench.layer.list() if machine.launch == launch.id]
    assert {m.id for m in listed} == {m.id for m in launched.machines}
    for machine in listed:
        assert (machine.offer.type, machine.offer.usd_per_hour, machine.offer.spot) == (
            launch.offers[0].type,
            launch.offers[0].usd_per_hour,
            launch.offers[0].spot,
        )
        # What AWS says has whole seconds.
        assert before - 1 <= machine.started <= time.time() + 1


def test_a_launch_that_is_repeated_starts_nothing_more(bench: Bench) -> None:
    launch = bench.launch(bench.most)
    first = bench.layer.launch(launch)
    again = bench.layer.launch(launch)
    assert {m.id for m in again.machines} == {m.id for m in first.machines}
    assert bench.alive(launch) == sorted(m.id for m in first.machines)


def test_another_process_finds_a_launch_again_and_starts_nothing_more(bench: Bench) -> None:
    if not bench.remembers:
        return
    launch = bench.launch(2)
    first = bench.layer.launch(launch)
    other = bench.again()
    assert {m.id for m in other.launch(launch).machines} == {m.id for m in first.machines}
    assert {m.id for m in other.list() if m.launch == launch.id} == {m.id for m in first.machines}


def test_a_machine_is_terminated_by_repeating_the_call(bench: Bench) -> None:
    launch = bench.launch()
    (machine,) = bench.layer.launch(launch).machines
    wait_until(lambda: bench.layer.terminate(machine.id))
    assert bench.alive(launch) == []
    assert bench.layer.terminate(machine.id)


@pytest.mark.parametrize("unknown", ["i-0123456789abcdef0", "no-such-machine"])
def test_a_machine_that_it_does_not_know_is_gone(bench: Bench, unknown: str) -> None:
    assert bench.layer.terminate(unknown)


def test_a_machine_that_ended_by_itself_is_gone_and_says_why(bench: Bench) -> None:
    launch = bench.launch()
    (machine,) = bench.layer.launch(launch).machines
    bench.kill(machine)

    def gone() -> list[Machine]:
        return [m for m in bench.layer.list() if m.id == machine.id and m.state == "gone"]

    wait_until(gone)
    assert gone()[0].why
    wait_until(lambda: bench.layer.terminate(machine.id))


def test_launches_from_many_threads_do_not_mix(
    bench: Bench, in_threads: Callable[..., Any]
) -> None:
    launches = [bench.launch() for _ in range(3)] * 2
    launched = in_threads(bench.layer.launch, launches)
    by_launch: dict[str, set[str]] = {}
    for launch, result in zip(launches, launched, strict=True):
        by_launch.setdefault(launch.id, set()).update(m.id for m in result.machines)
    assert [len(ids) for ids in by_launch.values()] == [1, 1, 1]
    assert len(set.union(*by_launch.values())) == 3
