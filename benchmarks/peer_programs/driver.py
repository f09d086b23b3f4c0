"""One work with one library, measured in the library's own environment.

``benchmarks/peers.py`` runs this file as a program, because a notebook's functions live in
``__main__`` too: every library sends these by value, as it would from a notebook. What is
found goes to the descriptor ``--report`` as lines of JSON; what the libraries print does not
matter.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

ITEMS = 10_000
SHORT_ITEMS = 1_000
ARRAY_ITEMS = 32_000_000
CALLS = 100
SETTLE_S = 0.3
"""Between transfers, so that one does not pay for what another left to the background."""
QUIET_S = 0.15
"""A process that sleeps and used no CPU for so long has stopped."""


class Peer(Protocol):
    """What a library is asked for. A ``way`` is one of its ways to do a work."""

    def start(self, way: str) -> None:
        """Start two workers with one thread each, or whatever starts them on demand."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run the function on a worker and return its value."""

    def map(self, function: Callable[[Any], Any], items: range) -> list[Any]:
        """Run the function for every item on both workers and return the values in order."""

    def hand_over(self, array: Any) -> Any:
        """Return what is passed to `call` for the array: itself, or what stands for it."""

    def stop(self) -> None:
        """End everything that was started."""


class Canceller(Peer, Protocol):
    """A library that can end a task which is running."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Start the function on a worker; return what `cancel` takes."""

    def cancel(self, task: Any) -> None:
        """Make the running task end."""


# What the workers run. Imports are inside: not every library sends what a function refers to.


def plus_one(item: int) -> int:
    """Do nothing to speak of."""
    return item + 1


def compute(item: int) -> int:
    """Use 10 ms of CPU."""
    import time

    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        pass
    return item


def touch(array: Any) -> float:
    """Read every page of an array: a mapped array has not arrived before that."""
    return float(array[::512].sum())


def spin(path: str) -> None:
    """Tell the process id, and never end."""
    import os
    from pathlib import Path

    part = Path(path + ".part")
    part.write_text(str(os.getpid()))
    part.rename(path)
    while True:
        pass


Found = Iterator[dict[str, Any]]


def first_result(peer: Peer, start: float) -> Found:
    """Yield the time from the import of the library to the first value."""
    check(peer.call(plus_one, 1) == 2)
    yield {"row": "", "value": time.perf_counter() - start}


def round_trips(peer: Peer, repeat: int) -> Found:
    """Yield medians of 100 calls one after the other."""
    for _ in range(repeat):
        times = []
        for number in range(CALLS):
            start = time.perf_counter()
            value = peer.call(plus_one, number)
            times.append(time.perf_counter() - start)
            check(value == number + 1)
        yield {"row": "", "value": statistics.median(times)}


def many(peer: Peer, repeat: int, function: Callable[[int], int], count: int) -> Found:
    """Yield the times of maps over ``count`` items."""
    expected = [function(item) for item in (0, count - 1)]
    peer.map(function, range(20))
    for _ in range(repeat):
        start = time.perf_counter()
        values = peer.map(function, range(count))
        took = time.perf_counter() - start
        check(len(values) == count and [values[0], values[-1]] == expected)
        yield {"row": "", "value": took}


def arrays(peer: Peer, repeat: int) -> Found:
    """Yield the times of an array's first use on a worker, and of the next one."""
    import numpy as np

    random = np.random.default_rng(1)
    check(peer.call(touch, np.ones(1024)) == 2)
    for _ in range(repeat):
        array = random.random(ARRAY_ITEMS)
        expected = touch(array)
        time.sleep(SETTLE_S)
        start = time.perf_counter()
        handed = peer.hand_over(array)
        value = peer.call(touch, handed)
        yield {"row": "first", "value": time.perf_counter() - start}
        check(value == expected)
        time.sleep(SETTLE_S)
        start = time.perf_counter()
        value = peer.call(touch, handed)
        yield {"row": "again", "value": time.perf_counter() - start}
        check(value == expected)
        del array, handed


def cancels(peer: Canceller, repeat: int) -> Found:
    """Yield the times from the cancelling of a busy loop until its process uses no CPU."""
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "pid"
            task = peer.submit(spin, str(path))
            while not path.exists():
                time.sleep(0.01)
            pid = int(path.read_text())
            time.sleep(0.2)
            start = time.perf_counter()
            peer.cancel(task)
            yield {"row": "", "value": max(quiet_since(pid, start) - start, 0.0)}
        check(peer.call(plus_one, 1) == 2)


def quiet_since(pid: int, start: float) -> float:
    """Wait until a process has ended or stopped using CPU; return when it did."""
    used, since = -1.0, start
    while True:
        now = time.perf_counter()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return now
        busy = int(fields[11]) + int(fields[12])
        if fields[0] in "ZX":
            return now
        if fields[0] == "R" or busy > used + 1:  # a tick may be booked late
            used, since = busy, now
        elif now - since > QUIET_S:
            return since
        time.sleep(0.002)


def idle(peer: Peer) -> Found:
    """Ask the one who reads this to measure memory, after some work and a rest."""
    for number in range(CALLS):
        peer.call(plus_one, number)
    time.sleep(3)
    yield {"measure": "memory"}
    sys.stdin.readline()


def check(holds: bool) -> None:
    """Fail where a library did not do the work."""
    if not holds:
        raise RuntimeError("the library returned something else than the value")


def run(peer: Any, work: str, repeat: int, start: float) -> Found:
    """Return the findings of a work, one at a time."""
    works: dict[str, Callable[[], Found]] = {
        "cold-start": lambda: first_result(peer, start),
        "round-trip": lambda: round_trips(peer, repeat),
        "many-items": lambda: many(peer, repeat, plus_one, ITEMS),
        "short-items": lambda: many(peer, repeat, compute, SHORT_ITEMS),
        "array": lambda: arrays(peer, repeat),
        "cancel": lambda: cancels(peer, repeat),
        "idle-memory": lambda: idle(peer),
    }
    if work != "cold-start":
        check(peer.call(plus_one, 1) == 2)
    return works[work]()


def main() -> None:
    """Start the library, do the work, and end what was started."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--way", required=True)
    parser.add_argument("--repeat", type=int, required=True)
    parser.add_argument("--report", type=int, required=True)
    options = parser.parse_args()
    os.set_inheritable(options.report, False)
    # A shell that runs programs in the background has them ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with os.fdopen(options.report, "w", buffering=1) as report:
        start = time.perf_counter()
        peer: Peer = importlib.import_module(options.program).PEER
        peer.start(options.way)
        try:
            for found in run(peer, options.work, options.repeat, start):
                report.write(json.dumps(found) + "\n")
            report.write('{"done": true}\n')
        finally:
            peer.stop()


if __name__ == "__main__":
    main()
