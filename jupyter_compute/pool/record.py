"""One run as the pool knows it, and the forms in which others see it."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jupyter_compute.ask import format_time
from jupyter_compute.model import ENDED, Receipt, RunSpec, RunState
from jupyter_compute.policy.chunks import room_for_lanes
from jupyter_compute.policy.fit import Grant
from jupyter_compute.policy.retry import Counts
from jupyter_compute.policy.where import Needs, where_of
from jupyter_compute.pool.events import EventLog

if TYPE_CHECKING:
    from jupyter_compute.pool.lanes import Crew

__all__ = [
    "Run",
    "died",
    "end_event",
    "new_id",
    "notes_of",
    "outcome_of",
    "public",
    "sample_event",
    "state_event",
]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def new_id() -> str:
    """Return an id for a run, e.g. ``r-k3m2xq7a``."""
    return "r-" + "".join(secrets.choice(_ALPHABET) for _ in range(8))


def died(reason: str, message: str) -> dict[str, Any]:
    """Return the envelope of an attempt that the pool itself declares ended."""
    return {
        "outcome": "died",
        "reason": reason,
        "peak": None,
        "limit": None,
        "signal": None,
        "exit_code": None,
        "stack": "",
        "tail": "",
        "message": message,
        "usage": {"run_s": None, "cpu_s": None, "memory_peak": None},
    }


@dataclass(slots=True)
class Run:
    """A run, from its submission to its end.

    Parameters
    ----------
    id : str
    spec : RunSpec
    log : EventLog
    created : float
        UTC seconds.
    cpu, memory, memory_high : float, int, int or None
        What it is granted; `memory` is the current attempt's.
    granted : bool
        False while its layer is still asked what it offers: `cpu` and `memory` are as asked for.
    usd : float or None
        What it had cost when it was last looked at; None if a price is not known.
    rehearsed : bool
        True if it is in a sandbox: nothing of what it is said to cost has to be paid.
    verdict : dict or None
        The envelope with which it is to end, as the pool has stopped it.
    held : bool
        True while it may not have a machine.
    attempts_usd : list of float or None
        What each attempt that is over has cost; of maps it is not kept.
    """

    id: str
    spec: RunSpec
    log: EventLog
    created: float
    cpu: float
    memory: int
    memory_high: int | None
    state: RunState = "queued"
    reason: str = ""
    machine: str | None = None
    machine_id: str | None = None
    attempt: int = 1
    counts: Counts = field(default_factory=Counts)
    started: float | None = None
    finished: float | None = None
    attempt_started: float | None = None
    run_s: float = 0.0
    cpu_s: float | None = 0.0
    memory_peak: int | None = None
    cpu_used: float | None = None
    memory_used: float | None = None
    cpu_peak: float | None = None
    usd: float | None = 0.0
    rehearsed: bool = False
    verdict: dict[str, Any] | None = None
    held: bool = False
    attempts_usd: list[float | None] = field(default_factory=list)
    envelope: dict[str, Any] | None = None
    receipt: Receipt | None = None
    error: str = ""
    cancelled: str = ""
    unfollowed_since: float | None = None
    explained: float = float("-inf")
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)
    most_lanes: int = 1
    granted: bool = True
    lane_s: float | None = None
    items: int | None = None
    crew: Crew | None = field(default=None, repr=False)

    @property
    def attempt_id(self) -> str:
        """The id of the current attempt."""
        return f"{self.id}.{self.attempt}"

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDED

    @property
    def waits(self) -> bool:
        """Whether it waits for a machine, and not for a pause to end."""
        return self.granted and self.machine_id is None and self.timer is None

    def take(self, grant: Grant) -> None:
        """Take what the layer grants."""
        self.cpu, self.memory, self.memory_high = grant.cpu, grant.memory, grant.memory_high
        most = grant.offer.cpu, grant.offer.memory
        self.most_lanes = room_for_lanes(grant.cpu, grant.memory, *most)
        self.rehearsed = grant.offer.sandbox
        self.granted = True

    @property
    def on_machines(self) -> bool:
        """Whether it has a machine: of a map, any lane."""
        if self.crew is not None:
            return any(lane.machine_id for lane in self.crew.lanes.values())
        return self.machine_id is not None

    @property
    def blobs(self) -> set[str]:
        """The blobs that its attempts read."""
        lanes = self.crew.blobs if self.crew is not None else set()
        spec = self.spec
        return {spec.payload, spec.environment, spec.packages, *spec.blobs, *lanes} - {""}

    def needs(self, memory: int) -> Needs:
        """Return what an attempt with so many bytes needs of a machine."""
        return Needs(where_of(self.spec), self.cpu, memory, self.spec.gpu)

    def attempt_spec(self) -> dict[str, Any]:
        """Return what the node is told about the current attempt."""
        spec = self.spec
        return {
            "run": self.id,
            "attempt": self.attempt_id,
            "layer": spec.layer,
            "interpreter": spec.interpreter,
            "payload": spec.payload,
            "environment": spec.environment,
            "packages": spec.packages,
            "blobs": list(spec.blobs),
            "kept": list(spec.kept),
            "cpu": self.cpu,
            "memory": self.memory,
            "timeout_s": spec.timeout_s,
            "preload": list(spec.preload),
            "map": spec.map,
            "recorded": bool(spec.cache),
            "chaos": spec.chaos if self.attempt == 1 else "",
        }

    def loss(self, now: float, how: str = "") -> str:
        """Return that its machine is gone, after how long, and how if that is known."""
        began = self.attempt_started
        ran = "" if began is None else f" after {format_time(max(0.0, now - began))}"
        return f"machine lost{ran}: {self.machine}{how and ' '}{how}"

    def use(self, used: Mapping[str, Any]) -> None:
        """Take note of what its attempt uses now."""
        self.cpu_used, self.memory_used = used["cpu_used"], used["memory_used"]
        self.memory_peak = max(self.memory_peak or 0, used["memory_peak"] or 0) or None
        if self.cpu_used is not None:
            self.cpu_peak = max(self.cpu_peak or 0.0, self.cpu_used)

    def add_usage(self, envelope: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Add what the attempt that has just ended used, and return it."""
        usage = dict(envelope.get("usage") or {})
        if usage.get("run_s") is None and self.attempt_started:
            usage["run_s"] = max(0.0, now - self.attempt_started)
        usage["run_s"] = usage.get("run_s") or 0.0
        self.run_s += usage["run_s"]
        if self.attempt_started:
            cpu_s = usage.get("cpu_s")
            self.cpu_s = None if cpu_s is None or self.cpu_s is None else self.cpu_s + cpu_s
        peaks = filter(None, (self.memory_peak, usage.get("memory_peak")))
        self.memory_peak = max(peaks, default=None)
        return usage

    def make_receipt(self) -> Receipt:
        """Return what the run used, all attempts together."""
        total = max(0.0, (self.finished or self.created) - self.created)
        busy_s = self.run_s if self.lane_s is None else self.lane_s
        measured = self.cpu_s is not None and busy_s > 0.01
        return Receipt(
            wait_s=round(max(0.0, total - self.run_s), 3),
            run_s=round(self.run_s, 3),
            attempts=self.attempt,
            layer=self.spec.layer,
            machine=self.machine or "",
            cpu=self.cpu,
            memory=self.memory,
            cpu_mean=round((self.cpu_s or 0.0) / busy_s, 3) if measured else None,
            memory_peak=self.memory_peak,
            cost_usd=None if self.usd is None else round(self.usd, 6),
            cpu_peak=self.cpu_peak,
            items=self.items,
            lane_s=None if self.lane_s is None else round(self.lane_s, 3),
            attempts_usd=_rounded(self.attempts_usd) if self.lane_s is None else None,
        )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form that clients see."""
        return {
            "id": self.id,
            "name": self.spec.name,
            "notebook": self.spec.notebook,
            "cell": self.spec.cell,
            "state": self.state,
            "reason": self.reason,
            "ask": {"cpu": self.cpu, "memory": self.memory, "memory_high": self.memory_high},
            "layer": self.spec.layer,
            "machine": self.machine,
            "attempt": self.attempt,
            "created": self.created,
            "started": self.started,
            "finished": self.finished,
            "cpu_used": self.cpu_used,
            "memory_used": self.memory_used,
            "memory_peak": self.memory_peak,
            "usd": self.usd,
            "rehearsed": self.rehearsed,
            "detached": self.spec.detached,
            "map": self.spec.map,
            "payload": self.spec.payload,
            "receipt": None if self.receipt is None else self.receipt.to_wire(),
            "envelope": self.envelope,
            "error": self.error,
        }

    def to_record(self) -> dict[str, Any]:
        """Return the JSON form for the journal: what clients see, and what a replay needs."""
        replay = {
            "counts": dataclasses.asdict(self.counts),
            "run_s": self.run_s,
            "cpu_s": self.cpu_s,
            "cpu_peak": self.cpu_peak,
            "attempts_usd": self.attempts_usd,
            "cancelled": self.cancelled,
            "most_lanes": self.most_lanes,
            "granted": self.granted,
        }
        return {**self.to_wire(), "replay": replay}

    @classmethod
    def from_record(
        cls,
        spec: RunSpec,
        record: Mapping[str, Any],
        log: EventLog,
        usd: float | None = 0.0,
    ) -> Run:
        """Return the run that an earlier service wrote down, queued again."""
        ask, replay = record["ask"], record["replay"]
        return cls(
            id=record["id"],
            spec=spec,
            log=log,
            created=record["created"],
            cpu=ask["cpu"],
            memory=ask["memory"],
            memory_high=ask["memory_high"],
            attempt=record["attempt"],
            started=record["started"],
            machine=record["machine"],
            counts=Counts(**replay["counts"]),
            run_s=replay["run_s"],
            cpu_s=replay["cpu_s"],
            cpu_peak=replay.get("cpu_peak"),
            usd=usd,
            rehearsed=record.get("rehearsed", False),
            attempts_usd=list(replay.get("attempts_usd", ())),
            memory_peak=record["memory_peak"],
            cancelled=replay["cancelled"],
            most_lanes=replay.get("most_lanes", 1),
            granted=replay.get("granted", True),
        )


def _rounded(amounts: Iterable[float | None]) -> list[float | None]:
    return [None if usd is None else round(usd, 6) for usd in amounts]


def public(record: dict[str, Any]) -> dict[str, Any]:
    """Return what clients see of a journalled record."""
    record.pop("replay", None)
    return record


def state_event(run: Run) -> dict[str, Any]:
    """Return the event that tells the run's state."""
    return {
        "kind": "state",
        "state": run.state,
        "reason": run.reason,
        "attempt": run.attempt,
        "machine": run.machine,
        "cpu": run.cpu,
        "memory": run.memory,
    }


def notes_of(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Return the events that tell these."""
    return [{"kind": "note", "text": text} for text in texts]


def sample_event(run: Run, used: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the event that tells what the run's attempt uses now."""
    return {
        "kind": "sample",
        "cpu_used": used["cpu_used"],
        "memory_used": used["memory_used"],
        "memory_peak": used["memory_peak"],
        "elapsed_s": round(max(0.0, now - (run.attempt_started or now)), 3),
    }


def end_event(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last event of a run that has ended, from its JSON form."""
    return {
        "kind": "end",
        "state": record["state"],
        "envelope": record["envelope"],
        "receipt": record["receipt"],
    }


def outcome_of(envelope: Mapping[str, Any]) -> str:
    """Return in one word how an attempt ended: the reason of its death, or its exception."""
    return str(envelope.get("reason") or envelope.get("type") or envelope.get("outcome"))
