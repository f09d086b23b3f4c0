"""What a run takes along from the notebook, and what it brings back."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jupyter_compute

from .. import values
from ..ask import exact_memory, format_memory
from ..blobs import Blobs
from ..errors import AskError
from ..inplace import REFERENCE, InPlace, is_in_place
from . import kept
from .credentials import credential

__all__ = [
    "NotPicklable",
    "Packed",
    "Result",
    "measure",
    "pack_call",
    "pack_cell",
    "pack_environment",
    "pack_packages",
    "unpack",
]

_SHELL_NAMES = frozenset({"get_ipython", "exit", "quit", "In", "_ih", "_dh", "__builtins__"})
"""Names that every shell has of its own."""

_PRELOAD = ("numpy", "pandas", "matplotlib.pyplot")
"""Slow to import, and safe to have been imported before a fork."""


_OF_THIS_HOST = (
    *("AWS_", "CONDA", "DASK_", "DBUS_", "DISPLAY", "DOCKER", "GPG_", "HOME", "HOST", "INVOCATION"),
    *("IPYTHON", "JOURNAL_", "JPY_", "JUPYTER", "KERNEL_", "KUBERNETES_", "LD_", "LOGNAME", "MAIL"),
    *("MANPATH", "NO_PROXY", "OLDPWD", "PATH", "PWD", "PYTHON", "SHELL", "SHLVL", "SSH_", "SSL_"),
    *("SUDO_", "SYSTEMD_", "TEMP", "TERM", "TMP", "TMUX", "USER", "VIRTUAL_ENV", "VSCODE_"),
    *("WAYLAND_", "XAUTH", "XDG_", "_", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY"),
    *("HTTPS_PROXY", "ALL_PROXY", "all_proxy"),
)
"""Beginnings of variables that describe this computer, this session, or who may do what here."""

_LONGEST_VARIABLE = 4096


class NotPicklable(Exception):
    """Some of the values cannot be pickled; ``values`` holds them all, by name."""

    def __init__(self, candidates: Mapping[str, object]) -> None:
        super().__init__(", ".join(candidates))
        self.values = candidates


@dataclass(frozen=True, slots=True)
class Packed:
    """The stored inputs of a run.

    Parameters
    ----------
    payload : str
        Hash of the blob with code and inputs.
    blobs : tuple of str
        Hashes of the buffers, in order.
    inputs : dict
        The objects that were sent, by name: what references in the result stand for.
    nbytes : int
        Bytes of pickle and buffers, stored before or not.
    kept : dict
        The kept values among and inside the inputs, by id.
    job : dict
        Code and inputs as they were pickled.
    without : frozenset of str
        The names that were not to be sent.
    """

    payload: str
    blobs: tuple[str, ...]
    inputs: dict[str, Any]
    nbytes: int
    kept: dict[str, InPlace] = field(default_factory=dict)
    job: dict[str, Any] = field(default_factory=dict)
    without: frozenset[str] = frozenset()


@dataclass(slots=True)
class Result:
    """What came back from a run.

    Parameters
    ----------
    values : dict
        Assigned or changed names.
    deleted : list of str
    has_last : bool
        Whether there is a last expression's (or a function's) value.
    last : object
    error : BaseException or None
        The exception of the user's code, with the remote frames in its traceback.
    """

    values: dict[str, Any] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    has_last: bool = False
    last: Any = None
    error: BaseException | None = None


def pack_cell(
    blobs: Blobs,
    namespace: dict[str, Any],
    *,
    source: str,
    filename: str,
    reads: Iterable[str],
    withheld: Collection[str] = (),
    out: Iterable[str] | None = None,
    keep: Iterable[str] = (),
    keep_partial: bool = False,
    interactivity: str = "last_expr",
    most_bytes: int | None = None,
) -> Packed:
    """Store a cell and the values that it reads.

    Names that the namespace's functions read go along, and theirs in turn.

    Parameters
    ----------
    blobs : Blobs
    namespace : dict
        The notebook's names.
    source, filename : str
        The cell's body, its first line being line 2, and the name its frames bear.
    reads : iterable of str
        Names that the cell may read; those that do not exist are left out.
    withheld : collection of str
        Names that must not be sent.
    out : iterable of str, optional
        The only names to bring back.
    keep : iterable of str
        Names to leave where they are computed.
    keep_partial : bool
        Bring back what was assigned before a failure.
    interactivity : str
        IPython's ``ast_node_interactivity``.
    most_bytes : int, optional
        The memory that the run asks for.

    Raises
    ------
    NotPicklable
        If a value cannot be pickled. Nothing was stored.
    AskError
        If the values take more than the run may use. Nothing was stored.
    """
    job = {
        "kind": "cell",
        "source": source,
        "filename": filename,
        "out": None if out is None else list(out),
        "keep": list(keep),
        "keep_partial": keep_partial,
        "interactivity": interactivity,
    }
    return _pack(blobs, namespace, job, reads, withheld, most_bytes)


def pack_call(
    blobs: Blobs,
    namespace: dict[str, Any],
    function: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    kind: Literal["call", "map"] = "call",
    keep: bool = False,
    withheld: Collection[str] = (),
    most_bytes: int | None = None,
) -> Packed:
    """Store a function, its arguments, and the globals that it reads.

    Of kind ``map``, it is called for many items that follow, instead of once.

    Raises
    ------
    NotPicklable
        If one of them cannot be pickled. Nothing was stored.
    AskError
        If they take more than `most_bytes`, the memory that the run asks for. Nothing was stored.
    """
    job = {"kind": kind, "function": function, "args": args, "kwargs": kwargs, "keep": keep}
    return _pack(blobs, namespace, job, (), withheld, most_bytes)


def pack_environment(blobs: Blobs) -> str:
    """Store directory, variables, ``sys.path`` and umask of this process; return the hash."""
    return blobs.put(json.dumps(environment(), sort_keys=True, default=str).encode())


def pack_packages(blobs: Blobs) -> str:
    """Store what this interpreter has installed; return the hash."""
    from ..packages import describe  # only runs elsewhere need it

    return blobs.put(describe())


def environment() -> dict[str, Any]:
    """Return directory, variables, ``sys.path`` and umask of this process."""
    try:
        cwd = str(Path.cwd())
    except FileNotFoundError:  # it has been removed; the run will say so
        cwd = ""
    return {
        "python": platform.python_version(),
        "plain": sorted(name for name, text in os.environ.items() if _travels(name, text)),
        "cwd": cwd,
        "umask": _umask(),
        "variables": dict(os.environ),
        "path": sys.path,
        "package": str(Path(jupyter_compute.__file__).parent.parent),
    }


@functools.lru_cache(maxsize=1000)
def _travels(name: str, text: str) -> bool:
    """Tell whether a variable may go to a machine that has nothing of this one's."""
    if name.startswith(_OF_THIS_HOST) or credential(name, text) or len(text) > _LONGEST_VARIABLE:
        return False
    return not any(part.startswith(("/", "~")) and part[:2] != "//" for part in text.split(":"))


