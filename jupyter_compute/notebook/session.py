"""What this kernel holds on to between cells: its client, its blobs, its defaults."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from .. import places, settings
from ..blobs import Blobs
from .client import Client
from .options import Options, from_keywords

__all__ = ["ask_of", "blobs", "client", "defaults", "resolve", "set_defaults"]


@dataclass(slots=True)
class _Notebook:
    defaults: Options


_notebook = _Notebook(Options())


@functools.cache
def client() -> Client:
    """Return the client that every call of this process shares."""
    return Client()


@functools.cache
def blobs() -> Blobs:
    """Return the store that this kernel shares with the pool."""
    return Blobs(places.blob_dirs())


def defaults() -> Options:
    """Return the options that ``%compute defaults`` has set in this notebook."""
    return _notebook.defaults


def set_defaults(options: Options) -> None:
    """Let cells and calls that do not say otherwise use these options."""
    _notebook.defaults = options


def resolve(options: Options) -> Options:
    """Return the options with what the notebook, then the configuration, sets besides."""
    configured: dict[str, Any] = settings.get("defaults")
    merged = options.merge(_notebook.defaults)
    if configured:
        merged = merged.merge(from_keywords(**configured))
    return merged


def ask_of(options: Options) -> dict[str, Any]:
    """Return the ask inside the options, as the service takes it."""
    return {
        "layer": options.on or settings.get("layer"),
        "cpu": options.cpu,
        "memory": options.memory,
        "memory_high": options.memory_high,
        "gpu": options.gpu,
    }
