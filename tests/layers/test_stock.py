"""A stock image becomes a machine: a bare Python, a package index, and nothing else."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import re
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import dask.config
import pytest

from homes import Home
from jupyter_compute.errors import EnvironmentMismatch, PoolError
from jupyter_compute.layers import bootscript, bundle, setup
from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.base import Boot, Launch
from jupyter_compute.layers.bundle import Environment
from jupyter_compute.layers.fargate import FargateLayer
from jupyter_compute.layers.stock import Archive, Stock
from jupyter_compute.model import Offer
from jupyter_compute.pool.authority import Authority
from sandboxes import Sandbox, wait

NODE = [
    "cloudpickle",
    "cryptography",
    "dask",
    "distributed",
    "ipython",
    "jupyter_core",
    "psutil",
    "pyyaml",
    "sortedcontainers",
    "tblib",
    "threadpoolctl",
    "tornado",
    "xxhash",
]
"""What a node imports; a real environment has more."""

TLS_HANDSHAKE = b"\x16"


class Index:
    """A package index on this computer, which has what is installed here, as wheels."""

    def __init__(self) -> None:
        index, self.asked = self, []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                name = self.path.strip("/").split("/")[1]
                body = index.page(name) if self.path.endswith("/") else wheel(name.split("-")[0])[1]
                self.send_response(200)
                self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "x/x")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/simple"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def page(name: str) -> bytes:
        file = wheel(name)[0]
        return (
            f'<!DOCTYPE html><html><body><a href="/files/{file}">{file}</a></body></html>'.encode()
        )

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@functools.cache
def wheel(name: str) -> tuple[str, bytes]:
    """Return an installed package as the wheel that it came from, as far as a machine sees."""
    found = metadata.distribution(name)
    title = f"{re.sub('[-_.]+', '_', found.metadata['Name'])}-{found.version}"
    tag = re.findall(r"^Tag: (.*)$", found.read_text("WHEEL") or "", re.MULTILINE)[-1]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for file in found.files or ():
            text = str(file)
            if file.parts[-2:] == ("bin", "uv"):
                text = f"{title}.data/scripts/uv"
            if ".." not in text and "__pycache__" not in text:
                packed.writestr(zipfile.ZipInfo(text), Path(str(file.locate())).read_bytes())
    return f"{title}-{tag}.whl", buffer.getvalue()


def needed(names: list[str]) -> tuple[str, ...]:
    """Return exact requirements of the packages and of what they need."""
    from packaging.requirements import Requirement

    found: dict[str, str] = {}
    while names:
        one = metadata.distribution(names.pop())
        name = one.metadata["Name"]
        if name not in found:
            found[name] = f"{name}=={one.version}"
            wanted = [Requirement(text) for text in one.requires or ()]
            names += [
                w.name for w in wanted if w.marker is None or w.marker.evaluate({"extra": ""})
            ]
    return tuple(sorted(found.values()))


@pytest.fixture
def index() -> Iterator[Index]:
    index = Index()
    yield index
    index.close()


@pytest.fixture
def pool() -> Iterator[socket.socket]:
    """Where a machine joins; as far as this goes, it only has to come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(60.0)
        yield listening


def pinned() -> dict[str, str]:
    digest = hashlib.sha256(wheel("uv")[1]).hexdigest()
    return {"version": metadata.version("uv"), "x86_64": digest, "aarch64": digest}


@pytest.mark.slow
def test_a_bare_container_installs_the_environment_and_starts_its_node(
    shared_home: Home, index: Index, pool: socket.socket
) -> None:
    own = Sandbox(Home(shared_home.path.parent))
    python = ".".join(map(str, sys.version_info[:2]))
    wanted = Environment(python, needed(list(NODE)), ())
    try:
        with own.entered(), dask.config.set({"jupyter-compute.layers.fargate.image": None}):
            setup.run(yes=True, quiet=True)
            account = Account()
            stock = Stock(account, lambda: bundle.build(wanted, index.url, pinned()))
            offer = Offer("fargate", "1 vCPU 2 GB", 1, 2**30)
            layer = FargateLayer(account, lambda: [offer], stock=stock)
            assert layer.why_not() == ""
            boot = Boot(
                f"https://127.0.0.1:{pool.getsockname()[1]}", Authority().certificate, "a-token"
            )
            (machine,) = layer.launch(Launch("stock", (offer,), 1, boot)).machines
            try:
                joining, _ = pool.accept()
            except TimeoutError:
                pytest.fail(Path(own.machine(machine.id)["console"]).read_text())
            with joining:
                assert joining.recv(1) == TLS_HANDSHAKE
            assert (
                "jupyter-compute: ready after"
                in Path(own.machine(machine.id)["console"]).read_text()
            )
            wait(lambda: layer.terminate(machine.id))
    finally:
        own.close()


def test_what_comes_from_no_index_is_refused_by_name() -> None:
    local = Environment("3.12", ("numpy==2.4.0",), ("mine", "yours"))
    with pytest.raises(EnvironmentMismatch, match="mine, yours: not from a package index"):
        bundle.build(local)


def test_an_index_with_a_password_is_refused_without_showing_it() -> None:
    plain = Environment("3.12", (), ())
    with pytest.raises(EnvironmentMismatch) as refused:
        bundle.build(plain, "https://me:canary@index.example/simple")
    assert "canary" not in str(refused.value)


@pytest.mark.slow
def test_the_archive_lists_exactly_what_the_interpreter_has() -> None:
    found = bundle.environment()
    assert f"dask=={metadata.version('dask')}" in found.packages
    assert not any(line.startswith("jupyter-compute==") for line in found.packages)
    first, again = (bundle.build(Environment("3.12", ("a==1",), ())) for _ in range(2))
    assert first == again
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        plan = json.loads(archive.read("plan.json"))
        assert archive.read("requirements.txt") == b"a==1\n"
        with zipfile.ZipFile(io.BytesIO(archive.read(plan["wheel"]))) as own:
            assert "jupyter_compute/node/booted.py" in own.namelist()


def test_another_uv_than_the_pinned_one_is_not_run(tmp_path: Path, index: Index) -> None:
    archive = tmp_path / "bundle.pyz"
    wrong = {**pinned(), "x86_64": "0" * 64, "aarch64": "0" * 64}
    archive.write_bytes(bundle.build(Environment("3.12", (), ()), index.url, wrong))
    done = subprocess.run(
        [sys.executable, archive, tmp_path / "place"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "is not the uv that was expected" in done.stderr


def test_a_script_that_is_too_long_is_refused() -> None:
    boot = Boot("https://127.0.0.1:9", "x" * 17_000, "a-token")
    offer = Offer("ec2", "m5.large", 2, 2**30)
    with pytest.raises(PoolError, match="16384"):
        bootscript.user_data(boot, offer)
    with pytest.raises(PoolError, match="8192"):
        bootscript.command(boot, offer)


def test_a_script_with_everything_in_it_is_short_enough() -> None:
    boot = Boot("https://203.0.113.7:8786", "x" * 1200, "t" * 64)
    # A signed address with a session's token is about this long.
    archive = Archive("https://bucket.s3.amazonaws.com/key?" + "x" * 1800, "0" * 64)
    offer = Offer("ec2", "m5.large", 2, 2**30)
    assert len(bootscript.user_data(boot, offer, archive)) < 8192
    assert len(json.dumps(bootscript.command(boot, offer, archive))) < 8192 - 512
