"""What a remote cell must not contain, and the sentence that says so.

A remote run has no keyboard, and it cannot ask for another run from inside.
"""

from __future__ import annotations

import ast
import builtins
import sys
import types
from collections.abc import Callable, Iterable, Mapping

from ..errors import AskError
from .escapes import MagicCall, words_in

__all__ = ["check_calls", "check_magic", "check_text", "is_builtin"]

_KEYBOARD = frozenset({"breakpoint", "input"})
"""Builtins that wait for somebody who types."""

_DEBUGGERS = ("pdb", "ipdb", "pudb", "IPython.core.debugger")
_STOPS = ("pm", "post_mortem", "run", "runcall", "runeval", "set_trace")

_KEYBOARD_FUNCTIONS = frozenset(
    {f"{module}.{stop}" for module in _DEBUGGERS for stop in _STOPS}
    | {"IPython.embed", "builtins.breakpoint", "builtins.input", "code.interact"}
    | {"getpass.getpass"}
)

_OURS = "jupyter_compute"


def check_text(body: str, first_line: int) -> None:
    """Refuse characters that no Python source may hold.

    Raises
    ------
    AskError
        Naming line and column of the first NUL or lone surrogate.
    """
    position, what = body.find("\0"), "a NUL character"
    if position < 0:
        try:
            body.encode()
        except UnicodeEncodeError as error:
            position = error.start
            what = f"half of a surrogate pair (U+{ord(body[position]):04X})"
        else:
            return
    line = first_line + body.count("\n", 0, position)
    column = position - body.rfind("\n", 0, position)
    raise AskError(f"line {line}, column {column}: {what} cannot be part of a cell; delete it")


def check_magic(call: MagicCall, line: int) -> None:
    """Refuse magics that make no sense inside a remote cell.

    Raises
    ------
    AskError
        Naming the line.
    """
    mark = "%" if call.body is None else "%%"
    if call.name == "remote":
        raise AskError(
            f"line {line}: %%remote cannot be used inside a remote cell; it must be the first "
            "line of a cell of its own"
        )
    if call.name == "compute":
        raise AskError(f"line {line}: %compute works in the notebook only; use a cell of its own")
    if call.name in ("debug", "pdb") or (call.name == "run" and "-d" in call.line.split()):
        raise AskError(f"line {line}: {mark}{call.name} needs a keyboard, a remote run has none")
    if call.name in ("load_ext", "reload_ext", "unload_ext") and _OURS in words_in(call.line):
        raise AskError(
            f"line {line}: {mark}{call.name} {_OURS} works in the notebook only; "
            "use a cell of its own"
        )


def check_calls(
    calls: Iterable[ast.Call],
    imported: Mapping[str, str],
    lines_reading: Callable[[str], set[int]],
    written: set[str],
    namespace: Mapping[str, object],
) -> None:
    """Refuse calls that wait for a keyboard, unless the name means something else here.

    Parameters
    ----------
    calls : iterable of ast.Call
    imported : mapping of str to str
        What the cell's imports bind: name -> dotted name.
    lines_reading : callable
        The lines where the cell reads a name as the notebook's; elsewhere it is local.
    written : set of str
        Names that the cell assigns.
    namespace : mapping of str to object
        The notebook's names.

    Raises
    ------
    AskError
        Naming the line of the first such call.
    """
    for call in sorted(calls, key=lambda call: call.lineno):
        name = _spelt(call.func)
        if name in _KEYBOARD and name not in imported:
            local = name in written or call.func.lineno not in lines_reading(name)
            refused = not local and is_builtin(name, namespace)
        else:
            refused = _meaning(name, imported, namespace) in _KEYBOARD_FUNCTIONS
        if refused:
            raise AskError(
                f"line {call.lineno}: {name}() needs a keyboard, a remote run has none; "
                "call it in a cell without %%remote"
            )


def is_builtin(name: str, namespace: Mapping[str, object]) -> bool:
    """Tell whether `name` still means Python's builtin in the notebook."""
    own = getattr(builtins, name, None)
    return own is not None and namespace.get(name, own) is own


def _spelt(function: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    if not isinstance(function, ast.Name):
        return ""
    return ".".join([function.id, *reversed(parts)])


def _meaning(name: str, imported: Mapping[str, str], namespace: Mapping[str, object]) -> str:
    """Return the dotted name that a call spelt `name` goes to, or an empty string."""
    first, _, rest = name.partition(".")
    if first in imported:
        return f"{imported[first]}.{rest}" if rest else imported[first]
    value = namespace.get(first)
    if type(value) is types.ModuleType:
        return f"{value.__name__}.{rest}"
    if not rest and type(value) in (types.FunctionType, types.MethodType):
        return next((known for known in _KEYBOARD_FUNCTIONS if value == _loaded(known)), "")
    return ""


def _loaded(known: str) -> object:
    module, _, attribute = known.rpartition(".")
    # Not getattr: modules may import more when they are asked for an attribute.
    return vars(sys.modules[module]).get(attribute) if module in sys.modules else None
