"""Layers of dask-cloudprovider: what is configured, what a VM boots, and what becomes of it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.config
import pytest

from jupyter_compute import places
from jupyter_compute.errors import PoolError
from jupyter_compute.layers import known
from jupyter_compute.layers.aws import Account, borrowed
from jupyter_compute.layers.base import Boot, Launch
from jupyter_compute.layers.cloudprovider import CloudproviderLayer
from services import wait_until

BOOT = Boot("https://192.0.2.1:1", "an authority", "a-token", lifetime_s=3600)
SMALL, LARGE = {"cpu": 2, "memory": "6G"}, {"cpu": 8, "memory": "30G", "usd-per-hour": 0.38}
_numbers = itertools.count(1)


@pytest.fixture
def configure(tmp_path: Path, no_settings_written: None) -> Iterator[Callable[..., Any]]:
    """Configure the layer `files`, with some settings other than usual."""
    before: list[Any] = []

    def configure(extra: Mapping[str, Any] | None = None, **more: Any) -> CloudproviderLayer:
        said = {
            "cloudprovider": "filecloud.FileCluster",
            "options": {"directory": str(tmp_path), **(extra or {})},
            "prepared": True,
            "types": {"small": SMALL, "large": LARGE},
            **more,
        }
        kept = {name: value for name, value in said.items() if value is not None}
        before.append(dask.config.set({"jupyter-compute.layers.files": kept}))
        return CloudproviderLayer("files", Account("an-owner"))

    yield configure
    for one in reversed(before):
        one.__exit__(None, None, None)
    for path in (places.data_dir() / "machines" / "files").glob("*"):
        path.unlink()


def launch(layer: CloudproviderLayer, count: int = 1, kind: str = "") -> Launch:
    offers = tuple(offer for offer in layer.offers() if kind in {"", offer.type})
    return Launch(f"jc-{next(_numbers)}-{time.time_ns() // 1000}", offers, count, BOOT)


def vms(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_layer_has_the_user_s_name_and_types(configure: Callable[..., Any]) -> None:
    configure(region="here")
    assert [*known.others()] == ["ec2", "fargate", "files"]
    small, large = known.others()["files"].offers()
    assert (small.type, small.cpu, small.memory, small.region) == ("small", 2, 6 * 10**9, "here")
    assert (small.usd_per_hour, small.priced) == (None, None)
    assert large.usd_per_hour == 0.38


def test_a_vm_boots_our_node_and_nothing_of_dask(
    configure: Callable[..., Any], tmp_path: Path
) -> None:
    layer = configure()
    (machine,) = layer.launch(launch(layer)).machines
    assert vms(tmp_path) == [machine.id]
    script = (tmp_path / machine.id).read_text()
    order = json.loads(script.partition("BOOT='")[2].partition("'\n")[0])
    assert order["machine"] == machine.id
    assert (order["token"], order["cpu"]) == ("a-token", 2)
    assert script.rstrip().endswith("jupyter-compute-node")
    for word in ("DASK", "dask", "docker", "PRIVATE KEY"):
        assert word not in script


def test_a_launch_returns_once_the_cloud_has_named_its_vms(
    configure: Callable[..., Any], tmp_path: Path
) -> None:
    layer = configure({"slow": True})
    launched = launch(layer, 2)
    machines = layer.launch(launched).machines
    assert sorted(machine.id for machine in machines) == vms(tmp_path)
    assert {one.id for one in layer.launch(launched).machines} == set(vms(tmp_path))
    assert {one.state for one in layer.list()} == {"alive"}
    assert all(json.loads(path.read_text())["identity"] for path in records())


def test_a_later_process_finds_and_deletes_what_an_earlier_one_has_launched(
    configure: Callable[..., Any], tmp_path: Path
) -> None:
    layer = configure()
    launched = launch(layer, 2)
    layer.launch(launched)
    (record,) = {path.stat().st_mode & 0o777 for path in records()}
    assert record == 0o600
    later = configure()
    assert {one.id for one in later.launch(launched).machines} == set(vms(tmp_path))
    for machine in later.list():
        assert machine.launch == launched.id
        assert machine.offer == launched.offers[0]
        wait_until(lambda machine=machine: later.terminate(machine.id))
    assert (vms(tmp_path), records(), later.list()) == ([], [], [])
    assert later.terminate(machine.id)


def test_what_is_missing_of_a_launch_is_started_and_nothing_twice(
    configure: Callable[..., Any], tmp_path: Path
) -> None:
    layer = configure()
    first = launch(layer)
    layer.launch(first)
    later = configure().launch(replace(first, count=2))
    assert sorted(machine.id for machine in later.machines) == vms(tmp_path)
    assert len(vms(tmp_path)) == 2
    assert all(json.loads(path.read_text())["identity"] for path in records())


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Quota 'CPUS' exceeded. Limit: 24.0", "quota"),
        ("ZONE_RESOURCE_POOL_EXHAUSTED", "capacity"),
        ("Rate limit exceeded", "throttled"),
        ("the image is unknown", "invalid"),
    ],
)
def test_what_a_cloud_refuses_is_said_and_leaves_nothing(
    configure: Callable[..., Any], tmp_path: Path, said: str, kind: str
) -> None:
    layer = configure({"refuses": said})
    launched = layer.launch(launch(layer, kind="small"))
    assert launched.machines == ()
    (refusal,) = launched.refused
    assert refusal.kind == kind
    assert said in refusal.message
    assert (vms(tmp_path), records(), layer.list()) == ([], [], [])


def test_another_type_is_taken_if_one_is_refused(
    configure: Callable[..., Any], tmp_path: Path
) -> None:
    small = {**SMALL, "options": {"refuses": "stockout"}}
    layer = configure(types={"small": small, "large": LARGE})
    launched = layer.launch(launch(layer))
    assert [machine.offer.type for machine in launched.machines] == ["large"]
    assert [refusal.kind for refusal in launched.refused] == ["capacity"]


def test_a_vm_that_is_not_deleted_stays_on_the_list(
    configure: Callable[..., Any], tmp_path: Path
) -> None:
    layer = configure()
    (machine,) = layer.launch(launch(layer)).machines
    refusing = configure({"keeps": "it is locked"})
    for _ in range(2):
        with pytest.raises(PoolError, match="it is locked"):
            refusing.terminate(machine.id)
    assert [one.id for one in refusing.list()] == [machine.id]
    (tmp_path / machine.id).unlink()
    gone = configure({"keeps": "server not found"})
    wait_until(lambda: gone.terminate(machine.id))
    assert gone.list() == []


def test_of_a_vm_of_which_nothing_was_heard_the_name_is_said(
    configure: Callable[..., Any],
) -> None:
    layer = configure()
    (machine,) = layer.launch(launch(layer)).machines
    (path,) = records()
    # As it is left by a process that was killed before its cloud had answered.
    path.write_text(json.dumps({**json.loads(path.read_text()), "identity": {}}))
    later = configure()
    assert [one.id for one in later.list()] == [machine.id]
    with pytest.raises(PoolError, match=f"started {machine.id}") as caught:
        later.terminate(machine.id)
    assert str(path) in str(caught.value.hint)


def test_the_defaults_of_dask_cloudprovider_change_nothing_for_ec2(
    configure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configure().offers()
    configure().why_not()
    assert dask.config.get("cloudprovider.ec2.filesystem_size") == 40
    assert (borrowed("ec2.filesystem_size"), borrowed("ec2.instance_tags")) == (None, None)
    (tmp_path / "theirs.yaml").write_text("cloudprovider: {ec2: {filesystem_size: 40}}")
    monkeypatch.setattr("dask.config.paths", [str(tmp_path)])
    assert borrowed("ec2.filesystem_size") == 40


def records() -> list[Path]:
    """Return the files of the layer's records."""
    return sorted((places.data_dir() / "machines" / "files").glob("*.json"))


