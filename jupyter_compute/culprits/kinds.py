"""What cannot be pickled, in plain words, and what to do instead."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TOO_DEEP", "Culprit", "Kind", "culprit_of", "kind_of"]

_LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Culprit:
    """A part of a variable that cannot be pickled.

    Parameters
    ----------
    name : str
        The variable.
    path : str
        The part, e.g. ``model.cache['a'][3]._lock``; `name` itself if it is all of it.
    type_name : str
    reason : str
        What pickling it raised, on one line.
    what : str
        What it is in plain words, e.g. "a lock"; empty if there are none.
    hint : str
        What can be done about it; empty if `what` is.
    """

    name: str
    path: str
    type_name: str
    reason: str
    what: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """What objects of some types are called.

    Parameters
    ----------
    what : str
        E.g. "a lock".
    hint : str
        What can be done instead; ``{path}`` stands for the place of the object.
    types : tuple of str
        Module and name of the types; subclasses are meant as well.
    is_file : bool
    """

    what: str
    hint: str
    types: tuple[str, ...]
    is_file: bool = False


_INSIDE = "create it inside the cell that uses it"

_KINDS = (
    Kind(
        "an open file",
        "pass its path and open it inside the cell",
        (
            "_io.BufferedRandom",
            "_io.BufferedReader",
            "_io.BufferedWriter",
            "_io.FileIO",
            "_io.TextIOWrapper",
            "tempfile.SpooledTemporaryFile",
            "tempfile._TemporaryFileWrapper",
        ),
        is_file=True,
    ),
    Kind("a generator", "make it a list first: list({path})", ("builtins.generator",)),
    Kind(
        "an asynchronous generator",
        "collect its items first: [x async for x in {path}]",
        ("builtins.async_generator",),
    ),
    Kind(
        "a coroutine",
        "await it first",
        ("asyncio.Future", "_asyncio.Future", "_asyncio.Task", "builtins.coroutine"),
    ),
    Kind("a future", "take its result() first", ("concurrent.futures._base.Future",)),
    Kind("a thread", _INSIDE, ("threading.Thread",)),
    Kind("a process", _INSIDE, ("multiprocessing.process.BaseProcess", "subprocess.Popen")),
    Kind("a socket", _INSIDE, ("_socket.socket", "ssl.SSLContext", "_ssl._SSLContext")),
    Kind(
        "a database connection", _INSIDE, ("sqlite3.Blob", "sqlite3.Connection", "sqlite3.Cursor")
    ),
    Kind(
        "a lock",
        _INSIDE,
        (
            "_thread.RLock",
            "_thread.lock",
            "multiprocessing.synchronize.SemLock",
            "threading.Condition",
            "threading.Event",
            "threading.Semaphore",
            "threading._RLock",
        ),
    ),
    Kind("thread-local data", _INSIDE, ("_thread._local",)),
    Kind("a queue", _INSIDE, ("_queue.SimpleQueue", "queue.Queue")),
    Kind("a memory map", _INSIDE, ("mmap.mmap",)),
    Kind(
        "a frame or traceback",
        "keep the text that you need of it",
        ("builtins.frame", "builtins.traceback"),
    ),
    Kind(
        "a weak reference",
        "use the object itself",
        (
            "weakref.ReferenceType",
            "weakref.WeakKeyDictionary",
            "weakref.WeakSet",
            "weakref.WeakValueDictionary",
            "_weakrefset.WeakSet",
            "builtins.weakref",
            "weakref.ProxyType",
            "builtins.weakproxy",
        ),
    ),
    Kind(
        "an event loop",
        "use await: the cell has a loop of its own",
        ("asyncio.events.AbstractEventLoop",),
    ),
    Kind("a module", "import it inside the cell", ("builtins.module",)),
)

_CONNECTIONS = ("Client", "Connection", "Cursor", "Engine", "Session")
"""How classes are called that hold on to a server."""

_BY_TYPE = {dotted: kind for kind in _KINDS for dotted in kind.types}

TOO_DEEP = Kind("nested too deeply to be pickled", "flatten it", ())


def kind_of(value: object) -> Kind | None:
    """Return what objects like `value` are called, if they never leave their process."""
    for base in type.mro(type(value)):
        kind = _BY_TYPE.get(_dotted(base))
        if kind is not None:
            return kind
    return None


def culprit_of(
    name: str, path: str, value: object, kind: Kind | None, error: BaseException | None = None
) -> Culprit:
    """Describe `value` as its kind, or with what pickling it raised."""
    type_name = _dotted(type(value)).removeprefix("builtins.").removeprefix("__main__.")
    reason = "" if error is None else _one_line(error)
    if kind is None and type_name.endswith(_CONNECTIONS):
        kind = Kind(f"a connection ({type_name})", _INSIDE, ())
    if kind is None:
        return Culprit(name, path, type_name, reason)
    return Culprit(name, path, type_name, reason, kind.what, kind.hint.replace("{path}", path))


def _dotted(cls: type) -> str:
    try:
        return f"{cls.__module__}.{cls.__qualname__}"
    except Exception:  # noqa: BLE001 - a metaclass may do anything
        return "?"


def _one_line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the culprit
        text = ""
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
