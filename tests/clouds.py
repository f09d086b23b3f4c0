"""A pool whose layers of AWS are a sandbox, and what it and the sandbox say."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import services
from homes import Home
from sandboxes import Sandbox, wait

CONFIG = "jupyter-compute:\n  machine-idle-timeout: 4s\n"


class Cloud:
    """A home with a sandbox, and a pool that uses it.

    Parameters
    ----------
    home : Home
    """

    def __init__(self, home: Home) -> None:
        self.home = home
        (home.path / "dask").mkdir()
        (home.path / "dask" / "compute.yaml").write_text(CONFIG)
        self.sandbox = Sandbox(home, boot_delay_s=0.2)
        self.service: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Have a pool that uses the sandbox, unless there is one."""
        if self.service is not None:
            return
        self.service = services.start()
        services.ask("POST", "/v1/sandbox", {"environment": self.sandbox.environment})
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

    def log(self) -> str:
        """Return what the service has logged."""
        return "".join(path.read_text() for path in Path(self.home.path).rglob("service.log*"))
