"""Finds which of the values that a run was given it has changed in place."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from .. import values
from ..blobs import hash_of

__all__ = ["Inputs"]

_FIXED = (
    int,
    float,
    complex,
    str,
    bytes,
    range,
    type,
    type(None),
    FunctionType,
    BuiltinFunctionType,
    ModuleType,
)
"""Types whose values have nothing that a cell would change in place."""


class Inputs:
    """The values that a child was given, as they were.

    Parameters
    ----------
    given : mapping
        The values by name.
    namespace : dict
        Where they live.
    maps : mapping of str to memoryview
        The blobs that they were loaded from, by hash: an array that still is its blob
        need not be hashed to be known.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        namespace: dict[str, Any],
        hashes: Sequence[str],
        maps: Sequence[memoryview],
    ) -> None:
        self.given = dict(given)
        self._namespace = namespace
        self._known = {
            (_address(view), view.nbytes): name for name, view in zip(hashes, maps, strict=True)
        }
        self._before = {
            name: self._fingerprint(value, self._known)
            for name, value in self.given.items()
            if not isinstance(value, _FIXED)
        }

    def changed(self) -> set[str]:
        """Return the names whose values differ from what was given."""
        return {
            name
            for name, before in self._before.items()
            if self._fingerprint(self.given[name], {}) != before
        }

    def _fingerprint(
        self, value: object, known: Mapping[tuple[int, int], str]
    ) -> tuple[str, ...] | None:
        """Return what identifies the value's content, or None if it has no picklable one."""
        try:
            dumped = values.dump(value, self._namespace)
        except Exception:  # noqa: BLE001 - any object's own code may run here
            return None
        parts = [hash_of(dumped.pickle)]
        for buffer in dumped.buffers:
            name = known.get((_address(buffer), buffer.nbytes)) if known else None
            parts.append(name or hash_of(buffer))
        return tuple(parts)


def _address(view: memoryview) -> int:
    """Return where the bytes are, or 0 if they are read-only."""
    if view.readonly or not view.nbytes:
        return 0
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
