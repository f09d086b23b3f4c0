"""The pool service as a process, and plain HTTP to its socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jupyter_compute import places
from jupyter_compute.blobs import Blobs
from jupyter_compute.notebook import payload

PATIENCE_S = 30.0
PROGRAM = ("-m", "jupyter_compute.pool")

_open: list[Stream] = []


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(self._path))


class Answer:
    """What came back to one request."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = dict(response.getheaders())
        self.text = response.read()

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return json.loads(self.text)


def ask(method: str, path: str, body: object = None) -> Answer:
    """Send one request to the socket of the current home, and return the answer.

    A body of bytes is sent as it is, anything else as JSON.
    """
    connection = _Connection(places.socket())
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    with contextlib.closing(connection):
        connection.request(method, path, body=data)
        return Answer(connection.getresponse())


class Stream:
    """The events of one request, one after the other, while they come."""

    def __init__(self, method: str, path: str, body: object = None) -> None:
        self._connection = _Connection(places.socket())
        data = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, body=data)
        self._response = self._connection.getresponse()
        self.events: list[dict[str, Any]] = []
        _open.append(self)
        assert self._response.status == 200, self._response.read()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while line := self._response.readline():
            self.events.append(json.loads(line))
            yield self.events[-1]

    def until(self, **wanted: Any) -> dict[str, Any]:
        """Read on to the event that has these fields, and return it."""
        for event in self:
            if all(event.get(key) == value for key, value in wanted.items()):
                return event
        raise AssertionError(f"no event with {wanted} in {self.events}")

    def close(self) -> None:
        """Hang up."""
        self._response.close()
        self._connection.close()


def hang_up() -> None:
    """Close every stream that was opened."""
    while _open:
        _open.pop().close()


def submit(source: str, **fields: Any) -> Stream:
    """Submit a cell of plain code, and follow it."""
    return Stream("POST", "/v1/runs", spec(source, **fields))


def spec(source: str, **fields: Any) -> dict[str, Any]:
    """Return the JSON of a run of this code, its blobs stored."""
    blobs = Blobs(places.blob_dirs())
    packed = payload.pack_cell(blobs, {}, source=source, filename="<cell>", reads=[])
    wire: dict[str, Any] = {
        "name": source[:40],
        "layer": "local",
        "cpu": 0.5,
        "memory": 500_000_000,
        "memory_high": None,
        "interpreter": sys.executable,
        "payload": packed.payload,
        "environment": payload.pack_environment(blobs),
        "blobs": list(packed.blobs),
    }
    return wire | fields


def start(program: Sequence[str] = PROGRAM, **variables: str) -> subprocess.Popen[bytes]:
    """Start a service process in the current home, and return once it answers."""
    process = launch(program, **variables)
    wait_until(lambda: _listens() or process.poll() is not None)
    assert ask("GET", "/v1/info").json["pid"] == process.pid
    return process


def launch(program: Sequence[str] = PROGRAM, **variables: str) -> subprocess.Popen[bytes]:
    """Start a service process in the current home."""
    with places.service_log().open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *program],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


def _listens() -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(places.socket())) == 0


def node() -> int:
    """Return the process of the service's local machine."""
    (machine,) = ask("GET", "/v1/status").json["machines"]
    pid = ask("GET", "/v1/info").json["pid"]
    children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    nodes = [c for c in children.split() if machine["id"] in Path(f"/proc/{c}/cmdline").read_text()]
    assert len(nodes) == 1
    return int(nodes[0])


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a service as the system would, and wait until it has."""
    process.terminate()
    assert process.wait(PATIENCE_S) == 0, places.service_log().read_text()


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a service as nobody should."""
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_S)


def wait_until(true: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    """Wait for a change in the world that no event tells about."""
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end, "it never became true"
        time.sleep(0.01)
