"""One attempt, from its job to its envelope, in a process of its own.

The process was forked from a warm fork server of the user's environment. It needs
nothing but IPython, cloudpickle and this package, and it ends after one job.
"""

from __future__ import annotations

import asyncio
import builtins
import ctypes
import fcntl
import gc
import getpass
import importlib
import inspect
import io
import json
import math
import os
import resource
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import threadpoolctl

from .. import values
from ..blobs import Blobs, hash_of
from . import limits, outcome, sources
from .changes import Inputs
from .channel import Channel, TextStream, print_whole
from .keeping import Arrivals
from .lane import Lane
from .shell import ChildShell, refuse_input

__all__ = ["find_pools", "rehearse", "serve"]

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
)

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in a unit of ``ru_maxrss``: getrusage(2)."""

_BORN = time.time()
"""When the process began that children are forked from."""

_pools: threadpoolctl.ThreadpoolController | None = None
"""The thread pools of the numerical libraries that were imported before the fork."""


def serve(shell: ChildShell, channel: Channel) -> None:
    """Wait for a job, run it, and send its envelope. Nothing is raised."""
    rehearse(shell)
    # Until now an interrupt had to wait: the shell that rehearses would have swallowed it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    job = channel.receive()
    if job is None:
        return
    rehearsed_s, began = _cpu_s(), time.time()
    sys.stdout, sys.stderr = TextStream(channel, "o"), TextStream(channel, "e")
    shell.listen(channel.event)
    blobs = Blobs(job["directories"])
    try:
        envelope = _run(shell, channel, blobs, job)
    except KeyboardInterrupt as error:
        envelope = outcome.failed(blobs, shell.user_ns, error)
    except BaseException as error:  # noqa: BLE001 - user code may raise anything
        envelope = outcome.failed(blobs, shell.user_ns, error)
    left = limits.running(limits.tree(os.getpid())[1:])
    trackers = limits.trackers(left)
    notes = _written_out() + _leftovers(len(left) - len(trackers))
    envelope["notes"] = envelope.get("notes", []) + notes
    if job.get("recorded") and envelope["outcome"] == "ok":
        envelope["depends"] = sources.dependencies(began, _BORN)
        if why_not := envelope["depends"].get("why_not"):
            envelope["notes"].append(f"not recorded for --cache: {why_not}")
    ctypes.CDLL(None).fflush(None)
    channel.drain()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    channel.event(
        {
            "kind": "ended",
            "envelope": envelope,
            "cpu_s": _cpu_s() - rehearsed_s,
            "memory_peak": peak * _RSS_UNIT,
            "trackers": trackers,
        }
    )


def _cpu_s() -> float:
    """Return the CPU time of this process, and of those it has waited for, in seconds."""
    own, reaped = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + reaped.ru_utime + reaped.ru_stime


class _Memory(Blobs):
    """Blobs of this process only."""

    def __init__(self) -> None:
        super().__init__([])
        self._stored: dict[str, bytes] = {}

    def put(self, data: bytes | memoryview) -> str:
        self._stored[name := hash_of(data)] = bytes(data)
        return name

    def read(self, name: str) -> bytes:
        return self._stored[name]


def rehearse(shell: ChildShell) -> None:
    """Do what every job does, so that the next time is fast.

    The fork server fills its caches once and for all. A child then writes to pages that it
    shares with the server: each is copied the first time, which here costs nobody's time.
    """
    environment = {"variables": dict(os.environ), "path": sys.path, "cwd": "/", "umask": 0o077}
    job = {"run": "", "cpu": 1}
    payload: dict[str, Any] = {
        "values": {},
        "filename": "<rehearsal>",
        "interactivity": "last_expr",
        "source": "(\n    None)\nNone",
        "out": None,
        "keep_partial": False,
    }
    blobs = _Memory()
    _enter(json.dumps(environment).encode(), job)
    inputs = Inputs({}, shell.user_ns, (), ())
    envelope = _cell(shell, blobs, payload, inputs, lambda: None)
    values.fetch(blobs, envelope["payload"], shell.user_ns)
    asyncio.get_event_loop_policy().get_event_loop().close()
    shell.last.has_value = False


def find_pools() -> None:
    """Look for numerical libraries that have been imported since the last look."""
    global _pools  # noqa: PLW0603 - one per process, inherited by every child
    if "numpy" in sys.modules:
        _pools = threadpoolctl.ThreadpoolController()


def _run(shell: ChildShell, channel: Channel, blobs: Blobs, job: dict[str, Any]) -> dict[str, Any]:
    notes = _enter(blobs.read(job["environment"]), job)
    namespace = shell.user_ns
    kept = Arrivals(blobs, namespace)
    try:
        payload, maps = values.fetch(blobs, job["payload"], namespace, arrived=kept)
    except Exception as error:  # noqa: BLE001 - any object's own code may run here
        return outcome.not_loaded(error)
    inputs = payload["values"]
    if payload["kind"] == "map":
        namespace.update(inputs)
        lane = Lane(shell, channel, blobs, payload["function"], inputs.keys(), job["run"], kept)
        return lane.serve(job["held_s"]) | {"notes": notes}
    before_s, after_s = job["held_s"]

    def finishing() -> None:
        """Have the kernel's limit lifted: what is returned is not part of the ask."""
        time.sleep(after_s)
        if job["grouped"]:
            channel.event({"kind": "finishing"})
            channel.receive()

    if payload["kind"] == "call":
        changes = Inputs(inputs, namespace, job["blobs"], maps, kept) if kept.values else None
        channel.event({"kind": "executing"})
        time.sleep(before_s)
        envelope = _call(shell, blobs, payload, changes, finishing)
    else:
        given = Inputs(inputs, namespace, job["blobs"], maps, kept)
        channel.event({"kind": "executing"})
        time.sleep(before_s)
        envelope = _cell(shell, blobs, payload, given, finishing)
    envelope["notes"] = notes + envelope.get("notes", [])
    return envelope


