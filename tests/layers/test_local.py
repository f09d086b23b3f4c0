"""This computer as a layer: its true size, and processes that start and end when told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import services
from jupyter_compute.layers.base import Launch
from jupyter_compute.layers.local import LocalLayer, measure
from jupyter_compute.model import Offer

GIB = 2**30


def _system(root: Path, groups: str, files: dict[str, str], total: int = 16 * GIB) -> Path:
    """Lay out ``proc`` and ``sys`` as a system shows them."""
    files = {
        "proc/meminfo": f"MemTotal:       {total // 1024} kB\nMemFree:  1 kB\n",
        "proc/self/cgroup": groups,
        **files,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


V1 = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "cpu", "memory"),
    [
        pytest.param("0::/\n", {}, 8, 16 * GIB, id="no limits"),
        pytest.param(
            "0::/\n",
            {
                "sys/fs/cgroup/cpu.max": "100000 100000\n",
                "sys/fs/cgroup/memory.max": f"{2 * GIB}\n",
            },
            1,
            2 * GIB,
            id="v2 container with one core and 2 GiB",
        ),
        pytest.param(
            "0::/\n",
            {"sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/memory.max": "max\n"},
            8,
            16 * GIB,
            id="v2 without limits",
        ),
        pytest.param(
            "0::/user.slice/job\n",
            {
                "sys/fs/cgroup/user.slice/job/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/user.slice/memory.max": f"{3 * GIB}\n",
            },
            1.5,
            3 * GIB,
            id="v2 with limits of the group and of its parent",
        ),
        pytest.param(
            V1,
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
            },
            0.5,
            2 * GIB,
            id="v1 seen from inside the container",
        ),
        pytest.param(
            V1,
            {
                "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            8,
            16 * GIB,
            id="v1 without limits",
        ),
    ],
)
def test_capacity(
    tmp_path: Path, groups: str, files: dict[str, str], cpu: float, memory: int
) -> None:
    found = measure(_system(tmp_path, groups, files), affinity=8)
    assert (found.cpu, found.memory) == (cpu, memory)


def test_affinity_counts(tmp_path: Path) -> None:
    limits = {"sys/fs/cgroup/cpu.max": "400000 100000\n"}
    assert measure(_system(tmp_path, "0::/\n", limits), affinity=2).cpu == 2


@pytest.mark.parametrize(
    ("total", "left"),
    [(16 * GIB, 16 * GIB - int(16 * GIB * 0.15)), (GIB, GIB - 256 * 2**20), (2**28, 2**26)],
)
def test_a_reserve_is_kept(tmp_path: Path, total: int, left: int) -> None:
    assert measure(_system(tmp_path, "0::/\n", {}, total)).memory_for_runs == left


def test_a_node_starts_once_learns_the_address_and_ends_when_told(tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    code = f"import sys; open({str(heard)!r}, 'a').write(sys.stdin.readline()); sys.stdin.read()"
    layer = LocalLayer(command=lambda *_: [sys.executable, "-c", code])
    offer = Offer("local", "local", cpu=1, memory=GIB)
    layer.launch(Launch("m1", (offer,)))
    layer.launch(Launch("m1", (offer,)))
    assert [(m.id, m.state) for m in layer.list()] == [("m1", "alive")]
    layer.introduce("m1", lambda name: f"an invitation for {name}")
    layer.introduce("m1", lambda name: f"a second one for {name}")
    services.wait_until(lambda: heard.exists() and heard.read_text())
    assert heard.read_text() == "an invitation for m1\n"
    services.wait_until(lambda: layer.terminate("m1"))
    assert layer.list() == []
    assert layer.terminate("m1")


@pytest.mark.slow
def test_a_node_that_does_not_end_by_itself_is_killed() -> None:
    code = "import time\nwhile True: time.sleep(1)"
    layer = LocalLayer(command=lambda *_: [sys.executable, "-c", code])
    layer.launch(Launch("m1", (Offer("local", "local", cpu=1, memory=GIB),)))
    services.wait_until(lambda: layer.terminate("m1"))


def test_a_node_that_died_is_listed_with_the_reason_until_it_is_terminated() -> None:
    layer = LocalLayer(command=lambda *_: [sys.executable, "-c", "raise SystemExit(3)"])
    layer.launch(Launch("m1", (Offer("local", "local", cpu=1, memory=GIB),)))
    services.wait_until(lambda: layer.list()[0].state == "gone")
    assert layer.list()[0].why == "its process ended with exit code 3"
    assert layer.terminate("m1")
