"""What the extension tells of pools: none, a living one, and those that went wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import services
from homes import Home
from jupyter_compute import places
from jupyter_compute.errors import PoolError
from jupyter_compute.notebook.client import Client
from jupyter_compute.pool.picture import MAX_BYTES
from jupyter_servers import Browser, JupyterServer
from panels import Panel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server_home(shared_home: Home) -> Iterator[Home]:
    """The home of the server, in which pools come and go."""
    home = Home(shared_home.path.parent)
    with home.entered():
        yield home


@pytest.fixture(scope="module")
def server(server_home: Home) -> Iterator[JupyterServer]:
    """A server under a base URL, as behind JupyterHub."""
    own = JupyterServer(server_home, base_url="/user/ana/")
    yield own
    own.close()
    server_home.close()


@pytest.fixture(scope="module")
def page(server: JupyterServer) -> Browser:
    """A page of JupyterLab."""
    return Browser(server)


@pytest.fixture(autouse=True)
def _pools_end(server: JupyterServer) -> Iterator[None]:
    yield
    services.hang_up()
    with contextlib.suppress(PoolError):
        Client(start=False).stop(force=True)
    places.socket().unlink(missing_ok=True)


def _state(page: Browser, since: str = "0") -> dict[str, Any]:
    reply = page.ask("GET", f"state?since={since}")
    assert reply.status == 200, reply.text
    assert len(reply.text) <= MAX_BYTES
    return dict(reply.json)


def _see(page: Browser, panel: Panel, true: Any) -> None:
    def seen() -> bool:
        found = _state(page, panel.cursor)
        assert found["pool"] == "live", found
        panel.apply(found)
        return bool(true())

    services.wait_until(seen)


def test_without_a_pool_a_look_starts_none_and_is_quiet(
    server: JupyterServer, server_home: Home, page: Browser
) -> None:
    before, log = server_home.processes(), server.log.read_text()
    for _ in range(20):
        found = _state(page)
        assert (found["pool"], found["cursor"]) == ("none", "0")
        assert found["hint"] == "the first %%remote cell starts one"
    layers = page.ask("GET", "layers").json
    assert (layers["pool"], layers["layers"]) == ("none", None)
    assert server_home.processes() == before
    assert server.log.read_text() == log
    for verb, path in [
        ("GET", "runs/r-x/output"),
        ("POST", "runs/r-x/cancel"),
        ("POST", "pool/stop"),
    ]:
        reply = page.ask(verb, path, {} if verb == "POST" else None)
        assert (reply.status, reply.json["code"]) == (404, "no-pool")
    assert server_home.processes() == before


def test_a_pool_is_seen_and_steered(page: Browser) -> None:
    service = services.start()
    panel = Panel()
    stream = services.submit("import time\nprint('é', flush=True)\ntime.sleep(60)", name="é" * 9)
    stream.until(kind="sample")
    run_id = stream.events[0]["id"]
    _see(page, panel, lambda: panel.runs.get(run_id, {}).get("memory_used"))
    assert panel.runs[run_id]["name"] == "é" * 9
    layers = page.ask("GET", "layers").json["layers"]
    assert layers[0]["name"] == "local"
    output = page.ask("GET", f"runs/{run_id}/output").json
    assert (output["state"], output["events"][0]["text"]) == ("running", "é\n")
    (machine_id,) = panel.machines
    refused = page.ask("POST", "pool/stop", {})
    assert (refused.status, refused.json["code"]) == (409, "conflict")
    assert refused.json["message"] == "1 run(s) are active"
    draining = page.ask("POST", f"machines/{machine_id}/stop", {})
    assert (draining.status, draining.json["state"]) == (200, "draining")
    assert page.ask("POST", "runs/r-none/cancel", {}).json["code"] == "not-found"
    bad = page.ask("POST", f"runs/{run_id}/cancel", {"action": "explode"})
    assert (bad.status, bad.json["code"]) == (400, "bad-request")
    cancelled = page.ask("POST", f"runs/{run_id}/cancel", {"action": "kill"})
    assert set(cancelled.json) == {"id", "state", "reason"}
    assert stream.until(kind="end")["state"] == "cancelled"
    _see(page, panel, lambda: not panel.machines)
    assert page.ask("POST", "pool/stop", {}).status == 200
    told = {"live"}
    services.wait_until(lambda: told.add(_state(page)["pool"]) or "none" in told)
    assert told == {"live", "stopping", "none"}
    assert service.wait(services.PATIENCE_S) == 0


def test_a_pool_that_is_killed_is_lost_and_its_successor_is_seen(
    server_home: Home, page: Browser
) -> None:
    service = services.start()
    panel = Panel()
    stream = services.submit("1")
    stream.until(kind="end")
    run_id = stream.events[0]["id"]
    _see(page, panel, lambda: run_id in panel.runs)
    services.kill(service)
    found = _state(page, panel.cursor)
    assert (found["pool"], found["cursor"]) == ("lost", "0")
    assert page.ask("POST", "pool/stop", {}).json["code"] == "pool-lost"
    service = services.start()
    _see(page, panel, lambda: panel.machines)
    assert run_id in panel.runs
    services.stop(service)
    services.wait_until(lambda: _state(page)["pool"] == "none")


def test_a_pool_that_is_killed_while_it_is_asked(page: Browser) -> None:
    service = services.start()
    kinds: set[str] = set()

    def poll() -> None:
        while not kinds & {"lost", "failed"}:
            reply = page.ask("GET", "state")
            kinds.add(reply.json["pool"] if reply.status == 200 else "failed")

    pollers = [threading.Thread(target=poll) for _ in range(4)]
    for poller in pollers:
        poller.start()
    services.wait_until(lambda: "live" in kinds)
    services.kill(service)
    for poller in pollers:
        poller.join(services.PATIENCE_S)
    assert kinds == {"live", "lost"}
    services.stop(services.start())  # puts in order what the other one left behind


def test_a_pool_that_does_not_answer_blocks_nothing(page: Browser) -> None:
    service = services.start()
    service.send_signal(signal.SIGSTOP)
    try:
        found: list[dict[str, Any]] = []
        waiting = threading.Thread(target=lambda: found.append(_state(page)))
        waiting.start()
        # Meanwhile the server serves others, as nothing blocks its loop.
        api = page.send("GET", f"{page.server.base}api", None, page.headers())
        assert api.status == 200
        assert not found
        waiting.join(services.PATIENCE_S)
        assert found[0]["pool"] == "silent"
    finally:
        service.send_signal(signal.SIGCONT)
    services.wait_until(lambda: _state(page)["pool"] == "live")
    services.stop(service)


def test_a_pool_of_another_version_is_not_misread(page: Browser) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(places.socket()))
        listener.listen()
        answer = b'HTTP/1.1 200 OK\r\nX-Jupyter-Compute: 0.0.1\r\nContent-Length: 8\r\n\r\n{"a": 1}'

        def old_service() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as sent:
                    length = 0
                    while (line := sent.readline()) != b"\r\n":
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split()[1])
                    sent.read(length)
                    connection.sendall(answer)

        thread = threading.Thread(target=old_service)
        thread.start()
        assert _state(page)["pool"] == "other-version"
        reply = page.ask("POST", "pool/stop", {})
        assert (reply.status, reply.json["code"]) == (409, "pool-other-version")
        thread.join()
    places.socket().unlink()


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_what_is_no_pool_service_at_all(page: Browser, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(places.socket()))
        listener.listen()

        def stranger() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=stranger)
        thread.start()
        assert _state(page)["pool"] == "lost"
        thread.join()
    places.socket().unlink()


def test_a_crowd_fits_over_http(root: Path, page: Browser) -> None:
    command = [sys.executable, str(root / "benchmarks" / "crowd.py")]
    command += ["--machines", "200", "--runs", "5000"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ) as crowd:
        services.wait_until(lambda: places.socket().exists(), 60)
        panel = Panel()
        _see(page, panel, lambda: len(panel.total) > 280)
        seconds = set(panel.total)
        _see(page, panel, lambda: len(set(panel.total) - seconds) >= 2)
        assert panel.facts["totals"]["machines"] == 200
        assert crowd.stdin is not None
        crowd.stdin.close()