def _cell(
    shell: ChildShell,
    blobs: Blobs,
    payload: dict[str, Any],
    inputs: Inputs,
    finishing: Callable[[], None],
) -> dict[str, Any]:
    namespace = shell.user_ns
    namespace.update(payload["values"])
    before = dict(namespace)
    shell.name_cell(payload["filename"])
    shell.ast_node_interactivity = payload["interactivity"]
    source = payload["source"]
    broken = None
    try:
        transformed = shell.transform_cell(source)
    except Exception:  # noqa: BLE001 - IPython reports it as the cell's own error
        transformed, broken = source, sys.exc_info()
    result = _in_loop(
        shell,
        lambda: shell.run_cell_async(
            source,
            store_history=False,
            transformed_cell=transformed,
            preprocessing_exc_tuple=broken,
        ),
    )
    finishing()
    error = result.error_before_exec or result.error_in_exec
    written = outcome.Written.since(
        before, namespace, inputs, payload["out"], payload.get("keep", ())
    )
    if error is None:
        return outcome.finished(blobs, namespace, written, shell.last)
    if isinstance(error, SystemExit):
        shell.last.has_value = False
    partial = written if payload["keep_partial"] else None
    return outcome.failed(blobs, namespace, error, partial)


def _call(
    shell: ChildShell,
    blobs: Blobs,
    payload: dict[str, Any],
    changes: Inputs | None,
    finishing: Callable[[], None],
) -> dict[str, Any]:
    shell.user_ns.update(payload["values"])

    async def run() -> Any:
        shell.events.trigger("pre_execute")
        returned = payload["function"](*payload["args"], **payload["kwargs"])
        return await returned if inspect.iscoroutine(returned) else returned

    value = _in_loop(shell, run)
    finishing()
    same = {} if changes is None else changes.kept(changes.changed())
    return outcome.returned(
        blobs, shell.user_ns, value, payload["values"], same, keep=payload["keep"]
    )


def _in_loop(shell: ChildShell, run: Callable[[], Any]) -> Any:
    """Run as ipykernel does: inside an event loop, interrupted by KeyboardInterrupt."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    own = os.getpid()
    error: BaseException | None = None
    try:
        value = loop.run_until_complete(run())
    except BaseException as raised:
        error = raised
        raise
    else:
        error = getattr(value, "error_in_exec", None)
        return value
    finally:
        if os.getpid() != own:
            outcome.end_copy(error)
        shell.events.trigger("post_execute")
        shell.events.trigger("post_run_cell", None)


def _enter(environment: bytes, job: dict[str, Any]) -> list[str]:
    """Make this process what the notebook's is; return what could not be done."""
    found = json.loads(environment)
    os.environ.clear()
    os.environ.update(found["variables"])
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    os.environ["JUPYTER_COMPUTE_RUN"] = job["run"]
    threads = math.ceil(job["cpu"])
    for name in _THREADS:
        given = os.environ.get(name, "")
        if not (given.isdecimal() and 0 < int(given) <= threads):
            os.environ[name] = str(threads)
    if hasattr(time, "tzset"):
        time.tzset()
    os.umask(found["umask"])
    # The notebook's path means nothing on a machine that does not share its files.
    sys.path[:] = ["", *sys.path] if found["path"] is None else found["path"]
    importlib.invalidate_caches()
    builtins.input = refuse_input
    builtins.print = print_whole
    getpass.getpass = refuse_input
    sys.breakpointhook = refuse_input
    _tell_numpy(threads)
    try:
        os.chdir(found["cwd"])
    except OSError as error:
        return [f"the notebook's directory cannot be entered here: {error}"]
    return []


def _tell_numpy(threads: int) -> None:
    """Catch up on what NumPy did when it was imported, before the fork."""
    if _pools is not None:
        _pools.limit(limits=threads)
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _written_out() -> list[str]:
    """Write what open files still hold back, as this process ends without closing them.

    Return which could not be written.
    """
    notes = []
    for file in _buffering():
        try:
            file.flush()
        except (OSError, ValueError) as error:  # the disk is full, or another thread closes it
            notes.append(f"{getattr(file, 'name', 'a file')} could not be written: {error}")
    return notes


def _buffering() -> list[Any]:
    """Return the files that may hold something back, text before the bytes it becomes."""
    found: list[Any] = [sys.__stdout__, sys.__stderr__]
    if any(_is_written(int(file.name)) for file in Path("/dev/fd").iterdir()):
        # isinstance() would run code of the user's own.
        objects = [o for o in gc.get_objects() if issubclass(type(o), io.IOBase)]
        for kind in (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom):
            found += [o for o in objects if issubclass(type(o), kind) and not o.closed]
    return found


def _is_written(descriptor: int) -> bool:
    try:
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
        return mode != os.O_RDONLY and stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:  # the descriptor of the list itself
        return False


def _leftovers(processes: int) -> list[str]:
    """Say what the code left running: it ends with this process."""
    main = threading.main_thread()
    threads = sum(t is not main and not t.daemon for t in threading.enumerate())
    return [
        f"{number} {what}{'' if number == 1 else plural} still running at the end: ended"
        for number, what, plural in ((threads, "thread", "s"), (processes, "process", "es"))
        if number
    ]
