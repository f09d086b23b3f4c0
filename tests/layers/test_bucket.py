"""A bucket as a store of blobs: real requests to a server of S3, over lines that may break."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broken_lines import Line
from buckets import NAME, Server
from jupyter_compute import parts
from jupyter_compute.blobs import hash_of
from jupyter_compute.layers.bucket import Bucket
from jupyter_compute.node import moving
from jupyter_compute.parts import Patience

MIB = 2**20


@pytest.fixture
def bucket(line: Line) -> Iterator[Bucket]:
    own = Bucket(NAME, part_bytes=5 * MIB)
    yield own
    own._client.close()


def _file(directory: Path, nbytes: int, seed: int = 1) -> tuple[str, Path]:
    data = bytes([seed]) + bytes(range(256)) * (nbytes // 256) + b"\1" * (nbytes % 256)
    name = hash_of(data)
    path = directory / f"{name}.here"
    path.write_bytes(data)
    return name, path


def _answers(bucket: Bucket) -> moving.Ask:
    """Answer a machine's questions as the pool does."""

    def ask(verb, about):
        if verb == "get":
            return {"url": bucket.get_url(about["name"])}
        if verb == "complete":
            return bucket.complete(about["hash"], about["upload"], about["tags"])
        if verb == "abort":
            return bucket.abort(about["hash"], about["upload"])
        if verb == "renew":
            upload = bucket.renew(about["hash"], about["nbytes"], about["upload"])
        else:
            upload = bucket.put_urls(about["hash"], about["nbytes"])
        return {
            "urls": list(upload.urls),
            "headers": upload.headers,
            "part_bytes": upload.part_bytes,
            "upload": upload.id,
        }

    return ask


@pytest.mark.slow
@pytest.mark.parametrize("nbytes", [0, 1000, 12 * MIB + 7], ids=["empty", "small", "in parts"])
def test_what_is_uploaded_is_downloaded(
    bucket: Bucket, server: Server, tmp_path: Path, nbytes: int
) -> None:
    name, path = _file(tmp_path, nbytes)
    assert bucket.size(name) is None
    bucket.upload(name, path, Patience(10))
    assert bucket.size(name) == path.stat().st_size
    bucket.download(name, tmp_path / "back", path.stat().st_size, Patience(10))
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    head = server.client.head_object(Bucket=NAME, Key=f"blobs/{name}")
    assert head["ServerSideEncryption"] == "AES256"
    bucket.delete([name])
    assert bucket.size(name) is None


