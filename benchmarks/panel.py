"""Measure what an open panel costs: ``python benchmarks/panel.py``.

A Jupyter server with this extension is asked for the state of a pool once a second, over HTTP, as
one visible panel does. The pools are made up (`crowd.py`), so that they can have any size; what
answers is the product. CPU is what a process used while it was asked, less what it used in
as long a time without. Writes a table, and JSON with ``--json FILE``.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

SIZES = ((1, 4), (3, 50), (200, 5000))
TOKEN = "panel"  # noqa: S105 - of a server that lives for minutes, and answers this program only
_START_S = 120.0


class Stack:
    """A Jupyter server and a pool of some size, both in a home of their own."""

    def __init__(self, home: Path, machines: int, runs: int) -> None:
        environment = os.environ | {
            "HOME": str(home),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
        }
        crowd = [sys.executable, str(Path(__file__).with_name("crowd.py"))]
        self.pool = subprocess.Popen(
            [*crowd, "--machines", str(machines), "--runs", str(runs)],
            stdin=subprocess.PIPE,
            env=environment,
        )
        with (home / "server.log").open("wb") as log:
            self.server = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
                    *("--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}"),
                    "--ServerApp.jpserver_extensions=jupyter_compute=True",
                ],
                env=environment,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._runtime = home / "runtime"
        self.connection = http.client.HTTPConnection("127.0.0.1", self._port())
        self.cursor = "0"
        end = time.monotonic() + _START_S
        while self.poll()[2]["pool"] != "live":
            if time.monotonic() > end:
                raise RuntimeError("the pool did not start")
            time.sleep(0.2)

    def poll(self) -> tuple[float, int, dict[str, Any]]:
        """Ask for what is new; return how long that took, how many bytes it was, and what."""
        start = time.perf_counter()
        self.connection.request(
            "GET",
            f"/jupyter-compute/state?since={self.cursor}",
            headers={"Authorization": f"token {TOKEN}"},
        )
        answer = self.connection.getresponse().read()
        took = time.perf_counter() - start
        found = json.loads(answer)
        self.cursor = found["cursor"]
        return took, len(answer), found

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds that each process has used."""
        both = {"server": self.server, "service": self.pool}
        times = {name: psutil.Process(process.pid).cpu_times() for name, process in both.items()}
        return {name: used.user + used.system for name, used in times.items()}

    def close(self) -> None:
        """End both."""
        self.connection.close()
        self.server.terminate()
        if self.pool.stdin is not None:
            self.pool.stdin.close()
        self.server.wait(60)
        self.pool.wait(60)

    def _port(self) -> int:
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            for info in self._runtime.glob(f"jpserver-{self.server.pid}.json"):
                with contextlib.suppress(ValueError, OSError):
                    port = int(json.loads(info.read_text())["port"])
                    http.client.HTTPConnection("127.0.0.1", port).connect()
                    return port
            time.sleep(0.1)
        raise RuntimeError("the Jupyter server did not start")


@contextlib.contextmanager
def stack(machines: int, runs: int) -> Iterator[Stack]:
    """Start a pool of this size and a server."""
    with tempfile.TemporaryDirectory(prefix="jc-panel-", dir="/tmp") as directory:
        own = Stack(Path(directory), machines, runs)
        try:
            yield own
        finally:
            own.close()


def measure(machines: int, runs: int, seconds: int) -> dict[str, Any]:
    """Return what one panel costs on a pool of this size."""
    with stack(machines, runs) as own:
        own.cursor = "0"
        whole = own.poll()
        time.sleep(1)
        before = own.cpu()
        time.sleep(seconds)
        quiet = own.cpu()
        own.cursor = "0"
        own.poll()
        start = own.cpu()
        polls = []
        for _ in range(seconds):
            time.sleep(1)
            polls.append(own.poll())
        used = own.cpu()
        more = {n: used[n] - start[n] - (quiet[n] - before[n]) for n in used}
        resyncs = sum(found["resync"] for _, _, found in polls)
    return {
        "machines": machines,
        "runs": runs,
        "shown": [len(whole[2]["machines"]), len(whole[2]["runs"])],
        "first_ms": whole[0] * 1e3,
        "first_bytes": whole[1],
        "poll_ms": statistics.median(took for took, _, _ in polls) * 1e3,
        "poll_bytes": int(statistics.median(size for _, size, _ in polls)),
        "most_bytes": max(size for _, size, _ in polls),
        "resyncs": resyncs,
        "server_cpu_percent": max(0.0, more["server"]) / seconds * 100,
        "service_cpu_percent": max(0.0, more["service"]) / seconds * 100,
        "seconds": seconds,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    columns = "machines x runs | shown | first look | a poll | bytes, median (most)"
    heads = [f"| {columns} | CPU of server | CPU of service |", "|---|---|---|---|---|---|---|"]
    return "\n".join([*heads, *map(_line, rows)])


def _line(row: dict[str, Any]) -> str:
    return (
        f"| {row['machines']} x {row['runs']} | {row['shown'][0]} x {row['shown'][1]}"
        f" | {row['first_ms']:.1f} ms, {row['first_bytes']} bytes | {row['poll_ms']:.1f} ms"
        f" | {row['poll_bytes']} ({row['most_bytes']})"
        f" | {row['server_cpu_percent']:.2f} % | {row['service_cpu_percent']:.2f} % |"
    )


def main() -> None:
    """Measure every size once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of polls, for each size (60)")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    rows = [measure(machines, runs, options.seconds) for machines, runs in SIZES]
    sys.stdout.write(table(rows) + "\n")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
