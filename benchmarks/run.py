"""Measure what a user waits for, through a real ipykernel: ``python benchmarks/run.py``.

Every figure is a median over repetitions, with the smallest and largest beside it, and
stands next to the time of a bare cell in the same kernel: machines are shared, ratios
within one run say more than milliseconds. Writes a table, and JSON with ``--json FILE``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

MB = 10**6


class Session:
    """A kernel whose home, pool and blobs are its own."""

    def __init__(self, home: Path) -> None:
        self.environment = os.environ | {
            "HOME": str(home),
            "IPYTHONDIR": str(home / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
        }
        # As for users: modules are compiled once, by whoever imports them first.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self.home = home
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=self.environment, cwd=str(home))
        self.client: BlockingKernelClient = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, timeout: float = 120) -> tuple[float, str]:
        """Run a cell; return how long it took in seconds, and the text that it printed."""
        text: list[str] = []

        def take(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                text.append(message["content"]["text"])

        start = time.perf_counter()
        reply = self.client.execute_interactive(code, timeout=timeout, output_hook=take)
        took = time.perf_counter() - start
        if reply["content"]["status"] != "ok":
            raise RuntimeError(f"{code!r}: {reply['content']['evalue']}")
        return took, "".join(text)

    def stop_pool(self) -> None:
        """End the pool, so that the next cell starts one."""
        self.run("%compute stop")

    def close(self) -> None:
        """End the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@contextlib.contextmanager
def session(home: Path) -> Iterator[Session]:
    """Open a kernel with the extension loaded."""
    own = Session(home)
    try:
        own.run("%load_ext jupyter_compute")
        yield own
    finally:
        own.close()


def load_extension(home: Path, repeat: int) -> dict[str, Any]:
    """Time ``%load_ext`` in fresh kernels, and count the modules that it imports."""
    source = (
        "import sys, time\nbefore = set(sys.modules); start = time.perf_counter()\n"
        "get_ipython().run_line_magic('load_ext', 'jupyter_compute')\n"
        "print(time.perf_counter() - start, len(set(sys.modules) - before))"
    )
    times, modules = [], 0
    for _ in range(repeat):
        own = Session(home)
        try:
            took, count = own.run(source)[1].split()
        finally:
            own.close()
        times.append(float(took))
        modules = int(count)
    return row("load the extension", times, note=f"{modules} modules imported")


def first_results(home: Path, repeat: int) -> list[dict[str, Any]]:
    """Time the first result with no pool, and with a warm pool from a fresh kernel."""
    cold, warm = [], []
    with session(home) as own:
        own.run("%%remote\n1 + 1")  # compiles
        own.stop_pool()
    for _ in range(repeat):
        with session(home) as own:
            cold.append(own.run("%%remote\n1 + 1")[0])
        with session(home) as own:
            warm.append(own.run("%%remote\n1 + 1")[0])
            own.stop_pool()
    return [row("first result, no pool", cold), row("first result, warm pool, new kernel", warm)]


def trivial_cells(own: Session, repeat: int) -> list[dict[str, Any]]:
    """Time a bare cell and a trivial remote one, at a person's pace."""
    bare, remote, quiet = [], [], []
    own.run("%%remote\n1 + 1")  # the pool and the connection are not what is measured here
    for _ in range(repeat * 10):
        for code, times in (
            ("1 + 1", bare),
            ("%%remote\n1 + 1", remote),
            ("%%remote --quiet\n1 + 1", quiet),
        ):
            time.sleep(0.05)
            times.append(own.run(code)[0])
    return [
        row("bare cell (no remote)", bare),
        row("trivial remote cell", remote),
        row("trivial remote cell, --quiet", quiet),
    ]


