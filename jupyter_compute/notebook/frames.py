"""Tracebacks as the notebook shows them: the user's frames, none of ours."""

from __future__ import annotations

import ast
import functools
import linecache
import re
import traceback
from types import FrameType, TracebackType
from typing import Any

from ..errors import ComputeError
from .output import shell

__all__ = ["legible", "mend", "shown", "told"]

_OURS = __name__.partition(".")[0]
_FILE = re.compile(r'^(?P<margin>[ |]*)  File "(?P<file>.+)", line (?=\d)', re.MULTILINE)
_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<name>.+)$', re.MULTILINE)


def shown(error: BaseException) -> BaseException:
    """Return the error, prepared to be raised: IPython shows it without frames of ours.

    An exception of the user's code ends in frames of its own, and IPython hides the
    others. An error of ours, an interrupt, or an exception that has no frames yet would end
    in a frame of ours, which IPython always shows: it renders itself instead.
    """
    ours = isinstance(error, ComputeError | KeyboardInterrupt) or error.__traceback__ is None
    if shell() is not None and ours:
        vars(error)["_render_traceback_"] = functools.partial(_render, error)
    return error


def mend(error: BaseException) -> None:
    """Let the remote frames of an exception say where their functions begin.

    Frames that come from another process know only the line they were at. IPython counts
    the lines that it shows of a cell from the function's first one.
    """
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.__traceback__ = _mended(one.__traceback__)
        pending += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            pending += one.exceptions


def legible(stack: str) -> str:
    """Return a stack that faulthandler wrote as a traceback would have it.

    The innermost frame comes last, cells are named as IPython names them, and the lines
    of code are there.
    """
    frames = [match.groupdict() for match in _FRAME.finditer(stack)]
    if not frames:
        return stack.strip("\n")
    lines = []
    for frame in reversed(frames):
        file, number, name = frame["file"], int(frame["line"]), frame["name"]
        inside = "" if name == "<module>" else f", in {name}"
        lines.append(f"  {_label(file)}, line {number}{inside}")
        code = linecache.getline(file, number).strip()
        lines += [f"    {code}"] if code else []
    return "\n".join(lines)


def told(error: BaseException) -> str:
    """Return an exception as a traceback's text: without our frames, cells named as IPython does."""
    whole = traceback.TracebackException(type(error), error, _visible(error.__traceback__))
    _forget_columns(whole)
    text = "".join(whole.format())
    return _FILE.sub(lambda hit: f"{hit['margin']}  {_label(hit['file'])}, line ", text)


def _forget_columns(whole: traceback.TracebackException) -> None:
    """Leave out the marks below the lines: frames from another process know only their lines."""
    for frame in whole.stack:
        frame.colno = frame.end_colno = None
    for inner in (whole.__cause__, whole.__context__, *(whole.exceptions or ())):
        if inner is not None:
            _forget_columns(inner)


def _mended(trace: TracebackType | None) -> TracebackType | None:
    entries = []
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    following: TracebackType | None = None
    for entry in reversed(entries):
        frame = _stand_in(entry.tb_frame, entry.tb_lineno)
        following = TracebackType(following, frame, entry.tb_lasti, entry.tb_lineno)
    return following


def _stand_in(frame: FrameType, line: int) -> FrameType:
    """Return a frame like this one whose code begins where the function does, if it is a cell's."""
    code = frame.f_code
    entry = linecache.cache.get(code.co_filename)
    if entry is None or len(entry) != 4 or entry[1] is not None:
        return frame
    first = _first_line("".join(entry[2]), code.co_name, line)
    stub = compile("\n" * (line - first) + "raise error", code.co_filename, "exec").replace(
        co_firstlineno=first, co_name=code.co_name, co_qualname=code.co_qualname
    )
    try:
        exec(stub, {**frame.f_globals, "error": _Reached()}, dict(frame.f_locals))  # noqa: S102 - only running code makes a traceback
    except _Reached as reached:
        inner = reached.__traceback__ and reached.__traceback__.tb_next
        return inner.tb_frame if inner else frame
    return frame


class _Reached(Exception):
    """Raised to get hold of a frame."""


@functools.lru_cache(maxsize=32)
def _first_line(text: str, name: str, line: int) -> int:
    """Return the first line of the innermost function of that name around a line."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return line
    begins = [
        min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda)
        and node.lineno <= line <= (node.end_lineno or line)
        and name == getattr(node, "name", "<lambda>")
    ]
    return max(begins, default=1 if name == "<module>" else line)


def _label(file: str) -> str:
    ipython = shell()
    known = None if ipython is None else ipython.compile.format_code_name(file)
    return " ".join(known) if known else f"File {file}"


def _render(error: BaseException) -> list[str]:
    ipython: Any = shell()
    lines: list[str] = ipython.InteractiveTB.structured_traceback(
        type(error), error, _visible(error.__traceback__), tb_offset=1
    )
    return lines


def _visible(trace: TracebackType | None) -> TracebackType | None:
    """Return the traceback without frames of this package."""
    if trace is None:
        return None
    rest = _visible(trace.tb_next)
    if str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] == _OURS:
        return rest
    return TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
