"""The modules of the user's own that a run has loaded: a recorded result depends on them."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupyter_compute

from ..blobs import hash_of

__all__ = ["dependencies"]

_INSTALLED = ("site-packages", "dist-packages")


def dependencies(began: float, born: float) -> dict[str, Any]:
    """Return what the result of this run depends on besides what was sent.

    Parameters
    ----------
    began : float
        UTC seconds at the start of the run.
    born : float
        And at the start of the process that it was forked from.

    Returns
    -------
    dict
        ``files``, the hash of each loaded module's file, or ``why_not`` they cannot be told.
    """
    for directory in site.getsitepackages():
        if _changed(Path(directory)) > born:
            return {
                "why_not": "packages were installed since this machine started; "
                "%compute stop lets a new one start"
            }
    files = {}
    for name, path in _local_modules():
        try:
            files[str(path)] = hash_of(path.read_bytes())
        except OSError:
            return {"why_not": f"the file of module {name}, {path}, cannot be read"}
        if _changed(path) >= began:
            return {"why_not": f"{path} was changed while it ran"}
    return {"files": files}


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _local_modules() -> Iterator[tuple[str, Path]]:
    """Yield name and file of each loaded module that belongs to no installed distribution."""
    paths = sysconfig.get_paths()
    own = str(Path(jupyter_compute.__file__).parent)
    elsewhere = tuple(f"{path}{os.sep}" for path in (own, paths["stdlib"], paths["platstdlib"]))
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not os.path.isabs(file):  # noqa: PTH117 - plain text
            continue
        path = Path(file)
        if not file.startswith(elsewhere) and not any(part in _INSTALLED for part in path.parts):
            yield name, path
