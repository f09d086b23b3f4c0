"""Remote compute for notebooks: mark a cell or a function, and it runs where there is room.

>>> %load_ext jupyter_compute                                            # doctest: +SKIP
>>> %%remote --cpu 2 --memory 2G                                         # doctest: +SKIP
... model = fit(df)

>>> from jupyter_compute import remote
>>> @remote(cpu=2, memory="2G")
... def fit(part): ...

Loading this package costs a few milliseconds: what a name needs is imported when it is
first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import errors
    from .model import Receipt
    from .notebook.kept import Kept, kept
    from .notebook.metaflow import batch, catch, resources, retry, timeout
    from .notebook.remote import remote
    from .notebook.run import Run, attach, runs

__version__ = "0.1.0"

__all__ = [
    "Kept",
    "Receipt",
    "Run",
    "__version__",
    "attach",
    "batch",
    "catch",
    "errors",
    "kept",
    "load_ipython_extension",
    "remote",
    "resources",
    "retry",
    "runs",
    "timeout",
    "unload_ipython_extension",
]

_HOMES = {
    "Kept": ".notebook.kept",
    "Receipt": ".model",
    "Run": ".notebook.run",
    "attach": ".notebook.run",
    "batch": ".notebook.metaflow",
    "catch": ".notebook.metaflow",
    "errors": ".errors",
    "kept": ".notebook.kept",
    "remote": ".notebook.remote",
    "resources": ".notebook.metaflow",
    "retry": ".notebook.metaflow",
    "runs": ".notebook.run",
    "timeout": ".notebook.metaflow",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_HOMES[name], __name__)
    value = module if name == "errors" else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: Any) -> None:
    """Add ``%%remote``, ``%remote`` and ``%compute`` to a shell (``%load_ext jupyter_compute``)."""
    from .notebook import magics

    magics.register(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Take the magics away again. Runs go on."""
    from .notebook import magics

    magics.unregister(ipython)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell a Jupyter server where its extension is."""
    return [{"module": "jupyter_compute.server"}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tell JupyterLab where the built front end is."""
    return [{"src": "labextension", "dest": "jupyter-compute"}]
