"""A pool of any size, made up: its machines and runs are only records, what answers is the product.

``python benchmarks/crowd.py --machines 200 --runs 5000`` serves its state on the socket of the
pool service, in the home that the environment names, until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import jupyter_compute
from jupyter_compute import places
from jupyter_compute.model import Offer, Receipt, RunSpec, SystemClock
from jupyter_compute.pool import scaler
from jupyter_compute.pool.api import make_server
from jupyter_compute.pool.costs import DAYS, Costs
from jupyter_compute.pool.events import EventLog
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.machines import Machines
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.state import State
from jupyter_compute.pool.telemetry import Telemetry

HASH = "0" * 32
PRICE = 0.5292
OFFER = Offer("ec2", "r7i.2xlarge", cpu=8, memory=64 * 10**9, usd_per_hour=PRICE)
PER_MACHINE = 4
"""Runs on each machine, as long as there are enough."""


class Crowd:
    """Machines, runs and their samples.

    Parameters
    ----------
    machines, runs : int
        How many. Four runs are on each machine, a third of the others has ended, the rest waits.
    directory : path
        For the journal.
    """

    def __init__(self, machines: int, runs: int, directory: Path) -> None:
        self.clock = SystemClock()
        self.telemetry = Telemetry()
        self.active: dict[str, Run] = {}
        self.scaler = scaler.Scaler({}, self.clock)
        self.journal = Journal(directory / "journal.sqlite")
        self._rng = random.Random(7)
        self._now = self.clock.now()
        for number in range(machines):
            self._add_machine(number)
        self.machines = Machines(
            self.scaler, self.active, self.telemetry, self.clock, lambda _: None, lambda _: None
        )
        self.costs = Costs(self.journal, self.clock, self.scaler.machines, self.active)
        self.state = State(
            self.machines, self.active, self.telemetry, self.journal, self.costs, self.clock
        )
        on_machines = min(machines * PER_MACHINE, runs)
        over = (runs - on_machines) // 3
        for number in range(runs):
            run = self._run(number, directory)
            if number < on_machines:
                self.place(run, f"ec2-{number % machines}")
            elif number < on_machines + over:
                self.end(run)

    def place(self, run: Run, machine_id: str) -> None:
        """Let a run begin on a machine."""
        run.machine_id, run.machine, run.state = machine_id, OFFER.type, "running"
        run.started = run.attempt_started = self._now - self._rng.uniform(1, 600)
        run.reason = f"on {OFFER.type}"

    def end(self, run: Run, days_ago: int = 0, usd: float = 0.0123) -> None:
        """Let a run end."""
        run.state, run.finished = "done", self._now - self._rng.uniform(1, 600) - days_ago * 86400
        run.reason, run.machine_id = "the attempt succeeded", None
        run.receipt = Receipt(
            *(12.345, 61.2, 1, "ec2", OFFER.type, 2.0, 16 * 10**9),
            *(1.58, 9_876_543_210, usd, "--memory 12G would do (saves 31 %)"),
        )
        self.journal.begin(run.id, run.spec.to_wire(), run.to_record())
        self.journal.ended(run.id, run.to_record(), "ok", {})
        del self.active[run.id]
        self.state.ended(run)

    def sample(self, ago: float = 0.0) -> None:
        """Let every machine report what it and its runs use."""
        on: dict[str, list[Run]] = {name: [] for name in self.scaler.machines}
        for run in self.active.values():
            if run.machine_id is not None:
                on[run.machine_id].append(run)
        for name, runs in on.items():
            attempts = {run.attempt_id: self._use(run) for run in runs}
            used = {
                "cpu_used": sum(use["cpu_used"] for use in attempts.values()),
                "memory_used": sum(use["memory_used"] for use in attempts.values()),
                "attempts": attempts,
            }
            self.telemetry.add(self.clock.now() - ago, name, used)

    def remember(self, days: int) -> None:
        """Let one run of each of the last days have ended."""
        for ago in range(1, days):
            run = self._run(10**7 + ago, self.journal.path.parent)
            self.end(run, ago, round(self._rng.uniform(0.2, 2), 2))

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()

    def _use(self, run: Run) -> dict[str, float]:
        going_on_s = self.clock.now() - (run.attempt_started or self.clock.now())
        run.usd = PRICE / PER_MACHINE * going_on_s / 3600
        run.cpu_used = self._rng.uniform(0.5, 2)
        run.memory_used = self._rng.randrange(10**9, 10**10)
        run.memory_peak = max(run.memory_peak or 0, int(run.memory_used))
        return {"cpu_used": run.cpu_used, "memory_used": run.memory_used}

    def _add_machine(self, number: int) -> None:
        started = self._now - 10 * number
        machine = scaler.Machine(f"ec2-{number}", OFFER, 0.0, started, "ready")
        self.scaler.machines[machine.id] = machine

    def _run(self, number: int, directory: Path) -> Run:
        spec = RunSpec(
            name=f"model = fit(parts[{number}], depth={number % 9})",
            layer="ec2",
            cpu=2.0,
            memory=16 * 10**9,
            memory_high=None,
            interpreter=sys.executable,
            payload=HASH,
            environment=HASH,
            notebook=f"analysis/part-{number % 5}.ipynb",
            cell=f"{number:08x}-3f0a-4c1e-9d7b-2f6a51c0e9aa",
        )
        run = Run(
            id=f"r-{number:08d}",
            spec=spec,
            log=EventLog(directory / f"{number}.jsonl", 10**6),
            created=self._now - 1000 + number / 1000,
            cpu=spec.cpu,
            memory=16 * 10**9,
            memory_high=None,
            reason="waiting for 2 cpu 16 GB: 8 of 8 cpu are used on the freest of 200 machines",
        )
        self.active[run.id] = run
        return run


class _Pool:
    """As much of a pool service as panels ask for."""

    def __init__(self, crowd: Crowd) -> None:
        self.state, self.machines = crowd.state, crowd.machines

    def called(self, more: int) -> None:
        """Be called."""

    def info(self) -> dict[str, Any]:
        """Return the version, for whoever wants to know that this is up."""
        return {"version": jupyter_compute.__version__}


async def serve(crowd: Crowd) -> None:
    """Answer, with a sample a second, until standard input ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(places.socket()))
    listener.listen()
    listener.setblocking(False)
    server = make_server(_Pool(crowd))  # type: ignore[arg-type]
    server.add_socket(listener)
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    while not ended.done():
        crowd.sample()
        await asyncio.wait([ended], timeout=1)
    server.stop()
    await server.close_all_connections()
    places.socket().unlink()


def main() -> None:
    """Serve a crowd."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, required=True)
    parser.add_argument("--runs", type=int, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jc-crowd-") as directory:
        crowd = Crowd(options.machines, options.runs, Path(directory))
        crowd.remember(DAYS - 2)
        for ago in range(300, 0, -1):
            crowd.sample(ago)
        asyncio.run(serve(crowd))
        crowd.close()


if __name__ == "__main__":
    main()
