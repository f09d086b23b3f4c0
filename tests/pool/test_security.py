"""Nobody but this user's own processes can speak to the pool or its machines."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from distributed import Client
from distributed.security import Security

import services
from homes import Home
from jupyter_compute.pool.authority import Authority
from jupyter_compute.pool.scheduler import FitScheduler


@pytest.fixture(autouse=True)
def _own_home(home: Home) -> Iterator[None]:
    yield
    services.hang_up()


def _read_without_certificate(address: tuple[str, int], trusting: ssl.SSLContext) -> None:
    with (
        socket.create_connection(address, timeout=5) as plain,
        trusting.wrap_socket(plain) as wrapped,
    ):
        # With TLS 1.3 the refusal of a missing certificate comes with the first read.
        if not wrapped.recv(1):
            raise ConnectionResetError


async def _joins(address: str, security: Security) -> bool:
    try:
        async with Client(address, security=security, asynchronous=True, timeout=2):
            return True
    except (OSError, TypeError):  # TypeError: Dask's own refusal of TLS without a certificate
        return False


async def _who_joins() -> list[bool]:
    ours, foreign = (Authority().credentials("client") for _ in range(2))
    async with FitScheduler(
        host="127.0.0.1", port=0, protocol="tls", security=ours.security(), dashboard=False
    ) as scheduler:
        plain = scheduler.address.replace("tls://", "tcp://")
        return [
            await _joins(scheduler.address, ours.security()),
            await _joins(scheduler.address, foreign.security()),
            await _joins(plain, Security()),
        ]


@pytest.mark.slow
def test_only_holders_of_the_pools_key_reach_the_scheduler() -> None:
    assert asyncio.run(_who_joins()) == [True, False, False]


@pytest.mark.slow
def _connections(process: psutil.Process) -> list[Any]:
    try:
        return process.net_connections("tcp")
    except psutil.NoSuchProcess:  # the child of the run, which has ended meanwhile
        return []


def test_every_port_is_on_loopback_and_wants_a_certificate() -> None:
    process = services.start()
    services.submit("1 + 1").until(kind="end")
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    listening = [
        connection.laddr
        for member in family
        for connection in _connections(member)
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    for address in listening:
        assert address.ip == "127.0.0.1"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            _read_without_certificate(address, trusting)
    services.stop(process)
