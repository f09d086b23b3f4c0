"""The parameters of Metaflow's decorators, as this package reads them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, NoReturn

from ..ask import parse_cpu, parse_disk, parse_gpu, parse_memory, refuse
from ..errors import AskError

__all__ = ["BATCH_ONLY", "MEANINGLESS", "amounts", "number", "refuse_others"]

BATCH_ONLY = frozenset({
    "aws_batch_tags", "execution_role", "iam_role", "log_driver", "log_options", "max_swap",
    "queue", "swappiness",
})  # fmt: skip
"""How AWS Batch is to be operated: without AWS Batch there is nothing that they could change."""

_OWN_DEVICES = "no layer offers it"
_OWN_FILES = "a run sees the directories of its machine"
MEANINGLESS = {
    "efa": _OWN_DEVICES,
    "efs_volumes": _OWN_FILES,
    "ephemeral_storage": "@resources(disk=...) asks for scratch disk",
    "executable": "a run uses the notebook's own Python",
    "host_volumes": _OWN_FILES,
    "image": "a run uses the notebook's own Python and packages",
    "inferentia": _OWN_DEVICES,
    "privileged": "a run has the rights of whoever started it",
    "shared_memory": "a run has the /dev/shm of its machine",
    "tmpfs_path": _OWN_FILES,
    "tmpfs_size": _OWN_FILES,
    "tmpfs_tempdir": _OWN_FILES,
    "trainium": _OWN_DEVICES,
    "use_tmpfs": _OWN_FILES,
}
"""What code may rely on and would not get, and why."""

_METAFLOWS_OWN = {"tmpfs_path": "/metaflow_temp", "tmpfs_tempdir": True}
"""Defaults that are not empty: whoever states them asks for nothing."""


def refuse_others(
    name: str, others: Mapping[str, object], known: Iterable[str], without: Container[str] = ()
) -> None:
    """Refuse parameters that are unknown, or known in Metaflow and without a meaning here.

    Parameters
    ----------
    name : str
        The decorator.
    others : mapping
        What was given besides its own parameters.
    known : iterable of str
        The parameters that it has.
    without : container of str
        Those of Metaflow that have no meaning here.

    Raises
    ------
    AskError
        Naming the parameter. One without a meaning may be given a value that asks for nothing.
    """
    for other, value in others.items():
        if other in without:
            if value and value != _METAFLOWS_OWN.get(other):
                _refuse_meaningless(name, other)
        elif other not in known:
            near = difflib.get_close_matches(other, [*known], n=1)
            hint = f"did you mean {near[0]}=?" if near else f"it has {', '.join(known)}"
            raise AskError(f"{other!r} is not a parameter of @{name}", hint=hint)


def _refuse_meaningless(name: str, other: str) -> NoReturn:
    raise AskError(
        f"{other}= of @{name} has no meaning here: {MEANINGLESS[other]}", hint="leave it out"
    )


def amounts(name: str, **given: object) -> dict[str, Any]:
    """Return what a decorator states of CPUs, memory, GPUs and disk: bytes, from MB or texts.

    Raises
    ------
    AskError
        If one of them is out of its limits.
    """
    readers: dict[str, Callable[[object, str], Any]] = {
        "cpu": parse_cpu,
        "memory": lambda value, what: parse_memory(_with_unit(value), what),
        "gpu": _count_gpus,
        "disk": lambda value, what: parse_disk(_with_unit(value), what),
    }
    stated = {field: value for field, value in given.items() if value is not None}
    return {field: readers[field](value, f"@{name} {field}") for field, value in stated.items()}


def _with_unit(value: object) -> object:
    """Return a plain number, or a text of one, as megabytes."""
    number = _plain(value)
    return value if number is None else f"{number:.15g}MB"


def _plain(value: object) -> float | None:
    """Return a number as Metaflow takes it, which may be a text; None for everything else."""
    if isinstance(value, bool) or not (isinstance(value, str) or hasattr(value, "__float__")):
        return None
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return None


def _count_gpus(value: object, what: str) -> int:
    count, kind = parse_gpu(value, what)
    if kind:
        refuse(what, value, "is not a number of GPUs", "remote(gpu='L4:2') asks for a kind")
    return count


def number(what: str, value: object) -> float:
    """Return a number of at least 0.

    Raises
    ------
    AskError
        If it is none.
    """
    found = _plain(value)
    if found is None or not found >= 0:
        refuse(what, value, "is not a number of at least 0", "e.g. 2")
    return found
