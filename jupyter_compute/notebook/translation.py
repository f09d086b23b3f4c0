"""From a cell as typed to Python as compiled."""

from __future__ import annotations

import ast
import contextlib
import functools
import warnings
from collections.abc import Callable
from types import CodeType

__all__ = ["Transform", "compile_cell", "ipython_transform"]

Transform = Callable[[str], str]

_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@functools.cache
def ipython_transform() -> Transform:
    """Return IPython's static transformations: magics, shell lines, prompts."""
    from IPython.core.inputtransformer2 import TransformerManager

    transform: Transform = TransformerManager().transform_cell
    return transform


def compile_cell(
    body: str, transform: Transform, filename: str, first_line: int
) -> tuple[str, CodeType, ast.Module]:
    """Return the Python of a cell, its code object and its tree.

    Parameters
    ----------
    body : str
        Python as IPython takes it.
    transform : callable
        Turns it into plain Python.
    filename : str
    first_line : int
        The line of the notebook's cell that `body` starts on. The source, the code and
        the tree are padded so that their lines are those of the cell.

    Raises
    ------
    SyntaxError
        With the cell's own line number and text.
    """
    padding = "\n" * (first_line - 1)
    with warnings.catch_warnings():
        # The run itself warns, once.
        warnings.simplefilter("ignore")
        if "\n" in body.strip():
            # IPython's translation is slow, and leaves several lines of Python as they are.
            with contextlib.suppress(SyntaxError):
                return _compile_python(padding + body, filename)
        code = _translate(body, transform, filename, first_line)
        return _compile_python(code, filename)


def _compile_python(source: str, filename: str) -> tuple[str, CodeType, ast.Module]:
    try:
        tree = compile(source, filename, "exec", _AWAIT | ast.PyCF_ONLY_AST, dont_inherit=True)
        return source, compile(tree, filename, "exec", _AWAIT, dont_inherit=True), tree
    except SyntaxError as error:
        if error.text is None and error.lineno:
            # Errors found after parsing, as a `return` outside of a function, lack their line.
            error.text = source.splitlines(keepends=True)[error.lineno - 1]
        raise


def _translate(body: str, transform: Transform, filename: str, first_line: int) -> str:
    # IPython drops leading blank lines.
    blank = body[: len(body) - len(body.lstrip())].count("\n")
    above = first_line - 1 + blank
    try:
        return "\n" * above + transform(body)
    except IndentationError as error:
        # It comes from IPython's tokenizer, which does not know file and line.
        line = (error.lineno or 1) + above
        located = (filename, line, error.offset, error.text)
        raise IndentationError(error.msg, located) from None
