"""What a run brings back to the notebook: values bound to names, or an exception."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from ..errors import ComputeError
from . import payload, session
from .caught import Catch
from .client import Client
from .endings import failure, not_rebuilt
from .follow import Ending
from .frames import mend, shown
from .output import shell
from .payload import Packed, Result

__all__ = ["Rebuilt", "Results", "forget", "namespace"]

_NOT_DEFINED = re.compile(r"name '(\w+)' is not defined")

_SHOWN_S = 0.1
"""Until then the cell that has ended is shown, and the next one can be on its way."""


def namespace() -> dict[str, Any]:
    """Return the names of the notebook, or of the main module of a plain Python process."""
    ipython = shell()
    if ipython is None:
        return vars(sys.modules["__main__"])
    names: dict[str, Any] = ipython.user_ns
    return names


@dataclass(frozen=True, slots=True)
class Results:
    """How the values of one run come back.

    Parameters
    ----------
    namespace : dict
        Where the names that a cell assigned are bound.
    packed : Packed or str
        What was sent, or its hash if another kernel has sent it.
    catch : Catch, optional
        What holds the exception, so that it is not raised.
    """

    namespace: dict[str, Any]
    packed: Packed | str
    catch: Catch | None = None

    @classmethod
    def of_run(cls, record: dict[str, Any]) -> Results:
        """Return how the values of a run come back that another kernel may have submitted."""
        return cls(namespace(), record.get("payload", ""))

    def receive(self, ending: Ending, *, once: bool = False) -> Any:
        """Bind what came back, and return the last expression's or the function's value.

        If the run failed nothing is bound, unless it was to keep partial results, and the
        value is None if `catch` holds the exception.

        Parameters
        ----------
        ending : Ending
        once : bool
            The stored results are not needed any more afterwards.

        Raises
        ------
        BaseException
            What the user's code raised, with the remote frames in its traceback.
        ComputeError
            If the run ended in another way.
        KeyboardInterrupt
            If it was interrupted from here.
        """
        __tracebackhide__ = True
        if self.catch is None:
            return self._receive(ending, once=once)
        try:
            value = self._receive(ending, once=once)
        except BaseException as error:  # noqa: BLE001 - whatever the run raised is asked for
            self.catch.hold(error, self.namespace)
            return None
        self.catch.clear(self.namespace)
        return value

    def _receive(self, ending: Ending, *, once: bool) -> Any:
        __tracebackhide__ = True
        result = self._open(ending)
        error = self._raised(ending, result.error)
        self.namespace.update(result.values)
        for name in result.deleted:
            self.namespace.pop(name, None)
        if once and ending.envelope.get("payload"):
            forget(ending.run_id)
        if error is not None:
            raise shown(error)
        return result.last

    def _open(self, ending: Ending) -> Result:
        __tracebackhide__ = True
        envelope = ending.envelope
        try:
            return payload.unpack(session.blobs(), envelope, self.namespace, self.packed)
        except Exception as error:  # noqa: BLE001 - any object's own code may run here
            raise shown(not_rebuilt(error, envelope, ending.run_id)) from None

    def _raised(self, ending: Ending, error: BaseException | None) -> BaseException | None:
        if ending.envelope.get("outcome") == "ok":
            # The user's code may have caught the interrupt: then it is over, as it is locally.
            late = ending.interrupts and ending.state != "cancelled"
            return KeyboardInterrupt() if late else None
        cancelled = ending.state == "cancelled"
        if error is not None:
            mend(error)
            if not (cancelled and isinstance(error, KeyboardInterrupt)):
                return self._with_hint(error)
        if ending.interrupts:
            return error or KeyboardInterrupt()
        refusal = failure(ending.envelope, ending.run_id, cancelled=cancelled)
        refusal.__cause__ = error
        return refusal

    def _with_hint(self, error: BaseException) -> BaseException:
        """Say how to send a name that the code reads without spelling it out."""
        missing = _NOT_DEFINED.match(str(error)) if type(error) is NameError else None
        if missing and missing[1] in self.namespace and isinstance(self.packed, Packed):
            name = missing[1]
            error.add_note(f"{name!r} is in the notebook and was not sent; --in {name} sends it")
        return error


class Rebuilt:
    """Makes the exception that the envelope of an item describes.

    It is no method of `Map`: nothing that a map holds may refer to it, so that one that
    nobody iterates any more ends at once.
    """

    def __init__(self) -> None:
        self.results: Results
        self.run_id = ""

    def __call__(self, envelope: Mapping[str, Any]) -> BaseException:
        """Return the exception."""
        __tracebackhide__ = True
        try:
            self.results.receive(Ending(self.run_id, {"state": "failed", "envelope": envelope}))
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raised
            return error
        return ComputeError("the item failed without a reason")


def forget(run_id: str) -> None:
    """Tell the pool, in the background, that the results of a run may go."""
    _bound().put(run_id)


@functools.cache
def _bound() -> SimpleQueue[str]:
    """Return where a thread takes the runs from whose results may go."""
    runs: SimpleQueue[str] = SimpleQueue()
    name = "jupyter-compute-collected"
    threading.Thread(target=_tell, args=(runs,), name=name, daemon=True).start()
    return runs


def _tell(runs: SimpleQueue[str]) -> None:
    client = Client(start=False)
    while True:
        run_id = runs.get()
        time.sleep(_SHOWN_S)
        # Results that nobody has spoken of go by themselves after a while.
        with contextlib.suppress(ComputeError):
            client.collected(run_id)
