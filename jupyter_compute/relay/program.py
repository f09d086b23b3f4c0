"""The program of a relay: machines call it, the pool calls it, and it joins the two.

It reads nothing of what it passes on: machines and pool speak TLS with each other through
it. It is the side that verifies when the pool calls: only who has a certificate for the
pool's name is served. It ends when no pool has been there for the time of a lease.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import json
import os
import secrets
import socket
import ssl
import sys
from collections.abc import Coroutine
from typing import Any

from . import NAME
from .line import BUFFER, CALL, HELLO, READY, Line, keep_alive

__all__ = ["VARIABLE", "main"]

VARIABLE = "JUPYTER_COMPUTE_RELAY"
_GREETING_S = 10.0
_PATIENCE_S = 30.0
_MOST = 1024
"""Machines' connections that may wait, and callers of the pool's port that may be unknown."""

_FAILED = (OSError, EOFError, asyncio.TimeoutError)  # not the same in Python 3.9


def main() -> int:
    """Serve the pool that this relay was started for, until its lease is over."""
    try:
        order = json.loads(os.environ.pop(VARIABLE))
        relay = Relay(order)
    except (KeyError, TypeError, ValueError) as error:
        print(f"jupyter-compute relay: {VARIABLE}: {error!r}", file=sys.stderr)  # noqa: T201
        return 1
    asyncio.run(relay.serve())
    return 0


class Relay:
    """Joins the connections of machines with those of the pool.

    Parameters
    ----------
    order : dict
        ``authority`` (PEM): who may say who the pool is. ``token``: what shows the pool that
        this is its relay. ``pool``: the port where it calls. ``ports``: by the name of what
        they want of the pool, those where machines call. ``lease_s``, ``beat_s``.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._hello = json.dumps({"token": order["token"], "self": secrets.token_hex(16)}).encode()
        self._pool_port: int = order["pool"]
        self._ports: dict[str, int] = order["ports"]
        self._lease_s: float = order["lease_s"]
        self._beat_s: float = order["beat_s"]
        self._context = ssl.create_default_context(cadata=order["authority"])
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._lines = 0
        self._unknown = 0
        self._spares: collections.deque[tuple[Line, asyncio.Future[Any]]] = collections.deque()
        self._calls: collections.deque[tuple[str, asyncio.Future[Any], Any]] = collections.deque()
        self._tasks: set[asyncio.Future[Any]] = set()

    async def serve(self) -> None:
        """Return when the lease is over."""
        listener = socket.create_server(("0.0.0.0", self._pool_port), backlog=_MOST)  # noqa: S104 - a security group says who
        listener.setblocking(False)
        servers = [
            await asyncio.start_server(
                functools.partial(self._called, name),
                "0.0.0.0",  # noqa: S104 - as above
                port,
                limit=BUFFER,
                backlog=_MOST,
            )
            for name, port in self._ports.items()
        ]
        self._hold(self._accept(listener))
        print("jupyter-compute relay: ready", flush=True)  # noqa: T201 - the console is for that
        await self._lease_over()
        for server in servers:
            server.close()
        for task in self._tasks:
            task.cancel()

    async def _lease_over(self) -> None:
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while loop.time() - seen <= self._lease_s:
            await asyncio.sleep(min(1.0, self._lease_s / 10))
            if self._lines:
                seen = loop.time()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(1.0)  # there are too many
                continue
            if self._unknown >= _MOST:
                sock.close()
            else:
                self._hold(self._greet(sock))

    async def _greet(self, sock: socket.socket) -> None:
        """Find out whether the caller is the pool, and serve it."""
        self._unknown += 1
        try:
            # Whoever calls must show who it is, and not who is called: so this is the client.
            reader, writer = await asyncio.open_connection(
                sock=sock,
                ssl=self._context,
                server_hostname=NAME,
                ssl_handshake_timeout=_GREETING_S,
                limit=BUFFER,
            )
        except _FAILED:
            sock.close()
            return
        finally:
            self._unknown -= 1
        line = Line(reader, writer, self._beat_s)
        self._lines += 1
        try:
            line.write(HELLO, self._hello)
            kind, _ = await asyncio.wait_for(line.read(), _GREETING_S)
            if kind == READY:
                await self._keep(line)
        except _FAILED:
            pass  # the pool calls again if it wants to
        finally:
            self._lines -= 1
            line.close()

    async def _keep(self, line: Line) -> None:
        """Keep a connection of the pool for a machine that calls, and join the two then."""
        partner = asyncio.get_running_loop().create_future()
        spare = (line, partner)
        self._spares.append(spare)
        self._match()
        try:
            await line.carry(partner)
        finally:
            if spare in self._spares:
                self._spares.remove(spare)

    async def _called(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Keep the connection of a machine until there is one of the pool for it."""
        keep_alive(writer, int(max(1, self._beat_s)))
        joined = asyncio.get_running_loop().create_future()
        call = (name, joined, (reader, writer))
        if len(self._calls) >= _MOST:
            writer.transport.abort()
            return
        self._calls.append(call)
        self._match()
        try:
            await asyncio.wait_for(joined, _PATIENCE_S)
        except _FAILED:
            writer.transport.abort()
        finally:
            if call in self._calls:
                self._calls.remove(call)

    def _match(self) -> None:
        while self._spares and self._calls:
            name, joined, ends = self._calls.popleft()
            if joined.done():
                continue
            line, partner = self._spares.popleft()
            joined.set_result(None)
            line.write(CALL, name.encode())
            partner.set_result(ends)

    def _hold(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


if __name__ == "__main__":
    sys.exit(main())