def _umask() -> int:
    """Return the permissions that new files do not get."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    found = os.umask(0o077)  # elsewhere it can be read only by setting it
    os.umask(found)
    return found


def preload() -> tuple[str, ...]:
    """Return the modules that are worth importing before a child is forked."""
    return tuple(name for name in _PRELOAD if name in sys.modules)


def measure(namespace: dict[str, Any], names: Iterable[str]) -> dict[str, tuple[str, int | None]]:
    """Return type and bytes to send of each name; None for what cannot be pickled."""
    found: dict[str, tuple[str, int | None]] = {}
    for name in names:
        if name not in namespace:
            continue
        if is_in_place(namespace[name]):
            found[name] = (f"{kept.title(namespace[name])}, kept: 0 B sent", 0)
            continue
        try:
            size = values.dump(namespace[name], namespace).nbytes
        except Exception:  # noqa: BLE001 - any object's own code may run here
            size = None
        found[name] = (type(namespace[name]).__name__, size)
    return found


def unpack(
    blobs: Blobs,
    envelope: Mapping[str, Any],
    namespace: dict[str, Any],
    packed: Packed | str,
) -> Result:
    """Return what an envelope's blobs hold.

    Parameters
    ----------
    blobs : Blobs
    envelope : mapping
        How the last attempt ended.
    namespace : dict
        Becomes the globals of functions that come back.
    packed : Packed or str
        The run's inputs, or their hash if another process had sent them.

    Raises
    ------
    FileNotFoundError
        If the result is no longer stored.
    Exception
        Whatever an object raises when it cannot be rebuilt here.
    """
    if not envelope.get("payload"):
        return Result()
    inputs: dict[str, Any] | None = packed.inputs if isinstance(packed, Packed) else None
    arrived = kept.Arrivals(envelope.get("kept", ()))

    def resolve(name: str) -> Any:
        nonlocal inputs
        if name.startswith(REFERENCE):
            return arrived.again(name.removeprefix(REFERENCE))
        if inputs is None:
            assert isinstance(packed, str)
            inputs = values.fetch(blobs, packed, namespace, arrived=arrived)[0]["values"]
        return inputs[name]

    found, _ = values.fetch(blobs, envelope["payload"], namespace, resolve, arrived)
    return Result(**found)


def _pack(
    blobs: Blobs,
    namespace: dict[str, Any],
    job: dict[str, Any],
    reads: Iterable[str],
    withheld: Collection[str],
    most_bytes: int | None,
) -> Packed:
    skip = _SHELL_NAMES.union(withheld)
    inputs = {name: namespace[name] for name in reads if name in namespace and name not in skip}
    while True:
        try:
            # Functions take along what they read: unpickling may call them (``__hash__``).
            sent = job | {"values": inputs}
            dumped = values.dump(sent, namespace, without=skip)
        except Exception as error:
            raise NotPicklable(_candidates(job, inputs)) from error
        missing = (dumped.needed & namespace.keys()) - inputs.keys() - skip
        if not missing:
            break
        inputs.update((name, namespace[name]) for name in sorted(missing))
    nbytes = dumped.nbytes + sum(place.nbytes for place in dumped.in_place.values())
    if most_bytes is not None and nbytes > most_bytes:
        raise _too_large(nbytes, most_bytes, namespace, _candidates(job, inputs))
    payload, buffers = values.store(blobs, dumped)
    return Packed(payload, buffers, inputs, dumped.nbytes, dumped.in_place, sent, skip)


def _too_large(
    nbytes: int, most_bytes: int, namespace: dict[str, Any], candidates: Mapping[str, Any]
) -> AskError:
    sizes = {}
    for name, value in candidates.items():
        try:
            dumped = values.dump(value, namespace)
        except Exception:  # noqa: BLE001, S112 - it may be pickled only together with others
            continue
        sizes[name] = dumped.nbytes + sum(p.nbytes for p in dumped.in_place.values())
    largest = max(sizes, key=lambda name: sizes[name], default="")
    most = f" ({largest}: {format_memory(sizes[largest])})" if largest else ""
    enough = -(-2 * nbytes // 10**6) * 10**6
    return AskError(
        f"what the code reads takes {format_memory(nbytes)}{most}, "
        f"and the run asks for only {format_memory(most_bytes)} of memory",
        hint=f"e.g. --memory {exact_memory(enough)}",
    )


def _candidates(job: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    if job["kind"] == "cell":
        return dict(inputs)
    function = job["function"]
    named = {f"argument {number}": value for number, value in enumerate(job["args"], 1)}
    named.update({f"argument {name}": value for name, value in job["kwargs"].items()})
    return {getattr(function, "__name__", "function"): function} | named | dict(inputs)
