"""Kept values on a machine: the ones that a run reads, and the ones that it leaves here."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from .. import values
from ..blobs import Blobs
from ..inplace import REFERENCE, InPlace, is_in_place

__all__ = ["Arrivals", "Keeping"]

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class Arrivals:
    """The kept values that a run reads, mapped from the store.

    Parameters
    ----------
    blobs : Blobs
    namespace : dict
        Becomes the globals of their functions.
    """

    def __init__(self, blobs: Blobs, namespace: dict[str, Any]) -> None:
        self.values: dict[str, Any] = {}
        self.hashes: list[str] = []
        self.maps: list[memoryview] = []
        self._blobs = blobs
        self._namespace = namespace

    def __call__(self, place: InPlace) -> Any:
        """Return the value; the same object however often the run refers to it.

        Raises
        ------
        FileNotFoundError
            If it is no longer stored.
        """
        if place.id not in self.values:
            value, maps = values.fetch(self._blobs, place.payload, self._namespace)
            self.values[place.id] = value
            self.hashes += place.blobs
            self.maps += maps
        return self.values[place.id]

    def besides(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return those that are inside other inputs, each by the name of its reference."""
        known = {id(value) for value in given.values()}
        return {
            f"{REFERENCE}{kept_id}": value
            for kept_id, value in self.values.items()
            if id(value) not in known
        }


class Keeping:
    """What a run leaves on its machine.

    ``entries`` describes each value for the pool's books; `stand_in` tells what travels instead.
    """

    def __init__(self, blobs: Blobs, namespace: dict[str, Any]) -> None:
        self.entries: list[dict[str, Any]] = []
        self.namespace = namespace
        self._blobs = blobs
        self._places: dict[int, tuple[object, InPlace]] = {}

    def keep(self, name: str, value: Any) -> InPlace:
        """Store a value to be found again, and return its place.

        Raises
        ------
        OSError
            If there is no room for it.
        Exception
            Whatever the objects raise when they cannot be pickled.
        """
        if id(value) in self._places:
            return self._places[id(value)][1]
        dumped = values.dump(value, self.namespace)
        payload, buffers = values.store(self._blobs, dumped)
        kept_id = "k-" + "".join(secrets.choice(_ALPHABET) for _ in range(8))
        place = InPlace(kept_id, payload, buffers, dumped.nbytes)
        self._places[id(value)] = value, place
        self.entries.append(
            {
                "id": kept_id,
                "name": name,
                "type": type(value).__name__,
                "shape": _shape(value),
                "nbytes": dumped.nbytes,
                "payload": payload,
                "blobs": list(buffers),
            }
        )
        return place

    def stand_in(self, value: Any) -> Any:
        """Return the place of a value that was kept, and any other value as it is."""
        found = self._places.get(id(value))
        return value if found is None else found[1]


def _shape(value: Any) -> str:
    """Return how large a value is, in its own terms: ``"1000 x 20 float64"``, ``"7 items"``."""
    if is_in_place(value) or isinstance(value, str | bytes | int | float):
        return ""
    try:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
            sides = " x ".join(map(str, shape)) or "scalar"
            dtype = getattr(value, "dtype", None)
            return sides if dtype is None else f"{sides} {dtype}"[:80]
        count = len(value)
    except Exception:  # noqa: BLE001 - any object's own code may run here
        return ""
    return f"{count} item{'' if count == 1 else 's'}"
