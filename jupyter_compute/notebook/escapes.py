"""What the magics and shell lines of a cell do with the names of the notebook.

IPython turns them into calls with text arguments, so the compiler does not see the
names in them. They are found like this:

- Python in a magic (``%time f(x)``, ``%%time``, ``%%capture out``) is handed back as
  source, to be analysed like the cell itself;
- text that IPython expands (``!wc {path}``, ``%cd $folder``) may read the words in
  braces and the words after a dollar sign;
- the argument of any other magic may read every word in it, and such a magic may do
  more than can be seen.

A word counts only if the notebook has a variable of that name.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from dataclasses import dataclass

__all__ = ["Escape", "MagicCall", "escape_of", "magic_call", "queried_words", "words_in"]

_WORD = re.compile(r"[^\W\d]\w*")
_DOLLAR = re.compile(r"\$\{?([^\W\d]\w*)")
_QUERIED = re.compile(r"(?:@|\b(?:from|join)\s+)([^\W\d]\w*)", re.IGNORECASE)
_OPTION = re.compile(r"\s*--?[A-Za-z][\w-]*(?:=\S+)?\s*")
_FLAG = re.compile(r"(?<!\S)--?[A-Za-z][\w-]*")
_OPTION_AND_VALUE = re.compile(r"\s*--?[A-Za-z][\w-]*\s+\S+\s*")
_CAPTURED = re.compile(r"--(?:out|err|proc)[ =]\s*([^\W\d]\w*)")

_PYTHON = frozenset({"capture", "lprun", "memit", "mprun", "prun", "scalene", "time", "timeit"})
"""Magics whose argument and body are Python."""

_SHELL = frozenset({"!", "!!", "sc", "sx", "system"})

_TEXT = frozenset(
    """
    alias autoreload bash bookmark cat cd cmd colors conda config cp dhist dirs env file
    html javascript js latex ldir less load_ext ls lsmagic mamba man markdown matplotlib
    micromamba mkdir more mv perl pip popd precision pushd pwd pypy reload_ext rm rmdir ruby
    script set_env sh svg unalias uv writefile
    """.split()  # noqa: SIM905 - one word a line would be fifty lines
)
"""Magics that see only their text, after the expansion of braces and dollar signs."""

_NAMED = frozenset({"pdef", "pdoc", "pfile", "pinfo", "pinfo2", "psearch", "psource"})
"""Magics that look at the names they are given, and at nothing else."""


@dataclass(frozen=True, slots=True)
class MagicCall:
    """A magic or shell line as IPython rewrote it.

    Parameters
    ----------
    name : str
        The magic without ``%`` signs; ``!`` for a shell line.
    line : str
        The text after the name.
    body : str or None
        The lines below a cell magic.
    """

    name: str
    line: str
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Escape:
    """What one magic or shell line does with the names of the notebook.

    Parameters
    ----------
    python : tuple of (int, str)
        Python that it runs, each with the number of lines below the magic's own.
    words : frozenset of str
        What it reads wherever the notebook has a variable of that name.
    writes : frozenset of str
        Names that it assigns, beside what its Python does.
    dynamic : bool
        True if it may read or assign more than can be seen.
    """

    python: tuple[tuple[int, str], ...] = ()
    words: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    dynamic: bool = False


def words_in(text: str) -> frozenset[str]:
    """Return everything in `text` that could be a name, spelt as Python would store it."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return frozenset(_WORD.findall(text))


def queried_words(text: str) -> frozenset[str]:
    """Return the words that a query looks up in the code around it.

    ``df.query("age > @limit")`` reads ``limit``, and
    ``duckdb.sql("select * from sales")`` reads ``sales``.
    """
    return words_in(" ".join(_QUERIED.findall(text)))


def magic_call(node: ast.Call) -> MagicCall | None:
    """Return the magic or shell line that `node` stands for, if it stands for one."""
    function = node.func
    if not (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Call)
        and isinstance(function.value.func, ast.Name)
        and function.value.func.id == "get_ipython"
    ):
        return None
    arguments = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
    texts = [argument for argument in arguments if isinstance(argument, str)]
    if function.attr in ("system", "getoutput") and texts:
        return MagicCall("!", texts[0])
    if function.attr == "run_line_magic" and len(texts) >= 2:
        return MagicCall(texts[0].lstrip("%"), texts[1])
    if function.attr == "run_cell_magic" and len(texts) >= 3:
        return MagicCall(texts[0].lstrip("%"), texts[1], texts[2])
    return None


def escape_of(call: MagicCall) -> Escape:
    """Return what `call` does with the names of the notebook."""
    if call.name in _PYTHON:
        return _python_escape(call)
    if call.name in _SHELL:
        return Escape(words=_expanded(call.line + "\n" + (call.body or "")))
    if call.name in _TEXT:
        # IPython expands the line of a cell magic, never its body.
        captured = words_in(" ".join(_CAPTURED.findall(call.line))) if call.body else frozenset()
        return Escape(words=_expanded(call.line), writes=captured)
    if call.name in _NAMED:
        return Escape(words=words_in(call.line))
    body = ((1, call.body),) if call.body else ()
    return Escape(python=body, words=words_in(call.line), dynamic=True)


def _python_escape(call: MagicCall) -> Escape:
    if call.name == "capture":
        plain = [word for word in call.line.split() if not word.startswith("-")]
        return Escape(python=((1, call.body or ""),), writes=words_in(" ".join(plain)))
    options, code = _split_options(call.line)
    if call.body is None:
        python = (0, code)
    else:
        # What stands beside %%timeit runs before its body.
        python = (0, f"{code}\n{call.body}") if code.strip() else (1, call.body)
    return Escape(python=(python,), words=words_in(_FLAG.sub(" ", options)))


def _split_options(line: str) -> tuple[str, str]:
    """Split ``-n 3 -q f(x)`` into its options and its code."""
    rest = line
    while rest.startswith("-"):
        flag, pair = _OPTION.match(rest), _OPTION_AND_VALUE.match(rest)
        if pair and not (flag and _goes_on(rest[flag.end() :])):
            rest = rest[pair.end() :]
        elif flag:
            rest = rest[flag.end() :]
        else:
            break
    return line[: len(line) - len(rest)], rest


def _goes_on(text: str) -> bool:
    """Tell whether `text` can follow an option that takes no value."""
    if text.startswith("-"):
        return True
    try:
        compile(text, "<option>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError):
        return False
    return True


def _expanded(text: str) -> frozenset[str]:
    # From the first brace to the last: the expressions in braces may have braces themselves.
    braces = text[text.find("{") + 1 : text.rfind("}")] if "{" in text else ""
    return words_in(" ".join([braces, *_DOLLAR.findall(text)]))
