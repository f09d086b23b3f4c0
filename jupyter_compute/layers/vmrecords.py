"""Records of machines of clouds that do not list them for us: one file each, on this computer."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_compute import places
from jupyter_compute.model import Offer

__all__ = ["Record", "Records"]


@dataclass(frozen=True, slots=True)
class Record:
    """A machine that was, or is about to be, asked for.

    Parameters
    ----------
    launch : str
    offer : Offer
    started : float
        When it was asked for, in UTC seconds.
    identity : mapping
        What the cloud calls it, as `vmclass.identity` returns it; empty as long as that is not
        known.
    """

    launch: str
    offer: Offer
    started: float
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Records:
    """The records of one layer. All pools of this installation share them.

    Parameters
    ----------
    layer : str
    """

    def __init__(self, layer: str) -> None:
        self._layer = layer

    def put(self, name: str, record: Record) -> None:
        """Write down, over what there was, and return once it is on the disk.

        Raises
        ------
        PoolError
            If the directory is not ours.
        OSError
            If it cannot be written.
        """
        path = self.path(name)
        draft = path.with_name(f".{name}.{secrets.token_hex(4)}")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as written:
            json.dump(dataclasses.asdict(record), written)
            written.flush()
            os.fsync(file)
        draft.replace(path)

    def all(self) -> dict[str, Record]:
        """Return every record by the machine's name."""
        found = {}
        for path in sorted(self.path("x").parent.glob("*.json")):
            if (record := self.get(path.stem)) is not None:  # another pool may have just dropped it
                found[path.stem] = record
        return found

    def get(self, name: str) -> Record | None:
        """Return the record of a machine, None if there is none."""
        try:
            wire = json.loads(self.path(name).read_text())
        except FileNotFoundError:
            return None
        return Record(**{**wire, "offer": Offer(**wire["offer"])})

    def drop(self, name: str) -> None:
        """Forget a machine that is gone."""
        self.path(name).unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Return the file of a machine."""
        top = places.private_directory(places.data_dir() / "machines")
        return places.private_directory(top / self._layer) / f"{name}.json"
