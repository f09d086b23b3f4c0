"""The ``%%remote`` line that the texts of a form stand for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import AskError
from .option_table import OPTIONS, Option
from .options import Options, parse_line

__all__ = ["FIELDS", "Draft", "read"]

_NAMES = ("cpu", "memory", "gpu", "on", "spot", "retries", "timeout")

FIELDS: tuple[Option, ...] = tuple(
    option for name in _NAMES for option in OPTIONS if option.name == name
)
"""The options that the form has a field for, in its order."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What the texts of a form stand for.

    Parameters
    ----------
    options : Options
        Those that differ from the defaults.
    line : str
        The same as a cell's first line.
    problems : mapping
        What is wrong with a text, by the name of its option.
    """

    options: Options
    line: str
    problems: Mapping[str, str]


def read(texts: Mapping[str, str], defaults: Options, layer: str) -> Draft:
    """Return what the texts stand for.

    Parameters
    ----------
    texts : mapping
        By the name of the option; an empty one leaves it at its default.
    defaults : Options
        What cells have that do not say otherwise.
    layer : str
        The layer of such cells.
    """
    words, problems = [], {}
    for option in FIELDS:
        text = " ".join(texts.get(option.name, "").split())
        if not text:
            continue
        try:
            value = option.parse(text, f"--{option.name}")
        except AskError as refusal:
            problems[option.name] = str(refusal)
            continue
        usual: object = layer
        if option.name != "on":
            usual = tuple(getattr(defaults, name) for name in option.fields)
            usual = usual if len(option.fields) > 1 else usual[0]
        if value != usual:
            words.append(f'--{option.name} "{text}"' if " " in text else f"--{option.name} {text}")
    rest = " ".join(words)
    return Draft(parse_line(rest), f"%%remote {rest}".rstrip(), problems)
