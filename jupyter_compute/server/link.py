"""The way from the Jupyter server to the pool service: HTTP on its Unix socket.

Nothing here blocks the server's event loop, and nothing starts a service: whether one is
there is seen by a look at a file.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from tornado.httpclient import HTTPClientError, HTTPResponse
from tornado.httputil import HTTPInputError
from tornado.netutil import Resolver
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

from .. import __version__, places
from ..absence import NOT_LIVE, why_gone
from ..errors import ComputeError

__all__ = ["Absent", "Link"]

_CONNECT_S = 2.0
_ANSWER_S = 4.0
_MOST_AT_ONCE = 100
_LONGEST_ANSWER = 2**20

_GONE = (OSError, HTTPClientError, HTTPInputError)
"""How it shows that nobody listens, or hangs up while answering."""


class Absent(Exception):
    """There is no pool to speak to.

    Parameters
    ----------
    why : str
        A key of `NOT_LIVE`.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def to_wire(self) -> dict[str, Any]:
        """Return sentence and hint as JSON."""
        message, hint = NOT_LIVE[self.why]
        return {"message": message, "hint": hint}


class _UnixResolver(Resolver):
    """Finds every host at the same socket."""

    def initialize(self, path: str) -> None:
        """Take the path of the socket."""
        self._path = path

    async def resolve(self, host: str, port: int, family: Any = None) -> list[tuple[int, Any]]:
        """Return the socket."""
        return [(socket.AF_UNIX, self._path)]


class Link:
    """Calls to the pool service of this user, as it is found at each call."""

    def __init__(self) -> None:
        self._socket: Path | None = None
        self._client: SimpleAsyncHTTPClient | None = None

    async def call(self, method: str, path: str, body: object = None) -> bytes:
        """Send a request and return the JSON of the answer.

        Raises
        ------
        Absent
            If no service answers, or one of another version.
        ComputeError
            The one that the service answered with, the status in its facts.
        """
        try:
            response = await self._fetch(method, path, body)
        except HTTPTimeoutError:
            raise Absent("silent") from None
        except _GONE:
            assert self._socket is not None
            raise Absent(why_gone(self._socket)) from None
        if response.headers.get("X-Jupyter-Compute") != __version__:
            raise Absent("other-version")
        if response.code != 200:
            raise _refusal(response)
        return response.body

    async def _fetch(self, method: str, path: str, body: object) -> HTTPResponse:
        if self._socket is None:
            self._socket = places.socket()
        if not self._socket.exists():
            raise FileNotFoundError
        if self._client is None:
            self._client = SimpleAsyncHTTPClient(
                force_instance=True,
                resolver=_UnixResolver(path=str(self._socket)),
                max_clients=_MOST_AT_ONCE,
                max_body_size=_LONGEST_ANSWER,
            )
        return await self._client.fetch(
            f"http://jupyter-compute{path}",
            method=method,
            body=None if body is None else json.dumps(body),
            connect_timeout=_CONNECT_S,
            request_timeout=_ANSWER_S,
            decompress_response=False,
            raise_error=False,
        )


def _refusal(response: HTTPResponse) -> ComputeError:
    try:
        wire = json.loads(response.body)
        message, hint = str(wire["message"]), str(wire.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        message, hint = f"the pool service answered {response.code}", ""
    return ComputeError(message, hint=hint, status=response.code)
