"""Nobody but this user's own processes can speak to the pool or its machines."""

from __future__ import annotations

import asyncio
import pickle
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client, Worker
from distributed.core import rpc
from distributed.protocol import core
from distributed.protocol.serialize import ToPickle
from distributed.security import Security

import services
from homes import Home
from jupyter_compute.pool.authority import Authority
from jupyter_compute.pool.guard import refuse_pickles
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


async def _asks(whom: str, security: Security, request: str, /, **about: Any) -> Any:
    """Return what the scheduler answers to one request; None if it does not listen."""
    arguments = security.get_connection_args("worker")
    try:
        async with rpc(whom, timeout=2, connection_args=arguments) as scheduler:
            return await getattr(scheduler, request)(**about)
    except (OSError, TypeError):  # TypeError: Dask's own refusal of TLS without a certificate
        return None


def _scheduler(own: Security) -> FitScheduler:
    return FitScheduler(
        host="127.0.0.1", port=0, protocol="tls", security=own, dashboard_address="127.0.0.1:0"
    )


async def _who_is_heard() -> list[bool]:
    ours, foreign = (Authority().credentials("machine") for _ in range(2))
    async with _scheduler(ours.security()) as scheduler:
        plain = scheduler.address.replace("tls://", "tcp://")
        beats = {"address": "tls://127.0.0.1:9", "metrics": {}}
        answers = [
            await _asks(scheduler.address, ours.security(), "heartbeat_worker", **beats),
            await _asks(scheduler.address, foreign.security(), "heartbeat_worker", **beats),
            await _asks(plain, Security(), "heartbeat_worker", **beats),
        ]
        return [answer is not None for answer in answers]


@pytest.mark.slow
def test_only_holders_of_the_pools_key_reach_the_scheduler() -> None:
    assert asyncio.run(_who_is_heard()) == [True, False, False]


class _Spy:
    """What would run where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


async def _what_a_machine_can_do(harmed: Path) -> None:
    authority = Authority()
    own, machine = authority.credentials("scheduler"), authority.credentials("m-1").security()
    async with _scheduler(own.security()) as scheduler:
        await scheduler.listen("inproc://", allow_offload=False)
        inner = next(a for a in scheduler.listeners if a.contact_address[:6] == "inproc")
        joined = Worker(scheduler.address, name="m-1", security=machine, dashboard=False)
        async with joined as worker, Client(inner.contact_address, asynchronous=True) as client:
            spy = function = pickle.dumps(_Spy(harmed))
            for request, about in {
                "run_function": {"function": function},
                "register-client": {"client": "c", "versions": {}},
                "register_scheduler_plugin": {"plugin": function, "name": "p"},
                "broadcast": {"msg": {"op": "identity"}},
                "scatter": {"data": {"x": 1}, "workers": None, "client": "c"},
                "gather": {"keys": []},
                "terminate": {},
            }.items():
                with pytest.raises(ValueError, match="explicitly disallowed"):
                    await _asks(scheduler.address, machine, request, **about)
            worker.batched_send({"op": "update-graph", "client": client.id, "keys": ["x"]})
            worker.batched_send({"op": "close-client", "client": client.id})
            warning = {"category": spy, "message": spy}
            worker.batched_send({"op": "log-event", "topic": "warn", "msg": warning})
            future = client.submit(_fails, resources=None, pure=False)
            assert "here" in str(await future.exception())
            assert await client.submit(sum, [1, 2]) == 3
            assert scheduler.workers[worker.address].status.name == "running"


def _fails() -> None:
    raise OSError("here")


@pytest.mark.slow
def test_a_machine_may_tell_about_its_tasks_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.run(_what_a_machine_can_do(tmp_path / "harmed"))
    assert not (tmp_path / "harmed").exists()
    for what in ("run_function", "register-client", "terminate", "update-graph", "close-client"):
        refused = [line for line in caplog.messages if repr(what) in line and "m-1 at" in line]
        assert refused, f"{what} is not in the log"


async def _joins_as(name: str) -> bool:
    authority = Authority()
    async with _scheduler(authority.credentials("scheduler").security()) as scheduler:
        machine = authority.credentials("m-1").security()
        worker = Worker(scheduler.address, name=name, security=machine, dashboard=False)
        try:
            async with worker:
                return name in scheduler.aliases
        except (RuntimeError, ValueError):
            return False


@pytest.mark.slow
def test_a_machine_joins_under_its_own_name_only() -> None:
    assert asyncio.run(_joins_as("m-1"))
    assert not asyncio.run(_joins_as("m-2"))


def test_no_pickle_is_read_from_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = [bytes(frame) for frame in core.dumps({"x": ToPickle(_Spy(tmp_path / "harmed"))})]
    monkeypatch.setattr(core, "pickle", core.pickle)
    refuse_pickles()
    with pytest.raises(ValueError, match="pickle was refused"):
        core.loads(message)
    assert not (tmp_path / "harmed").exists()


def _connections(process: psutil.Process) -> list[Any]:
    try:
        return process.net_connections("tcp")
    except psutil.NoSuchProcess:  # the child of the run, which has ended meanwhile
        return []


@pytest.mark.slow
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
