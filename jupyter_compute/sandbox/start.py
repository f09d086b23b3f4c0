"""Starts, finds, asks and ends the sandbox of this user."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jupyter_compute.errors import PoolError
from jupyter_compute.sandbox import files

if TYPE_CHECKING:
    from jupyter_compute.sandbox.world import Settings

__all__ = ["ask", "down", "status", "up"]

_started: list[subprocess.Popen[bytes]] = []
"""The sandboxes that this process has started and not seen the end of."""

_START_S = 60.0
_END_S = 30.0


def status() -> dict[str, Any] | None:
    """Return what the running sandbox says of itself; None if none runs."""
    return files.read_state()


def up(settings: Settings) -> tuple[dict[str, Any], bool]:
    """Start a sandbox unless one runs; return what it says of itself, and whether it is new.

    Raises
    ------
    PoolError
        If it cannot be started.
    """
    found = files.read_state()
    if found is not None:
        return found, False
    _check(settings)
    with open(files.log(), "wb", opener=_private) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_compute.sandbox", json.dumps(asdict(settings))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _reap()
    _started.append(process)
    deadline = time.monotonic() + _START_S
    while (found := files.read_state()) is None:
        # One that another process starts meanwhile will do, too.
        if process.poll() or time.monotonic() > deadline:
            raise PoolError("the sandbox did not start", hint=f"see {files.log()}")
        time.sleep(0.05)
    return found, found["pid"] == process.pid


def down() -> bool:
    """End the sandbox and everything that it booted; return whether there was one."""
    found = files.read_state()
    if found is None:
        return False
    os.kill(found["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _END_S
    while (lock := files.take_lock()) is None:
        if time.monotonic() > deadline:
            raise PoolError("the sandbox does not end", hint=f"see {files.log()}")
        time.sleep(0.02)
    os.close(lock)
    _reap()
    return True


def ask(verb: str, **arguments: Any) -> Any:
    """Turn a knob of the running sandbox, or ask it something.

    Raises
    ------
    PoolError
        If none runs, or it refuses.
    """
    found = files.read_state()
    if found is None:
        raise PoolError("no sandbox is running", hint="start it: jupyter compute sandbox up")
    address = urlsplit(found["endpoint"])
    connection = HTTPConnection(address.hostname or "", address.port, timeout=60)
    try:
        connection.request(
            "POST",
            f"/_sandbox/control/{verb}",
            json.dumps(arguments),
            {"Content-Type": "application/json", "X-Sandbox-Key": found["key"]},
        )
        response = connection.getresponse()
        answer = json.loads(response.read())
    except OSError as error:
        raise PoolError(f"the sandbox does not answer: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise PoolError(answer["message"])
    return answer


def _reap() -> None:
    _started[:] = [process for process in _started if process.poll() is None]


def _check(settings: Settings) -> None:
    if not sys.platform.startswith("linux"):
        raise PoolError("the sandbox needs Linux")
    missing = [name for name in ("boto3", "flask", "moto") if not importlib.util.find_spec(name)]
    if missing:
        raise PoolError(
            f"the sandbox needs {' and '.join(missing)}",
            hint='pip install "jupyter-compute[sandbox]"',
        )
    if settings.net == "netns":
        from jupyter_compute.sandbox.namespaces import why_not

        if reason := why_not():
            raise PoolError(f"--net netns is not possible: {reason}", hint="leave it out")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
