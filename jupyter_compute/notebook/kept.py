"""Kept values: results that stay where they were computed.

``%%remote --keep x``, or a function with ``remote(keep=True)``, binds a `Kept` instead of a
value. A cell or call that reads it finds the value itself, mapped from where it is: nothing
is sent. That holds for one inside a list or an argument, too. What comes back:

- an input that is still what it was comes back as the same `Kept`, wherever it appears;
- one that the code has changed comes back as a value, as any changed input does. The kept
  one never changes. ``--keep x`` again keeps the new one, as another `Kept`.

A kept value stays

- while a `Kept` of it is alive in a kernel, or a run reads it;
- after that for a minute (``retention.released``), if the kernel that got it from its run let
  go of it: the name was deleted or bound to something else;
- or for a week since its last use (``retention.kept``), if that kernel ended instead.
  ``jupyter_compute.kept(id)`` then returns it again. So a restart loses nothing.

``%compute kept`` lists them, ``%compute drop`` drops them at once.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from queue import Empty, SimpleQueue
from typing import Any, overload

from .. import values
from ..ask import format_memory
from ..errors import ComputeError, TransferError
from ..inplace import InPlace
from . import session
from .client import Client

__all__ = ["Arrivals", "Kept", "kept", "title"]

_GATHER_S = 0.1
"""Holds and releases that come together are told together."""

_alive: weakref.WeakValueDictionary[str, Kept] = weakref.WeakValueDictionary()


class Kept(InPlace):
    """A value that stays where it was computed.

    ``%%remote --keep x`` and functions with ``remote(keep=True)`` make them. Cells and calls that
    read one use the value in place. ``Kept(id)`` finds one again, from any notebook and after a
    kernel restart.

    Parameters
    ----------
    kept_id : str
        e.g. ``"k-k3m2xq7a"``; `id` and ``%compute kept`` tell it.

    Raises
    ------
    TransferError
        If there is no such kept value (any more).
    """

    name: str
    type: str
    shape: str

    def __new__(cls, kept_id: str) -> Kept:  # noqa: PYI034 - subclasses are not made
        """Look it up: there is one object of each in a kernel."""
        return _make(session.client().kept_value(kept_id))

    def __init__(self, kept_id: str) -> None:
        """Everything is known already."""

    def get(self) -> Any:
        """Bring the value here. Each call makes a copy, which may be changed freely.

        Raises
        ------
        TransferError
            If it has been dropped, or cannot be rebuilt here.
        """
        __tracebackhide__ = True
        from .results import namespace

        entry = session.client().kept_value(self.id)
        if entry.get("apart"):
            session.client().bring_kept(self.id)
        try:
            value, _ = values.fetch(session.blobs(), self.payload, namespace())
        except FileNotFoundError:
            raise TransferError(
                f"{self.id} is no longer stored", hint="run the cell that made it again"
            ) from None
        except Exception as error:
            raise TransferError(
                f"{self.id} cannot be rebuilt here: {type(error).__name__}: {error}",
                hint="the notebook needs the same modules as the run had",
            ) from error
        return value

    def __repr__(self) -> str:
        return f"<Kept {self.id}: {title(self)}, {format_memory(self.nbytes)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (self.id,)

    def __copy__(self) -> Kept:
        return self

    def __deepcopy__(self, memo: object) -> Kept:
        return self

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"a kept value has no attribute {name!r} here; .get() brings the {self.type}"
            if "type" in vars(self)
            else name
        )


def title(value: InPlace) -> str:
    """Return type and shape, e.g. ``"ndarray 1000 x 20 float64"``."""
    return " ".join(filter(None, (getattr(value, "type", ""), getattr(value, "shape", ""))))


@overload
def kept() -> list[Kept]: ...


@overload
def kept(kept_id: str) -> Kept: ...


def kept(kept_id: str | None = None) -> list[Kept] | Kept:
    """Return the kept value with this id, or all of this user, newest first.

    Raises
    ------
    TransferError
        If there is no such kept value (any more).
    """
    if kept_id is not None:
        return Kept(kept_id)
    return [_make(entry) for entry in session.client().kept_values()]


class Arrivals:
    """Makes what stands in this kernel for the kept values in a result.

    Parameters
    ----------
    entries : iterable of mapping
        What the run has kept, as its envelope describes it.
    """

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        self._entries = {entry["id"]: entry for entry in entries}

    def __call__(self, place: InPlace) -> Kept:
        """Return the `Kept` for a place in a pickle."""
        return self.again(place.id)

    def again(self, kept_id: str) -> Kept:
        """Return the `Kept` of this id: of this run, alive here already, or looked up."""
        living, entry = _alive.get(kept_id), self._entries.get(kept_id)
        if living is not None:
            return living
        return Kept(kept_id) if entry is None else _make(entry, received=True)


def _make(entry: Mapping[str, Any], *, received: bool = False) -> Kept:
    """Return the `Kept` of an entry: there is one object of each in a kernel.

    Parameters
    ----------
    entry : mapping
    received : bool
        It comes from its run. Who has received it may let go of it for everybody.
    """
    found = _alive.get(entry["id"])
    if found is not None:
        return found
    made = object.__new__(Kept)
    InPlace.__init__(made, entry["id"], entry["payload"], entry["blobs"], entry["nbytes"])
    made.name, made.type, made.shape = entry["name"], entry["type"], entry["shape"]
    _alive[made.id] = made
    tell = _told().put
    # A kernel that ends lets go of nothing.
    weakref.finalize(made, tell, (made.id, "let_go" if received else "release")).atexit = False
    tell((made.id, "hold"))
    return made


@functools.cache
def _told() -> SimpleQueue[tuple[str, str]]:
    """Return where a thread takes what to tell the pool about this kernel's kept values."""
    queue: SimpleQueue[tuple[str, str]] = SimpleQueue()
    name = "jupyter-compute-kept"
    threading.Thread(target=_tell, args=(queue,), name=name, daemon=True).start()
    return queue


def _tell(queue: SimpleQueue[tuple[str, str]]) -> None:
    client = Client(start=False)
    holder = f"{os.getpid()}-{secrets.token_hex(4)}"
    while True:
        latest = dict([queue.get()])
        time.sleep(_GATHER_S)
        with contextlib.suppress(Empty):
            while True:
                latest.update([queue.get_nowait()])
        # What a pool that does not run is not told, it finds out by and by.
        with contextlib.suppress(ComputeError):
            client.hold_kept(holder, latest)
