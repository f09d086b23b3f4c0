"""``fit.map(parts)``: a function for many items, results as they come.

The items go out in chunks and into a few processes that each work on chunk after chunk.
Everything happens while the caller asks for the next result: the iterables are read in
the caller's own thread, as far ahead as the window allows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import values
from ..culprits import find_culprits, to_error
from ..errors import AskError, ComputeError, TransferError
from ..model import ENDED
from . import session, submission
from .credentials import held_back
from .endings import failure
from .frames import shown
from .items import NOTHING, Chunk, Failed, Items
from .output import background
from .progress import Progress
from .results import Rebuilt, Results, namespace
from .run import watch
from .source import Request, Source
from .status import Status

if TYPE_CHECKING:
    from .caught import Catch
    from .options import Options
    from .submission import Submission

__all__ = ["Map", "SizedMap", "make_map"]

R = TypeVar("R")

_WAIT_S = 5.0
"""How long one call waits for results; it is repeated."""

_END_S = 3.0
"""How long the last line of the status may take."""

_LANES = 2
"""How many processes are assumed before the pool has told."""


class Map(Generic[R]):
    """The results of a function for many items, one by one. Made by `RemoteFunction.map`.

    Nothing is sent before the first result is asked for. A map that nobody refers to any
    more is cancelled.

    Parameters
    ----------
    function : callable
    options : Options
    items : Items
    rebuilt : Rebuilt
        Makes exceptions, once the run is known.
    sized : bool
        The items come from containers, which the notebook keeps.
    caught : Catch or None
        Holds the exceptions of items, whose results are then None.
    """

    def __init__(
        self,
        function: Any,
        options: Options,
        items: Items,
        rebuilt: Rebuilt,
        *,
        sized: bool,
        caught: Catch | None = None,
    ) -> None:
        self._function = function
        self._options = options
        self._items = items
        self._sized = sized
        self._caught = caught
        self._names = namespace()
        self._known: set[str] = set()
        self._run_id = ""
        self._since = 0
        self._lanes = _LANES
        self._progress: Progress
        self._watching: threading.Thread | None = None
        self._over = False
        self._stopped: ComputeError | None = None
        self._turn = threading.RLock()
        self._rebuilt = rebuilt
        self._abandon: weakref.finalize[..., Map[R]] | None = None

    @property
    def run_id(self) -> str:
        """The id of the map's run; empty before the first result was asked for."""
        return self._run_id

    def __iter__(self) -> Iterator[R]:
        return self

    def __next__(self) -> R:
        __tracebackhide__ = True
        with self._turn:
            value = self._items.pop()
            if value is NOTHING:
                value = self._wait()
            if type(value) is Failed:
                self._failed(value)
                value = None
        result: R = value
        return result

    def cancel(self) -> None:
        """End the map: what runs is interrupted, what waits is dropped. Iterating stops."""
        if self._over:
            return
        self._end()
        if self._run_id:
            session.client().cancel(self._run_id)
            self._await_end()

    def __repr__(self) -> str:
        name = getattr(self._function, "__qualname__", type(self._function).__name__)
        return f"<map of {name}: {self._items.done} done>"

    # steps ------------------------------------------------------------------------

    def _failed(self, failed: Failed) -> None:
        """Raise what an item has raised, unless it is to be held."""
        __tracebackhide__ = True
        if self._caught is None:
            self._conclude(failed)
            raise shown(failed.error)
        try:
            self._caught.hold(failed.error, self._names)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the map is over
            self._conclude(failed)
            raise shown(error) from None

    def _wait(self) -> Any:
        __tracebackhide__ = True
        if self._over:
            self._raise_stopped()
            raise StopIteration
        try:
            while (value := self._items.pop()) is NOTHING:
                if self._items.finished or self._over:
                    break
                self._step()
        except BaseException:
            with contextlib.suppress(ComputeError):
                self.cancel()
            raise
        if value is NOTHING:  # all is done, or another thread has cancelled it
            self._raise_stopped()
            self._conclude()
            self._items.check_source()
            raise StopIteration
        return value

    def _raise_stopped(self) -> None:
        """Raise, once, why the pool has stopped the map after these results."""
        __tracebackhide__ = True
        if (stopped := self._stopped) is not None:
            self._stopped = None
            self._end()
            raise shown(stopped)

    def _start(self) -> None:
        __tracebackhide__ = True
        try:
            prepared = submission.prepare_map(self._names, self._options, self._function)
        except ComputeError as refusal:
            raise shown(refusal) from None
        if self._caught is not None:
            self._caught.clear(self._names)
        self._known = {*prepared.packed.inputs, *held_back(self._names)}
        self._submit(prepared)
        self._rebuilt.results = Results(self._names, prepared.packed)
        self._rebuilt.run_id = self._run_id

    def _submit(self, prepared: Submission) -> None:
        __tracebackhide__ = True
        client = session.client()
        try:
            self._run_id = run_id = client.submit_only(prepared.spec)
        except AskError as refusal:
            raise shown(refusal) from None
        self._abandon = weakref.finalize(self, _cancel_later, run_id)
        self._progress = Progress(self._items.total)
        status = Status(run_id, self._options.cpu, self._options.memory, progress=self._progress)
        self._watching = watch(run_id, background(), status, quiet=self._options.quiet)

    def _step(self) -> None:
        """Send what can be sent, and take what has come."""
        items, now = self._items, time.monotonic()
        outgoing = items.outgoing(self._lanes, now)
        if not self._run_id:
            if not outgoing:  # there are no items at all
                return
            self._start()
        chunks = [self._pack(chunk) for chunk in outgoing]
        due = items.next_due()
        wait_s = _WAIT_S if due is None else min(_WAIT_S, max(0.0, due - now))
        if items.ready:  # an item that cannot be sent has failed already
            wait_s = 0.0
        order = {
            "chunks": [wire for wire in chunks if wire],
            "open": list(items.open),
            "since": self._since,
            "wait_s": wait_s,
        }
        if items.open or due is not None:
            self._take(session.client().exchange(self._run_id, order))

    def _take(self, answer: dict[str, Any]) -> None:
        items = self._items
        if self._over:
            return
        if answer["state"] in ENDED:
            self._ended(answer)
            return
        self._lanes = answer["most"]
        items.memory, items.memory_high = answer["memory"], answer["memory_high"]
        for n in answer["missing"]:
            if (chunk := items.missing(n)) is not None:
                self._discard(chunk.blobs)
        for piece in answer["pieces"]:
            self._since = piece["seq"]
            # Killed is what the pool ends: its next answer says why.
            killed = piece.get("died", {}).get("reason") == "killed"
            if piece["n"] in items.open and not killed:
                self._land(piece)
        self._progress.update(items.done, items.retried, items.failed, answer["lanes"])

    def _ended(self, answer: dict[str, Any]) -> None:
        """The pool has ended the map: raise why, after what is there if that was a budget."""
        envelope = answer["envelope"] or {}
        error = failure(envelope, self._run_id, cancelled=answer["state"] == "cancelled")
        if envelope.get("reason") == "budget":
            for piece in answer["pieces"]:
                if piece["n"] in self._items.open and "died" not in piece:
                    self._land(piece)
            self._stopped = error
            self._over = True
        else:
            self._end()
        self._await_end()
        if self._stopped is None:
            raise shown(error)

    def _land(self, piece: dict[str, Any]) -> None:
        """Take one piece in, and drop what was stored for it."""
        items, now = self._items, time.monotonic()
        chunk = items.open[piece["n"]]
        if "died" in piece:
            items.died(piece, now)
        else:
            try:
                bundle, _ = values.fetch(session.blobs(), piece["payload"], self._names)
            except Exception as error:  # noqa: BLE001 - any object's own code may run here
                message = f"the results cannot be rebuilt here: {type(error).__name__}: {error}"
                died = {"outcome": "died", "reason": "transfer", "message": message}
                items.died(piece | {"died": died}, now)
            else:
                items.took(piece, bundle, now)
            self._discard((piece["payload"], *piece["blobs"]))
        if chunk.n not in items.open:
            self._discard(chunk.blobs)

    def _pack(self, chunk: Chunk) -> dict[str, Any] | None:
        """Store a chunk and return what the pool is told; None if it cannot be pickled."""
        blobs = session.blobs()
        try:
            dumped = values.dump(chunk.arguments, self._names, without=self._known)
        except Exception as error:  # noqa: BLE001 - any object's own code may run here
            self._unsendable(chunk, error)
            return None
        private = f"{self._run_id}/{chunk.n}/in"
        with submission.storing():
            payload, buffers = values.store(
                blobs, dumped, private=private, shared_buffers=self._sized
            )
        own = (payload,) if self._sized else (payload, *buffers)
        kept = [name for at in dumped.in_place.values() for name in (at.payload, *at.blobs)]
        self._items.packed(chunk, dumped.nbytes, own)
        return {
            "n": chunk.n,
            "items": len(chunk.arguments),
            "payload": payload,
            "blobs": [*buffers, *kept],
            "memory": chunk.memory,
            "careful": chunk.careful,
            "whole": self._items.fixed,
        }

    def _unsendable(self, chunk: Chunk, error: Exception) -> None:
        items = self._items
        if len(chunk.arguments) > 1:
            items.split(chunk)
            return
        del items.open[chunk.n]
        named = {f"argument {n}": value for n, value in enumerate(chunk.arguments[0], 1)}
        found = find_culprits(named, lambda value: values.dump(value, self._names))
        message = f"item {chunk.first} cannot be sent: {type(error).__name__}: {error}"
        refusal = to_error(found) if found else TransferError(message)
        refusal.add_note(f"item {chunk.first} of the map")
        envelope = {"outcome": "died", "reason": "transfer", "message": refusal.message}
        items.failed_for_good(chunk.first, refusal, envelope)

    def _discard(self, names: Iterable[str]) -> None:
        for name in names:
            session.blobs().discard(name)

    def _conclude(self, failed: Failed | None = None) -> None:
        """Tell the pool that this is all, and wait until the receipt is shown."""
        if self._over:
            return
        self._end()
        if not self._run_id:
            return
        for chunk in self._items.open.values():
            self._discard(chunk.blobs)
        envelope: dict[str, Any] = {"outcome": "ok", "items": self._items.done}
        if failed is not None:
            known = {k: v for k, v in failed.envelope.items() if k in {"outcome", "type", "reason"}}
            message = str(failed.envelope.get("message", ""))[:2000]
            envelope = known | {"message": message, "items": self._items.done}
        session.client().conclude(self._run_id, envelope)
        self._await_end()

    def _end(self) -> None:
        """Stop iterating; nobody needs to end the map for us any more."""
        self._over = True
        self._items.close()
        if self._abandon is not None:
            self._abandon.detach()

    def _await_end(self) -> None:
        """Have the receipt, and the last output, under the cell before it ends."""
        if self._watching is not None:
            self._watching.join(_END_S)


class SizedMap(Map[R]):
    """A map over so many items as its containers have."""

    def __len__(self) -> int:
        assert self._items.total is not None
        return self._items.total


def make_map(
    function: Any, options: Options, source: Source, request: Request, caught: Catch | None
) -> Map[Any]:
    """Return the map that has not begun yet."""
    rebuilt = Rebuilt()
    if caught is not None and request.errors == "raise":
        request = dataclasses.replace(request, errors="hold")
    items = Items(source.arguments, source.total, options.rule(), rebuilt, request)
    kind: type[Map[Any]] = Map if source.total is None else SizedMap
    return kind(function, options, items, rebuilt, sized=source.sized, caught=caught)


def _cancel_later(run_id: str) -> None:
    """Cancel the run of a map that nobody refers to any more."""

    def cancel() -> None:
        with contextlib.suppress(ComputeError):
            session.client().cancel(run_id)

    try:
        threading.Thread(target=cancel, name=f"jupyter-compute-{run_id}").start()
    except RuntimeError:  # Python is ending, and starts no thread any more
        cancel()
