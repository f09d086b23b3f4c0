"""The search for the parts that cannot be pickled."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from .kinds import TOO_DEEP, Culprit, culprit_of, kind_of
from .parts import Part, parts_of

__all__ = ["find_culprits"]

_DEEPEST = 30
_DUMPS = 3_000
_SECONDS = 3.0
"""Where the search stops: levels below the variable, trials, time."""


def find_culprits(values: Mapping[str, object], dumps: Callable[[object], object]) -> list[Culprit]:
    """Return every part of `values` that keeps them from being pickled.

    It never raises, whatever the objects do, except for an interrupt. If the search
    takes too long, the place it has come to is named.

    Parameters
    ----------
    values : mapping of str to object
    dumps : callable
        Pickles one object, or raises.

    Returns
    -------
    list of Culprit
        Empty if each value can be pickled by itself. What is one of `values` is
        blamed under that name only, however many others refer to it.
    """
    search = _Search(values, dumps)
    for name, value in values.items():
        error = search.error_of(value, counted=False)
        if error is not None:
            search.blame_within(name, value, error)
    return search.found


class _Search:
    """One search through all values, within one budget."""

    def __init__(self, values: Mapping[str, object], dumps: Callable[[object], object]) -> None:
        self.found: list[Culprit] = []
        self._dumps = dumps
        self._left = _DUMPS
        self._end = time.monotonic() + _SECONDS
        self._variables = {id(value) for value in values.values()}
        # Parts that were made for the search must live on, or their ids are used again.
        self._seen: dict[int, object] = {}
        self._name = ""

    def error_of(self, value: object, *, counted: bool = True) -> BaseException | None:
        """Return what pickling `value` raises; None if nothing, or when the budget is spent."""
        if counted:
            self._left -= 1
            if self._left < 0 or time.monotonic() > self._end:
                return None
        try:
            self._dumps(value)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - any object's own code may run here
            return error
        return None

    def blame_within(self, name: str, value: object, error: BaseException) -> None:
        """Find what is to blame in one variable."""
        self._name = name
        self._seen = {id(value): value}
        before = len(self.found)
        elsewhere = self._descend(value, error, name, 0)
        if len(self.found) == before and not elsewhere:
            self._blame(value, error, name)

    def _descend(self, value: object, error: BaseException, path: str, depth: int) -> bool:
        """Blame parts of `value`, or itself; tell whether another variable is to blame."""
        if kind_of(value) is not None:
            self._blame(value, error, path)
            return False
        parts: list[Part] = []
        try:
            parts.extend(parts_of(value, path))
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # noqa: BLE001 - any object's own code may run here
            self._blame(value, raised, path)
            return False
        if depth >= _DEEPEST:
            parts = []
        failing = self._failing(parts)
        elsewhere = False
        for part_path, part, part_error in failing:
            if id(part) in self._seen:
                continue
            self._seen[id(part)] = part
            if id(part) in self._variables:
                elsewhere = True
            else:
                elsewhere |= self._descend(part, part_error, part_path, depth + 1)
        if not failing:
            # Its parts can be pickled one by one, but not from so far above.
            too_deep = _is_too_deep(error)
            self._blame(value, error, self._name if too_deep else path, too_deep=too_deep)
        return elsewhere

    def _failing(self, parts: list[Part]) -> list[tuple[str, object, BaseException]]:
        """Return the parts that cannot be pickled, by halving."""
        if not parts:
            return []
        error = self.error_of(parts[0][1] if len(parts) == 1 else [part for _, part in parts])
        if error is None:
            return []
        if len(parts) == 1:
            return [(*parts[0], error)]
        middle = len(parts) // 2
        return self._failing(parts[:middle]) + self._failing(parts[middle:])

    def _blame(
        self, value: object, error: BaseException, path: str, *, too_deep: bool = False
    ) -> None:
        kind = TOO_DEEP if too_deep else kind_of(value)
        self.found.append(culprit_of(self._name, path, value, kind, error))


def _is_too_deep(error: BaseException) -> bool:
    # cloudpickle reports it as an error of its own.
    return isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError)
