"""Tracebacks as the notebook shows them: the user's frames, none of ours."""

from __future__ import annotations

import functools
import sys
from types import TracebackType
from typing import Any

from ..errors import ComputeError
from .output import shell

__all__ = ["hide_caller", "shown"]

_HIDDEN = "__tracebackhide__"


def hide_caller(depth: int = 2) -> None:
    """Hide a frame of IPython's that stands between the cell and a magic of ours."""
    sys._getframe(depth).f_locals[_HIDDEN] = True


def shown(error: BaseException) -> BaseException:
    """Return the error, prepared to be raised: IPython shows it without frames of ours.

    IPython hides frames that ask for it, except the last one, which is always ours when
    we raise an error of our own. Such an error renders itself.
    """
    if shell() is not None and (error.__traceback__ is None or isinstance(error, ComputeError)):
        error._render_traceback_ = functools.partial(_render, error)  # type: ignore[attr-defined]
    return error


def _render(error: BaseException) -> list[str]:
    ipython: Any = shell()
    lines: list[str] = ipython.InteractiveTB.structured_traceback(
        type(error), error, _visible(error.__traceback__), tb_offset=1
    )
    return lines


def _visible(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback without the frames that ask to be hidden."""
    if trace is None:
        return None
    rest = _visible(trace.tb_next)
    if trace.tb_frame.f_locals.get(_HIDDEN) is True:
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
