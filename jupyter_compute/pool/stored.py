"""What stays stored between runs: kept values, and results recorded for ``--cache``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from jupyter_compute.blobs import Blobs
from jupyter_compute.errors import TransferError
from jupyter_compute.model import Clock
from jupyter_compute.pool.cache import Cache, Recorded
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.record import Run

__all__ = ["Stored"]


class Stored:
    """What clients ask about stored values.

    Parameters
    ----------
    journal : Journal
    active : mapping
        The active runs: what they read stays.
    blobs : Blobs
    cache : Cache
    clock : Clock
    """

    def __init__(
        self,
        journal: Journal,
        active: Mapping[str, Run],
        blobs: Blobs,
        cache: Cache,
        clock: Clock,
    ) -> None:
        self.cache = cache
        self.freed: set[str] = set()
        self.gone: dict[str, set[str]] = {}
        self._kept = journal.kept
        self._active = active
        self._blobs = blobs
        self._clock = clock

    def readers(self) -> dict[str, str]:
        """Return the kept values that active runs read, each with one of these."""
        return {kept: run.id for run in self._active.values() for kept in run.spec.kept}

    def kept(self) -> list[dict[str, Any]]:
        """Return every kept value, newest first."""
        return self._kept.newest()

    def check(self, kept_ids: Iterable[str]) -> None:
        """Make sure that a run can read these kept values.

        Raises
        ------
        TransferError
            If one has been dropped or lost.
        """
        ids = list(kept_ids)
        for kept_id in ids:
            self._find(kept_id)
        if ids:
            self._kept.used(ids, self._clock.now())

    def kept_value(self, kept_id: str) -> dict[str, Any]:
        """Return a kept value that is about to be used.

        Raises
        ------
        TransferError
            If it has been dropped or lost.
        """
        found = self._find(kept_id)
        self._kept.used([kept_id], self._clock.now())
        return found

    def _find(self, kept_id: str) -> dict[str, Any]:
        found = self._kept.find(kept_id)
        if found is None:
            raise TransferError(
                f"there is no kept value {kept_id} (any more)",
                hint="`%compute kept` lists them; run the cell that made it again",
                kept=kept_id,
            )
        here = all(map(self._blobs.has, (found["payload"], *found["blobs"])))
        # What is in a layer's store is looked for there when it is needed.
        if not here and not found.get("apart"):
            self._drop([kept_id])
            raise TransferError(
                f"the kept value {kept_id} is lost: its storage was emptied",
                hint="run the cell that made it again",
                kept=kept_id,
            )
        return found

    def recall(self, key: str) -> Recorded | None:
        """Return the recorded result that stands for a run with this key, if there is one."""
        found = self.cache.find(key)
        if found is None:
            return None
        try:
            self.check(found.kept)
        except TransferError:
            return None
        return found

    def drop(self, kept_ids: Sequence[str] | None) -> dict[str, Any]:
        """Drop these kept values, or all. Those that runs read stay.

        Raises
        ------
        TransferError
            If there is no such kept value; nothing has been dropped then.
        """
        known = {entry["id"]: entry for entry in self._kept.newest()}
        for kept_id in kept_ids or ():
            if kept_id not in known:
                self._find(kept_id)
        readers = self.readers()
        wanted = list(known) if kept_ids is None else list(dict.fromkeys(kept_ids))
        dropped = [kept_id for kept_id in wanted if kept_id not in readers]
        self._drop(dropped)
        return {
            "dropped": dropped,
            "nbytes": sum(known[kept_id]["nbytes"] for kept_id in dropped),
            "in_use": {kept_id: readers[kept_id] for kept_id in wanted if kept_id in readers},
        }

    def hold(self, holder: str, changes: Mapping[str, str]) -> None:
        """Note what a kernel holds from now on, and what not any more."""
        self._kept.hold(holder, changes, self._clock.now())

    def expire(self, released_s: float, retention_s: float) -> None:
        """Drop the kept values whose time is over."""
        now = self._clock.now()
        self._kept.forget_dead_holders(now)
        over = self._kept.expired(now - released_s, now - retention_s, self.readers())
        self._drop(over)

    def _drop(self, kept_ids: Collection[str]) -> None:
        """Drop these, and note what that frees on this host and in the stores of layers."""
        found = [entry for kept_id in kept_ids if (entry := self._kept.find(kept_id))]
        for entry in found:
            if entry.get("apart"):
                gone = self.gone.setdefault(entry["apart"], set())
                gone.update([entry["payload"], *entry["blobs"]])
        self.freed |= self._kept.drop(kept_ids)

    def needed(self) -> set[str]:
        """Return the blobs of kept values, which must stay."""
        return self._kept.blobs()
