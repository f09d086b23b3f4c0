"""Machines that fail to start: tried three times, then those who wait are told."""

from __future__ import annotations

import asyncio
import sys

from jupyter_compute.layers.local import LocalLayer
from jupyter_compute.model import Offer, SystemClock
from jupyter_compute.policy.lifecycle import Timers
from jupyter_compute.policy.where import Needs, Waiting, Where
from jupyter_compute.pool.scaler import Scaler

BROKEN = [sys.executable, "-c", "raise SystemExit(3)"]
MUTE = [sys.executable, "-c", "import sys; sys.stdin.read()"]


class _Pool:
    """Waits for a machine until it is told that there will be none."""

    def __init__(self, scaler: Scaler) -> None:
        self.waiting = 1
        self.messages: list[str] = []
        scaler.open("an invitation for {}".format, self.demand, self.give_up)

    def demand(self) -> list[Waiting]:
        return [Waiting(Needs(Where("local"), 1, 1), 1, 0)] * self.waiting

    def give_up(self, layer: str, message: str) -> None:
        self.waiting = 0
        self.messages.append(message)


async def _until_given_up(command: list[str], deadline_s: float) -> tuple[str, list[str]]:
    launched: list[str] = []

    def node(machine: str, offer: Offer) -> list[str]:
        launched.append(machine)
        return command

    layer = LocalLayer(command=node)
    scaler = Scaler({"local": layer}, SystemClock(), Timers(launch_deadline_s=deadline_s))
    pool = _Pool(scaler)
    while not pool.messages:
        await scaler.look()
        assert len(scaler.machines) <= 1
        await asyncio.sleep(0.01)
    await scaler.close()
    assert layer.list() == []
    return pool.messages[0], launched


def test_one_that_ends_at_once() -> None:
    message, launched = asyncio.run(_until_given_up(BROKEN, 60))
    assert message.startswith("3 machines in a row failed to start")
    assert "exit code 3" in message
    assert len(set(launched)) == 3


def test_one_that_never_joins() -> None:
    message, launched = asyncio.run(_until_given_up(MUTE, 0.1))
    assert "did not join within 0.1 s" in message
    assert len(set(launched)) == 3


def test_a_machine_that_joined_and_left_is_replaced_only_on_demand() -> None:
    async def go() -> None:
        layer = LocalLayer(command=lambda *_: MUTE)
        scaler = Scaler({"local": layer}, SystemClock())
        pool = _Pool(scaler)
        assert scaler.why_none("local") == "waiting for local to start"
        await scaler.look()
        (first,) = scaler.machines
        assert scaler.why_none("local") == "starting local"
        scaler.joined(first)
        assert scaler.why_none("local") == ""
        pool.waiting = 0
        scaler.left(first)
        while scaler.machines:
            await scaler.look()
            await asyncio.sleep(0.01)
        pool.waiting = 1
        await scaler.look()
        (second,) = scaler.machines
        assert second != first
        await scaler.close()
        assert layer.list() == []

    asyncio.run(go())


def test_a_machine_that_its_layer_has_lost_is_ended_although_nobody_else_noticed() -> None:
    async def go() -> None:
        layer = LocalLayer(command=lambda *_: MUTE)
        scaler = Scaler({"local": layer}, SystemClock())
        pool = _Pool(scaler)
        await scaler.look()
        (machine,) = scaler.machines
        scaler.joined(machine)
        pool.waiting = 0
        layer.lose(machine)
        async with asyncio.timeout(10):
            while scaler.machines:
                await scaler.look()
                await asyncio.sleep(0.01)
        await scaler.close()

    asyncio.run(go())


class _Clock(SystemClock):
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.monotonic_s = 1000.0

    def monotonic(self) -> float:
        return self.monotonic_s


def test_a_machine_that_starts_is_expected_when_the_last_ones_were_ready() -> None:
    clock = _Clock()
    layer = LocalLayer(command=lambda *_: MUTE)
    scaler = Scaler({"local": layer}, clock)
    (offer,) = layer.offers()

    def start() -> str:
        scaler.machines.clear()
        return scaler.launch(offer).id

    first = ""
    for took in (2, 40, 33):
        machine = start()
        first = first or scaler.why_none("local")
        clock.monotonic_s += took
        scaler.joined(machine)
    assert first == "starting local", "nothing is known of the first one"
    start()
    told = []
    for _ in range(6):
        told.append(scaler.why_none("local").removeprefix("starting local"))
        clock.monotonic_s += 7.5
    assert told == [
        " → ready in ~35 s",
        " → ready in ~30 s",
        " → ready in ~20 s",
        " → ready in ~15 s",
        " → ready in ~3 s",
        "",
    ]
    for machine in layer.list():
        while not layer.terminate(machine.id):
            clock.monotonic_s += 1
