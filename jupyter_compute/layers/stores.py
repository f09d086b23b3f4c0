"""What an object store promises: inputs and results travel through it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jupyter_compute.parts import Patience

__all__ = ["Store", "Upload"]


@dataclass(frozen=True, slots=True)
class Upload:
    """How somebody without credentials puts an object into a store.

    Parameters
    ----------
    urls : tuple of str
        Where to put each part, in order; a single one takes it whole.
    headers : mapping of str to str
        What to send along with each.
    part_bytes : int
        The size of each part but the last.
    id : str
        What `Store.complete` needs to know; empty for an object that goes whole.
    """

    urls: tuple[str, ...]
    headers: Mapping[str, str]
    part_bytes: int
    id: str = ""


class Store(Protocol):
    """An object store for blobs, each named by the hash of its content.

    Calls block, may come from any thread, and try again by themselves for a while. All raise
    `parts.Broken` if the store cannot be reached now, `parts.Refused` if it does not want to.
    An object that is there is never changed, and stays for at least some days since it was
    put there, or touched.
    """

    def size(self, name: str) -> int | None:
        """Return the bytes of an object, None if there is none. One that is old is touched."""

    def upload(self, name: str, path: Path, patience: Patience) -> None:
        """Put a file there, in parts if it is large."""

    def download(self, name: str, path: Path, nbytes: int, patience: Patience) -> None:
        """Write an object to a new file.

        Raises
        ------
        parts.Damaged
            If it is not what its name says.
        parts.Full, parts.Unreachable, parts.Dropped
            In each case nothing is left of the file.
        """

    def get_url(self, name: str) -> str:
        """Return where anybody can read the object for an hour, or less."""

    def put_urls(self, name: str, nbytes: int) -> Upload:
        """Return where anybody can put the object for an hour, or less."""

    def renew(self, name: str, nbytes: int, upload_id: str) -> Upload:
        """Return addresses for an upload in parts whose addresses have expired."""

    def complete(self, name: str, upload_id: str, tags: Sequence[str]) -> None:
        """Make an object of its parts; `tags` is what the store answered to each."""

    def abort(self, name: str, upload_id: str) -> None:
        """Drop the parts that have come."""

    def delete(self, names: Collection[str]) -> None:
        """Remove objects, if they are there."""
