"""From code and options to a run that can be submitted. Nothing is started here."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from .. import settings, values
from ..culprits import find_culprits, open_files, to_error
from ..errors import TransferError
from ..model import RunSpec
from ..policy.fit import DEFAULT_MEMORY
from ..redaction import redacted
from . import payload, session
from .code import key_of_function
from .credentials import held_back
from .options import Options
from .payload import NotPicklable, Packed

__all__ = [
    "Submission",
    "layers",
    "notebook",
    "prepare_call",
    "prepare_cell",
    "prepare_map",
    "storing",
]

_LONGEST_NAME = 80
_ASK = frozenset({"cpu", "memory", "gpu"})


@dataclass(frozen=True, slots=True)
class Submission:
    """A run, ready to be submitted.

    Parameters
    ----------
    spec : RunSpec
    packed : Packed
        What was stored for it.
    """

    spec: RunSpec
    packed: Packed


def notebook() -> str:
    """Return the file name of this notebook; empty if it is unknown."""
    return PurePath(os.environ.get("JPY_SESSION_NAME", "")).name


def layers() -> tuple[str, ...]:
    """Return the layers that ``--on`` may name."""
    return (*settings.get("layers"), "sandbox")


def prepare_cell(
    namespace: dict[str, Any],
    options: Options,
    *,
    source: str,
    filename: str,
    reads: Iterable[str],
    withheld: Iterable[str],
    label: str,
    cell: str,
    interactivity: str,
    code: str,
) -> Submission:
    """Store a cell with what it reads, and return the run.

    Raises
    ------
    TransferError
        If values cannot be sent: all of them are named, and the place inside each.
    AskError
        If they take more memory than the run asks for.
    """
    try:
        with storing():
            packed = payload.pack_cell(
                session.blobs(),
                namespace,
                source=source,
                filename=filename,
                reads=reads,
                withheld=frozenset(withheld),
                out=options.outputs,
                keep=options.keep,
                keep_partial=options.keep_partial,
                interactivity=interactivity,
                most_bytes=_memory(options),
            )
    except NotPicklable as refused:
        raise _unsendable(refused, namespace) from None
    _refuse_open_files(packed.inputs)
    spec = _spec(options, packed, label, code, cell=cell)
    return _submission(spec, options, packed, namespace)


def prepare_call(
    namespace: dict[str, Any],
    options: Options,
    function: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    detached: bool = False,
    kind: Literal["call", "map"] = "call",
) -> Submission:
    """Store a function with its arguments and the globals it reads, and return the run.

    Raises
    ------
    TransferError
        If values cannot be sent: all of them are named, and the place inside each.
    AskError
        If they take more memory than the run asks for.
    """
    try:
        with storing():
            packed = payload.pack_call(
                session.blobs(),
                namespace,
                function,
                args,
                kwargs,
                kind=kind,
                keep=options.keep_returned,
                withheld=frozenset(held_back(namespace)),
                most_bytes=_memory(options),
            )
    except NotPicklable as refused:
        raise _unsendable(refused, namespace) from None
    named = {f"argument {number}": value for number, value in enumerate(args, 1)}
    _refuse_open_files(packed.inputs | named | kwargs)
    label = getattr(function, "__qualname__", type(function).__name__)
    code = key_of_function(function)
    spec = _spec(options, packed, label, code, detached=detached)
    return _submission(spec, options, packed, namespace)


def prepare_map(namespace: dict[str, Any], options: Options, function: Any) -> Submission:
    """Store a function with the globals it reads, and return the run that its items go to.

    Raises
    ------
    TransferError
        If values cannot be sent: all of them are named, and the place inside each.
    AskError
        If they take more memory than the run asks for.
    """
    # Defaults of the notebook that single calls follow; `RemoteFunction.map` refuses its own.
    options = dataclasses.replace(options, keep_returned=False, cache=False)
    prepared = prepare_call(namespace, options, function, (), {}, kind="map")
    return dataclasses.replace(prepared, spec=dataclasses.replace(prepared.spec, map=True))


def _spec(
    options: Options,
    packed: Packed,
    label: str,
    code: str,
    *,
    cell: str = "",
    detached: bool = False,
) -> RunSpec:
    layer = session.layer_of(options)
    return RunSpec(
        name=redacted(options.name or label)[:_LONGEST_NAME],
        layer=layer,
        cpu=options.cpu,
        memory=options.memory,
        memory_high=options.memory_high,
        interpreter=sys.executable,
        payload=packed.payload,
        environment=payload.pack_environment(session.blobs()),
        blobs=packed.blobs,
        retry=options.rule(),
        gpu=options.gpu,
        gpu_name=options.gpu_name,
        timeout_s=options.timeout,
        detached=detached or options.bg is not None,
        notebook=notebook(),
        cell=cell,
        preload=payload.preload(),
        code=code,
        given=tuple(sorted(options.given & _ASK)),
        sent=packed.nbytes,
        kept=tuple(sorted(packed.kept)),
        chaos=session.take_chaos(layer),
        instances=options.instances,
        spot=options.spot,
        packages="" if layer == "local" else payload.pack_packages(session.blobs()),
        max_cost=options.max_cost,
    )


def _submission(
    spec: RunSpec, options: Options, packed: Packed, namespace: dict[str, Any]
) -> Submission:
    """Add the key under which the result is looked up and recorded, if that is asked for."""
    if options.cache:
        from .cachekey import key_of_run  # few runs need it

        around = payload.environment()
        key = key_of_run(options, spec.code, packed.job, namespace, packed.without, around)
        spec = dataclasses.replace(spec, cache=key)
    # Arguments are not needed once they are stored.
    return Submission(spec, dataclasses.replace(packed, job={}))


@contextmanager
def storing() -> Iterator[None]:
    """Say what has no room, and where, if something cannot be stored."""
    try:
        yield
    except OSError as error:
        raise TransferError(
            f"the inputs cannot be stored: {error.strerror}: {error.filename}",
            hint="make room there, or make the values inside the run",
        ) from None


def _memory(options: Options) -> int:
    """Return the most memory that any attempt may get, as far as it is known here."""
    return options.memory_high or options.memory or DEFAULT_MEMORY


def _unsendable(refused: NotPicklable, namespace: dict[str, Any]) -> TransferError:
    found = find_culprits(refused.values, lambda value: values.dump(value, namespace))
    found += open_files(refused.values)
    if found:
        return to_error(found)
    cause = refused.__cause__
    return TransferError(f"the inputs cannot be sent: {type(cause).__name__}: {cause}")


def _refuse_open_files(inputs: dict[str, Any]) -> None:
    """Refuse what can be pickled and would not be what it was."""
    if found := open_files(inputs):
        raise to_error(found)
