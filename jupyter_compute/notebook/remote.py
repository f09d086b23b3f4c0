"""``@remote``: functions that run where there is room.

A function that is decorated here is called like any other. Inside a run it is a plain
function: a run does not ask for another run.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from ..errors import AskError, ComputeError
from .callables import is_coroutine, unfit
from .caught import Catch
from .options import Options, from_keywords
from .stack import catch_of, noted, stacked

if TYPE_CHECKING:
    from .map import Map
    from .plainmap import PlainMap
    from .run import Run
    from .source import Errors
    from .status import Status
    from .submission import Submission

__all__ = ["INSIDE", "RemoteFunction", "remote"]

P = ParamSpec("P")
R = TypeVar("R")

INSIDE = "JUPYTER_COMPUTE_RUN"
"""The variable that holds the run's id inside a run."""
_PATIENCE_S = 0.5
"""A call that is over sooner shows no status line: calls come in loops."""


class RemoteFunction(Generic[P, R]):
    """A function that runs remotely when it is called. Made by `remote`.

    Parameters
    ----------
    function : callable
        The plain function.
    asked : Options
        What it asks for, as given.
    caught : Catch, optional
        What holds the exception of a run, which then has the value None.
    """

    def __init__(
        self, function: Callable[P, R], asked: Options, caught: Catch | None = None
    ) -> None:
        self.function = function
        self.asked = asked
        self.caught = caught
        functools.update_wrapper(self, function, updated=())
        plain = getattr(function, "__func__", function)
        self.__name__: str = getattr(plain, "__name__", type(plain).__name__)
        self.__qualname__: str = getattr(plain, "__qualname__", self.__name__)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function remotely, wait, and return its value or raise what it raised."""
        __tracebackhide__ = True
        if INSIDE in os.environ:
            _tell_in_place(self.__name__)
            return self.function(*args, **kwargs)
        if is_coroutine(self.function):
            return self._awaited(args, kwargs)  # type: ignore[return-value]
        from .status import Status

        prepared, options = self._prepare(args, kwargs), self._resolved()
        value: R = _wait(prepared, options, Status(), self.caught)
        return value

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Run:
        """Run the function remotely and return its `Run` at once.

        The run goes on when the kernel that submitted it ends.
        """
        from . import session
        from .results import Results, namespace
        from .run import Run

        if INSIDE in os.environ:
            raise ComputeError("a run cannot submit another run", hint="call the function instead")
        prepared = self._prepare(args, kwargs, detached=True)
        run_id = session.client().submit_only(prepared.spec)
        return Run(run_id, Results(namespace(), prepared.packed, self.caught))

    def map(
        self,
        *iterables: Iterable[Any],
        ordered: bool = True,
        errors: Errors = "raise",
        chunk: int | Literal["auto"] = "auto",
        window: int | None = None,
    ) -> Map[R] | PlainMap[R]:
        """Run the function for many items, and return an iterator over the results.

        It is lazy: nothing is sent before the first result is asked for, and the iterables
        are read only as far ahead as is needed to keep all processes busy (so what they yield
        must not be changed afterwards). Each process
        works on many items, one after the other; each item has its own retries, timeout
        and memory steps. The globals and defaults of the function are sent once.

        Parameters
        ----------
        *iterables
            The arguments, as for Python's own `map`. They may be endless; containers must
            have one length.
        ordered : bool
            Give the results in the order of the items; if False, as they come.
        errors : {"raise", "return", "skip"}
            What becomes of an item that has failed for good: its exception is raised in its
            turn and the map is over, is a result like others, or is left out.
        chunk : "auto" or int
            Items that travel together. By default so many as take a fraction of a second.
        window : int, optional
            Items that may be on their way, or wait for an earlier one, at the same time.

        Returns
        -------
        Map
            An iterator with ``.cancel()``, and with a length if the iterables have one.

        Raises
        ------
        AskError, TypeError, ValueError
            If an argument is none of the above, or the function has ``keep`` or ``cache``.
        """
        __tracebackhide__ = True
        from .frames import shown
        from .map import make_map
        from .source import Request, Source

        try:
            request = Request.read(ordered, errors, chunk, window)
            source = Source.of(iterables)
            _refuse_in_map(self.asked)
        except (AskError, TypeError, ValueError) as refusal:
            raise shown(refusal.with_traceback(None)) from None
        if INSIDE in os.environ:
            from . import plainmap

            _tell_in_place(self.__name__)
            return plainmap.make_map(self.function, source, request)
        return make_map(self.function, self._resolved(), source, request, self.caught)

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here, as if it were not decorated."""
        return self.function(*args, **kwargs)

    def options(self, **keywords: Any) -> RemoteFunction[P, R]:
        """Return the same function with another ask; the keywords are those of `remote`."""
        __tracebackhide__ = True
        return RemoteFunction(self.function, _read(keywords).merge(self.asked), self.caught)

    def stacked(self, wanted: Mapping[str, Any]) -> RemoteFunction[P, R]:
        """Return the same function with what a decorator asks for besides (`stack.note`)."""
        caught = catch_of(wanted, self.__qualname__) or self.caught
        return RemoteFunction(self.function, stacked(self.asked, wanted), caught)

    def plan(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return what a call would send, where it would run and for how much. Nothing is run."""
        from . import payload, plan, scratch
        from .code import key_of_function

        named: dict[str, Any] = {f"argument {n}": value for n, value in enumerate(args, 1)}
        named |= {f"argument {name}": value for name, value in kwargs.items()}
        named[self.__name__] = self.function
        options = self._resolved()
        sent = payload.measure(named, named)
        code = key_of_function(self.function)
        return plan.describe(options, sent, scratch.short_of(options), code)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind like a function in a class: as method, class method or static method."""
        bind = getattr(self.function, "__get__", None)
        if bind is None or (instance is None and inspect.isfunction(self.function)):
            return self
        return RemoteFunction(bind(instance, owner), self.asked, self.caught)

    def __repr__(self) -> str:
        return f"<remote {self.__qualname__}>"

    def _resolved(self) -> Options:
        from . import session

        return session.resolve(self.asked)

    def _prepare(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, detached: bool = False
    ) -> Submission:
        __tracebackhide__ = True
        from . import submission
        from .frames import shown
        from .results import namespace

        try:
            return submission.prepare_call(
                namespace(), self._resolved(), self.function, args, kwargs, detached=detached
            )
        except ComputeError as refusal:
            raise shown(refusal) from None

    async def _awaited(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        __tracebackhide__ = True
        from . import session
        from .status import Status
        from .waiting import in_thread

        prepared, options, status = self._prepare(args, kwargs), self._resolved(), Status()
        try:
            return await in_thread(_wait, prepared, options, status, self.caught)
        except asyncio.CancelledError:
            if status.run_id:
                session.client().cancel(status.run_id)
            raise


@overload
def remote(function: Callable[P, R], /) -> RemoteFunction[P, R]: ...


@overload
def remote(**options: Any) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]: ...


def remote(function: Any = None, /, **options: Any) -> Any:
    """Make a function run remotely: ``@remote``, or ``@remote(cpu=8, memory="32G")``.

    Parameters
    ----------
    function : callable, optional
        A function, method, lambda or ``async def``.
    **options
        ``cpu``, ``memory``, ``gpu``, ``disk``, ``on``, ``retries``, ``retry_on`` (names or
        exception classes), ``retry_delay``, ``timeout``, ``cache``, ``name``, ``quiet``: as
        ``%%remote`` has them. Metaflow's decorators (`metaflow`) add to them. ``keep=True``
        leaves what the function returns where it was computed: the call returns a `Kept`, and
        one that is passed as an argument, or inside one, arrives as its value.

    Returns
    -------
    RemoteFunction

    Raises
    ------
    AskError
        If an option is refused.
    TypeError
        If it is a class, a generator function or nothing that can be called.
    """
    __tracebackhide__ = True
    asked = _read(options)

    def decorate(function: Any) -> RemoteFunction[Any, Any]:
        __tracebackhide__ = True
        if isinstance(function, RemoteFunction):
            return RemoteFunction(function.function, asked.merge(function.asked), function.caught)
        _check(function)
        return RemoteFunction(function, asked).stacked(noted(function))

    return decorate if function is None else decorate(function)


def _refuse_in_map(asked: Options) -> None:
    for name, given in (("keep", asked.keep_returned), ("cache", asked.cache)):
        if given:
            hint = f"e.g. .options({name}=False).map(...)"
            raise AskError(f"{name}=True is for single calls; map brings every result", hint=hint)


def _read(keywords: dict[str, Any]) -> Options:
    from .frames import shown

    try:
        return from_keywords(**keywords)
    except AskError as refusal:
        raise shown(refusal) from None


@functools.cache
def _tell_in_place(name: str) -> None:
    """Note under the cell, once in a run, that the function does not get what it asks for."""
    from .output import shell

    emit = getattr(getattr(shell(), "display_pub", None), "emit", None)
    if emit is not None:
        emit({"kind": "note", "text": f"{name} runs inside this run, with what this run has"})


def _check(function: Any) -> None:
    from .frames import shown

    if problem := unfit(function):
        raise shown(TypeError(problem))


def _wait(prepared: Submission, options: Options, status: Status, caught: Catch | None) -> Any:
    """Submit a call, show it, and return its value or raise what it raised."""
    __tracebackhide__ = True
    from . import scratch, session
    from .follow import follow
    from .frames import shown
    from .output import foreground
    from .results import Results, namespace
    from .view import View

    client = session.client()
    status.cpu, status.memory = options.cpu, options.memory
    status.notes += scratch.short_of(options)
    view = View(foreground(), status, quiet=options.quiet, patience_s=_PATIENCE_S)
    try:
        ending = follow(client, client.submit(prepared.spec), view)
    except AskError as refusal:
        raise shown(refusal) from None
    for note in ending.envelope.get("notes", ()):
        view.say(note)
    view.finish()
    return Results(namespace(), prepared.packed, caught).receive(ending, once=True)
