"""`jupyter compute setup aws`: made once, complete, removed again; and the rights that all needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.config
import pytest

from homes import Home
from jupyter_compute.blobs import hash_of
from jupyter_compute.errors import AskError, PoolError
from jupyter_compute.layers import setup
from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.base import Boot, Launch, Relay
from jupyter_compute.layers.ec2 import EC2Layer
from jupyter_compute.layers.fargate import FargateLayer
from jupyter_compute.layers.market import Market
from jupyter_compute.model import Offer
from jupyter_compute.parts import PART, Patience
from sandboxes import Sandbox
from services import wait_until

pytestmark = pytest.mark.slow

GIB = 2**30
KINDS = [
    "security group",
    "security group",
    "log group",
    "role",
    "ECS cluster",
    "task definition",
    "bucket",
]

NAMES = {
    "s3:CreateMultipartUpload": {"s3:PutObject"},
    "s3:DeleteObjects": {"s3:DeleteObject"},
    "s3:GetBucketLifecycleConfiguration": {"s3:GetLifecycleConfiguration"},
    "s3:GetPublicAccessBlock": {"s3:GetBucketPublicAccessBlock"},
    "s3:HeadBucket": {"s3:ListBucket"},
    "s3:HeadObject": {"s3:GetObject", "s3:ListBucket"},
    "s3:ListMultipartUploads": {"s3:ListBucketMultipartUploads"},
    "s3:ListObjectsV2": {"s3:ListBucket"},
    "s3:PutBucketEncryption": {"s3:PutEncryptionConfiguration"},
    "s3:PutBucketLifecycleConfiguration": {"s3:PutLifecycleConfiguration"},
    "s3:PutPublicAccessBlock": {"s3:PutBucketPublicAccessBlock"},
}
"""Rights that are not called like the call that needs them."""

IMPLIED = {
    "ec2:CreateSecurityGroup": {"ec2:CreateTags"},
    "ec2:RunInstances": {"ec2:CreateTags"},
    "ecs:CreateCluster": {"ecs:TagResource"},
    "ecs:RegisterTaskDefinition": {"ecs:TagResource", "iam:PassRole"},
    "ecs:RunTask": {"ecs:TagResource", "iam:PassRole"},
    "iam:CreateRole": {"iam:TagRole"},
    "logs:CreateLogGroup": {"logs:TagResource"},
}
"""Rights that a call needs besides its own."""


@pytest.fixture
def region(sandbox: Sandbox) -> Iterator[None]:
    """A region in which nothing has been made, which is removed again."""
    with dask.config.set({"jupyter-compute.layers.aws.region": "eu-west-1"}):
        yield
        setup.run(yes=True, quiet=True, remove=True)


def actions(plan: setup.Plan) -> list[str]:
    return [step.action for step in plan.steps]


class TestSetup:
    def test_it_shows_what_it_would_make_and_makes_nothing(self, region, capsys):
        setup.run(dry=True)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("AWS account 123456789012, eu-west-1, profile 'default'")
        assert [line[:4] for line in lines[1:]] == ["  + "] * len(KINDS)
        assert all(kind in line for kind, line in zip(KINDS, lines[1:], strict=True))
        assert actions(setup.plan(Account())) == ["make"] * len(KINDS)

    def test_it_makes_everything_once(self, region):
        assert actions(setup.run(yes=True, quiet=True)) == ["make"] * len(KINDS)
        assert actions(setup.run(yes=True, quiet=True)) == ["keep"] * len(KINDS)
        assert FargateLayer(Account(), list).why_not() == ""

    def test_what_differs_is_put_right(self, region):
        setup.run(yes=True, quiet=True)
        with dask.config.set({"jupyter-compute.layers.fargate.image": "another:1"}):
            changed = setup.run(yes=True, quiet=True)
            assert [s.piece.title for s in changed.open] == ["task definition jupyter-compute"]
            assert FargateLayer(Account(), list).why_not() == ""
        assert "start from another:1" in FargateLayer(Account(), list).why_not()

    def test_the_bucket_is_closed_and_forgets(self, region, sandbox):
        setup.run(yes=True, quiet=True)
        account = Account()
        assert account.bucket == f"jupyter-compute-123456789012-{account.owner}-eu-west-1"
        s3, bucket = sandbox.client("s3"), {"Bucket": account.bucket}
        block = s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"]
        assert set(block.values()) == {True}
        (rule,) = s3.get_bucket_lifecycle_configuration(**bucket)["Rules"]
        assert (rule["Status"], rule["Expiration"]["Days"]) == ("Enabled", 7)
        (rule,) = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
        assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        assert s3.get_bucket_location(**bucket)["LocationConstraint"] == "eu-west-1"

    def test_everything_is_removed_again(self, region, sandbox):
        setup.run(yes=True, quiet=True)
        sandbox.client("s3").put_object(Bucket=Account().bucket, Key="left", Body=b"x")
        assert actions(setup.run(yes=True, quiet=True, remove=True)) == ["remove"] * len(KINDS)
        assert actions(setup.plan(Account())) == ["make"] * len(KINDS)

    def test_what_another_installation_made_stays(self, region):
        setup.run(Account("0123456789ab"), yes=True, quiet=True)
        left = setup.run(yes=True, quiet=True, remove=True)
        assert [step.why for step in left.steps if step.why] == ["it is not there"] + [
            "another installation made it"
        ] * (len(KINDS) - 1)
        gone = setup.run(Account("0123456789ab"), yes=True, quiet=True, remove=True)
        assert actions(gone) == ["remove"] * len(KINDS)

    def test_nothing_is_removed_under_a_machine(self, region):
        setup.run(yes=True, quiet=True)
        offer = Offer("fargate", "0.25 vCPU 0.5 GB", 0.25, GIB // 2)
        layer = FargateLayer(Account(), lambda: [offer])
        boot = Boot("https://127.0.0.1:1", "x", "x")
        (machine,) = layer.launch(Launch(f"s{time.time_ns()}", (offer,), 1, boot)).machines
        with pytest.raises(PoolError, match=f"still there: {machine.id}"):
            setup.run(yes=True, quiet=True, remove=True)
        wait_until(lambda: layer.terminate(machine.id))

    def test_somebody_must_agree(self, region, monkeypatch):
        with Path(os.devnull).open() as nobody:
            monkeypatch.setattr(sys, "stdin", nobody)
            with pytest.raises(AskError, match="--yes"):
                setup.run()
        assert actions(setup.plan(Account())) == ["make"] * len(KINDS)


def test_the_command(home: Home, sandbox: Sandbox) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "jupyter_compute", "setup", *words],
            env={**home.env, **sandbox.environment, "AWS_DEFAULT_REGION": "eu-west-2"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    dry = command("aws", "--dry-run", "--json")
    assert [step["action"] for step in json.loads(dry.stdout)["steps"]] == ["make"] * len(KINDS)
    refused = command("aws")
    assert (refused.returncode, "say --yes" in refused.stderr) == (1, True)
    assert command("gcp").returncode == 2


def test_the_published_policies_allow_what_is_called_and_nothing_else(
    sandbox: Sandbox, root: Path, tmp_path: Path
) -> None:
    with dask.config.set({"jupyter-compute.layers.aws.region": "us-west-2"}):
        start = _last(sandbox)
        setup.run(yes=True, quiet=True)
        with dask.config.set({"jupyter-compute.layers.fargate.image": "another:1"}):
            setup.run(yes=True, quiet=True)
        ready = _last(sandbox)
        _use(tmp_path)
        used = _last(sandbox)
        s3, bucket = sandbox.client("s3"), Account().bucket
        s3.put_object(Bucket=bucket, Key="left", Body=b"x")
        s3.create_multipart_upload(Bucket=bucket, Key="unfinished")
        after = _last(sandbox)
        setup.run(yes=True, quiet=True, remove=True)
    calls = sandbox.ask("calls", since=start)
    own = [call for call in calls if not used < call["n"] <= after]
    assert _needed(c for c in own if ready < c["n"] <= used) == _allowed(root, "aws-policy.json")
    made = [call for call in own if not ready < call["n"] <= used]
    assert _needed(made) == _allowed(root, "aws-setup-policy.json")


def _use(directory: Path) -> None:
    """Launch a machine of each layer, look at them, end them; ask for prices; move blobs."""
    boot = Boot("https://127.0.0.1:1", "x", "x")
    account = Account()
    offers = {
        EC2Layer: Offer("ec2", "m5.large", 2, GIB),
        FargateLayer: Offer("fargate", "1 vCPU 2 GB", 1, GIB),
    }
    for kind, offer in offers.items():
        with dask.config.set({"jupyter-compute.layers.ec2.ami": None}):
            layer: Any = kind(account, lambda offer=offer: [offer])
            layer.why_not()
            (machine,) = layer.launch(Launch(f"p{time.time_ns()}", (offer,), 1, boot)).machines
            layer.console(machine.id)
            wait_until(lambda layer=layer, machine=machine: layer.terminate(machine.id))
    _use_a_relay(account)
    Market(account, directory).refresh()
    store, blob = account.store(), directory / "blob"
    blob.write_bytes(b"x")
    name = hash_of(b"x")
    store.upload(name, blob, Patience(10))
    store.download(name, directory / "copy", 1, Patience(10))
    store.delete([name])
    store.abort("0" * 32, store.put_urls("0" * 32, 2 * PART).id)


def _use_a_relay(account: Account) -> None:
    """Launch a relay, find it, and let in the pool from one address and then from another."""
    offer = Offer("ec2", "t3.nano", 2, GIB // 2, usd_per_hour=0.01)
    with dask.config.set({"jupyter-compute.layers.ec2.ami": None}):
        layer = EC2Layer(account, lambda: [offer])
        launch = Launch(f"r{time.time_ns()}", (offer,), 1, Relay("x", "x", 20, 600))
        (machine,) = layer.launch(launch).machines
        assert layer.where(machine.id) is not None
        for cidr in ("192.0.2.1/32", "192.0.2.2/32"):
            with dask.config.set({"jupyter-compute.scheduler-clients": cidr}):
                assert layer.let_in() == cidr
        wait_until(lambda: layer.terminate(machine.id))


def _last(sandbox: Sandbox) -> int:
    return max((int(call["n"]) for call in sandbox.ask("calls")), default=0)


def _needed(calls: Any) -> set[str]:
    """Return the rights that the calls need."""
    names = {f"{call['service']}:{call['action']}" for call in calls}
    rights = set().union(*(NAMES.get(name, {name}) for name in names))
    return rights.union(*(IMPLIED.get(name, set()) for name in names))


def _allowed(root: Path, name: str) -> set[str]:
    policy = json.loads((root / "docs" / name).read_text())
    return {action for statement in policy["Statement"] for action in statement["Action"]}
