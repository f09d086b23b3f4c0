"""The values that cross a process border, and their JSON forms.

Sizes are bytes, durations seconds, prices dollars, times UTC seconds since the
epoch. Unknown is ``None``, never 0.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = [
    "API_VERSION",
    "ENDED",
    "SANDBOX",
    "Clock",
    "Offer",
    "Receipt",
    "RetryRule",
    "RunSpec",
    "RunState",
    "SystemClock",
]

API_VERSION = 1
"""Version of the HTTP API between clients and the pool service."""

SANDBOX = " (sandbox)"
"""How a machine's name ends that is one of a rehearsal, and costs nothing."""

RunState = Literal["queued", "starting", "running", "done", "failed", "cancelled", "lost"]

ENDED: frozenset[str] = frozenset({"done", "failed", "cancelled", "lost"})
"""The states that a run does not leave."""


class Clock(Protocol):
    """Where time comes from, so that a test can own it."""

    def now(self) -> float:
        """Return UTC seconds since the epoch: for people and for records."""

    def monotonic(self) -> float:
        """Return seconds that never jump: for durations and deadlines."""


class SystemClock:
    """The computer's own clock."""

    def now(self) -> float:
        """Return UTC seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; they never go back."""
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class RetryRule:
    """When a failed attempt is followed by another one.

    Parameters
    ----------
    retries : int
        Reruns after an exception of the user's own code.
    retry_on : tuple of str
        Names of exception types (plain or dotted) that are rerun, subclasses included.
    delay_s : float
        Pause before the first rerun; it doubles each time, with jitter, up to a minute.
    steady : bool
        Every pause is exactly `delay_s` instead.
    """

    retries: int = 0
    retry_on: tuple[str, ...] = ("Exception",)
    delay_s: float = 1.0
    steady: bool = False


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One cell or call as the kernel submits it. It holds no user data, only hashes.

    Parameters
    ----------
    name : str
        Label in status, panel and receipts.
    notebook, cell : str
        Where it came from; empty when unknown.
    layer : str
        The layer to run on.
    cpu : float
        CPUs asked for.
    memory, memory_high : int or None
        Bytes asked for, and the top of the ladder; None leaves it to the layer.
    retry : RetryRule
    timeout_s : float or None
        Per attempt, from the start of execution.
    detached : bool
        True if the run goes on without the kernel that submitted it.
    interpreter : str
        The Python executable whose environment the code needs.
    payload : str
        Hash of the blob with the code and its inputs.
    environment : str
        Hash of the blob with working directory, variables and ``sys.path``.
    blobs : tuple of str
        Hashes of every other blob that the payload refers to.
    preload : tuple of str
        Modules worth importing before the fork, as the kernel has them imported too.
    gpu : int
        GPUs asked for.
    gpu_name : str
        Of what kind, as in ``--gpu L4``; empty if any will do.
    map : bool
        True if the payload is a function whose items follow, in chunks.
    code : str
        Key of the code however it is laid out (`notebook.code`): runs of the same code share
        it. Empty if unknown.
    given : tuple of str
        What of the ask somebody wrote down, such as ``"cpu"`` and ``"memory"``; the rest are
        defaults, about which nobody wants advice.
    sent : int
        Bytes of the inputs. A run that asks for less memory is refused.
    kept : tuple of str
        Ids of the kept values that it reads.
    cache : str
        Key under which its result is looked up and recorded; empty if it is not to be.
    chaos : str
        The failure that its first attempt rehearses (`policy.chaos`); empty if none.
    instances : tuple of str
        The only machine types that will do; empty if any will.
    spot : {"auto", "always", "never"}
        Whether it may be on a spot machine.
    packages : str
        Hash of the blob with what the interpreter has installed (`packages.describe`); empty for
        a run on this computer, which uses the interpreter itself.
    max_cost : float or None
        It is stopped before it costs more dollars; None without a budget of its own.
    priced : bool
        True if some budget bounds it: then only machines will do whose price is known.
    """

    name: str
    layer: str
    cpu: float
    memory: int | None
    memory_high: int | None
    interpreter: str
    payload: str
    environment: str
    blobs: tuple[str, ...] = ()
    retry: RetryRule = RetryRule()
    timeout_s: float | None = None
    detached: bool = False
    notebook: str = ""
    cell: str = ""
    preload: tuple[str, ...] = ()
    gpu: int = 0
    gpu_name: str = ""
    code: str = ""
    map: bool = False
    given: tuple[str, ...] = ()
    sent: int = 0
    kept: tuple[str, ...] = ()
    cache: str = ""
    chaos: str = ""
    instances: tuple[str, ...] = ()
    spot: str = "auto"
    packages: str = ""
    max_cost: float | None = None
    priced: bool = False

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> RunSpec:
        """Return the spec that :meth:`to_wire` described."""
        fields = dict(wire)
        retry = dict(fields.pop("retry", {}))
        retry["retry_on"] = tuple(retry.get("retry_on", RetryRule().retry_on))
        for name in ("blobs", "preload", "given", "kept", "instances"):
            fields[name] = tuple(fields.get(name, ()))
        return cls(retry=RetryRule(**retry), **fields)


@dataclass(frozen=True, slots=True)
class Offer:
    """One machine type of a layer, with its price.

    Parameters
    ----------
    layer, type : str
    cpu : float
    memory : int
        Bytes that runs can have.
    gpu : int
    usd_per_hour : float or None
        None if unknown; 0 on this computer.
    spot : bool
        True if the machine may be taken away at two minutes' notice.
    region, zone : str
        Where; an empty zone leaves it to the layer.
    priced : float or None
        When the price was true, in UTC seconds; None if it is no matter of time, or unknown.
    gpu_name : str
        Of what its GPUs are, as in ``--gpu A100``; empty without.
    arch : str
        The processors, as `platform.machine` calls them; empty for this computer's own.
    on_request : bool
        True if only asks that name the type may use it.
    sandbox : bool
        True if it is of a rehearsal: nothing of what it is said to cost has to be paid.
    """

    layer: str
    type: str
    cpu: float
    memory: int
    gpu: int = 0
    usd_per_hour: float | None = None
    spot: bool = False
    region: str = ""
    zone: str = ""
    priced: float | None = None
    gpu_name: str = ""
    arch: str = ""
    on_request: bool = False
    sandbox: bool = False

    @property
    def label(self) -> str:
        """How users read it: ``"r7i.2xlarge spot"``."""
        return f"{self.type}{' spot' if self.spot else ''}{SANDBOX if self.sandbox else ''}"

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a run used and cost. It exists once the run has ended.

    Parameters
    ----------
    wait_s, run_s : float
        Time queued or starting, and time executing (all attempts).
    attempts : int
    layer, machine : str
        The last machine's layer and type.
    cpu, memory : float, int
        What the last attempt was granted.
    cpu_mean : float or None
        CPUs used on average over the run time; None if too short to be measured.
    memory_peak : int or None
        Bytes.
    cost_usd : float or None
        None if the price of a machine, or the time on it, is not known.
    advice : str
        How a smaller or larger ask would do, and on how many runs that rests; or empty.
    items : int or None
        What a map has worked through; its `run_s` is the time from the first lane to the end,
        its `attempts` are its lanes, and `cpu_mean` and `memory_peak` are those of one lane.
    lane_s : float or None
        The time of all lanes of a map together.
    cpu_peak : float or None
        The most CPUs used in any second; None if too short to be measured.
    advised : dict or None
        The ask that `advice` is about, by the names of the ask: ``cpu``, ``memory``,
        ``memory_high``; only what should change. None without advice.
    attempts_usd : list of float or None, or None
        `cost_usd` by attempt; None of a map.
    """

    wait_s: float
    run_s: float
    attempts: int
    layer: str
    machine: str
    cpu: float
    memory: int
    cpu_mean: float | None = None
    memory_peak: int | None = None
    cost_usd: float | None = None
    advice: str = ""
    items: int | None = None
    lane_s: float | None = None
    cpu_peak: float | None = None
    advised: dict[str, float] | None = None
    attempts_usd: list[float | None] | None = None

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dataclasses.asdict(self)

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> Receipt:
        """Return the receipt that :meth:`to_wire` described."""
        return cls(**wire)
