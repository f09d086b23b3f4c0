"""The program of a machine on this host, held by a pipe.

``python -m jupyter_compute.node --name NAME --cpu N --memory BYTES --blobs DIR…`` reads
an invitation to a scheduler from its standard input and serves until that ends: whoever
started a node holds the other end, and a node whose owner is gone ends by itself, with
all its children.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from typing import Any

from .member import Member, Size, import_dask

__all__ = ["main"]


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="jupyter_compute.node", allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--cpu", type=float, required=True)
    parser.add_argument("--memory", type=int, required=True)
    parser.add_argument("--blobs", required=True, help="directories, separated by colons")
    parser.add_argument("--apart", action="store_true", help="they are not the pool's")
    options = parser.parse_args()
    asyncio.run(_serve(options))


class _Lease(asyncio.Protocol):
    """Standard input: a line with an invitation, then nothing until it ends."""

    def __init__(self) -> None:
        self.invitation: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self._line = b""

    def data_received(self, data: bytes) -> None:
        self._line += data
        if b"\n" in self._line and not self.invitation.done():
            self.invitation.set_result(self._line.decode().partition("\n")[0])

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


async def _serve(options: argparse.Namespace) -> None:
    lease = _Lease()
    size, directories = Size(options.cpu, options.memory), options.blobs.split(":")
    member = Member(options.name, size, directories, apart=options.apart)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lease.ended.set)
    await loop.connect_read_pipe(lambda: lease, sys.stdin)
    import_dask()
    ended = asyncio.ensure_future(lease.ended.wait())
    try:
        waiting: list[asyncio.Future[Any]] = [lease.invitation, ended]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if lease.invitation.done():
            # The owner may go while the scheduler is still being looked for.
            serving = asyncio.ensure_future(member.serve(json.loads(lease.invitation.result())))
            await asyncio.wait([ended, serving], return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            serving.cancel()
    finally:
        await member.close()
