"""What a cell does with the names of the notebook, found without running it.

The cell is translated as IPython would (magics, ``!shell``), compiled, and its code
objects are asked for the names (:mod:`.scopes`); the text of magics is looked into as
well (:mod:`.escapes`). Wherever a name may be read on some path, it counts as read:
sending too much is slow, sending too little is wrong.
"""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import CodeType

from ..errors import AskError
from . import refusals
from .escapes import Escape, MagicCall, escape_of, magic_call, queried_words, words_in
from .scopes import lines_reading, names_of
from .translation import Transform, compile_cell, ipython_transform

__all__ = ["FIRST_LINE", "Cell", "analyse"]

FIRST_LINE = 2
"""The line of the notebook's cell that its body starts on: ``%%remote`` is line 1."""

_UNSEEN = frozenset({"eval", "exec", "globals", "locals"})
"""Builtins through which code reaches names that it does not spell out."""

_UNSEEN_ATTRIBUTES = frozenset({"ev", "ex", "run_cell", "user_global_ns", "user_module", "user_ns"})

_QUERIES = frozenset({"eval", "execute", "query", "sql"})
"""Methods whose text may name variables of the code that calls them."""

_SHELL_MODULES = ("IPython.core.interactiveshell", "IPython.core.autocall")


@dataclass(frozen=True, slots=True)
class Cell:
    """The body of a remote cell, and what it does with the notebook's names.

    Parameters
    ----------
    source : str
        The body as typed.
    code : str
        The Python that IPython makes of it, padded so that its line numbers are
        those of the notebook's cell.
    reads : frozenset of str
        Names that have to be there when the cell starts, if the notebook has them:
        it may read or delete them before it has assigned them. Builtins are among them.
    writes : frozenset of str
        Names that it may assign.
    deletes : frozenset of str
        Names that it may delete.
    imports : frozenset of str
        Modules that it imports.
    dynamic : bool
        True if it may read, assign or delete more than can be seen: ``eval``,
        ``globals()``, ``from m import *``, magics that are not known, and the like.
    """

    source: str
    code: str
    reads: frozenset[str]
    writes: frozenset[str]
    deletes: frozenset[str]
    imports: frozenset[str]
    dynamic: bool

    @property
    def label(self) -> str:
        """The first line that holds code."""
        lines = (line.strip() for line in self.source.splitlines())
        return next((line for line in lines if line and not line.startswith("#")), "")

    def inputs(self, namespace: Mapping[str, object]) -> list[str]:
        """Return the names to send, sorted: those read that the notebook has.

        Its own ``id`` or ``input`` is sent like any other name; what IPython itself
        puts into every namespace is not.
        """
        return sorted(
            name
            for name in self.reads & namespace.keys()
            if not refusals.is_builtin(name, namespace) and not _of_the_shell(namespace[name])
        )


def analyse(
    body: str,
    *,
    filename: str = "<cell>",
    namespace: Mapping[str, object] | None = None,
    first_line: int = FIRST_LINE,
    transform: Transform | None = None,
) -> Cell:
    """Analyse the body of a ``%%remote`` cell. Nothing is run.

    Parameters
    ----------
    body : str
        The lines below ``%%remote``.
    filename : str
        The name that frames and errors of this cell bear.
    namespace : mapping of str to object, optional
        The notebook's names. They decide which words in a magic's text are variables,
        and whether ``input`` is still Python's own.
    first_line : int
        The line of the cell that `body` starts on.
    transform : callable, optional
        Turns a cell into Python; IPython's static transformations if not given.

    Raises
    ------
    SyntaxError
        As the cell would locally, with the cell's own line number and text.
    AskError
        If there is nothing to run, or something that cannot run remotely.
    """
    refusals.check_text(body, first_line)
    reader = _Reader(namespace or {}, transform or ipython_transform(), filename)
    code, compiled, tree = compile_cell(body, reader.transform, filename, first_line)
    if not tree.body:
        raise AskError("nothing to run: the cell has no code below %%remote")
    reads = reader.read(compiled, tree)
    return Cell(
        source=body,
        code=code,
        reads=frozenset(reads - {"get_ipython"}),
        writes=frozenset(reader.writes),
        deletes=frozenset(reader.deletes),
        imports=frozenset(reader.imports),
        dynamic=reader.dynamic,
    )


@dataclass(slots=True)
class _Statement:
    """What one top-level statement reads, seen from outside."""

    loads: set[str] = field(default_factory=set)
    text: set[str] = field(default_factory=set)
    dynamic: bool = False


