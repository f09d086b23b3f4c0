"""How values travel between the notebook's namespace and a child's.

Everything that one run sends is a single pickle (protocol 5, cloudpickle), so that
shared references stay shared; its large buffers are blobs of their own, so that an
unchanged array is stored once however often it is sent.

Functions of the notebook belong to its namespace. On arrival they get the receiving
namespace as their globals, and it the names they read, unless it has these already: a
cell that rebinds ``K`` is seen by every function that reads ``K``, as in the kernel.

A result that *is* an unchanged input travels as a reference to it, so the notebook
keeps its own object.

A packed value is one blob: the length of a JSON header (4 bytes, big endian), the
header (hashes of the buffers, sources for tracebacks), the pickle.
"""

from __future__ import annotations

import functools
import io
import json
import linecache
import pickle
import struct
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType, TracebackType
from typing import Any

import cloudpickle
from tblib import pickling_support

from .blobs import Blobs

__all__ = ["Dumped", "dump", "fetch", "load", "store"]

_INLINE = 64 * 2**10
"""Buffers smaller than this stay inside the pickle, in bytes."""

_DEEP = 30
"""Frames that are kept from either end of a deep traceback."""

_LENGTH = struct.Struct(">I")
_Cached = type(functools.lru_cache(lambda: None))
_receiving = threading.local()


def _namespace() -> dict[str, Any]:
    """Return the namespace that functions being loaded belong to."""
    namespace: dict[str, Any] = _receiving.namespace
    return namespace


class _Globals:
    """Stands for the namespace's dict inside a pickle."""

    def __reduce__(self) -> tuple[Callable[[], dict[str, Any]], tuple[()]]:
        return _namespace, ()


@dataclass(slots=True)
class Dumped:
    """A pickled value that is not stored yet.

    Parameters
    ----------
    pickle : bytes
    buffers : list of memoryview
        Its out-of-band buffers, in order.
    needed : set of str
        Global names that the namespace's functions inside it read.
    filenames : set of str
        Where the code of those functions came from.
    """

    pickle: bytes = b""
    buffers: list[memoryview] = field(default_factory=list)
    needed: set[str] = field(default_factory=set)
    filenames: set[str] = field(default_factory=set)

    @property
    def nbytes(self) -> int:
        """Bytes of the pickle and its buffers."""
        return len(self.pickle) + sum(buffer.nbytes for buffer in self.buffers)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(
        self,
        file: io.BytesIO,
        dumped: Dumped,
        namespace: dict[str, Any],
        without: Collection[str],
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=self._keep)
        self.globals_ref[id(namespace)] = _Globals()
        self._namespace = namespace
        self._dumped = dumped
        self._without = without

    def _keep(self, buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _INLINE:
            return True
        self._dumped.buffers.append(raw)
        return False

    def _dynamic_function_reduce(self, func: FunctionType) -> tuple[Any, ...]:
        reduced: tuple[Any, ...] = super()._dynamic_function_reduce(func)
        if func.__globals__ is not self._namespace:
            return reduced
        carried = reduced[2][1]["__globals__"]
        self._dumped.needed.update(carried)
        self._dumped.filenames.add(func.__code__.co_filename)
        self._note_name(func)
        for name in [name for name in carried if name in self._without]:
            del carried[name]
        return *reduced[:5], _set_function_state

    def _note_name(self, obj: FunctionType | type) -> None:
        """Have the name of a function or class go along: the code may pickle by name."""
        name, _, inner = obj.__qualname__.partition(".")
        found = self._namespace.get(name)
        if found is obj or (isinstance(found, type) and "<locals>" not in inner):
            self._dumped.needed.add(name)

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, _Cached) and obj.__module__ == "__main__":
            # By itself it would travel as a name that the other side does not have.
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if type(obj) is functools.cached_property:
            # It holds a lock before Python 3.12.
            return _cached_property, (obj.func, obj.attrname)
        if isinstance(obj, type) and obj.__module__ == "__main__":
            self._note_name(obj)
        return super().reducer_override(obj)


class _ErrorPickler(_Pickler):
    """Takes tracebacks, causes and notes of exceptions along."""

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, BaseException):
            return _reduce_error(obj)
        if isinstance(obj, TracebackType):
            return pickling_support.pickle_traceback(obj, get_locals=_hidden)
        return super().reducer_override(obj)


class _ReferencePickler(_Pickler):
    def __init__(self, *arguments: Any, references: Mapping[int, str]) -> None:
        super().__init__(*arguments)
        self._references = references

    def persistent_id(self, obj: object) -> str | None:
        return self._references.get(id(obj))


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, file: io.BytesIO, buffers: Iterable[memoryview], resolve: Callable[[str], Any]
    ) -> None:
        super().__init__(file, buffers=buffers)
        self._resolve = resolve

    def persistent_load(self, pid: str) -> Any:
        return self._resolve(pid)


def _cached(function: Callable[..., Any], parameters: Any) -> Any:
    return functools.lru_cache(**parameters)(function)


def _cached_property(function: Callable[[Any], Any], name: str | None) -> Any:
    made = functools.cached_property(function)
    made.attrname = name
    return made


def _set_function_state(function: FunctionType, state: tuple[Any, dict[str, Any]]) -> None:
    """Give a function its state; names that the receiving namespace has stay what they are."""
    _, slots = state
    here = function.__globals__
    slots["__globals__"] = {n: v for n, v in slots["__globals__"].items() if n not in here}
    cloudpickle.cloudpickle._function_setstate(function, state)  # noqa: SLF001 - pickles name it


