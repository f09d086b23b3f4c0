"""The words of a magic's line: quotes, comments, and what IPython left unexpanded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jupyter_compute.ask import show
from jupyter_compute.errors import AskError

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

__all__ = ["Word", "split"]

_PART = r""""[^"]*"|'[^']*'|[^\s"']+"""
_PLACEHOLDER = r"\{([^{}]+)\}|\$([^\W\d][\w.]*)"


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line.

    Parameters
    ----------
    text : str
        Without its quotes.
    quoted : bool
        True if it begins with a quote, so that it can be no option.
    """

    text: str
    quoted: bool = False


def split(line: str, namespace: Container[str] | None = None) -> list[Word]:
    """Return the words of ``line`` as IPython hands it to a magic, without its comment.

    Words are separated by white space of any kind. Quotes, double or single, keep
    characters together; there is no escape character. ``#`` at the start of a word begins
    a comment.

    Parameters
    ----------
    line : str
    namespace : container of str, optional
        The names that the notebook defines, to tell which one is missing when IPython could
        not expand ``{name}`` or ``$name``: it then leaves every one on the line as it is.

    Raises
    ------
    AskError
        If a quote is not closed, or a name to expand is not defined.
    """
    words: list[Word] = []
    part_of_word = re.compile(_PART)
    position, end = 0, len(line)
    while position < end:
        if line[position].isspace():
            position += 1
        elif line[position] == "#":
            break
        else:
            start = position
            while part := part_of_word.match(line, position):
                position = part.end()
            if position < end and not line[position].isspace():
                hint = 'close it, e.g. --name "my run"'
                raise AskError(f"{show(line[start:].strip())}: quote not closed", hint=hint)
            parts = (
                p.strip(p[0]) if p[0] in "\"'" else p
                for p in part_of_word.findall(line, start, position)
            )
            words.append(Word("".join(parts), quoted=line[start] in "\"'"))
    _refuse_placeholders(line, position, namespace)
    return words


def _refuse_placeholders(line: str, end: int, namespace: Container[str] | None) -> None:
    first = next(_placeholders(line[:end]), None)
    if first is None:
        return
    for text, names in _placeholders(line):
        for name in names:
            if namespace is None or not _defined(name, namespace):
                raise AskError(
                    f"{show(text)}: name {show(name)} is not defined",
                    hint="define it in an earlier cell, e.g. n = 8 for --cpu {n}",
                )
    raise AskError(
        f"{show(first[0])} cannot be expanded: the expression fails, or a brace on the line is open",
        hint="e.g. n = 8 in an earlier cell for --cpu {n}",
    )


def _placeholders(line: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what looks like ``{expression}`` or ``$name``, with the names that it reads."""
    # IPython leaves $ in single quotes alone, as a shell does.
    quoted = [match.span() for match in re.finditer("'[^']*'", line)]
    for match in re.finditer(_PLACEHOLDER, line):
        if match[1]:
            yield match[0], _names(match[1])
        elif not any(start <= match.start() < end for start, end in quoted):
            yield match[0], [match[2].partition(".")[0]]


def _names(expression: str) -> list[str]:
    import ast

    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return [node.id for node in names if node.id not in bound]


def _defined(name: str, namespace: Container[str]) -> bool:
    import builtins

    return name in namespace or hasattr(builtins, name)
