"""The configuration: Dask's own system, namespace ``jupyter-compute``.

YAML files in Dask's places, ``DASK_JUPYTER_COMPUTE__…`` variables and
``dask.config.set`` all work. A kernel reads its settings before its first run, and
importing Dask takes longer than that run: so Dask is only loaded when somebody has
configured something, or has imported it already.
"""

from __future__ import annotations

import functools
import os
import site
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["default", "get"]

_NAMESPACE = "jupyter-compute"
_SPELLINGS = (b"jupyter-compute", b"jupyter_compute")


def get(name: str) -> Any:
    """Return the setting, e.g. ``get("layers.local.oversize")``.

    Raises
    ------
    KeyError
        If there is no such setting.
    """
    if "dask.config" in sys.modules or _configured():
        return _dask_config().get(f"{_NAMESPACE}.{name}")
    return default(name)


def default(name: str) -> Any:
    """Return what the setting is if nobody has set it.

    Raises
    ------
    KeyError
        If there is no such setting.
    """
    value: Any = _defaults()[_NAMESPACE]
    for key in name.split("."):
        value = value[key]
    return value


@functools.cache
def _defaults() -> Mapping[str, Any]:
    import yaml

    with Path(__file__).with_name("jupyter-compute.yaml").open("rb") as file:
        loaded: Mapping[str, Any] = yaml.safe_load(file)
    return loaded


@functools.cache
def _dask_config() -> Any:
    import dask.config

    dask.config.update_defaults(_defaults())
    return dask.config


@functools.cache
def _configured() -> bool:
    """Tell whether any place that Dask reads says something about this namespace."""
    inherited = "DASK_INTERNAL_INHERIT_CONFIG"
    if any(n == inherited or n.upper().startswith("DASK_JUPYTER_COMPUTE") for n in os.environ):
        return True
    return any(_mentions_us(file) for place in _places() for file in _files(place))


def _places() -> Iterator[Path]:
    yield Path(os.environ.get("DASK_ROOT_CONFIG", "/etc/dask"))
    for prefix in (sys.prefix, *site.PREFIXES):
        yield Path(prefix, "etc", "dask")
    yield Path("~/.config/dask").expanduser()
    if "DASK_CONFIG" in os.environ:
        yield Path(os.environ["DASK_CONFIG"])


def _files(place: Path) -> list[Path]:
    try:
        if not place.is_dir():
            return [place] if place.exists() else []
        return [f for f in place.iterdir() if f.suffix.lower() in {".json", ".yaml", ".yml"}]
    except OSError:
        return []


def _mentions_us(file: Path) -> bool:
    try:
        text = file.read_bytes()
    except OSError:
        return False
    return any(spelling in text for spelling in _SPELLINGS)
