"""A server of S3 in this process, and what was asked of it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from broken_lines import Line

NAME = "jupyter-compute-test"
PREFIX = "blobs/"
KEYS = {
    "AWS_ACCESS_KEY_ID": "sandbox-key-id",
    "AWS_SECRET_ACCESS_KEY": "sandbox-secret-5f1c",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_REQUEST = re.compile(r'"(\w+) (\S+) HTTP/1\.1" (\d+)')


class Server(logging.Handler):
    """One server with one bucket; `requests` has method, path with query, and status of each."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[str, str, int]] = []
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        self.env = KEYS | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}
        log = logging.getLogger("werkzeug")
        log.setLevel(logging.INFO)
        log.propagate = False
        log.addHandler(self)
        self.client.create_bucket(Bucket=NAME)

    @property
    def client(self):
        return boto3.client(
            "s3",
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            aws_access_key_id="other",
            aws_secret_access_key="other",
            region_name="us-east-1",
        )

    def emit(self, record: logging.LogRecord) -> None:
        if found := _REQUEST.search(_COLOUR.sub("", record.getMessage())):
            self.requests.append((found[1], found[2], int(found[3])))

    def count(self, method: str, name: str = "") -> int:
        """Return how many requests about this object, or any, there were."""
        return sum(
            done == method and f"/{NAME}/{PREFIX}{name}" in path for done, path, _ in self.requests
        )

    def names(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=NAME).get("Contents", [])
        return [one["Key"].removeprefix(PREFIX) for one in found]

    def spoil(self, name: str) -> None:
        """Give an object another content of the same size."""
        with contextlib.closing(self.client) as client:
            size = client.head_object(Bucket=NAME, Key=PREFIX + name)["ContentLength"]
            client.put_object(Bucket=NAME, Key=PREFIX + name, Body=b"\0" * size)

    def close(self) -> None:
        logging.getLogger("werkzeug").removeHandler(self)
        self._server.stop()


def serve() -> Iterator[Server]:
    """A server for as long as a fixture lasts."""
    own = Server()
    yield own
    own.close()


def reach(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The line on which this process reaches the server, for as long as a fixture lasts."""
    own = Line(server.port)
    for name, text in server.env.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{own.port}")
    server.requests.clear()
    yield own
    own.close()
