"""Metaflow's decorators, for functions that ``@remote`` runs.

They stack on ``@remote`` in any order, above or below it, with Metaflow's parameters, units
and meaning; where one of them and ``remote(...)`` both state something, the larger counts.
Without ``@remote`` they change nothing: the function stays a plain one that runs here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..ask import LONGEST_TIME, parse_count, parse_time, refuse
from ..errors import AskError
from .callables import unfit
from .frames import shown
from .option_table import parse_flag, parse_name
from .parameters import BATCH_ONLY, MEANINGLESS, amounts, number, refuse_others
from .remote import RemoteFunction
from .stack import note

__all__ = ["batch", "catch", "resources", "retry", "timeout"]


def resources(
    function: Any = None,
    /,
    *,
    cpu: object = None,
    memory: object = None,
    gpu: object = None,
    disk: object = None,
    **others: object,
) -> Any:
    """Ask for resources, as Metaflow's ``@resources``.

    Parameters
    ----------
    function : callable, optional
        What it decorates.
    cpu : float, optional
    memory, disk : int or str, optional
        A plain number is MB (10⁶ bytes); with a unit as in ``remote``.
    gpu : int, optional
    **others
        ``shared_memory``, which has no meaning here, is refused.

    Raises
    ------
    AskError
        If a parameter is unknown or out of its limits. What is not given is not asked for.
    """
    __tracebackhide__ = True

    def read() -> dict[str, Any]:
        refuse_others("resources", others, ("cpu", "memory", "gpu", "disk"), {"shared_memory"})
        return amounts("resources", cpu=cpu, memory=memory, gpu=gpu, disk=disk)

    return _decorator("resources", "cpu=2", function, read)


def batch(
    function: Any = None,
    /,
    *,
    cpu: object = None,
    gpu: object = None,
    memory: object = None,
    **others: object,
) -> Any:
    """Ask for resources, as Metaflow's ``@batch``. It says how much; ``remote(on=...)`` says where.

    Parameters
    ----------
    function : callable, optional
        What it decorates.
    cpu : float, optional
    gpu : int, optional
    memory : int or str, optional
        A plain number is MB (10⁶ bytes).
    **others
        Of Metaflow's other parameters those that tell how to operate AWS Batch are ignored
        (``queue``, ``iam_role``, ``execution_role``, ``aws_batch_tags``, ``log_driver``,
        ``log_options``, ``max_swap``, ``swappiness``). Those that code may rely on are
        refused, such as ``image``, unless their value asks for nothing.

    Raises
    ------
    AskError
        If a parameter is unknown, refused or out of its limits.
    """
    __tracebackhide__ = True

    def read() -> dict[str, Any]:
        known = ("cpu", "gpu", "memory", *sorted(BATCH_ONLY))
        refuse_others("batch", others, known, MEANINGLESS.keys())
        return amounts("batch", cpu=cpu, memory=memory, gpu=gpu)

    return _decorator("batch", "cpu=2", function, read)


def retry(
    function: Any = None,
    /,
    *,
    times: object = 3,
    minutes_between_retries: object = 2,
    **others: object,
) -> Any:
    """Rerun after an exception, as Metaflow's ``@retry``.

    Parameters
    ----------
    function : callable, optional
        What it decorates.
    times : int
        Reruns: there are up to ``times + 1`` attempts.
    minutes_between_retries : float
        The pause before each rerun; it does not grow.

    Raises
    ------
    AskError
        If a parameter is unknown or out of its limits.
    """
    __tracebackhide__ = True

    def read() -> dict[str, Any]:
        refuse_others("retry", others, ("times", "minutes_between_retries"))
        pause = 60 * number("@retry minutes_between_retries", minutes_between_retries)
        if pause > LONGEST_TIME:
            rule = "is more than 30 days"
            refuse("@retry minutes_between_retries", minutes_between_retries, rule, "e.g. 2")
        return {"retries": parse_count(times, "@retry times"), "retry_delay": pause}

    return _decorator("retry", "times=3", function, read)


def timeout(
    function: Any = None,
    /,
    *,
    seconds: object = 0,
    minutes: object = 0,
    hours: object = 0,
    **others: object,
) -> Any:
    """Limit the time of each attempt, as Metaflow's ``@timeout``.

    An attempt that takes longer ends with `TimedOut`, an exception that ``@retry`` reruns and
    ``@catch`` holds.

    Parameters
    ----------
    function : callable, optional
        What it decorates.
    seconds, minutes, hours : float
        They are added up.

    Raises
    ------
    AskError
        If they add up to nothing or to more than 30 days, or a parameter is unknown.
    """
    __tracebackhide__ = True

    def read() -> dict[str, Any]:
        parts = {"seconds": seconds, "minutes": minutes, "hours": hours}
        refuse_others("timeout", others, parts)
        values = {name: number(f"@timeout {name}", part) for name, part in parts.items()}
        total = values["seconds"] + 60 * values["minutes"] + 3600 * values["hours"]
        if not total:
            raise AskError("@timeout has no duration", hint="e.g. @timeout(minutes=10)")
        return {"timeout": parse_time(total, "@timeout")}

    return _decorator("timeout", "minutes=10", function, read)


def catch(
    function: Any = None,
    /,
    *,
    var: object = None,
    print_exception: object = True,
    **others: object,
) -> Any:
    """Return None instead of raising, after the last attempt, as Metaflow's ``@catch``.

    Interrupted and cancelled calls raise all the same, and so does what could not be submitted.

    Parameters
    ----------
    function : callable, optional
        What it decorates.
    var : str, optional
        The name in the notebook that the exception is bound to; None after a success.
    print_exception : bool
        Print the exception under the cell.

    Raises
    ------
    AskError
        If `var` is not a name, or a parameter is unknown.
    """
    __tracebackhide__ = True

    def read() -> dict[str, Any]:
        refuse_others("catch", others, ("var", "print_exception"))
        name = None if var is None else parse_name(var, "@catch var")
        return {"catch": (name, parse_flag(print_exception, "print_exception"))}

    return _decorator("catch", "var='error'", function, read)


def _decorator(
    name: str, example: str, function: Any, read: Callable[[], Mapping[str, Any]]
) -> Any:
    """Return the function with what the decorator asks for, or what adds it to one."""
    __tracebackhide__ = True
    if function is not None and not callable(function) and not hasattr(function, "__func__"):
        refusal = f"@{name} takes its parameters by name, e.g. @{name}({example})"
        raise shown(AskError(refusal))
    try:
        wanted = read()
    except AskError as refusal:
        raise shown(refusal) from None

    def decorate(function: Any) -> Any:
        __tracebackhide__ = True
        return _add(name, function, wanted)

    return decorate if function is None else decorate(function)


def _add(name: str, function: Any, wanted: Mapping[str, Any]) -> Any:
    __tracebackhide__ = True
    if isinstance(function, RemoteFunction):
        return function.stacked(wanted)
    inside = getattr(function, "__func__", None)
    if isinstance(function, staticmethod | classmethod) and isinstance(inside, RemoteFunction):
        return type(function)(inside.stacked(wanted))
    if problem := unfit(function, name):
        raise shown(TypeError(problem))
    try:
        note(function, wanted)
    except AttributeError:
        what = getattr(function, "__qualname__", type(function).__name__)
        problem = f"@{name} cannot mark {what}, which takes no attributes: put @remote below it"
        raise shown(TypeError(problem)) from None
    return function
