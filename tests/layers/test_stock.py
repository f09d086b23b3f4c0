"""What a machine of a stock image is told to install, and what it refuses to run."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import threading
import zipfile
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest

from jupyter_compute.errors import EnvironmentMismatch, PoolError
from jupyter_compute.layers import bootscript, bundle
from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.base import Boot
from jupyter_compute.layers.bundle import Environment
from jupyter_compute.layers.stock import Archive, Stock
from jupyter_compute.model import Offer
from jupyter_compute.node import installer
from oldest import oldest_python
from sandboxes import Sandbox

BARE = Environment("3.12", ("a==1",))


@pytest.fixture
def index() -> Iterator[str]:
    """A package index that has something else under the name of uv, for every processor."""
    version = UV["version"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            links = [
                f'<a href="/f/uv-{version}-py3-none-manylinux_2_17_{machine}.whl">uv</a>'
                for machine in ("aarch64", "x86_64")
            ]
            body = "".join(links).encode() if self.path.endswith("/") else b"not uv"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


def unpacked(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def names(requirements: Iterable[str]) -> set[str]:
    return {line.partition("==")[0] for line in requirements}


UV = json.loads(unpacked(bundle.build(BARE))["plan.json"])["uv"]


def test_another_uv_than_the_pinned_one_is_not_run(tmp_path: Path, index: str) -> None:
    archive = tmp_path / "bundle.pyz"
    archive.write_bytes(bundle.build(BARE, index))
    done = subprocess.run(
        [oldest_python(), archive, tmp_path / "place"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "is not the uv that was expected" in done.stderr
    assert not (tmp_path / "place" / "uv").exists()


def test_an_index_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(EnvironmentMismatch) as refused:
        bundle.build(BARE, "https://me:canary@index.example/simple")
    assert "canary" not in str(refused.value)


def test_the_archive_lists_exactly_what_a_node_needs() -> None:
    found = bundle.environment()
    for name in ("cryptography", "distributed", "ipython", "msgpack"):
        assert f"{name}=={metadata.version(name)}" in found.packages
    # What only notebooks need, and jupyter-compute itself, which is not from an index.
    assert not {"ipywidgets", "jupyter-compute", "jupyter-server"} & names(found.packages)


def test_the_same_is_the_same_archive_with_this_package() -> None:
    assert bundle.build(BARE) == bundle.build(BARE)
    found = unpacked(bundle.build(BARE))
    assert found["node.txt"] == b"a==1\n"
    own = unpacked(found[json.loads(found["plan.json"])["wheel"]])
    assert "jupyter_compute/node/booted.py" in own


def test_the_python_of_a_stock_image_can_read_the_installer() -> None:
    ast.parse(Path(installer.__file__).read_text(), feature_version=(3, 9))


@pytest.mark.slow
def test_the_archive_is_uploaded_once(sandbox: Sandbox, set_up: None) -> None:
    first = Stock(Account()).archive()
    uploads = [call["params"]["Key"] for call in sandbox.calls("PutObject")]
    again = Stock(Account()).archive()
    assert first.sha256 == again.sha256
    assert first.sha256 in first.url
    assert any(first.sha256 in key for key in uploads)
    assert len(sandbox.calls("PutObject")) == len(uploads)


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
