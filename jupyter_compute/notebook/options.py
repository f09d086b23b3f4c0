"""What a ``%%remote`` line, or the keywords of ``remote(...)``, say.

Every refusal is an `AskError` of one line that repeats the input, the rule and an example.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NoReturn

from jupyter_compute.ask import odd_characters, refuse, show
from jupyter_compute.errors import AskError
from jupyter_compute.model import RetryRule
from jupyter_compute.notebook.line import Word, split
from jupyter_compute.notebook.option_table import OPTIONS, Option

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Sequence

__all__ = ["DEFAULTABLE", "Options", "from_keywords", "help_text", "parse_line", "read_words"]

DEFAULTABLE = frozenset(option.name for option in OPTIONS if not option.per_cell)
"""The options that make sense as a default for all cells."""

# What editors and chat programs put in the place of quotes and hyphens.
_CURLY_QUOTES = "\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb"
_DASHES = "[-\u2010-\u2015\u2212\ufe58\ufe63\uff0d]+"


@dataclass(frozen=True, slots=True)
class Options:
    """What a ``%%remote`` line, or the keywords of ``remote``, say.

    Parameters
    ----------
    cpu : float
    memory, memory_high : int or None
        Bytes; None leaves it to the layer. `memory_high` is the top of the ladder.
    gpu : int
    gpu_name : str
        Empty for any kind.
    disk : int or None
        Bytes; None leaves it to the layer.
    on : str or None
        The layer; None leaves it to the configuration.
    spot : {"auto", "always", "never"}
    instances : tuple of str
        The only machine types that will do; empty if any will.
    retries : int
    retry_on : tuple of str
        Names of exception types, plain or dotted.
    retry_delay, timeout : float, float or None
        Seconds.
    retry_steady : bool
        True if every pause is `retry_delay`; else that is the first one, and they grow.
    catch, bg : str or None
        Names to bind the exception and the run to.
    inputs, outputs : tuple of str or None
        Names to send besides, and the only names to bring back; None leaves it to the code.
    keep : tuple of str
        Names to leave where they are computed.
    keep_returned : bool
        Whether to leave there what a function returns.
    max_cost : float or None
        Dollars; None leaves it to the budgets.
    keep_partial, cache, plan, quiet, help : bool
    name : str or None
        The run's label.
    given : frozenset of str
        The options that were given, by their name in `OPTIONS`.
    """

    cpu: float = 1.0
    memory: int | None = None
    memory_high: int | None = None
    gpu: int = 0
    gpu_name: str = ""
    disk: int | None = None
    on: str | None = None
    spot: str = "auto"
    instances: tuple[str, ...] = ()
    retries: int = 0
    retry_on: tuple[str, ...] = ("Exception",)
    retry_delay: float = 1.0
    retry_steady: bool = False
    timeout: float | None = None
    catch: str | None = None
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    keep: tuple[str, ...] = ()
    keep_returned: bool = False
    keep_partial: bool = False
    cache: bool = False
    max_cost: float | None = None
    bg: str | None = None
    plan: bool = False
    name: str | None = None
    quiet: bool = False
    help: bool = False
    given: frozenset[str] = frozenset()

    def rule(self) -> RetryRule:
        """Return when a failed attempt is followed by another one."""
        return RetryRule(self.retries, self.retry_on, self.retry_delay, self.retry_steady)

    def merge(self, defaults: Options) -> Options:
        """Return these options, with those of ``defaults`` that were given there and not here."""
        names = defaults.given - self.given
        fields = {f: getattr(defaults, f) for o in OPTIONS if o.name in names for f in o.fields}
        return dataclasses.replace(self, **fields, given=self.given | names)


def parse_line(
    line: str,
    layers: Collection[str] | None = None,
    namespace: Container[str] | None = None,
    *,
    command: str = "%%remote",
    allowed: Collection[str] | None = None,
) -> Options:
    """Return the options on a magic's line.

    Parameters
    ----------
    line : str
        As IPython hands it over, ``{name}`` and ``$name`` expanded.
    layers : collection of str, optional
        The layers that ``--on`` may name; None leaves that to be checked later.
    namespace : container of str, optional
        The names that the notebook defines, for messages about names that could not be expanded.
    command : str
        The magic, for messages.
    allowed : collection of str, optional
        The options that this magic has, such as `DEFAULTABLE`; all by default.

    Returns
    -------
    Options
        With ``help`` set and nothing else read if ``--help`` is on the line.

    Raises
    ------
    AskError
        If anything on the line is unknown, misspelt, given twice or out of its limits.
    """
    words = split(line, namespace)
    if any(word.text == "--help" and not word.quoted for word in words):
        return Options(help=True, given=frozenset({"help"}))
    known = [option for option in OPTIONS if allowed is None or option.name in allowed]
    values = read_words(words, known, command)
    for option, value in values.items():
        if option.name == "on":
            _check_layer(value, layers, "--on")
    options = _build(values)
    if both := [name for name in options.keep if name in (options.outputs or ())]:
        rule = "is in --out too, and a value stays or comes back"
        refuse("--keep", both[0], rule, "name it once")
    return options


def read_words(words: list[Word], known: Sequence[Option], command: str) -> dict[Option, Any]:
    """Return the value of each option that is given; the words are used up.

    Parameters
    ----------
    words : list of Word
    known : sequence of Option
        What the magic has.
    command : str
        The magic, for messages.

    Raises
    ------
    AskError
        If anything is unknown, misspelt, given twice or out of its limits.
    """
    values: dict[Option, Any] = {}
    texts: dict[Option, str] = {}
    while words:
        option = _find(words[0], known, command)
        text = _take_value(option, words)
        if option in texts:
            _refuse_twice(option, texts[option], text)
        texts[option] = text
        values[option] = option.parse(text if option.value else True, f"--{option.name}")
    return values


def from_keywords(layers: Collection[str] | None = None, /, **keywords: object) -> Options:
    """Return the options that the keywords of ``remote(...)`` say; None stands for the default.

    Parameters
    ----------
    layers : collection of str, optional
        The layers that ``on`` may name; None leaves that to be checked later.
    **keywords
        As on the line, or as Python values: numbers, a timedelta, exception classes.

    Raises
    ------
    AskError
        If a keyword is unknown, belongs to cells only, or its value is out of its limits.
    """
    values: dict[Option, Any] = {}
    known = {option.keyword: option for option in OPTIONS if option.keyword}
    for key, value in keywords.items():
        option = known.get(key)
        if option is None:
            _refuse_keyword(key, list(known.values()))
        if value is None:
            defaults = [getattr(Options(), field) for field in option.fields]
            values[option] = defaults[0] if len(defaults) == 1 else defaults
            continue
        values[option] = option.parse(value, key)
        if option.name == "on":
            _check_layer(values[option], layers, "on")
    return _build(values)


def help_text(
    command: str = "%%remote",
    allowed: Collection[str] | None = None,
    table: Sequence[Option] = OPTIONS,
) -> str:
    """Return the table of options as text for a terminal or a cell's output."""
    import textwrap

    lines = [f"{command} [options]  # comment", ""]
    for option in table:
        if allowed is not None and option.name not in allowed:
            continue
        head = f"  --{option.name} {option.value}".rstrip()
        default = f" (default: {option.default})" if option.default else ""
        meaning = textwrap.wrap(option.meaning + default, 68, break_on_hyphens=False)
        lines += [
            f"{first:<27} {rest}" for first, rest in zip_longest([head], meaning, fillvalue="")
        ]
    return "\n".join(lines)


