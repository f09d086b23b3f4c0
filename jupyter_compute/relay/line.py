"""One connection between a pool and its relay: idle at first, then the way of one other.

Frames are a kind, a length and so many bytes. They are there because TLS cannot end one
direction of a connection only, and for the beats: routers on the way forget connections on
which nothing is said, and tell nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]

__all__ = ["BUFFER", "CALL", "END", "HELLO", "READY", "Line", "keep_alive"]

HELLO, READY, CALL, DATA, END, BEAT = range(1, 7)

BUFFER = 2**18
_PIECE = 2**16
_HEADER = struct.Struct(">BI")
_MISSED = 3
"""So many beats that did not come are a dead connection."""


class Line:
    """A connection that both sides have agreed on.

    Parameters
    ----------
    reader, writer : StreamReader, StreamWriter
    beat_s : float
        Pause between two beats.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, beat_s: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._beat_s = beat_s
        self._reading_since: float | None = None
        self._beating = asyncio.ensure_future(self._beat())

    def write(self, kind: int, payload: bytes = b"") -> None:
        """Send a frame, sooner or later."""
        self._writer.write(_HEADER.pack(kind, len(payload)) + payload)

    async def read(self) -> tuple[int, bytes]:
        """Return the next frame that is no beat.

        Raises
        ------
        ConnectionError
            If the other side is gone, or speaks something else.
        """
        while True:
            kind, size = _HEADER.unpack(await self._exactly(_HEADER.size))
            if not (HELLO <= kind <= BEAT and size <= _PIECE):
                raise ConnectionError("the other side speaks something else")
            payload = await self._exactly(size) if size else b""
            if kind != BEAT:
                return kind, payload

    async def carry(self, partner: asyncio.Future[Ends]) -> None:
        """Pass bytes both ways between this line and another connection, until both have ended.

        Each way ends by itself, after everything before its end has been passed on. If either
        connection breaks, so does the other.

        Parameters
        ----------
        partner : Future of (StreamReader, StreamWriter)
            Until it is known, only beats may come in.

        Raises
        ------
        OSError
            If one of them broke.
        """
        ways = [
            asyncio.ensure_future(self._inward(partner)),
            asyncio.ensure_future(self._outward(partner)),
        ]
        try:
            await asyncio.gather(*ways)
        except BaseException:
            if partner.done() and not partner.cancelled():
                partner.result()[1].transport.abort()
            raise
        else:
            partner.result()[1].close()
            self._writer.close()
        finally:
            for way in ways:
                way.cancel()
            self._beating.cancel()

    def close(self) -> None:
        """Break the connection."""
        self._beating.cancel()
        self._writer.transport.abort()

    async def _inward(self, partner: asyncio.Future[Ends]) -> None:
        while True:
            kind, payload = await self.read()
            if not partner.done():
                raise ConnectionError("the other side speaks before it was called")
            writer = partner.result()[1]
            if kind == DATA:
                writer.write(payload)
                await writer.drain()
            elif kind == END:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return

    async def _outward(self, partner: asyncio.Future[Ends]) -> None:
        reader, _ = await asyncio.shield(partner)
        while piece := await reader.read(_PIECE):
            self.write(DATA, piece)
            await self._writer.drain()
        self.write(END)
        await self._writer.drain()

    async def _exactly(self, size: int) -> bytes:
        self._reading_since = asyncio.get_running_loop().time()
        try:
            return await self._reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("the other side is gone") from error
        finally:
            # While nothing is read, nothing can be heard.
            self._reading_since = None

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._beat_s)
            since = self._reading_since
            if since is not None and loop.time() - since > _MISSED * self._beat_s:
                self._writer.transport.abort()
                return
            self.write(BEAT)


def keep_alive(writer: asyncio.StreamWriter, idle_s: int) -> None:
    """Have the system notice when the other end of a quiet connection is gone."""
    sock: Any = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), idle_s)
