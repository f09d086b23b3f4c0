"""What this kernel holds on to between cells: its client, its blobs, its defaults."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any

from .. import places, settings
from ..blobs import Blobs
from ..model import RunSpec
from ..policy import chaos
from ..policy.chaos import Chaos
from .client import Client
from .options import Options, from_keywords

__all__ = [
    "arm",
    "armed",
    "ask_of",
    "blobs",
    "client",
    "defaults",
    "layer_of",
    "resolve",
    "set_defaults",
    "take_chaos",
]


@dataclass(slots=True)
class _Notebook:
    defaults: Options
    chaos: Chaos | None = None


_notebook = _Notebook(Options())


@functools.cache
def client() -> Client:
    """Return the client that every call of this process shares."""
    return Client(refused=_rearm)


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


def armed() -> Chaos | None:
    """Return the failure that the next run of this notebook is to rehearse, if any."""
    return _notebook.chaos


def arm(failure: Chaos | None) -> None:
    """Let the next run of this notebook, and only that one, rehearse this failure."""
    _notebook.chaos = failure


def take_chaos(layer: str) -> str:
    """Return what a run that is about to be submitted to the layer rehearses; often nothing.

    Raises
    ------
    AskError
        If that is not possible on the layer. It stays armed.
    """
    failure = _notebook.chaos
    if failure is None:
        return ""
    chaos.check_layer(failure, layer)
    _notebook.chaos = None
    return str(failure)


def _rearm(spec: RunSpec) -> None:
    """A run was not taken on: what it was to rehearse is for the next one."""
    if spec.chaos and _notebook.chaos is None:
        _notebook.chaos = chaos.read(spec.chaos)


def resolve(options: Options) -> Options:
    """Return the options with what the notebook, then the configuration, sets besides."""
    configured: dict[str, Any] = settings.get("defaults")
    merged = options.merge(_notebook.defaults)
    if configured:
        merged = merged.merge(from_keywords(**configured))
    return merged


def layer_of(options: Options) -> str:
    """Return the layer that the options name; `sandbox` is AWS as a rehearsal."""
    layer = str(options.on or settings.get("layer"))
    if layer != "sandbox":
        return layer
    from . import rehearsal

    if note := rehearsal.ensure():
        sys.stderr.write(f"{note}\n")
    return "aws"


def ask_of(options: Options) -> dict[str, Any]:
    """Return the ask inside the options, as the service takes it."""
    return {
        "layer": layer_of(options),
        "cpu": options.cpu,
        "memory": options.memory,
        "memory_high": options.memory_high,
        "gpu": options.gpu,
        "gpu_name": options.gpu_name,
        "instances": list(options.instances),
        "spot": options.spot,
        "max_cost": options.max_cost,
    }