def _build(values: dict[Option, Any]) -> Options:
    fields: dict[str, Any] = {}
    for option, value in values.items():
        fields.update(zip(option.fields, value if len(option.fields) > 1 else [value], strict=True))
    return Options(**fields, given=frozenset(option.name for option in values))


def _is_option(word: Word) -> bool:
    return not word.quoted and re.match(_DASHES, word.text) is not None


def _find(word: Word, known: Sequence[Option], command: str) -> Option:
    name = word.text.partition("=")[0]
    for option in known:
        if name == f"--{option.name}" and not word.quoted:
            return option
    example = f"e.g. --{known[0].name} {known[0].example}"
    if not _is_option(word):
        raise AskError(f"{show(word.text)} belongs to no option; they begin with --", hint=example)
    dashes = re.match(_DASHES, name)
    bare = name[dashes.end() :] if dashes else name
    near = [f"--{option.name}" for option in _nearest(bare, known)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"{command} --help lists them"
    rule = f"is not an option of {command}"
    if not name.startswith("--"):
        rule = "does not begin with two hyphens, as options do"
    raise AskError(f"{show(name)} {rule}{odd_characters(name)}", hint=hint)


def _nearest(name: str, known: Iterable[Option]) -> list[Option]:
    """Return the options that ``name`` may be meant for: by what people type, start, or spelling."""
    import difflib

    key = re.sub(r"[^a-z?-]", "", name[:40].replace("_", "-").lower())
    options = {option.name: option for option in known}
    exact = [option for option in options.values() if key == option.name or key in option.also]
    starts = [option for option in options.values() if key and option.name.startswith(key)]
    close = [options[name] for name in difflib.get_close_matches(key, options, n=2)]
    return (exact or starts or close)[:3]


def _take_value(option: Option, words: list[Word]) -> str:
    """Remove the option and its value from the front of ``words``; return the value's text."""
    what = f"--{option.name}"
    _, equals, inline = words.pop(0).text.partition("=")
    found = [inline] if equals else []
    if option.value and not equals and words and (words[0].quoted or words[0].text[:2] != "--"):
        found.append(words.pop(0).text)
    while words and not _is_option(words[0]):
        found.append(words.pop(0).text)
    text = " ".join(found)
    if not option.value and (found or equals):
        raise AskError(f"{what} takes no value, but {show(text)} follows", hint=f"e.g. {what}")
    if option.value and not text.strip():
        raise AskError(f"{what} needs a value, e.g. {option.example}")
    if len(found) > 1:
        option.parse(text, what)  # what is wrong with the words as one value says more
        quoted = show(text.strip(_CURLY_QUOTES))
        refuse(
            what, text, f"is {len(found)} words, and a value is one", f"quote it: {what} {quoted}"
        )
    return text


def _refuse_twice(option: Option, first: str, second: str) -> NoReturn:
    what = f"--{option.name}"
    both = f", {show(first)} and {show(second)}" if option.value else ""
    raise AskError(f"{what} is given twice{both}", hint=f"e.g. {what} {option.example}".rstrip())


def _refuse_keyword(key: str, known: list[Option]) -> NoReturn:
    for option in OPTIONS:
        if option.instead and option.name.replace("-", "_") == key:
            raise AskError(f"{key}= is for %%remote cells only", hint=option.instead)
    near = [f"{option.keyword}=" for option in _nearest(key, known)]
    names = ", ".join(option.keyword for option in known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {names}"
    raise AskError(f"{show(key)} is not a keyword of remote{odd_characters(key)}", hint=hint)


def _check_layer(name: str, layers: Collection[str] | None, what: str) -> None:
    if layers is None or name in layers:
        return
    import difflib

    near = difflib.get_close_matches(name[:40].lower(), layers, n=2)
    guess = f"did you mean {' or '.join(near)}? " if near else ""
    refuse(what, name, "is not a layer here", f"{guess}layers: {', '.join(sorted(layers))}")
