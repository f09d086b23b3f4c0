"""Finds which of the values that a run was given it has changed in place."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from .. import values
from ..blobs import hash_of
from ..inplace import REFERENCE
from .keeping import Arrivals

__all__ = ["Inputs"]

_FIXED = frozenset(
    (int, float, complex, bool, str, bytes, range, type(None), BuiltinFunctionType, ModuleType)
)
"""Types whose values have nothing that a cell would change in place; subclasses may."""

_COPIED = (int, float, complex, bool, str, bytes, range, type(None))
"""Types for which a copy is as good as the notebook's own object."""

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
    arrivals : Arrivals, optional
        The kept values among and inside them.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        namespace: dict[str, Any],
        hashes: Sequence[str],
        maps: Sequence[memoryview],
        arrivals: Arrivals | None = None,
    ) -> None:
        self.given = dict(given)
        self.sent = frozenset(given)
        self._namespace = namespace
        self._kept: Mapping[str, Any] = {}
        named = list(zip(hashes, maps, strict=True))
        if arrivals is not None:
            self._kept = arrivals.values
            self.given |= arrivals.besides(given)
            named += zip(arrivals.hashes, arrivals.maps, strict=True)
        self._maps = {(_address(view), view.nbytes): name for name, view in named}
        self._before = {
            name: self._fingerprint(value, self._maps)
            for name, value in self.given.items()
            if _has_state(value)
        }

    def references(self, changed: Collection[str]) -> dict[int, str]:
        """Return what the notebook has and need not get again: references, by ``id``."""
        kept = set(map(id, self._kept.values()))
        same = {
            id(value): name
            for name, value in self.given.items()
            if name in self.sent and name not in changed and not isinstance(value, _COPIED)
        }
        return {k: name for k, name in same.items() if k not in kept} | self.kept(changed)

    def kept(self, changed: Collection[str]) -> dict[int, str]:
        """Return the references to the kept values that are what they were, by their ``id``."""
        names = {id(value): name for name, value in self.given.items()}
        return {
            id(value): f"{REFERENCE}{kept_id}"
            for kept_id, value in self._kept.items()
            if _is_of_its_own(value) and names[id(value)] not in changed
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


def _is_of_its_own(value: object) -> bool:
    """Tell whether no other value can be this very object."""
    shared = (tuple, frozenset)
    return (
        _has_state(value)
        and not isinstance(value, Enum)
        and value is not ...
        and not (type(value) in shared and not value)
    )


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