def _reduce_error(error: BaseException) -> tuple[Any, ...]:
    made: str | tuple[Any, ...] = error.__reduce_ex__(5)
    if isinstance(made, str):
        raise TypeError(f"{type(error).__name__} is reduced to a name")
    make, args, state = (*made[:3], None)[:3]
    links = {
        name: getattr(error, name) for name in ("__cause__", "__context__", "__suppress_context__")
    }
    links["__traceback__"] = _shortened(error.__traceback__)
    return _rebuild_error, (make, args, state, links)


def _shortened(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the middle of an endless recursion: it is too deep to be pickled."""
    entries, entry = [], trace
    while entry is not None:
        entries.append(entry)
        entry = entry.tb_next
    if len(entries) <= 2 * _DEEP:
        return trace
    kept: TracebackType | None = None
    for entry in reversed(entries[:_DEEP] + entries[-_DEEP:]):
        kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept


def _rebuild_error(
    make: Callable[..., BaseException], args: tuple[Any, ...], state: Any, links: dict[str, Any]
) -> BaseException:
    """Make an exception again, also one whose constructor wants other arguments."""
    try:
        error = make(*args)
    except Exception:  # noqa: BLE001 - a constructor of the user's own
        cls: Any = make
        error = cls.__new__(cls)
        error.args = args
    if state:
        error.__setstate__(state)
    for name, value in links.items():
        setattr(error, name, value)
    return error


def _hidden(frame: Any) -> dict[str, bool]:
    hidden = frame.f_locals.get("__tracebackhide__", False) is True
    return {"__tracebackhide__": True} if hidden else {}


def dump(
    value: object,
    namespace: dict[str, Any],
    *,
    without: Collection[str] = (),
    references: Mapping[int, str] | None = None,
    errors: bool = False,
) -> Dumped:
    """Pickle a value that lives in a namespace.

    Parameters
    ----------
    value : object
    namespace : dict
        Functions whose globals this is get the receiving namespace instead.
    without : collection of str
        Globals that functions do not take along: the receiver has them, or may not.
    references : mapping of int to str, optional
        Objects (by ``id``) that the receiver has, and the names it has them under.
    errors : bool
        Keep the tracebacks, causes and notes of exceptions.

    Raises
    ------
    Exception
        Whatever the objects raise when they cannot be pickled.
    """
    dumped = Dumped()
    with io.BytesIO() as file:
        arguments = (file, dumped, namespace, without)
        if references:
            pickler: _Pickler = _ReferencePickler(*arguments, references=references)
        elif errors:
            pickler = _ErrorPickler(*arguments)
        else:
            pickler = _Pickler(*arguments)
        pickler.dump(value)
        dumped.pickle = file.getvalue()
    return dumped


def store(
    blobs: Blobs, dumped: Dumped, *, private: str = "", shared_buffers: bool = False
) -> tuple[str, tuple[str, ...]]:
    """Store a dumped value; return the hash of its blob and those of its buffers.

    Parameters
    ----------
    blobs : Blobs
    dumped : Dumped
    private : str
        Store it for this owner only (`Blobs.put_private`), instead of by its content.
    shared_buffers : bool
        But its buffers by their content: they may be sent again.
    """

    def put(data: bytes | memoryview, place: int) -> str:
        if private and not (shared_buffers and place):
            return blobs.put_private(f"{private}/{place}", data)
        return blobs.put(data)

    buffers = tuple(put(buffer, place) for place, buffer in enumerate(dumped.buffers, 1))
    header = json.dumps({"buffers": buffers, "sources": _sources(dumped.filenames)}).encode()
    packed = b"".join((_LENGTH.pack(len(header)), header, dumped.pickle))
    return put(packed, 0), buffers


def fetch(
    blobs: Blobs,
    packed: str,
    namespace: dict[str, Any],
    resolve: Callable[[str], Any] | None = None,
) -> tuple[Any, Sequence[memoryview]]:
    """Return a stored value, and the private maps that its buffers live in.

    Parameters
    ----------
    blobs : Blobs
    packed : str
        What :func:`store` returned.
    namespace : dict
        Becomes the globals of functions that lived in the sender's namespace.
    resolve : callable, optional
        Returns the object that a reference names.

    Raises
    ------
    FileNotFoundError
        If a blob is gone.
    Exception
        Whatever the objects raise when they cannot be rebuilt here.
    """
    with io.BytesIO(blobs.read(packed)) as file:
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        header = json.loads(file.read(length))
        for name, text in header["sources"].items():
            remember_source(name, text)
        buffers = [blobs.open(name) for name in header["buffers"]]
        return load(file, buffers, namespace, resolve), buffers


def load(
    file: io.BytesIO,
    buffers: Iterable[memoryview],
    namespace: dict[str, Any],
    resolve: Callable[[str], Any] | None = None,
) -> Any:
    """Unpickle what :func:`dump` wrote; its functions get `namespace` as their globals."""
    outer = getattr(_receiving, "namespace", None)
    _receiving.namespace = namespace
    try:
        if resolve is None:
            return pickle.Unpickler(file, buffers=buffers).load()
        return _Unpickler(file, buffers, resolve).load()
    finally:
        _receiving.namespace = outer


def remember_source(filename: str, text: str) -> None:
    """Let tracebacks here show the lines of code that was written elsewhere."""
    if filename not in linecache.cache:
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)


def _sources(filenames: Iterable[str]) -> dict[str, str]:
    """Return the text of code that exists only in this process, such as cells."""
    found = {}
    for name in filenames:
        entry = linecache.cache.get(name)
        if entry is not None and len(entry) == 4 and entry[1] is None:
            found[name] = "".join(entry[2])
    return found
