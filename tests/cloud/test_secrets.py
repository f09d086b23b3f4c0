"""A credential is nowhere but where its owner has put it."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
from clouds import Cloud
from homes import Home
from jupyter_compute import places
from kernels import Kernel, ok

pytestmark = pytest.mark.slow

TIMERS = {"tick_s": 0.3, "list_s": 0.5}


@pytest.fixture
def canary() -> str:
    return f"ghp_{secrets.token_hex(20)}"


@pytest.fixture
def told(shared_cloud: Cloud, canary: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A cloud whose owner has the credential in every place, and a pool that logs everything."""
    home = shared_cloud.home
    before = dict(home.env)
    home.env |= {
        "DEPLOY_TOKEN": canary,
        "DATABASE_URL": f"postgresql://me:{canary}@db.example/x",
        "DASK_SERVICE__PASSWORD": canary,
    }
    config = home.path / "dask" / "service.yaml"
    config.write_text(f"service:\n  api-token: {canary}\ndistributed:\n  token: {canary}\n")
    with home.entered():
        shared_cloud.stop()
        monkeypatch.setenv("HASTY_DEBUG", "1")
        shared_cloud.begin(TIMERS)
        yield shared_cloud
        shared_cloud.stop()
    config.unlink()
    home.env = before


def answers() -> list[str]:
    """Return everything that the pool tells anybody."""
    runs = services.ask("GET", "/v1/runs").json["runs"]
    assert len(runs) == 3
    paths = ["/v1/status", "/v1/runs", "/v1/state", "/v1/cost", "/v1/kept", "/v1/cache"]
    paths += [f"/v1/runs/{run['id']}" for run in runs]
    paths += [f"/v1/runs/{run['id']}/events?follow=0" for run in runs]
    return [services.ask("GET", path).text.decode() for path in paths]


def told_to_aws(cloud: Cloud) -> list[str]:
    """Return everything that AWS knows: calls, tags, user-data, objects, consoles."""
    found = [json.dumps(cloud.sandbox.ask("calls"))]
    ec2, s3 = cloud.sandbox.client("ec2"), cloud.sandbox.client("s3")
    found.append(repr(ec2.describe_tags()))
    for machine in cloud.sandbox.machines():
        found.append(json.dumps(machine))
        if machine["kind"] == "ec2" and machine["state"] == "running":
            told = ec2.describe_instance_attribute(InstanceId=machine["id"], Attribute="userData")
            script = base64.b64decode(told["UserData"]["Value"])
            text = gzip.decompress(script) if script[:2] == b"\x1f\x8b" else script
            assert b"BEGIN CERTIFICATE" in text
            found.append(text.decode())
    for bucket in s3.list_buckets()["Buckets"]:
        for item in s3.list_objects_v2(Bucket=bucket["Name"]).get("Contents", ()):
            body = s3.get_object(Bucket=bucket["Name"], Key=item["Key"])["Body"]
            found.append(item["Key"] + body.read().decode(errors="replace"))
    return found


def files(home: Home) -> Iterator[tuple[Path, bytes]]:
    """Return all files below the home, but for what a user writes there, and payloads."""
    payloads = {path.resolve() for path in places.blob_dirs()}
    theirs = {home.path / "dask", home.path / "ipython"}
    for path in home.path.rglob("*"):
        inside = {path, *path.parents}
        if path.is_file() and not inside & (payloads | theirs):
            yield path, path.read_bytes()


def test_a_credential_is_in_nothing_that_is_written_answered_or_sent(
    told: Cloud, canary: str
) -> None:
    with contextlib.closing(Kernel(told.home)) as kernel:
        login = f"api_token = {canary!r}"
        failing = "raise ValueError(f'no login at https://me:{api_token}@host, token={api_token}')"
        ok(kernel.run(f"%load_ext jupyter_compute\n{login}"))
        kept = ok(kernel.run("%%remote --on ec2 --cpu 1 --memory 1G\n'api_token' in globals()"))
        assert kept.result == "False"
        for layer in ("ec2", "local"):
            failed = kernel.run(f"%%remote --on {layer} --cpu 1 --memory 1G\n{login}\n{failing}")
            assert canary in failed.evalue  # the notebook's own exception is as it was
        for text in [*answers(), *told_to_aws(told)]:
            assert canary not in text
    log = told.log()
    assert "DEBUG" in log
    assert "[held back]" in services.ask("GET", "/v1/runs").text.decode()
    services.hang_up()
    told.home.stop_pool()
    found = dict(files(told.home))
    assert places.journal() in found
    assert [path for path, data in found.items() if canary.encode() in data] == []
