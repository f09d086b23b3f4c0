"""HTTP/1.1 over the Unix socket of the pool service, one request at a time.

Only `client` and `watch` use it. Nothing here starts, retries or resumes.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

from .. import places
from ..errors import PoolError, from_wire

__all__ = ["CALL_TIMEOUT_S", "GONE", "Connection", "Wire", "connect"]

Wire = dict[str, Any]
"""A JSON object as it travels."""

CALL_TIMEOUT_S = 10.0
"""The service answers calls in milliseconds; its event loop may be busy for a second."""

GONE = (ConnectionError, http.client.HTTPException, FileNotFoundError)
"""How it shows that the service does not run, or ended while it answered."""


class Connection(http.client.HTTPConnection):
    """A connection to the service; `connect` opens it."""

    def __init__(self, path: str) -> None:
        super().__init__("jupyter-compute", timeout=CALL_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the Unix socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CALL_TIMEOUT_S)
        try:
            self.sock.connect(self._path)
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        # A thread ends, or forgets its client, without a word.
        self.close()

    def is_open(self) -> bool:
        """Tell whether the idle connection can be used; the service may have closed it."""
        if self.sock is None:
            return False
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        # Readable means an end of file, or bytes that nobody asked for.
        return not poll.poll(0)

    def call(
        self, method: str, path: str, body: object = None, timeout_s: float | None = CALL_TIMEOUT_S
    ) -> Wire:
        """Send a request and return the JSON object of the answer.

        Raises
        ------
        ComputeError
            The one that the service answered with; `PoolError` if it stays silent.
        """
        try:
            if self.sock is not None:
                self.sock.settimeout(timeout_s)
            answer: Wire = json.loads(self._request(method, path, body).read())
        except TimeoutError:
            self.close()
            raise _silent(timeout_s or CALL_TIMEOUT_S) from None
        except BaseException:
            self.close()
            raise
        return answer

    def stream(
        self, method: str, path: str, body: object = None, deadline: float | None = None
    ) -> Iterator[Wire]:
        """Send a request and yield the JSON objects of the answer, one a line, as they come.

        An answer that is cut off ends the iteration; its last, partial line is dropped.

        Raises
        ------
        ComputeError
            The one that the service answered with; `PoolError` if it stays silent.
        TimeoutError
            At the deadline, a moment of the monotonic clock.
        """
        try:
            if self.sock is not None:
                self.sock.settimeout(CALL_TIMEOUT_S)
            response = self._request(method, path, body)
        except TimeoutError:
            raise _silent() from None
        while True:
            if self.sock is not None:
                self.sock.settimeout(_left(deadline))
            line = response.readline()
            if not line.endswith(b"\n"):
                break
            yield json.loads(line)

    def _request(self, method: str, path: str, body: object) -> http.client.HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}
        self.request(method, path, body=data, headers=headers)
        response = self.getresponse()
        if response.status >= 400:
            raise _refusal(response)
        return response


def connect() -> Connection:
    """Return an open connection to the service.

    Raises
    ------
    ConnectionRefusedError, FileNotFoundError
        If no service runs.
    PoolError
        If one runs, and does not accept.
    """
    connection = Connection(str(places.socket()))
    try:
        connection.connect()
    except (TimeoutError, BlockingIOError):
        raise _silent() from None
    return connection


def _left(deadline: float | None) -> float | None:
    """Return the seconds until the deadline; a socket takes 0 for "do not block"."""
    return None if deadline is None else max(0.001, deadline - time.monotonic())


def _refusal(response: http.client.HTTPResponse) -> Exception:
    body = response.read()
    try:
        return from_wire(json.loads(body))
    except (ValueError, KeyError, TypeError):
        return PoolError(f"the pool service answered {response.status} {response.reason}")


def _silent(timeout_s: float = CALL_TIMEOUT_S) -> PoolError:
    return PoolError(
        f"the pool service did not answer within {timeout_s:.0f} s",
        hint="`jupyter compute doctor` shows what it is doing",
    )
