"""Boots machines and ends them: what makes a launch in the sandbox a real one."""

from __future__ import annotations

import gzip
import logging
import os
import shlex
import signal
import time
from typing import Any

from .guest import Guest
from .machines import GONE, Machine
from .networks import Networks
from .shims import search_path
from .world import IMAGE, World

__all__ = ["Booter"]

_TICK_S = 0.05
_TERM_S = 3.0
"""How long the processes of a machine that ends may take, before they are killed."""
_NOTICE_S = 120.0
_SPOT_ENDS = {
    "ec2": "Server.SpotInstanceTermination: Spot instance termination",
    "fargate": "Your Spot Task was interrupted.",
}
_log = logging.getLogger(__name__)


class Booter:
    """Carries out what becomes of machines, a step at a time.

    Parameters
    ----------
    world : World
    networks : Networks
        What the machines are separated by.
    """

    def __init__(self, world: World, networks: Networks) -> None:
        self._world = world
        self._networks = networks

    def run(self) -> None:
        """Go on for ever."""
        while True:
            time.sleep(_TICK_S)
            for machine in list(self._world.machines.values()):
                try:
                    with self._world.lock:
                        self.step(machine)
                except Exception as error:  # noqa: BLE001 - one must not hold up the others
                    _log.exception("machine %s", machine.id)
                    self._give_up(machine, error)

    def _give_up(self, machine: Machine, error: Exception) -> None:
        """End a machine that the sandbox cannot handle, and say so as AWS would."""
        with self._world.lock:
            machine.why = f"Server.InternalError: {type(error).__name__}: {error}"
            if machine.guest is not None:
                machine.guest.signal(signal.SIGKILL)
            machine.state, machine.ended = "terminated", time.time()
            machine.show()

    def step(self, machine: Machine) -> None:
        """Do what is due for the machine."""
        now = time.monotonic()
        match machine.state:
            case "pending" if now >= machine.boot_at:
                self._boot(machine)
            case "running":
                self._watch(machine, now)
            case "stopping" | "shutting-down":
                self._finish(machine, now)

    def end(self, machine: Machine, why: str, *, stop: bool = False, at_once: bool = False) -> None:
        """Make a machine end; its processes are told before they are killed, or are not."""
        if machine.state in {*GONE, "shutting-down"} and not (
            machine.state == "stopped" and not stop
        ):
            return
        machine.why = machine.why or why
        machine.state = "stopping" if stop else "shutting-down"
        machine.ending = time.time()
        machine.kill_at = time.monotonic() + (0.0 if at_once else _TERM_S)
        if machine.guest is not None:
            # One that is frozen could not hear it.
            machine.guest.signal(signal.SIGKILL if at_once else signal.SIGTERM)
            machine.guest.signal(signal.SIGCONT)
        machine.show()
        self._finish(machine, time.monotonic())

    def notice(self, machine: Machine) -> None:
        """Tell a spot machine that it is taken away in two minutes."""
        seconds = self._world.scaled(_NOTICE_S)
        machine.notice = time.time() + seconds
        machine.notice_at = time.monotonic() + seconds
        if machine.kind == "fargate" and machine.guest is not None:
            machine.data["stop_code"] = "SpotInterruption"
            machine.guest.told_to_end()

    def _boot(self, machine: Machine) -> None:
        world = self._world
        guest = machine.guest = Guest(machine.id, world.root)
        machine.state, machine.started = "running", time.time()
        if world.boots_that_fail:
            world.boots_that_fail -= world.boots_that_fail > 0
            machine.boots = False
        arguments, variables, script = machine.command()
        if not machine.boots:
            arguments, script = (
                ["/bin/sh", "-c", "echo the sandbox lets this boot fail; exit 1"],
                None,
            )
        text = b"" if script is None else script
        if text[:2] == b"\x1f\x8b":
            text = gzip.decompress(text)
        cloud_config = text.startswith(b"#cloud-config")
        if script is not None:
            arguments = [str(guest.script(_script_of(text)))] if text else ["true"]
        path = search_path(
            world.root,
            prepared=machine.image in {IMAGE, world.image},
            docker=cloud_config,
            python=machine.kind == "fargate",
            amazon_linux=machine.image in world.amazon_linux,
        )
        self._networks.prepare(machine)
        self._networks.guard(machine, world.machines.values())
        variables = {**variables, **self._networks.variables(machine)}
        environment = guest.environment(world.root, path, variables)
        guest.boot([*self._networks.prefix(machine), *arguments], environment)
        machine.show()

    def _watch(self, machine: Machine, now: float) -> None:
        guest = machine.guest
        assert guest is not None
        self._networks.guard(machine, self._world.machines.values())
        wish = guest.wish()
        if wish is not None:
            machine.data["shutdown_at"] = self._due(wish, now)
        due = machine.data.get("shutdown_at")
        status = guest.status()
        if machine.notice_at is not None and now >= machine.notice_at:
            self.end(machine, _SPOT_ENDS[machine.kind], at_once=True)
        elif due is not None and now >= due:
            why = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"
            self.end(machine, why, stop=machine.stops_itself)
        elif machine.ends_with_its_program and status is not None:
            machine.data["exit_code"] = status if status >= 0 else 128 - status
            machine.data.setdefault("stop_code", "EssentialContainerExited")
            self.end(machine, "Essential container in task exited")

    def _due(self, wish: str, now: float) -> float | None:
        if wish == "cancel":
            return None
        minutes = 0.0 if wish == "now" else float(wish.removeprefix("+"))
        return now + self._world.scaled(minutes * 60)

    def _finish(self, machine: Machine, now: float) -> None:
        guest = machine.guest
        if guest is not None and guest.processes():
            if machine.kill_at is not None and now >= machine.kill_at:
                guest.signal(signal.SIGKILL)
            return
        if guest is not None:
            machine.data.setdefault("exit_code", _exit_code(guest.status()))
            guest.remove()
        self._networks.remove(machine)
        machine.ended = time.time()
        machine.state = "stopped" if machine.state == "stopping" else "terminated"
        machine.show()


def _exit_code(status: int | None) -> int | None:
    return status if status is None or status >= 0 else 128 - status


def _script_of(text: bytes) -> bytes:
    """Return the program that user-data stands for."""
    if not text.startswith(b"#cloud-config"):
        return text
    import yaml

    config: dict[str, Any] = yaml.safe_load(text) or {}
    lines = [
        line if isinstance(line, str) else shlex.join(map(str, line))
        for line in config.get("runcmd") or []
    ]
    return os.fsencode("\n".join(["#!/bin/sh", *lines, ""]))
