"""Checks that everything works here, one thing after the other, and what to do if not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .. import __version__, places
from ..ask import format_memory, format_time
from ..errors import ComputeError
from . import session
from .follow import follow
from .options import from_keywords
from .output import foreground
from .results import Results
from .status import Status
from .submission import prepare_call
from .view import View

__all__ = ["Check", "examine"]

_NEEDED = ("cloudpickle", "dask", "distributed", "ipython", "tblib", "tornado", "xxhash")
_LEAST_ROOM = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found.

    Parameters
    ----------
    name : str
    passed : bool
    found : str
    advice : str
        What to do, if it did not pass.
    """

    name: str
    passed: bool
    found: str
    advice: str = ""

    def line(self) -> str:
        """Return it as a line of text, with the advice below."""
        sign = "✓" if self.passed else "✗"
        advice = f"\n  → {self.advice}" if self.advice else ""
        return f"{sign} {self.name}: {self.found}{advice}"

    def to_wire(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "passed": self.passed,
            "found": self.found,
            "advice": self.advice,
        }


def examine() -> Iterator[Check]:
    """Yield the checks as they are done; those that build on a failed one are left out."""
    for check in (_python, _packages, _directories, _shared_memory):
        yield _guarded(check)
    service = _guarded(_service)
    yield service
    if service.passed:
        yield _guarded(_run)


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (ComputeError, OSError) as error:
        hint = getattr(error, "hint", "")
        message = getattr(error, "message", str(error))
        return Check(check.__name__.strip("_").replace("_", " "), False, message, hint)


def _python() -> Check:
    passed = sys.version_info >= (3, 11)
    found = f"{platform.python_version()} at {sys.executable}"
    return Check("python", passed, found, "" if passed else "install Python 3.11 or newer")


def _packages() -> Check:
    found, missing = [f"jupyter-compute {__version__}"], []
    for name in _NEEDED:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    advice = f"pip install {' '.join(missing)}" if missing else ""
    return Check("packages", not missing, ", ".join(found), advice)


def _directories() -> Check:
    made = [places.runtime_dir(), places.data_dir(), places.socket().parent]
    free = shutil.disk_usage(places.data_dir()).free
    roomy = free >= _LEAST_ROOM
    found = f"{made[0]} and {made[1]}, {format_memory(free)} free"
    return Check("directories", roomy, found, "" if roomy else "free some space on that disk")


def _shared_memory() -> Check:
    first = places.blob_dirs()[0]
    free = shutil.disk_usage(first).free
    if first.is_relative_to(places.data_dir()):
        advice = "values travel over the disk; a writable /dev/shm is faster"
        return Check("shared memory", True, f"not used, {first} instead", advice)
    small = free < _LEAST_ROOM
    advice = "large values go over the disk; docker run --shm-size=4g makes room" if small else ""
    return Check("shared memory", True, f"{first}, {format_memory(free)} free", advice)


def _service() -> Check:
    began = time.monotonic()
    fresh = not session.client().answers()
    info = session.client().info()
    took = format_time(time.monotonic() - began)
    how = f"started in {took}" if fresh else f"answers in {took}"
    return Check("pool service", True, f"{how}, process {info['pid']}, version {info['version']}")


def _run() -> Check:
    began = time.monotonic()
    options = session.resolve(from_keywords(cpu=0.1, memory="256M", quiet=True, timeout="30s"))
    prepared = prepare_call({}, options, _probe, (), {})
    client = session.client()
    view = View(foreground(), Status(), quiet=True)
    ending = follow(client, client.submit(prepared.spec), view)
    pid, interpreter = Results({}, prepared.packed).receive(ending, once=True)
    took = format_time(time.monotonic() - began)
    return Check("a run, from end to end", True, f"{took}, in process {pid} of {interpreter}")


def _probe() -> tuple[int, str]:
    return os.getpid(), sys.executable
