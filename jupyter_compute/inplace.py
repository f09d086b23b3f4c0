"""A value that stays where it was computed, as it is spoken of elsewhere.

In a pickle of ours it travels as its place. A run that it arrives in finds the value itself,
mapped from the store; a kernel finds a `Kept` (`jupyter_compute.notebook.kept`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["REFERENCE", "InPlace", "is_in_place"]

REFERENCE = "kept:"
"""A result that is a kept input travels as a reference: this, and the id."""


class InPlace:
    """A stored value.

    Parameters
    ----------
    kept_id : str
        e.g. ``"k-k3m2xq7a"``.
    payload : str
        Hash of the packed value.
    blobs : sequence of str
        Hashes of its buffers.
    nbytes : int
        What it takes.
    """

    id: str
    payload: str
    blobs: tuple[str, ...]
    nbytes: int

    def __init__(self, kept_id: str, payload: str, blobs: Sequence[str], nbytes: int) -> None:
        self.id = kept_id
        self.payload = payload
        self.blobs = tuple(blobs)
        self.nbytes = nbytes

    def place(self) -> tuple[Any, ...]:
        """Return the arguments that make an equal one."""
        return self.id, self.payload, self.blobs, self.nbytes


def is_in_place(value: object) -> bool:
    """Tell whether it is one, without asking the object, which may lie."""
    return issubclass(type(value), InPlace)
