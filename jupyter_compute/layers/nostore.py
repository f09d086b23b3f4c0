"""What a layer has in place of a store if none is configured: small values travel in messages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from jupyter_compute import parts
from jupyter_compute.layers.stores import Upload
from jupyter_compute.parts import Patience

__all__ = ["NoStore"]


@dataclass(frozen=True, slots=True)
class NoStore:
    """A store that takes nothing.

    Parameters
    ----------
    layer : str
    """

    layer: str

    def size(self, name: str) -> int | None:
        """Refuse."""
        self._refuse()

    def upload(self, name: str, path: Path, patience: Patience) -> None:
        """Refuse."""
        self._refuse()

    def download(self, name: str, path: Path, nbytes: int, patience: Patience) -> None:
        """Refuse."""
        self._refuse()

    def get_url(self, name: str) -> str:
        """Refuse."""
        self._refuse()

    def put_urls(self, name: str, nbytes: int) -> Upload:
        """Refuse."""
        self._refuse()

    def renew(self, name: str, nbytes: int, upload_id: str) -> Upload:
        """Refuse."""
        self._refuse()

    def complete(self, name: str, upload_id: str, tags: Sequence[str]) -> None:
        """Refuse."""
        self._refuse()

    def abort(self, name: str, upload_id: str) -> None:
        """Refuse."""
        self._refuse()

    def delete(self, names: Collection[str]) -> None:
        """Do nothing: there is nothing."""

    def _refuse(self) -> NoReturn:
        raise parts.Refused(
            f"values of more than 64 kB need a bucket on their way to and from {self.layer}: "
            "set layers.aws.bucket"
        )
