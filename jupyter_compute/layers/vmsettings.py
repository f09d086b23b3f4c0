"""What the configuration says of a layer of dask-cloudprovider: ``layers.<name>.*``."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_compute import ask, settings
from jupyter_compute.errors import AskError
from jupyter_compute.model import Offer

__all__ = ["KEYS", "TYPE_KEYS", "Kind", "VMSettings", "configured", "read"]

_NAME = r"[a-z][a-z0-9-]{0,30}"
KEYS = frozenset({"cloudprovider", "options", "prepared", "region", "types"})
TYPE_KEYS = frozenset({"cpu", "gpu", "memory", "options", "priced", "spot", "usd-per-hour"})
_EXAMPLE = "e.g. {cpu: 8, memory: 30G}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A machine type.

    Parameters
    ----------
    offer : Offer
        A price that is not configured is not known.
    options : mapping
        Keywords of the class for machines of this type.
    """

    offer: Offer
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VMSettings:
    """What a layer is made of.

    Parameters
    ----------
    path : str
        The cluster class of dask-cloudprovider, dotted.
    options : mapping
        Keywords of that class.
    prepared : bool
        Whether machines have ``jupyter-compute-node`` when they boot.
    kinds : mapping of str to Kind
    """

    path: str
    options: Mapping[str, Any]
    prepared: bool
    kinds: Mapping[str, Kind]


def configured(known: Collection[str]) -> Iterator[str]:
    """Return the names of the layers of dask-cloudprovider that are configured.

    Parameters
    ----------
    known : collection of str
        Names that are taken.
    """
    for name, said in settings.get("layers").items():
        if name not in known and isinstance(said, Mapping) and "cloudprovider" in said:
            yield name


def read(name: str) -> VMSettings:
    """Return what is configured for a layer.

    Raises
    ------
    AskError
        If something is missing or wrong; it names the setting.
    """
    where = f"layers.{name}"
    if not re.fullmatch(_NAME, name):
        raise AskError(f"{where}: a layer's name has small letters, digits and dashes", hint="gcp")
    said = _keys(settings.get(where), where, KEYS)
    path = said["cloudprovider"]
    if not isinstance(path, str) or not re.fullmatch(r"\w+(\.\w+)+", path):
        ask.refuse(
            f"{where}.cloudprovider", path, "is no class", "dask_cloudprovider.gcp.GCPCluster"
        )
    types = said.get("types")
    if not isinstance(types, Mapping) or not types:
        raise AskError(f"{where}.types: no machine types", hint=f"NAME: {_EXAMPLE[5:]}")
    region = str(said.get("region") or "")
    kinds = {str(key): _kind(name, str(key), value, region) for key, value in types.items()}
    prepared = _yes(said.get("prepared", False), f"{where}.prepared")
    return VMSettings(path, _options(said, where), prepared, kinds)


def _kind(layer: str, name: str, value: Any, region: str) -> Kind:
    where = f"layers.{layer}.types.{name}"
    said = _keys(value, where, TYPE_KEYS)
    for key in ("cpu", "memory"):
        if said.get(key) is None:
            raise AskError(f"{where}: {key} is missing", hint=_EXAMPLE)
    gpu, gpu_name = ask.parse_gpu(said.get("gpu", 0), f"{where}.gpu")
    offer = Offer(
        layer=layer,
        type=name,
        cpu=ask.parse_cpu(said["cpu"], f"{where}.cpu"),
        memory=ask.parse_memory(said["memory"], f"{where}.memory"),
        gpu=gpu,
        gpu_name=gpu_name,
        usd_per_hour=_price(said.get("usd-per-hour"), f"{where}.usd-per-hour"),
        spot=_yes(said.get("spot", False), f"{where}.spot"),
        region=region,
        priced=_day(said.get("priced"), f"{where}.priced"),
    )
    return Kind(offer, _options(said, where))


def _keys(said: Any, where: str, known: Collection[str]) -> dict[str, Any]:
    if not isinstance(said, Mapping):
        ask.refuse(where, said, "is no mapping", _EXAMPLE)
    found = {str(key).replace("_", "-"): value for key, value in said.items()}
    for key in found:
        if key not in known:
            raise AskError(
                f"{where}: there is no setting {key!r}", hint=f"known: {', '.join(known)}"
            )
    return found


def _options(said: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    found = said.get("options") or {}
    if not isinstance(found, Mapping):
        ask.refuse(f"{where}.options", found, "is no mapping", "e.g. {zone: us-east1-c}")
    # Dask takes either spelling; these are names of Python.
    return {str(key).replace("-", "_"): value for key, value in found.items()}


def _price(value: Any, what: str) -> float | None:
    if value is None:
        return None
    price = ask.parse_money(value, what)
    if price == 0:
        ask.refuse(what, value, "is no price in dollars per hour", "e.g. 0.38, or leave it out")
    return price


def _day(value: Any, what: str) -> float | None:
    if value is None:
        return None
    try:
        day = value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value))
    except ValueError:
        ask.refuse(what, value, "is no day", "e.g. 2026-11-01")
    return dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp()


def _yes(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        ask.refuse(what, value, "is neither true nor false", "e.g. true")
    return value
