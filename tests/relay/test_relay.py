"""A relay as a process, and the pool's side of it: real sockets, real TLS."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dataclasses
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_compute import relay
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.pool.authority import Authority
from jupyter_compute.pool.tunnel import Tunnel
from jupyter_compute.relay.program import VARIABLE
from oldest import oldest_python
from services import wait_until

pytestmark = pytest.mark.slow

HOST = "127.0.0.1"
AUTHORITY = Authority()
PYTHON = oldest_python()
PROGRAM = (
    f"import sys; sys.path.insert(0, {str(Path(relay.__file__).parents[1])!r}); "
    "from relay.program import main; sys.exit(main())"
)
"""As a relay runs it: without the package."""

HASTY = dataclasses.replace(TIMERS, relay_beat_s=0.2, relay_retry_s=0.05)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


class Setting:
    """A relay, the pool's side of it, and what machines want: an echo, and a count of bytes."""

    def __init__(self, token: str = "right", lease_s: float = 60.0) -> None:
        self.pool, self.echo, self.count = free_ports(3)
        order = {
            "authority": AUTHORITY.certificate,
            "token": token,
            "pool": self.pool,
            "ports": {"echo": self.echo, "count": self.count},
            "lease_s": lease_s,
            "beat_s": HASTY.relay_beat_s,
        }
        self.process = subprocess.Popen(
            [PYTHON, "-I", "-c", PROGRAM],
            env={**os.environ, VARIABLE: json.dumps(order)},
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert b"ready" in self.process.stdout.readline()
        self.changes: list[bool] = []
        self.changed = asyncio.Event()
        self.tunnel = self.make_tunnel()

    def make_tunnel(self, authority: Authority = AUTHORITY, name: str = relay.NAME) -> Tunnel:
        context = authority.credentials("relay", [name]).server()
        targets = {"echo": lambda: self.servers["echo"], "count": lambda: self.servers["count"]}
        return Tunnel(context, "right", targets, HASTY, self._note)

    def _note(self) -> None:
        self.changes.append(self.tunnel.connected)
        self.changed.set()

    async def serve(self) -> None:
        self._servers = [await asyncio.start_server(answer, HOST, 0) for answer in (_echo, _count)]
        ports = [server.sockets[0].getsockname()[1] for server in self._servers]
        self.servers = {"echo": (HOST, ports[0]), "count": (HOST, ports[1])}

    async def connect(self) -> None:
        self.tunnel.open(HOST, self.pool)
        await asyncio.wait_for(self.changed.wait(), 20)

    async def close(self) -> None:
        await self.tunnel.close()
        for server in self._servers:
            server.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(2**16):
            writer.write(piece)
            await writer.drain()
        writer.close()


async def _count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer only when the other side has said all."""
    total = 0
    while piece := await reader.read(2**16):
        total += len(piece)
    writer.write(str(total).encode())
    writer.close()


@contextlib.asynccontextmanager
async def set_up(**options: Any) -> AsyncIterator[Setting]:
    setting = Setting(**options)
    await setting.serve()
    try:
        yield setting
    finally:
        await setting.close()


def test_many_machines_get_through_at_once_and_each_gets_its_own_answer():
    async def machine(port: int, number: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        sent = number.to_bytes(4, "big") * 100_000
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.close()

    async def run() -> None:
        async with set_up() as setting:
            await setting.connect()
            await asyncio.gather(*(machine(setting.echo, number) for number in range(20)))

    asyncio.run(run())


def test_one_side_can_end_what_it_says_and_still_hear_the_answer():
    async def run() -> bytes:
        async with set_up() as setting:
            await setting.connect()
            reader, writer = await asyncio.open_connection(HOST, setting.count)
            writer.write(b"x" * 300_000)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            return answer

    assert asyncio.run(run()) == b"300000"


def test_who_reads_slowly_holds_up_who_writes():
    async def run() -> int:
        async with set_up() as setting:
            await setting.connect()
            reader, writer = await asyncio.open_connection(HOST, setting.echo, limit=2**12)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 2**28:
                    writer.write(bytes(2**16))
                    sent += 2**16
                    async with asyncio.timeout(2):
                        await writer.drain()
            # It has waited for longer than it takes to notice a dead connection.
            left = sent
            while left:
                left -= len(await asyncio.wait_for(reader.read(2**20), 20))
            writer.close()
            return sent

    assert asyncio.run(run()) < 2**26


@pytest.mark.parametrize(
    "name", [pytest.param("", id="not the pool"), pytest.param(relay.NAME, id="another pool")]
)
def test_a_stranger_is_not_served(name):
    async def run() -> None:
        async with set_up() as setting:
            authority = Authority() if name else AUTHORITY
            stranger = setting.make_tunnel(authority, name or "127.0.0.1")
            stranger.open(HOST, setting.pool)
            reader, writer = await asyncio.open_connection(HOST, setting.echo)
            await asyncio.to_thread(wait_until, lambda: stranger.why)
            assert not stranger.connected
            await stranger.close()
            # The machine has waited for the pool.
            await setting.connect()
            writer.write(b"hello")
            assert await asyncio.wait_for(reader.readexactly(5), 20) == b"hello"
            writer.close()

    asyncio.run(run())


def test_a_relay_without_the_token_is_not_believed():
    async def run() -> str:
        async with set_up(token="wrong") as setting:
            setting.tunnel.open(HOST, setting.pool)
            await asyncio.to_thread(wait_until, lambda: setting.tunnel.why)
            assert not setting.tunnel.connected
            return setting.tunnel.why

    assert "is not the relay" in asyncio.run(run())


def test_a_relay_ends_when_the_pool_has_been_gone_for_its_lease():
    async def run() -> int:
        async with set_up(lease_s=1.5) as setting:
            await setting.connect()
            with pytest.raises(subprocess.TimeoutExpired):
                await asyncio.to_thread(setting.process.wait, 3)
            await setting.tunnel.close()
            return await asyncio.to_thread(setting.process.wait, 20)

    assert asyncio.run(run()) == 0


def test_a_relay_that_says_nothing_any_more_is_noticed():
    async def run() -> None:
        async with set_up() as setting:
            await setting.connect()
            reader, writer = await asyncio.open_connection(HOST, setting.echo)
            writer.write(b"x")
            await reader.readexactly(1)
            setting.changed.clear()
            setting.process.send_signal(19)
            await asyncio.wait_for(setting.changed.wait(), 20)
            assert not setting.tunnel.connected
            setting.changed.clear()
            setting.process.send_signal(18)
            await asyncio.wait_for(setting.changed.wait(), 20)
            assert setting.tunnel.connected
            # What went through it is broken, and not silently held.
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()

    asyncio.run(run())


def test_an_end_without_the_other_sides_is_passed_on_as_one():
    async def run() -> None:
        async with set_up() as setting:
            await setting.connect()
            reader, writer = await asyncio.open_connection(HOST, setting.echo)
            writer.write(b"x")
            await reader.readexactly(1)
            await setting.tunnel.close()
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()

    asyncio.run(run())


def test_what_travels_to_a_relay_runs_without_the_package_on_an_old_python():
    code = "import sys; import relay.program; print([m for m in sys.modules if 'jupyter' in m])"
    place = Path(relay.__file__).parent
    done = subprocess.run(
        [
            PYTHON,
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(place.parent)!r}); {code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    for file in place.glob("*.py"):
        ast.parse(file.read_text(), feature_version=(3, 9))
