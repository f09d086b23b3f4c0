"""``@remote``: functions that run where there is room.

A function that is decorated here is called like any other. Inside a run it is a plain
function: a run does not ask for another run.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from ..errors import AskError, ComputeError
from .options import Options, from_keywords

if TYPE_CHECKING:
    from .run import Run
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
    """

    def __init__(self, function: Callable[P, R], asked: Options) -> None:
        self.function = function
        self.asked = asked
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
        if inspect.iscoroutinefunction(self.function):
            return self._awaited(args, kwargs)  # type: ignore[return-value]
        from .status import Status

        value: R = _wait(self._prepare(args, kwargs), self._resolved(), Status())
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
        return Run(run_id, Results(namespace(), prepared.packed))

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here, as if it were not decorated."""
        return self.function(*args, **kwargs)

    def options(self, **keywords: Any) -> RemoteFunction[P, R]:
        """Return the same function with another ask; the keywords are those of `remote`."""
        return RemoteFunction(self.function, _read(keywords).merge(self.asked))

    def plan(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return what a call would send, where it would run and for how much. Nothing is run."""
        from . import payload, plan

        named: dict[str, Any] = {f"argument {n}": value for n, value in enumerate(args, 1)}
        named |= {f"argument {name}": value for name, value in kwargs.items()}
        named[self.__name__] = self.function
        return plan.describe(self._resolved(), payload.measure(named, named))

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind like a function in a class: as method, class method or static method."""
        bind = getattr(self.function, "__get__", None)
        if bind is None or (instance is None and inspect.isfunction(self.function)):
            return self
        return RemoteFunction(bind(instance, owner), self.asked)

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
            return await in_thread(_wait, prepared, options, status)
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
        ``cpu``, ``memory``, ``gpu``, ``on``, ``retries``, ``retry_on`` (names or exception
        classes), ``retry_delay``, ``timeout``, ``quiet``: as ``%%remote`` has them.

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
            return RemoteFunction(function.function, asked.merge(function.asked))
        _check(function)
        return RemoteFunction(function, asked)

    return decorate if function is None else decorate(function)


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

    if problem := _unfit(function):
        raise shown(TypeError(problem))


def _unfit(function: Any) -> str:
    """Return why it cannot run remotely; empty if it can."""
    plain = getattr(function, "__func__", function)
    name = getattr(plain, "__qualname__", repr(plain))
    if isinstance(plain, type):
        return f"@remote works on functions, and {name} is a class; decorate its methods"
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        return f"@remote cannot run {name}: a generator would have to stay remote; return a list"
    if not callable(plain):
        return f"@remote works on functions, and this is of type {type(plain).__name__}"
    return ""


def _wait(prepared: Submission, options: Options, status: Status) -> Any:
    """Submit a call, show it, and return its value or raise what it raised."""
    __tracebackhide__ = True
    from . import session
    from .follow import follow
    from .frames import shown
    from .output import foreground
    from .results import Results, namespace
    from .view import View

    client = session.client()
    status.cpu, status.memory = options.cpu, options.memory
    view = View(foreground(), status, quiet=options.quiet, patience_s=_PATIENCE_S)
    try:
        ending = follow(client, client.submit(prepared.spec), view)
    except AskError as refusal:
        raise shown(refusal) from None
    for note in ending.envelope.get("notes", ()):
        view.say(note)
    view.finish()
    return Results(namespace(), prepared.packed).receive(ending, once=True)
