"""Keeps what the pool stores within bounds: blobs that nobody needs, and old runs."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_compute import ask, places
from jupyter_compute.blobs import Blobs
from jupyter_compute.errors import ComputeError
from jupyter_compute.model import Clock
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.stored import Stored

__all__ = ["Limits", "Upkeep"]

logger = logging.getLogger(__name__)

Tidy = Callable[
    [Mapping[str, Collection[str]], Iterable[Mapping[str, Any]], Collection[str]], Awaitable[None]
]

_PAUSE_S = 60.0
_PAUSE_AFTER_RUN_S = 10.0
_RECENT_S = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is stored, and for how long; bytes and seconds."""

    runs_s: float
    max_runs: int
    log_bytes: int
    results_s: float
    unused_s: float
    blob_bytes: int
    kept_s: float
    released_s: float

    @classmethod
    def from_settings(cls, get: Callable[[str], Any], memory: int) -> Limits:
        """Return the configured limits.

        Parameters
        ----------
        get : callable
            From a setting's name to its value.
        memory : int
            What this computer has, in bytes.
        """
        blobs = get("blobs.max-bytes")
        return cls(
            runs_s=ask.parse_time(get("retention.runs"), "retention.runs"),
            max_runs=max(int(get("retention.max-runs")), 1),
            log_bytes=ask.parse_memory(get("retention.max-bytes"), "retention.max-bytes"),
            results_s=ask.parse_time(get("retention.results"), "retention.results"),
            unused_s=ask.parse_time(get("blobs.unused"), "blobs.unused"),
            blob_bytes=memory // 4 if blobs is None else ask.parse_memory(blobs, "blobs.max-bytes"),
            kept_s=ask.parse_time(get("retention.kept"), "retention.kept"),
            released_s=ask.parse_time(get("retention.released"), "retention.released"),
        )


class Upkeep:
    """Drops what is not needed any more, now and then.

    Parameters
    ----------
    journal : Journal
    active : mapping
        The active runs, whose blobs stay.
    stored : Stored
        What stays between runs.
    limits : Limits
    clock : Clock
    tidy : callable
        Removes from the stores of layers what was dropped, and looks after the rest: called with
        the blobs to go by layer, the kept values, and the blobs that stay.
    """

    def __init__(
        self,
        journal: Journal,
        active: Mapping[str, Run],
        stored: Stored,
        limits: Limits,
        clock: Clock,
        tidy: Tidy,
    ) -> None:
        self._journal = journal
        self._stored = stored
        self._active = active
        self._limits = limits
        self._clock = clock
        self._tidy = tidy
        self._blobs = Blobs(places.blob_dirs())
        self._last = float("-inf")
        self._run_ended = False
        self._task: asyncio.Task[None] | None = None

    def run_ended(self) -> None:
        """Look again soon: a run has ended."""
        self._run_ended = True

    def tick(self) -> None:
        """Sweep if it is time to, in the background."""
        pause = _PAUSE_AFTER_RUN_S if self._run_ended else _PAUSE_S
        if self._clock.monotonic() - self._last < pause or self._task is not None:
            return
        self._last, self._run_ended = self._clock.monotonic(), False
        self._task = asyncio.get_running_loop().create_task(self._sweep())

    def pinned(self) -> set[str]:
        """Return the blobs that active runs read, results nobody has collected, and what is kept."""
        kept = self._journal.waiting_results(self._clock.now() - self._limits.results_s)
        kept |= self._stored.needed() | self._stored.cache.needed()
        for run in self._active.values():
            kept |= run.blobs
        return kept

    async def _sweep(self) -> None:
        limits = self._limits
        try:
            self._stored.expire(limits.released_s, limits.kept_s)
            self._stored.cache.trim()
            pinned = self.pinned()
            freed, self._stored.freed = self._stored.freed - pinned, set()
            left = await asyncio.to_thread(self._blobs.release, freed, _RECENT_S)
            self._stored.freed |= left
            await asyncio.to_thread(self._blobs.collect, pinned, limits.unused_s, limits.blob_bytes)
            gone, self._stored.gone = self._stored.gone, {}
            await self._tidy(gone, self._stored.kept(), pinned)
            recorded = self._stored.cache.needed() - self._stored.needed()
            await asyncio.to_thread(self._blobs.settle, recorded, limits.unused_s)
            self.forget_old_runs()
        except (OSError, ComputeError):
            logger.exception("the upkeep of stored data failed and will be repeated")
        finally:
            self._task = None

    async def close(self, spare_recent: bool) -> None:
        """Empty the shared memory. What is still needed moves to disk.

        Parameters
        ----------
        spare_recent : bool
            Needed is also what was stored a moment ago, perhaps for a run to come.
        """
        if self._task is not None:
            await self._task
        await asyncio.to_thread(self._to_disk, self.pinned(), _RECENT_S if spare_recent else 0.0)

    def _to_disk(self, needed: Collection[str], recent_s: float) -> None:
        *memory, disk = places.blob_dirs()
        newest = time.time() - recent_s
        for directory in memory:
            for blob in directory.iterdir():
                if blob.name in needed or blob.stat().st_mtime > newest:
                    partial = disk / f"{blob.name}.moving"
                    shutil.copy2(blob, partial)
                    partial.rename(disk / blob.name)
                blob.unlink()
            directory.rmdir()

    def forget_old_runs(self) -> None:
        """Drop the runs that are too old, too many, or whose logs are too large."""
        oldest = self._clock.now() - self._limits.runs_s
        directory, total, dropped = places.run_dir(), 0, []
        for number, (run_id, ended) in enumerate(self._journal.ended_runs()):
            log = directory / f"{run_id}.jsonl"
            total += log.stat().st_size if log.exists() else 0
            too_many = number >= self._limits.max_runs or total > self._limits.log_bytes
            if ended < oldest or too_many:
                dropped.append(run_id)
        if dropped:
            self._journal.forget(dropped)
            for run_id in dropped:
                (directory / f"{run_id}.jsonl").unlink(missing_ok=True)