@pytest.mark.slow
def test_a_machine_without_credentials_puts_and_gets(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = _answers(bucket)
    bucket.size("0" * 32)  # who signs has its credentials
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for nbytes in (1000, 11 * MIB):
        name, path = _file(tmp_path, nbytes, seed=2)
        size = path.stat().st_size
        moving.publish(ask, path, name, size, Patience(10))
        found = {"url": bucket.get_url(name), "nbytes": size}
        back = tmp_path / f"{nbytes}"
        assert moving.fetch(ask, found, {"name": name}, back, Patience(10)) == name
        assert back.read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_download_goes_on_where_it_was_broken(
    bucket: Bucket, line: Line, server: Server, tmp_path: Path
) -> None:
    name, path = _file(tmp_path, 40 * MIB, seed=3)
    size = path.stat().st_size
    bucket.upload(name, path, Patience(10))
    for number, download in enumerate(
        (
            lambda to: bucket.download(name, to, size, Patience(10)),
            lambda to: moving.fetch(
                _answers(bucket),
                {"url": bucket.get_url(name), "nbytes": size},
                {"name": name},
                to,
                Patience(10),
            ),
        )
    ):
        line.received = 0
        line.break_next(4, 3 * MIB)
        download(tmp_path / f"back-{number}")
        assert (tmp_path / f"back-{number}").read_bytes() == path.read_bytes()
        assert line.broken == 4
        assert line.received < 1.25 * size


@pytest.mark.slow
def test_only_the_part_that_broke_is_uploaded_again(
    bucket: Bucket, line: Line, tmp_path: Path
) -> None:
    name, path = _file(tmp_path, 30 * MIB, seed=4)
    size = path.stat().st_size
    for publish in (
        lambda: moving.publish(_answers(bucket), path, name, size, Patience(10)),
        lambda: bucket.upload(name, path, Patience(10)),
    ):
        line.sent = 0
        line.break_next(2, 2 * MIB)
        publish()
        assert line.broken == 2
        assert line.sent < size + 2 * 3 * MIB
        assert bucket.size(name) == size
        bucket.delete([name])


@pytest.mark.slow
def test_an_object_with_another_content_is_not_taken(
    bucket: Bucket, server: Server, tmp_path: Path
) -> None:
    name, path = _file(tmp_path, 3 * MIB, seed=5)
    bucket.upload(name, path, Patience(10))
    server.spoil(name)
    with pytest.raises(parts.Damaged, match=name):
        bucket.download(name, tmp_path / "back", path.stat().st_size, Patience(10))
    assert not (tmp_path / "back").exists()


@pytest.mark.slow
def test_a_store_out_of_reach_is_said_to_be(line: Line, bucket: Bucket, tmp_path: Path) -> None:
    name, path = _file(tmp_path, 3 * MIB, seed=6)
    bucket.upload(name, path, Patience(10))
    url = bucket.get_url(name)
    line.cut = True
    found = {"url": url, "nbytes": path.stat().st_size}
    with pytest.raises(parts.Unreachable, match="nothing has moved"):
        moving.fetch(_answers(bucket), found, {"name": name}, tmp_path / "back", Patience(0.5))
    assert not (tmp_path / "back").exists()


@pytest.mark.slow
def test_what_nobody_needs_any_more_ends(bucket: Bucket, line: Line, tmp_path: Path) -> None:
    name, path = _file(tmp_path, 3 * MIB, seed=7)
    bucket.upload(name, path, Patience(10))
    line.cut = True
    patience = Patience(60)
    found = {"url": bucket.get_url(name), "nbytes": path.stat().st_size}
    threading.Timer(0.2, patience.dropped.set).start()
    with pytest.raises(parts.Dropped):
        moving.fetch(_answers(bucket), found, {"name": name}, tmp_path / "back", patience)


@pytest.mark.slow
def test_an_expired_address_is_renewed(bucket: Bucket, server: Server, tmp_path: Path) -> None:
    name, path = _file(tmp_path, 1000, seed=8)
    bucket.upload(name, path, Patience(10))
    asked = []

    def ask(verb, about):
        asked.append(verb)
        return _answers(bucket)(verb, about)

    with _expired() as url:
        found = {"url": url, "nbytes": path.stat().st_size}
        back = tmp_path / "back"
        assert moving.fetch(ask, found, {"name": name}, back, Patience(10)) == name
    assert asked == ["get"]


class _Late(BaseHTTPRequestHandler):
    """Says what S3 says of an address that was good an hour ago."""

    def do_GET(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _expired() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Late) as late:
        thread = threading.Thread(target=late.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{late.server_port}/x?y=z"
        finally:
            late.shutdown()
            thread.join()


@pytest.mark.slow
def test_addresses_say_nothing_but_a_signature(bucket: Bucket, server: Server) -> None:
    secret = server.env["AWS_SECRET_ACCESS_KEY"]
    addresses = [bucket.get_url("0" * 32), *bucket.put_urls("0" * 32, 11 * MIB).urls]
    assert all(urlsplit(url).scheme == "http" and secret not in url for url in addresses)


@pytest.mark.slow
def test_a_refusal_names_no_address(bucket: Bucket) -> None:
    other = Bucket("no-such-bucket-of-ours")
    with pytest.raises(parts.Refused, match="NoSuchBucket") as caught:
        other.upload("0" * 32, Path(__file__), Patience(5))
    assert "http" not in str(caught.value)
    other._client.close()
