"""The pool's side of a relay: connections out to it, by which machines come in.

A few connections wait at the relay. When a machine calls, the relay takes one of them and
says what the machine wants: the door, or the scheduler. The connection is then the machine's
way to that, and a new one takes its place among those that wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from jupyter_compute.policy.lifecycle import Timers
from jupyter_compute.relay.line import BUFFER, CALL, HELLO, READY, Line, keep_alive

__all__ = ["Tunnel"]

logger = logging.getLogger(__name__)

_SPARES = 4
"""More than a machine needs at once: to join, to register, for its heartbeats."""


class Tunnel:
    """Connections to one relay.

    Parameters
    ----------
    context : SSLContext
        That of a server which shows that it is the pool.
    token : str
        What the relay was started with.
    targets : mapping
        By name where the machines' connections lead: a function that returns host and port.
    timers : Timers
    changed : callable
        Called when the first connection is there, and when the last one is gone.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        token: str,
        targets: Mapping[str, Callable[[], tuple[str, int]]],
        timers: Timers,
        changed: Callable[[], None],
    ) -> None:
        self._context = context
        self._token = token
        self._targets = targets
        self._timers = timers
        self._changed = changed
        self._address = ("", 0)
        self._relay = ""
        self._lines: set[Line] = set()
        self._lost_at: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.why = ""
        """Why there is no connection."""

    def open(self, host: str, port: int) -> None:
        """Call the relay at this address, again and again."""
        self._address = host, port
        self._lost_at = asyncio.get_running_loop().time()
        for _ in range(_SPARES):
            self._hold(self._spare())

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return bool(self._lines)

    @property
    def silent_s(self) -> float:
        """For how long there has been no connection."""
        if self._lines or self._lost_at is None:
            return 0.0
        return asyncio.get_running_loop().time() - self._lost_at

    async def close(self) -> None:
        """Break all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _spare(self) -> None:
        """Have a connection wait at the relay, and the next one after each call."""
        while True:
            try:
                line = await self._greet()
            except (OSError, EOFError) as error:
                self.why = str(error) or type(error).__name__
                logger.debug("the relay at %s: %s", self._address, self.why)
                await asyncio.sleep(self._timers.relay_retry_s)
                continue
            try:
                name = await self._called(line)
            except OSError as error:
                self.why = str(error)
                continue
            self._hold(self._carry(line, name))

    async def _called(self, line: Line) -> str:
        """Wait until a machine calls, and return what it wants."""
        try:
            kind, name = await line.read()
        except BaseException:
            self._drop(line)
            raise
        if kind != CALL or name.decode() not in self._targets:
            self._drop(line)
            raise ConnectionError("the relay speaks something else")
        return name.decode()

    async def _greet(self) -> Line:
        """Return a connection that waits at the relay."""
        loop, limit_s = asyncio.get_running_loop(), self._timers.relay_connect_s
        reader = asyncio.StreamReader(BUFFER)
        protocol = asyncio.StreamReaderProtocol(reader)
        sock = socket.socket()
        sock.setblocking(False)
        try:
            async with asyncio.timeout(limit_s):
                await loop.sock_connect(sock, self._address)
                # It is the relay that must know who calls: so this is the server.
                transport, _ = await loop.connect_accepted_socket(
                    lambda: protocol, sock, ssl=self._context, ssl_handshake_timeout=limit_s
                )
        except BaseException:
            sock.close()
            raise
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        keep_alive(writer, int(max(1, self._timers.relay_beat_s)))
        line = Line(reader, writer, self._timers.relay_beat_s)
        try:
            async with asyncio.timeout(limit_s):
                kind, hello = await line.read()
            self._recognise(kind, hello)
        except BaseException:
            line.close()
            raise
        line.write(READY)
        self._lines.add(line)
        if len(self._lines) == 1:
            self._changed()
        return line

    def _recognise(self, kind: int, hello: bytes) -> None:
        """Ensure that this is the relay which was started, and the same one as before."""
        try:
            told = json.loads(hello)
            token, name = str(told["token"]), str(told["self"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConnectionError("whoever answers is not the relay") from error
        ours = hmac.compare_digest(token.encode(), self._token.encode())
        if kind != HELLO or not ours or (self._relay and name != self._relay):
            raise ConnectionError("whoever answers is not the relay")
        self._relay = name

    async def _carry(self, line: Line, name: str) -> None:
        """Lead a machine's connection to what it wants."""
        partner = asyncio.get_running_loop().create_future()
        try:
            host, port = self._targets[name]()
            partner.set_result(await asyncio.open_connection(host, port, limit=BUFFER))
            await line.carry(partner)
        except OSError as error:
            logger.debug("a machine's connection to %s: %s", name, error)
        finally:
            with contextlib.suppress(RuntimeError):
                self._drop(line)

    def _drop(self, line: Line) -> None:
        line.close()
        self._lines.discard(line)
        if not self._lines:
            self._lost_at = asyncio.get_running_loop().time()
            self._changed()

    def _hold(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
