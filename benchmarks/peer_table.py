"""What is compared: the works, the libraries, and each library's ways to do a work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PLAIN = "plain"
OURS = "jupyter-compute"
DRIVER_NEEDS = ("numpy", "psutil")


@dataclass(frozen=True, slots=True)
class Work:
    """One row of the comparison, or two: ``rows`` are the names that the driver gives."""

    rows: Mapping[str, str]
    patience_s: float
    """How long one repetition may take before the library counts as hung."""
    unit: str = "ms"
    alone: bool = False
    """Each repetition is a process of its own."""
    once: bool = False
    """Measured once, whatever ``--repeat`` says."""


WORKS: dict[str, Work] = {
    "cold-start": Work({"": "cold start to the first result"}, 90, alone=True),
    "round-trip": Work({"": "trivial round trip (median of 100)"}, 60),
    "many-items": Work({"": "10 000 trivial items"}, 120),
    "short-items": Work({"": "1 000 items of 10 ms CPU"}, 90),
    "array": Work({"first": "256 MB array, first", "again": "256 MB array, again"}, 90),
    "cancel": Work({"": "cancel a busy task, until it uses no CPU"}, 60),
    "idle-memory": Work({"": "memory when idle (PSS, without the caller)"}, 60, "MB", once=True),
}


@dataclass(frozen=True, slots=True)
class Peer:
    """A library, what it needs, and what it can do beyond or short of the plain way."""

    program: str
    requirements: tuple[str, ...]
    """Empty for the environment that runs the benchmark."""
    more_ways: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By work: the library's own other ways, each with what a reader sees."""
    unable: Mapping[str, str] = field(default_factory=dict)
    """By work: why the plain way is not to be had."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """By work: what a reader must know to compare."""


PEERS: dict[str, Peer] = {
    OURS: Peer("on_jupyter_compute", ()),
    "distributed": Peer(
        "on_distributed",
        ("dask", "distributed", "toolz"),
        {
            "many-items": {"batches": "batch_size=1000", "bag": "dask.bag, partitions of 100"},
            "short-items": {"bag": "dask.bag, partitions of 100"},
            "array": {"handle": "scattered once by hand"},
            "cancel": {"force": "restart the worker"},
        },
        {"cancel": "a running task cannot be cancelled"},
        {"idle-memory": "its scheduler is a part of the caller"},
    ),
    "ipyparallel": Peer(
        "on_ipyparallel",
        ("ipyparallel",),
        {
            "round-trip": {"direct": "direct view, as %%px"},
            "many-items": {"chunks": "chunksize=100", "direct": "direct view, as %%px"},
            "short-items": {"chunks": "chunksize=100", "direct": "direct view, as %%px"},
            "array": {"handle": "pushed once by hand, as %%px"},
            "cancel": {"force": "interrupt the engine"},
        },
        {"cancel": "a running task cannot be cancelled"},
    ),
    "ray": Peer(
        "on_ray",
        ("ray",),
        {
            "many-items": {"pool": "ray.util Pool, chunksize=100"},
            "short-items": {"pool": "ray.util Pool, chunksize=100"},
            "array": {"handle": "ray.put once by hand"},
            "cancel": {"force": "force=True"},
        },
    ),
    "parsl": Peer(
        "on_parsl",
        ("parsl",),
        {
            "many-items": {"prefetch": "prefetch_capacity=100"},
            "short-items": {"prefetch": "prefetch_capacity=100"},
        },
        {"cancel": "a running task cannot be cancelled"},
    ),
    "loky": Peer(
        "on_loky",
        ("loky",),
        {
            "many-items": {"chunks": "chunksize=100"},
            "short-items": {"chunks": "chunksize=100"},
            "cancel": {"force": "kill all workers"},
        },
        {"cancel": "a running task cannot be cancelled"},
    ),
}


def ways(peer: Peer, work: str) -> dict[str, str]:
    """Return the ways to do a work, each with what a reader sees; the plain one first."""
    plain = {} if work in peer.unable else {PLAIN: ""}
    return plain | dict(peer.more_ways.get(work, {}))
