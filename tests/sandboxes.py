"""Sandboxes for tests: a rehearsal AWS of a test's or a module's own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import dask.config
import pytest
from botocore.config import Config

from homes import Home, marked_processes
from jupyter_compute import settings
from jupyter_compute.sandbox import start
from jupyter_compute.sandbox.world import Settings

SCRIPT = "#!/bin/sh\nexec sleep 1000\n"
"""User-data of a machine that only is there."""


class Sandbox:
    """A running sandbox.

    Parameters
    ----------
    home : Home
        Whose it is.
    **settings
        Those of `jupyter_compute.sandbox.world.Settings`; machines boot at once by default.
    """

    def __init__(self, home: Home, **settings: Any) -> None:
        self.home = home
        with home.entered():
            self.state, _ = start.up(Settings(**{"boot_delay_s": 0.0, **settings}))
        self._clients: dict[tuple[str, str], Any] = {}
        self.environment: dict[str, str] = self.state["environment"]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Make the home, and what the sandbox says of AWS, those of the test process too."""
        with self.home.entered(), pytest.MonkeyPatch.context() as patch:
            for name, text in self.environment.items():
                patch.setenv(name, text)
            with dask.config.set(self._settings()):
                yield

    def _settings(self) -> dict[str, str]:
        """Return what its variables say to Dask, which reads variables only once in a process."""
        settings.get("layer")  # The defaults are there before something is set on top of them.
        named = {
            "ec2.ami": "DASK_JUPYTER_COMPUTE__LAYERS__EC2__AMI",
            "fargate.image": "DASK_JUPYTER_COMPUTE__LAYERS__FARGATE__IMAGE",
        }
        return {
            f"jupyter-compute.layers.{setting}": self.environment[variable]
            for setting, variable in named.items()
        }

    def client(self, service: str, **config: Any) -> Any:
        """Return a real boto3 client of the sandbox, which does not retry by itself."""
        key = (service, repr(sorted(config.items())))
        if key not in self._clients:
            self._clients[key] = self._make(service, config)
        return self._clients[key]

    def _make(self, service: str, config: dict[str, Any]) -> Any:
        session = boto3.Session(
            self.environment["AWS_ACCESS_KEY_ID"],
            self.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=self.environment["AWS_DEFAULT_REGION"],
        )
        retries = {"total_max_attempts": 1, "mode": "standard"}
        return session.client(
            service,
            endpoint_url=self.state["endpoint"],
            config=Config(**{"retries": retries, **config}),
        )

    def run(self, **more: Any) -> list[dict[str, Any]]:
        """Launch instances, and return what AWS says of them; one small one by default."""
        asked = {
            "ImageId": self.state["image"],
            "InstanceInitiatedShutdownBehavior": "terminate",
            "InstanceType": "c5.large",
            "MaxCount": 1,
            "MinCount": 1,
            "UserData": SCRIPT,
            **more,
        }
        made: list[dict[str, Any]] = self.client("ec2").run_instances(**asked)["Instances"]
        return made

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Turn a knob."""
        with self.home.entered():
            return start.ask(verb, **arguments)

    def calls(self, action: str, since: int = 0) -> list[dict[str, Any]]:
        """Return the calls of one kind."""
        return [call for call in self.ask("calls", since=since) if call["action"] == action]

    def machines(self, *states: str) -> list[dict[str, Any]]:
        """Return the sandbox's own records of machines in these states, or of all."""
        found = self.ask("machines")
        return [machine for machine in found if not states or machine["state"] in states]

    def machine(self, name: str) -> dict[str, Any]:
        """Return the sandbox's own record of a machine."""
        (found,) = [machine for machine in self.machines() if machine["id"] == name]
        return found

    def wait_for(self, name: str, state: str, patience_s: float = 15.0) -> dict[str, Any]:
        """Return the machine's record once it is in this state."""
        return wait(lambda: _if(self.machine(name), state), patience_s)

    def reset(self) -> None:
        """End all machines, and forget all faults and limits."""
        self.ask("clear")
        self.ask("quota", vcpus=None)
        self.ask("boot-fail", count=0)
        for machine in self.machines("pending", "running", "stopping", "shutting-down"):
            self.ask("kill", machine=machine["id"])
        wait(lambda: not self.machines("pending", "running", "stopping", "shutting-down"))

    def close(self) -> None:
        """End it; fail if a process is left."""
        for client in self._clients.values():
            client.close()
        with self.home.entered():
            start.down()
        left = marked_processes(self.home.path)
        assert not left, f"left behind by the sandbox: {left}"


def wait(found: Callable[[], Any], patience_s: float = 15.0) -> Any:
    """Return the first true answer."""
    deadline = time.monotonic() + patience_s
    while not (answer := found()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return answer


def _if(machine: dict[str, Any], state: str) -> dict[str, Any] | None:
    return machine if machine["state"] == state else None