def arrays(own: Session, repeat: int) -> list[dict[str, Any]]:
    """Time 256 MB on their way in, again, changed in place, and out."""
    own.run("import numpy as np")
    own.run("%%remote --memory 2G\nimport numpy as np")
    cases: dict[str, list[float]] = {
        "256 MB array in, first time": [],
        "256 MB array in, again": [],
        "256 MB array changed in place": [],
        "256 MB array out": [],
    }
    first, again, changed, out = cases.values()
    for _ in range(repeat):
        own.run("a = np.random.rand(32_000_000)")
        time.sleep(0.3)
        first.append(own.run("%%remote --memory 2G\na.shape")[0])
        time.sleep(0.3)
        again.append(own.run("%%remote --memory 2G\na.shape")[0])
        time.sleep(0.3)
        changed.append(own.run("%%remote --memory 2G\na[0] += 1")[0])
        time.sleep(0.3)
        out.append(own.run("%%remote --memory 2G\nb = np.ones(32_000_000)")[0])
    return [row(name, times) for name, times in cases.items()]


def lines(own: Session, repeat: int) -> dict[str, Any]:
    """Time 100 000 printed lines until the last one has arrived."""
    times = []
    for _ in range(repeat):
        took, text = own.run("%%remote --quiet\nfor i in range(100_000): print('line', i)")
        if text.count("\n") != 100_000:
            raise RuntimeError("lines were lost")
        times.append(took)
    return row("100 000 printed lines", times)


def cancel(own: Session, repeat: int) -> dict[str, Any]:
    """Time the cancelling of a busy loop until its process is gone."""
    source = (
        "%%remote --quiet --bg job\nimport os\nprint(os.getpid(), flush=True)\nwhile True: pass"
    )
    wait = (
        "import time, os\nwhile not job.output.strip(): time.sleep(0.01)\n"
        "pid = int(job.output.split()[0]); start = time.perf_counter(); job.cancel()\n"
        "while os.path.exists(f'/proc/{pid}'): time.sleep(0.001)\n"
        "print('took', time.perf_counter() - start)"
    )
    times = []
    for _ in range(repeat):
        own.run(source)
        times.append(float(own.run(wait)[1].split("took")[1].split()[0]))
    return row("cancel a busy loop", times)


def idle_memory(own: Session) -> dict[str, Any]:
    """Sum what service, node and fork server hold when nothing runs (PSS)."""
    own.run("%%remote\n1")
    time.sleep(2)
    total = 0
    names = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        command = " ".join(process.info["cmdline"] or [])
        mine = environment.get("JUPYTER_RUNTIME_DIR") == str(own.home / "runtime")
        if mine and "jupyter_compute" in command:
            total += process.memory_full_info().pss
            names.append(command.split("jupyter_compute")[1].split()[0])
    return {
        "what": "idle memory (PSS)",
        "median": total / MB,
        "unit": "MB",
        "min": None,
        "max": None,
        "repetitions": 1,
        "note": f"{len(names)} processes",
    }


def row(what: str, times: list[float], note: str = "") -> dict[str, Any]:
    """Return one line of the table, in milliseconds."""
    return {
        "what": what,
        "median": statistics.median(times) * 1e3,
        "unit": "ms",
        "min": min(times) * 1e3,
        "max": max(times) * 1e3,
        "repetitions": len(times),
        "note": note,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| | median | min-max | n | |", "|---|---|---|---|---|"]
    for entry in rows:
        spread = "" if entry["min"] is None else f"{entry['min']:.1f}-{entry['max']:.1f}"
        lines.append(
            f"| {entry['what']} | {entry['median']:.1f} {entry['unit']} | {spread}"
            f" | {entry['repetitions']} | {entry['note']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run every benchmark once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    steps: list[Callable[[Session], Any]] = [
        lambda own: trivial_cells(own, options.repeat),
        lambda own: arrays(own, options.repeat),
        lambda own: lines(own, options.repeat),
        lambda own: cancel(own, options.repeat),
        idle_memory,
    ]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="jc-bench-") as directory:
        home = Path(directory)
        rows.append(load_extension(home, options.repeat))
        rows += first_results(home, options.repeat)
        with session(home) as own:
            for step in steps:
                found = step(own)
                rows += found if isinstance(found, list) else [found]
            own.stop_pool()
    sys.stdout.write(table(rows) + "\n")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
