"""Checks what clients send, before anything believes it."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from jupyter_compute.ask import Ask, make_ask, parse_memory, parse_money, refuse, show
from jupyter_compute.blobs import HASH
from jupyter_compute.errors import AskError, ComputeError
from jupyter_compute.model import RunSpec
from jupyter_compute.policy import chaos
from jupyter_compute.policy.budget import KINDS
from jupyter_compute.policy.cost import GROUPS

__all__ = [
    "RUN_ID",
    "read_body",
    "read_budget",
    "read_conclusion",
    "read_group",
    "read_order",
    "read_plan",
    "read_spec",
    "spec_ask",
]

RUN_ID = re.compile(r"[a-z0-9-]{1,64}")
"""What the id of a run or a kept value looks like."""

_MOST_TEXT = 10_000
_MOST_BLOBS = 100_000
_MOST_NAMES = 1000


def read_body(body: bytes) -> dict[str, Any]:
    """Return the JSON object that the body must be; an empty body is an empty object."""
    if not body:
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ComputeError(f"the body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ComputeError("the body is not a JSON object")
    return found


def read_spec(wire: Mapping[str, Any]) -> RunSpec:
    """Return the run that the JSON describes.

    Raises
    ------
    ComputeError
        If a field is missing, unknown, or not what it should be; names the field.
    """
    for name, check in _FIELDS.items():
        if name in wire and not check(wire[name]):
            raise ComputeError(f"the field {name} of the run is not valid")
    try:
        spec = RunSpec.from_wire(dict(wire))
    except (TypeError, ValueError) as error:
        raise ComputeError(f"this is not a run: {error}") from error
    spec_ask(spec)
    if spec.chaos:
        chaos.check_layer(chaos.read(spec.chaos), spec.layer)
    return spec


def spec_ask(spec: RunSpec) -> Ask:
    """Return what the run asks for; `AskError` if that is malformed."""
    ask = _ask(spec.cpu, spec.memory, spec.memory_high, spec.gpu, spec.layer)
    ask = dataclasses.replace(ask, max_cost=spec.max_cost, priced=spec.priced)
    kind = spec.gpu_name
    return dataclasses.replace(ask, instances=spec.instances, spot=spec.spot, gpu_name=kind)


def read_plan(wire: Mapping[str, Any]) -> tuple[Ask, str]:
    """Return the ask that the JSON describes, and the key of its code if that is known.

    Raises
    ------
    AskError
        If it is malformed.
    """
    instances, spot = wire.get("instances") or (), wire.get("spot") or "auto"
    most, code = wire.get("max_cost"), wire.get("code") or ""
    kind = wire.get("gpu_name") or ""
    for name, value in (
        ("instances", list(instances)),
        ("spot", spot),
        ("max_cost", most),
        ("code", code),
        ("gpu_name", kind),
    ):
        if not _FIELDS[name](value):
            raise AskError(f"the field {name} of the ask is not valid")
    ask = _ask(
        wire.get("cpu", 1),
        wire.get("memory"),
        wire.get("memory_high"),
        wire.get("gpu") or 0,
        wire.get("layer") or "local",
    )
    ask = dataclasses.replace(ask, instances=tuple(instances), spot=str(spot), max_cost=most)
    return dataclasses.replace(ask, gpu_name=str(kind)), code


def read_budget(wire: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return which budget is to be how many dollars, or none; `AskError` if it is malformed."""
    kind, usd = wire.get("kind"), wire.get("usd")
    if kind not in KINDS:
        refuse("kind", kind, "is not run, notebook or day")
    return str(kind), None if usd is None else parse_money(usd, "usd")


