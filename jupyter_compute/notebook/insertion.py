"""A new cell below one of the notebook's, put there when no cell runs.

The protocol of kernels lets only the reply to a cell add cells. The JupyterLab extension
listens on a comm target of ours and can do it at once, also in Notebook 7.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from comm import create_comm

from .output import shell

__all__ = ["cell_id", "insert"]

TARGET = "jupyter-compute:insert"
_PATIENCE_S = 2.0


def cell_id() -> str:
    """Return the id of the cell that runs now; empty if the front end does not tell."""
    try:
        return str(shell().get_parent()["metadata"]["cellId"])
    except (AttributeError, KeyError, TypeError):
        return ""


def insert(text: str, cell: str, told: Callable[[bool], None]) -> None:
    """Ask for a new cell below the one with the id, the active one if it is empty.

    Parameters
    ----------
    text : str
    cell : str
    told : callable
        Called once, from any thread: with True if it is there, with False if it will be
        below the next cell that is run, as the front end does not know how to do better.
    """
    once = threading.Lock()

    def end(done: bool) -> None:
        if once.acquire(blocking=False):
            late.cancel()
            comm.close()
            if not done:
                shell().set_next_input(text)
            told(done)

    def take(message: Mapping[str, Any]) -> None:
        end(message["content"]["data"].get("inserted") is True)

    late = threading.Timer(_PATIENCE_S, end, (False,))
    late.daemon = True
    comm = create_comm(target_name=TARGET, data={"text": text, "cell": cell})
    comm.on_msg(take)
    comm.on_close(lambda _: end(False))
    late.start()
