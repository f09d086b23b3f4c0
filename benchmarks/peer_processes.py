"""The processes of a library: all of them, however they were started, until none is left."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
_GRACE_S = 15.0
"""For a driver to stop its library after an interrupt, and for daemons to follow."""


@dataclass(slots=True)
class Ending:
    """What a driver found, and what went wrong: empty if nothing did."""

    found: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""
    killed: list[str] = field(default_factory=list)
    """The processes that the library itself left running."""


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends.

    So daemons, which leave their starter and its session, are found below this process.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants() -> list[psutil.Process]:
    """Return every live process below this one; reap adopted ones that have ended."""
    alive = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
            elif process.ppid() == os.getpid():
                os.waitpid(process.pid, os.WNOHANG)
    return alive


def end_all(patience_s: float = _GRACE_S) -> list[str]:
    """Wait for the end of every descendant, kill what is left, and name what was killed."""
    _wait_for_end(patience_s)
    killed: dict[int, str] = {}
    deadline = time.monotonic() + 30
    while (alive := descendants()) and time.monotonic() < deadline:
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                killed.setdefault(process.pid, named(process))
                process.kill()
        _wait_for_end(0.5)
    return list(killed.values())


def named(process: psutil.Process) -> str:
    """Return the id and the beginning of the command line."""
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {' '.join(process.cmdline())[:120]}"
    return str(process.pid)


def memory(without: int) -> tuple[float, int]:
    """Return the PSS in bytes and the number of all descendants except one."""
    sizes = []
    for process in descendants():
        if process.pid != without:
            with contextlib.suppress(psutil.NoSuchProcess):
                sizes.append(process.memory_full_info().pss)
    return float(sum(sizes)), len(sizes)


def drive(
    command: list[str], environ: dict[str, str], directory: Path, patience_s: float
) -> Ending:
    """Run a driver to its end, and end everything that it started, whatever happens."""
    ending = Ending()
    reader, writer = os.pipe()
    log = directory / "log"
    with log.open("wb") as output, os.fdopen(reader, "rb", buffering=0) as report:
        process = subprocess.Popen(
            [*command, "--report", str(writer)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[writer],
            env=environ,
            cwd=directory,
            start_new_session=True,  # an interrupt of this program reaches it from here only
        )
        os.close(writer)
        try:
            ending.problem = _listen(process, report.fileno(), ending.found, patience_s)
        except BaseException:
            ending.problem = "interrupted"
            raise
        finally:
            _end(process, hurry=bool(ending.problem))
            ending.killed = end_all()
    if not ending.problem and not any("done" in one for one in ending.found):
        ending.problem = f"failed with exit status {process.returncode}: {_last_line(log)}"
    ending.found = [one for one in ending.found if "value" in one]
    return ending


def _listen(
    process: subprocess.Popen[bytes], report: int, found: list[dict[str, Any]], patience_s: float
) -> str:
    """Take in what a driver reports until it has ended; return what went wrong."""
    deadline = time.monotonic() + patience_s
    for one in _lines(process, report, deadline):
        if "measure" in one:
            size, count = memory(without=process.pid)
            found.append({"row": "", "value": size, "note": f"{count} processes"})
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
        else:
            found.append(one)
    return f"killed: not done after {patience_s:.0f} s" if time.monotonic() > deadline else ""


def _lines(
    process: subprocess.Popen[bytes], report: int, deadline: float
) -> Iterator[dict[str, Any]]:
    """Yield the reports until the driver has ended, or the time is over."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(report, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            ended = process.poll() is not None  # a child of it may hold the pipe open
            if selector.select(0 if ended else min(left, 0.1)):
                data = os.read(report, 65536)
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                yield from map(json.loads, lines)
            elif ended:
                return


def _end(process: subprocess.Popen[bytes], *, hurry: bool) -> None:
    """Let a driver end by itself unless it hangs, else interrupt it, else kill it."""
    steps = (None, signal.SIGINT, signal.SIGKILL)
    for number in steps[1:] if hurry else steps:
        if number is not None:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            break
    if process.stdin is not None:
        process.stdin.close()


def _wait_for_end(patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while descendants() and time.monotonic() < deadline:
        time.sleep(0.02)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no output"
