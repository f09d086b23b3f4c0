"""What clients ask about runs: to take one on, to end one, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from jupyter_compute.model import Clock, RunSpec
from jupyter_compute.policy import chaos
from jupyter_compute.policy.fit import DEFAULT_MEMORY, Grant
from jupyter_compute.pool.cache import Recorded
from jupyter_compute.pool.events import EventLog, Follower
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.life import Life
from jupyter_compute.pool.record import Run, end_event, new_id, public

__all__ = ["FROM_CACHE", "Runs", "UnknownRun"]

FROM_CACHE = "cache"
"""What stands for the machine of a run whose result had been recorded."""


class UnknownRun(KeyError):
    """There is no run with this id."""


class Runs:
    """Every run that this pool remembers, active or ended.

    Parameters
    ----------
    journal : Journal
    life : Life
    clock : Clock
    directory : path
        Where the event logs are.
    log_bytes : int
        What is kept of one run's output.
    """

    def __init__(
        self, journal: Journal, life: Life, clock: Clock, directory: Path, log_bytes: int
    ) -> None:
        self._journal = journal
        self._life = life
        self._clock = clock
        self._directory = directory
        self._log_bytes = log_bytes
        self._logs: WeakValueDictionary[str, EventLog] = WeakValueDictionary()

    def submit(self, spec: RunSpec, grant: Grant | None) -> Run:
        """Take on a run: from here on it ends in one of the end states, whatever happens.

        Parameters
        ----------
        spec : RunSpec
        grant : Grant or None
            None if `Life.grant` or `Life.refuse` follows.

        Raises
        ------
        PoolError
            If the journal cannot be written; there is no such run then.
        """
        run = self._new(spec, grant)
        notes = [] if grant is None else list(grant.notes)
        if spec.chaos:
            notes.append(f"chaos: {chaos.read(spec.chaos).plan}")
        self._life.begin(run, notes)
        return run

    def recall(self, spec: RunSpec, grant: Grant | None, recorded: Recorded) -> Run:
        """Take on a run that a recorded result stands for: it has ended already.

        Raises
        ------
        PoolError
            If the journal cannot be written; there is no such run then.
        """
        run = self._new(spec, grant)
        run.state, run.machine, run.envelope = "done", FROM_CACHE, dict(recorded.envelope)
        run.finished = self._clock.now()
        run.receipt = run.make_receipt()
        self._journal.begin(run.id, spec.to_wire(), run.to_record())
        self._journal.ended(run.id, run.to_record(), FROM_CACHE, {})
        notes = [{"kind": "note", "text": text} for text in (grant.notes if grant else ())]
        run.log.append([*notes, *recorded.output, end_event(run.to_wire())])
        self._logs[run.id] = run.log
        return run

    def _new(self, spec: RunSpec, grant: Grant | None) -> Run:
        run_id = new_id()
        run = Run(
            id=run_id,
            spec=spec,
            log=EventLog(self._path(run_id), self._log_bytes, self._clock.now),
            created=self._clock.now(),
            cpu=spec.cpu,
            memory=spec.memory or DEFAULT_MEMORY,
            memory_high=spec.memory_high,
            granted=False,
        )
        if grant is not None:
            run.take(grant)
        return run

    def cancel(self, run_id: str, action: str) -> dict[str, Any]:
        """Ask for the end of a run and return it. An ended one stays as it is."""
        run = self._life.active.get(run_id)
        if run is None:
            return self.wire(run_id)
        self._life.cancel(run, action)
        return run.to_wire()

    async def exchange(self, run_id: str, order: Mapping[str, Any]) -> dict[str, Any]:
        """Take chunks of a map in, and return results of it.

        Raises
        ------
        UnknownRun
        """
        run = self._life.active.get(run_id)
        if run is None:
            left = self._life.maps.left.of(run_id, order["since"])
            return {**self.wire(run_id), "pieces": left, "missing": []}
        run.unfollowed_since = None if run.log.followers else self._clock.monotonic()
        return await self._life.maps.exchange(run, order)

    def conclude(self, run_id: str, envelope: dict[str, Any]) -> None:
        """End a map: its notebook needs no more of it."""
        run = self._life.active.get(run_id)
        if run is not None and run.spec.map and not run.cancelled:
            self._life.maps.conclude(run, envelope)

    def wire(self, run_id: str) -> dict[str, Any]:
        """Return the JSON form of a run.

        Raises
        ------
        UnknownRun
        """
        run = self._life.active.get(run_id)
        if run is not None:
            return run.to_wire()
        record = self._journal.record(run_id)
        if record is None:
            raise UnknownRun(run_id)
        return public(record)

    def newest(self, limit: int) -> list[dict[str, Any]]:
        """Return the last runs, newest first."""
        found = [run.to_wire() for run in self._life.active.values()]
        found += [public(record) for record in self._journal.newest(limit)]
        found.sort(key=lambda record: float(record["created"]), reverse=True)
        return found[:limit]

    def follow(self, run_id: str, since: int = 0) -> Follower:
        """Return a reader of the run's events after number `since`.

        Raises
        ------
        UnknownRun
        """
        run = self._life.active.get(run_id)
        if run is not None:
            run.unfollowed_since = None
        return self.look(run_id, since)

    def look(self, run_id: str, since: int = 0) -> Follower:
        """Return a reader as `follow` does, but one for whom no run goes on.

        Raises
        ------
        UnknownRun
        """
        run = self._life.active.get(run_id)
        return Follower(self._ended_log(run_id) if run is None else run.log, since)

    def unfollow(self, run_id: str, follower: Follower) -> None:
        """Give back what `follow` returned. A run may now be without followers."""
        follower.leave()
        run = self._life.active.get(run_id)
        if run is not None and not run.log.followers:
            run.unfollowed_since = self._clock.monotonic()

    def collected(self, run_id: str) -> None:
        """Note that the kernel has the results of an ended run.

        Raises
        ------
        UnknownRun
        """
        if run_id not in self._life.active:
            self.wire(run_id)
            self._journal.collected(run_id)

    def replay(self) -> int:
        """Take on again what an earlier service left unfinished; return how many runs."""
        left = self._journal.unfinished()
        for item in left:
            spec = RunSpec.from_wire(dict(item.spec))
            log = EventLog.load(self._path(item.record["id"]), self._log_bytes)
            self._life.resume(Run.from_record(spec, item.record, log, item.usd), item.placed)
        return len(left)

    def _path(self, run_id: str) -> Path:
        return self._directory / f"{run_id}.jsonl"

    def _ended_log(self, run_id: str) -> EventLog:
        log = self._logs.get(run_id)
        if log is None:
            record = self.wire(run_id)
            log = EventLog.load(self._path(run_id), self._log_bytes)
            if not log.ended:
                # The service was killed after it had journalled the end.
                log.append([end_event(record)])
            self._logs[run_id] = log
        return log
