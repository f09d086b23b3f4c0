"""How tests are divided among processes: those that share something stay together."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

__all__ = ["Division"]

_TOGETHER = ("tests/lab/",)
"""Folders whose files share a JupyterLab and a browser."""


class Division(LoadFileScheduling):
    """Gives each process whole files, or whole folders, as it gets through them."""

    def _split_scope(self, nodeid: str) -> str:
        for folder in _TOGETHER:
            if nodeid.startswith(folder):
                return folder
        return str(super()._split_scope(nodeid))