def read_order(wire: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the notebook sends to its map, and wants of it.

    Raises
    ------
    ComputeError
        If a field is missing, unknown, or not what it should be; names the field.
    """
    order = _checked(wire, _ORDER, "the order")
    for chunk in order["chunks"]:
        _checked(chunk, _CHUNK, "the chunk")
    return order


def read_conclusion(wire: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a map has ended, as an envelope without values."""
    return _checked(wire, _CONCLUSION, "the conclusion") | {"payload": None, "blobs": []}


def _checked(wire: object, checks: Mapping[str, Any], what: str) -> dict[str, Any]:
    if not isinstance(wire, dict) or wire.keys() - checks.keys():
        raise ComputeError(f"{what} has other fields than {', '.join(checks)}")
    for name, check in checks.items():
        if not check(wire.get(name)):
            raise ComputeError(f"the field {name} of {what} is not valid")
    return wire


def read_group(by: str) -> str:
    """Return by what costs are to be summed; `AskError` if it is nothing of the kind."""
    if by not in GROUPS:
        refuse("by", by, "is not notebook, layer or day")
    return by


def _ask(cpu: object, low: object, high: object, gpu: object, layer: object) -> Ask:
    ask = make_ask(cpu, None, gpu, layer)
    low, high = _memory("memory", low), _memory("memory_high", high)
    if low is not None and high is not None and low > high:
        raise AskError(f"memory_high: {high} is less than memory, {low}")
    return dataclasses.replace(ask, memory=low, memory_high=high)


def _memory(name: str, value: object) -> int | None:
    if value is None:
        return None
    if not _whole(value):
        raise AskError(f"{name}: {show(value)} is not a number of bytes")
    return parse_memory(f"{value}B", name)


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_TEXT and "\0" not in value


def _filled(value: object) -> bool:
    return _text(value) and value != ""


def _hash(value: object) -> bool:
    return isinstance(value, str) and HASH.fullmatch(value) is not None


def _hashes(value: object) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_BLOBS and all(map(_hash, value))


def _ids(value: object) -> bool:
    listed = isinstance(value, list) and len(value) <= _MOST_BLOBS
    return listed and all(isinstance(item, str) and RUN_ID.fullmatch(item) for item in value)  # type: ignore[attr-defined]


def _names(value: object) -> bool:
    return isinstance(value, list) and len(value) <= _MOST_NAMES and all(map(_text, value))


def _number(value: object) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and math.isfinite(float(value))  # type: ignore[arg-type]


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _retry(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    checks = {"retries": _whole, "retry_on": _names, "delay_s": _number, "steady": _flag}
    return all(name in checks and checks[name](item) for name, item in value.items())


def _maybe(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


_ORDER: Mapping[str, Callable[[Any], bool]] = {
    "chunks": lambda value: isinstance(value, list) and len(value) <= _MOST_NAMES,
    "open": lambda value: isinstance(value, list) and all(map(_whole, value)),
    "since": lambda value: isinstance(value, int) and 0 <= value < 2**63,
    "wait_s": lambda value: _number(value) and 0 <= value <= 60,
}

_CHUNK: Mapping[str, Callable[[Any], bool]] = {
    "n": _whole,
    "items": lambda value: _whole(value) and value > 0,
    "payload": _hash,
    "blobs": _hashes,
    "memory": _maybe(_whole),
    "careful": lambda value: isinstance(value, bool),
    "whole": lambda value: isinstance(value, bool),
}

_CONCLUSION: Mapping[str, Callable[[Any], bool]] = {
    "outcome": lambda value: value in ("ok", "error", "died"),
    "type": _maybe(_text),
    "reason": _maybe(_text),
    "message": _maybe(_text),
    "items": _whole,
}

_FIELDS: Mapping[str, Callable[[object], bool]] = {
    "name": _text,
    "layer": _filled,
    "cpu": _number,
    "memory": _maybe(_whole),
    "memory_high": _maybe(_whole),
    "interpreter": _filled,
    "payload": _hash,
    "environment": _hash,
    "blobs": _hashes,
    "retry": _retry,
    "timeout_s": _maybe(lambda value: _number(value) and value > 0),  # type: ignore[operator]
    "detached": _flag,
    "notebook": _text,
    "cell": _text,
    "preload": _names,
    "gpu": _whole,
    "gpu_name": _text,
    "map": lambda value: isinstance(value, bool),
    "code": lambda value: value == "" or _hash(value),
    "given": _names,
    "sent": _whole,
    "kept": _ids,
    "cache": lambda value: value == "" or _hash(value),
    "chaos": _text,
    "instances": _names,
    "spot": lambda value: value in {"auto", "always", "never"},
    "packages": lambda value: value == "" or _hash(value),
    "max_cost": _maybe(lambda value: _number(value) and value >= 0),  # type: ignore[operator]
    "priced": _flag,
}