CLUSTER = "layers.files.cloudprovider"
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"cloudprovider": "filecloud"}, f"{CLUSTER}: 'filecloud' is no class"),
    ({"cloudprovider": "no_such_package.Cluster"}, "No module named 'no_such_package'"),
    ({"cloudprovider": "filecloud.GileCluster"}, f"{CLUSTER}: filecloud has no GileCluster"),
    ({"cloudprovider": "filecloud.FileWorker"}, "is no VMCluster of dask-cloudprovider"),
    ({"cloudprovider": "filecloud.ContainerCluster"}, "starts no VMs that take a script"),
    ({"options": {"colour": "red"}}, "layers.files.options: FileCluster has no 'colour'"),
    ({"options": {"docker_image": "x"}}, "'docker_image' is about containers of Dask"),
    ({"options": {}}, "layers.files.options: FileCluster: You must configure a directory"),
    ({"options": 3}, "layers.files.options: 3 is no mapping"),
    ({"types": None}, "layers.files.types: no machine types"),
    ({"types": {"a": {"cpu": 2}}}, "layers.files.types.a: memory is missing"),
    ({"types": {"a": {"memory": "2G"}}}, "layers.files.types.a: cpu is missing"),
    ({"types": {"a": {**SMALL, "price": 1}}}, "layers.files.types.a: there is no setting 'price'"),
    ({"types": {"a": {**SMALL, "memory": "7"}}}, "layers.files.types.a.memory: '7'"),
    ({"types": {"a": {**SMALL, "usd-per-hour": 0}}}, "layers.files.types.a.usd-per-hour: 0"),
    ({"types": {"a": {**SMALL, "priced": "May"}}}, "layers.files.types.a.priced: 'May' is no day"),
    ({"typos": 1}, "layers.files: there is no setting 'typos'"),
    ({"prepared": "no"}, "layers.files.prepared: 'no' is neither true nor false"),
    ({"prepared": None}, "layers.aws.bucket"),
    ({}, "machines of files cannot reach a relay"),
]


@pytest.mark.parametrize(("more", "why"), WRONG, ids=lambda value: str(value)[:50])
def test_what_is_configured_wrongly_is_said_in_one_line(
    configure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], why: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    if more == {"prepared": None}:
        monkeypatch.setattr("jupyter_compute.hosts.is_loopback", lambda _: False)
    layer = configure(**more)
    assert why in layer.why_not()
    assert "\n" not in layer.why_not()
