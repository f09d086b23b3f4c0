"""How tests are divided among processes: those that share something stay together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

__all__ = ["Division", "longest_first"]

_TOGETHER = ("tests/lab/",)
"""Folders whose files share a JupyterLab and a browser."""

_SLOW_S = {
    "tests/lab/": 10,
    "tests/cloud/": 15,
    "tests/integration/test_notebooks.py": 20,
    "tests/integration/test_faults.py": 5,
    "tests/integration/test_service_faults.py": 5,
    "tests/sandbox/": 3,
    "tests/layers/": 3,
}
"""About how long a test that is marked as slow takes; a second elsewhere."""

_QUICK_S = 0.05


class Division(LoadFileScheduling):
    """Gives each process whole files, or whole folders, in their order, as it gets through them."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        # By default xdist begins with the files of most tests, which are not those that take long.
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)


def unit(nodeid: str) -> str:
    """Return the name of what a test belongs to: a file or a folder."""
    together = [folder for folder in _TOGETHER if nodeid.startswith(folder)]
    return together[0] if together else nodeid.partition("::")[0]


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Return tests so that at the end no process has a long file left while others have nothing."""
    takes_s: Counter[str] = Counter()
    for item in items:
        takes_s[unit(item.nodeid)] += _takes_s(item)  # type: ignore[assignment]  # it can sum these
    # Files stay whole: those that take equally long are told apart by their names.
    return sorted(items, key=lambda item: (-takes_s[unit(item.nodeid)], unit(item.nodeid)))


def _takes_s(item: pytest.Item) -> float:
    if item.get_closest_marker("slow") is None:
        return _QUICK_S
    folders = (s for folder, s in _SLOW_S.items() if item.nodeid.startswith(folder))
    return next(folders, 1)
