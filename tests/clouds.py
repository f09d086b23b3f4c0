"""A pool whose layers of AWS are a sandbox, and what it and the sandbox say."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import services
from homes import Home
from jupyter_compute import places
from jupyter_compute.layers import setup
from sandboxes import Sandbox, wait

HASTY = (str(Path(__file__).parent / "hasty_service.py"),)
CONFIG = "jupyter-compute:\n  machine-idle-timeout: 4s\n"


LONE = {"cpu": 2, "instances": ["c5.large"], "spot": "never"}
"""What needs a machine for itself."""


class Cloud:
    """A home with a sandbox, and a pool that uses it.

    Parameters
    ----------
    home : Home
    settings : str
        More lines of the configuration.
    """

    def __init__(self, home: Home, settings: str = "") -> None:
        self.home = home
        # Machines that install something download it once in a test session.
        home.env["UV_CACHE_DIR"] = str(home.path.parent / "uv")
        (home.path / "dask").mkdir()
        (home.path / "dask" / "compute.yaml").write_text(CONFIG + settings)
        self.sandbox = Sandbox(home, boot_delay_s=0.2)
        self.service: subprocess.Popen[bytes] | None = None
        self._is_set_up = False

    def start(self) -> None:
        """Have a pool that uses the sandbox, unless there is one."""
        if self.service is not None:
            return
        self.service = services.start()
        services.ask("POST", "/v1/sandbox", {"environment": self.sandbox.environment})
        services.ask("GET", "/v1/layers")

    @contextlib.contextmanager
    def hasty(self, timers: Mapping[str, Any], death: str = "") -> Iterator[None]:
        """Have a pool with other timers, and with the sandbox as its only AWS, instead.

        Parameters
        ----------
        timers : mapping
            Some of `policy.lifecycle.Timers`.
        death : str
            At what it is killed, see `hasty_service`.
        """
        self.stop()
        self.begin(timers, death)
        yield
        self.stop()

    def begin(self, timers: Mapping[str, Any], death: str = "", *, heard: bool = True) -> None:
        """Start a pool with other timers, in the place of one that is gone.

        If it has heard nothing of its layers, what was once asked of AWS is forgotten too.
        """
        variables = {"HASTY_TIMERS": json.dumps(timers), "HASTY_DEATH": death}
        if not self._is_set_up:
            with self.sandbox.entered():
                setup.run(yes=True, quiet=True)
            self._is_set_up = True
        if not heard:
            shutil.rmtree(places.data_dir() / "prices", ignore_errors=True)
        self.service = services.start(HASTY, **variables, **self.sandbox.environment)
        if heard:
            services.ask("GET", "/v1/layers")

    def stop(self) -> None:
        """Stop the pool with whatever is in it, and end all machines of the sandbox."""
        services.hang_up()
        self.home.stop_pool()
        if self.service is not None:
            self.service.wait(30)
            self.service = None
        self.sandbox.reset()

    def clear(self) -> None:
        """End all runs and machines, but not the pool."""
        services.hang_up()
        for run in services.ask("GET", "/v1/status").json["runs"]:
            services.ask("POST", f"/v1/runs/{run['id']}/cancel", {"action": "kill"})
        for machine in services.ask("GET", "/v1/status").json["machines"]:
            if machine["layer"] != "local":
                services.ask("POST", f"/v1/machines/{machine['id']}/stop", {"force": True})
        wait(lambda: all(m["layer"] == "local" for m in self.machines()), 30)
        self.wait_until_empty()
        self.sandbox.reset()

    def submit(self, source: str, **fields: Any) -> services.Stream:
        """Submit a run that may be on EC2, unless another layer is named."""
        return services.submit(source, **{"layer": "ec2", "cpu": 1, "memory": 10**9, **fields})

    def machines(self) -> list[dict[str, Any]]:
        """Return the machines of the pool."""
        found: list[dict[str, Any]] = services.ask("GET", "/v1/status").json["machines"]
        return found

    def alive(self) -> list[dict[str, Any]]:
        """Return the machines that the sandbox has and has not ended."""
        return self.sandbox.machines("pending", "running", "stopping", "shutting-down")

    def wait_until_empty(self) -> None:
        """Return when the sandbox has no machine any more."""
        wait(lambda: not self.alive(), 30)

    def launches(self) -> list[dict[str, Any]]:
        """Return the calls that were to launch instances."""
        return self.sandbox.calls("RunInstances")

    def tags(self, machine: str) -> dict[str, str]:
        """Return what is written on an instance."""
        answer = self.sandbox.client("ec2").describe_instances(InstanceIds=[machine])
        found = answer["Reservations"][0]["Instances"][0]["Tags"]
        return {tag["Key"]: tag["Value"] for tag in found}

    def log(self) -> str:
        """Return what the service has logged."""
        return "".join(path.read_text() for path in Path(self.home.path).rglob("service.log*"))


@contextlib.contextmanager
def opened(among: Home, settings: str = "") -> Iterator[Cloud]:
    """Have a cloud whose home is beside another one; nothing of it is left afterwards."""
    own = Cloud(Home(among.path.parent), settings)
    yield own
    with own.home.entered():
        own.stop()
    own.sandbox.close()
    own.home.close()


def until_second(path: Path) -> str:
    """Return code that notes each time it runs, and waits until it runs for the second time."""
    return (
        "import os, pathlib, time\n"
        f"path = pathlib.Path({str(path)!r})\n"
        "with path.open('a') as file:\n    file.write('ran\\n')\n"
        "while path.read_text().count('ran') < 2:\n    time.sleep(0.05)\n"
    )