class _Reader:
    """Collects what a cell, and the Python inside its magics, does with names."""

    def __init__(
        self, namespace: Mapping[str, object], transform: Transform, filename: str
    ) -> None:
        self.namespace = namespace
        self.transform = transform
        self.filename = filename
        self.writes: set[str] = set()
        self.deletes: set[str] = set()
        self.imports: set[str] = set()
        self.dynamic = False
        self._bound: dict[str, str] = {}

    def read(self, code: CodeType, tree: ast.Module) -> set[str]:
        """Collect from compiled code and its tree; return the names it needs at its start."""
        names = names_of(code)
        calls: list[ast.Call] = []
        text: set[str] = set()
        exposed: set[str] = set()
        assigned: set[str] = set()
        certain = True
        for node in tree.body:
            found = self._statement(node, calls)
            text |= found.text
            exposed |= found.loads | found.text
            self.dynamic |= found.dynamic
            certain = certain and not found.dynamic
            if certain:
                # Whatever the statements above did, this one runs before those below.
                assigned |= _targets(node) - exposed
        where = functools.partial(lines_reading, code)
        refusals.check_calls(calls, self._bound, where, names.writes, self.namespace)
        self.writes |= names.writes
        self.deletes |= names.deletes
        return (names.reads | names.deletes | text) - assigned

    def _statement(self, statement: ast.stmt, calls: list[ast.Call]) -> _Statement:
        found = _Statement()
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                if not isinstance(node.ctx, ast.Store):
                    found.loads.add(node.id)
            elif isinstance(node, ast.Call):
                self._call(node, found, calls)
            elif isinstance(node, ast.Attribute):
                found.dynamic |= node.attr in _UNSEEN_ATTRIBUTES
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                found.loads.add(node.target.id)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found.dynamic |= self._import(node)
        unseen = found.loads & _UNSEEN
        found.dynamic |= any(refusals.is_builtin(name, self.namespace) for name in unseen)
        return found

    def _call(self, node: ast.Call, found: _Statement, calls: list[ast.Call]) -> None:
        magic = magic_call(node)
        if magic is not None:
            refusals.check_magic(magic, node.lineno)
            self._escape(magic, node.lineno, found)
            return
        calls.append(node)
        function = node.func
        name = getattr(function, "attr", None) or getattr(function, "id", None)
        found.dynamic |= name == "vars" and not node.args
        if name not in _QUERIES and name != "exec":
            return
        texts = [
            constant.value
            for argument in node.args
            for constant in ast.walk(argument)
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
        ]
        if isinstance(function, ast.Name) and name in ("eval", "exec") and texts:
            self._python(texts[0], node.lineno, found)
        for text in texts:
            found.text |= queried_words(text) & self.namespace.keys()

    def _escape(self, magic: MagicCall, line: int, found: _Statement) -> None:
        escape: Escape = escape_of(magic)
        found.dynamic |= escape.dynamic
        found.text |= escape.words & self.namespace.keys()
        self.writes |= escape.writes
        for below, python in escape.python:
            self._python(python, line + below, found)

    def _python(self, source: str, line: int, found: _Statement) -> None:
        """Collect from Python inside a text; take its words if it is something else."""
        try:
            _, code, tree = compile_cell(source, self.transform, self.filename, line)
        except SyntaxError:
            found.text |= words_in(source) & self.namespace.keys()
        else:
            found.text |= self.read(code, tree)
            found.dynamic |= self.dynamic

    def _import(self, node: ast.Import | ast.ImportFrom) -> bool:
        """Note modules and bindings; tell whether the binding hides other names."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imports.add(alias.name)
                top = alias.name.partition(".")[0]
                self._bound[alias.asname or top] = alias.name if alias.asname else top
            return any(alias.name == "__main__" for alias in node.names)
        module = node.module or ""
        if module and not node.level:
            self.imports.add(module)
        for alias in node.names:
            self._bound[alias.asname or alias.name] = f"{module}.{alias.name}"
        return module == "__main__" or any(alias.name == "*" for alias in node.names)


def _targets(statement: ast.stmt) -> set[str]:
    """Return the names that a statement certainly assigns, if it is a simple one."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.partition(".")[0] for alias in statement.names}
    pending: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        pending += statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        pending.append(statement.target)
    found = set()
    while pending:
        target = pending.pop()
        if isinstance(target, ast.Name):
            found.add(target.id)
        elif isinstance(target, ast.Tuple | ast.List):
            pending += target.elts
        elif isinstance(target, ast.Starred):
            pending.append(target.value)
    return found


def _of_the_shell(value: object) -> bool:
    if type(value) is types.MethodType:
        value = value.__func__
    if type(value) is types.FunctionType:
        # IPython's `open` says that it comes from `io`.
        return value.__globals__.get("__name__") in _SHELL_MODULES
    return type(value).__module__ in _SHELL_MODULES
