"""Finds which of the values that a run was given it has changed in place."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from .. import values
from ..blobs import hash_of

__all__ = ["Inputs"]

_FIXED = frozenset(
    (int, float, complex, bool, str, bytes, range, type(None), BuiltinFunctionType, ModuleType)
)
"""Types whose values have nothing that a cell would change in place; subclasses may."""

_RANGE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) [-r]")


class Inputs:
    """The values that a child was given, as they were.

    Parameters
    ----------
    given : mapping
        The values by name.
    namespace : dict
        Where they live.
    hashes : sequence of str
        The blobs that their buffers were loaded from.
    maps : sequence of memoryview
        Those blobs, mapped privately: an array that still is its blob has its hash.
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
        self._maps = {
            (_address(view), view.nbytes): name for name, view in zip(hashes, maps, strict=True)
        }
        self._before = {
            name: self._fingerprint(value, self._maps)
            for name, value in self.given.items()
            if _has_state(value)
        }

    def changed(self) -> set[str]:
        """Return the names whose values differ from what was given."""
        untouched = _without_copies(self._maps) if self._maps and self._before else {}
        return {
            name
            for name, before in self._before.items()
            if self._fingerprint(self.given[name], untouched) != before
        }

    def _fingerprint(
        self, value: object, known: Mapping[tuple[int, int], str]
    ) -> tuple[str, ...] | None:
        """Return what identifies the value's content, or None if it has no picklable one."""
        state = _function_state(value) if isinstance(value, FunctionType) else value
        try:
            # What functions read is compared under its own name.
            dumped = values.dump(state, self._namespace, without=self._namespace)
        except Exception:  # noqa: BLE001 - any object's own code may run here
            return None
        parts = [hash_of(dumped.pickle)]
        for buffer in dumped.buffers:
            name = known.get((_address(buffer), buffer.nbytes)) if known else None
            parts.append(name or hash_of(buffer))
        return tuple(parts)


def _has_state(value: object) -> bool:
    """Tell whether a cell can change the value in place."""
    if isinstance(value, FunctionType):
        return any(_function_state(value))
    if isinstance(value, type):
        return value.__module__ == "__main__"  # another module's classes are not sent
    return type(value) not in _FIXED


def _function_state(function: FunctionType) -> tuple[object, ...]:
    kept = []
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # it may be empty
            kept.append(cell.cell_contents)
    return function.__dict__, function.__defaults__, function.__kwdefaults__, kept


def _address(view: memoryview) -> int:
    """Return where the bytes are, or 0 if they are read-only."""
    if view.readonly or not view.nbytes:
        return 0
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def _without_copies(maps: Mapping[tuple[int, int], str]) -> dict[tuple[int, int], str]:
    """Return the private maps that nobody has written to.

    Linux gives a page of a private map a copy of its own (an anonymous page) when it is
    first written to, and counts these, those in the swap apart: proc_pid_smaps(5). This takes a fraction of the
    time that hashing the map does. Elsewhere no map is known to be untouched.
    """
    try:
        text = Path("/proc/self/smaps").read_text()
    except OSError:
        return {}
    ranges: list[tuple[int, int]] = []
    written: list[tuple[int, int]] = []
    for line in text.splitlines():
        if (header := _RANGE.match(line)) is not None:
            ranges.append((int(header[1], 16), int(header[2], 16)))
        elif line.startswith(("Anonymous:", "Swap:")) and int(line.split()[1]):
            written.append(ranges[-1])
    return {
        (start, size): name
        for (start, size), name in maps.items()
        if start and not any(low < start + size and start < high for low, high in written)
    }
