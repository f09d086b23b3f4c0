"""The table of the options of ``%%remote`` and ``remote(...)``, and how each value is read.

`OPTIONS` is the only place that knows an option's name, meaning, default, parser and Python
keyword. The line's parser, the keywords' validation and the help text follow it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from jupyter_compute.ask import (
    parse_count,
    parse_cpu,
    parse_disk,
    parse_gpu,
    parse_memory_range,
    parse_money,
    parse_time,
    refuse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OPTIONS", "Option", "parse_flag", "parse_name"]

_LONGEST_LABEL = 200
# Control characters, line separators, lone surrogates, and marks that reorder what is read.
_NO_LABEL = "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"


def parse_flag(value: object, what: str) -> bool:
    """Return True or False; nothing else stands for them."""
    if not isinstance(value, bool):
        refuse(what, value, "is neither True nor False", f"e.g. {what}=True")
    return value


def _parse_pause(value: object, what: str) -> tuple[float, bool]:
    """Return the first pause in seconds, and False: it grows."""
    from jupyter_compute.policy.retry import MAX_DELAY_S

    pause = parse_time(value, what)
    if pause > MAX_DELAY_S:
        refuse(what, value, f"is more than the longest pause, {MAX_DELAY_S:g} s", "e.g. 5s")
    return pause, False


def _normal(name: str) -> str:
    """Return ``name`` as Python's own parser would bind it."""
    import unicodedata

    return unicodedata.normalize("NFKC", name.strip())


def _is_name(text: str) -> bool:
    return text.isidentifier() and not iskeyword(text)


def parse_name(value: object, what: str) -> str:
    """Return a Python name as the parser would bind it."""
    name = _normal(value) if isinstance(value, str) else ""
    if not _is_name(name):
        refuse(what, value, "is not a Python name", "e.g. result")
    return name


def _parse_names(value: object, what: str) -> tuple[str, ...]:
    names = [_normal(name) for name in value.split(",")] if isinstance(value, str) else [""]
    if not all(map(_is_name, names)):
        refuse(what, value, "is not a list of Python names", "e.g. a,b")
    return tuple(dict.fromkeys(names))


def _parse_keep(value: object, what: str) -> tuple[tuple[str, ...], bool]:
    if what.startswith("--"):
        return _parse_names(value, what), False
    return (), parse_flag(value, what)


def _parse_exceptions(value: object, what: str) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple | set | frozenset):
        items = [items]
    names = []
    for item in items:
        if isinstance(item, type) and issubclass(item, BaseException):
            names.append(f"{item.__module__}.{item.__qualname__}")
        elif isinstance(item, str) and all(map(_is_name, (name := _normal(item)).split("."))):
            names.append(name)
        else:
            hint = "e.g. OSError,TimeoutError"
            refuse(what, value if isinstance(value, str) else item, "names no exception", hint)
    if not names:
        refuse(what, value, "names no exception", "e.g. OSError")
    return tuple(dict.fromkeys(names))


def _parse_label(value: object, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > _LONGEST_LABEL or re.search(_NO_LABEL, text):
        rule = f"is not one line of 1 to {_LONGEST_LABEL} characters"
        refuse(what, value, rule, 'e.g. "my run"')
    return text


def _parse_spot(value: object, what: str) -> str:
    if value not in {"auto", "always", "never"}:
        refuse(what, value, "is not auto, always or never", "e.g. never")
    return str(value)


def _parse_instances(value: object, what: str) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple | set | frozenset):
        items = [items]
    names = [item.strip() if isinstance(item, str) else "" for item in items]
    if not names or not all(re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", name) for name in names):
        refuse(what, value, "is not a list of machine types", "e.g. r7i.2xlarge,r7a.2xlarge")
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True, eq=False)
class Option:
    """One row of the table.

    Parameters
    ----------
    name : str
        Without its two hyphens.
    meaning, default, example : str
        For help and for messages.
    value : str
        How help shows the value; empty for an option without one.
    parse : callable
        From what was given, and the name to call it by in messages, to the value of the field, or
        a tuple of one value for each of `sets`.
    sets : tuple of str
        The fields of `Options` that it sets, if not the one of its own name.
    instead : str
        What to do in Python, for an option that only cells have.
    also : tuple of str
        What people type who mean this one.
    per_cell : bool
        True if it makes no sense as a default for all cells.
    """

    name: str
    meaning: str
    default: str = "off"
    example: str = ""
    value: str = ""
    parse: Callable[[object, str], Any] = parse_flag
    sets: tuple[str, ...] = ()
    instead: str = ""
    also: tuple[str, ...] = ()
    per_cell: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of `Options` that it sets."""
        return self.sets or (self.name.replace("-", "_"),)

    @property
    def keyword(self) -> str:
        """The keyword of ``remote``; empty if only cells have this option."""
        return "" if self.instead else self.name.replace("-", "_")


OPTIONS: tuple[Option, ...] = (
    Option(
        "cpu",
        "CPUs, at least 0.1, decimals allowed",
        default="1",
        example="2",
        value="N",
        parse=parse_cpu,
        also=("core", "cores", "cpus", "vcpu", "vcpus", "ncpu", "processors"),
    ),
    Option(
        "memory",
        "memory, with a unit: 32G = 32·10⁹ bytes, 32GiB = 32·2³⁰. As LOW..HIGH: start at LOW, "
        "after running out of it retry with twice as much, up to HIGH",
        default="4G, or half of the layer's largest machine if that is less",
        example="8G",
        value="SIZE",
        parse=parse_memory_range,
        sets=("memory", "memory_high"),
        also=("mem", "ram"),
    ),
    Option(
        "gpu",
        "GPUs: how many, or NAME[:N]",
        default="0",
        example="L4:2",
        value="N",
        parse=parse_gpu,
        sets=("gpu", "gpu_name"),
        also=("gpus",),
    ),
    Option(
        "disk",
        "scratch disk, with a unit; on local it is this computer's, and a note says if less is free",
        default="layer's own",
        example="20G",
        value="SIZE",
        parse=parse_disk,
        also=("storage", "scratch"),
    ),
    Option(
        "on",
        "the layer to run on",
        default="configured, else local",
        example="local",
        value="LAYER",
        parse=_parse_label,
        also=("layer", "provider", "backend", "where"),
    ),
    Option(
        "spot",
        "machines that may be taken away, at a lower price: auto falls back to others",
        default="auto",
        example="never",
        value="auto|always|never",
        parse=_parse_spot,
        also=("preemptible", "interruptible"),
    ),
    Option(
        "instance",
        "allow only these machine types",
        default="any",
        example="r7i.2xlarge",
        value="A[,B]",
        parse=_parse_instances,
        sets=("instances",),
        also=("instances", "instance-type", "machine", "type"),
    ),
    Option(
        "retries",
        "reruns after the cell's own exception; those after a lost machine do not count",
        default="0",
        example="3",
        value="N",
        parse=parse_count,
        also=("retry", "times", "max-retries"),
    ),
    Option(
        "retry-on",
        "rerun only for these exceptions and their subclasses",
        default="Exception, never SyntaxError or NameError",
        example="OSError",
        value="NAME[,NAME]",
        parse=_parse_exceptions,
    ),
    Option(
        "retry-delay",
        "first pause before a rerun; it doubles, with jitter, up to 1 min",
        default="1s",
        example="5s",
        value="TIME",
        parse=_parse_pause,
        sets=("retry_delay", "retry_steady"),
        also=("delay",),
    ),
    Option(
        "timeout",
        "limit of each attempt's execution: 90, 90s, 10m, 1h30m",
        default="none",
        example="10m",
        value="TIME",
        parse=parse_time,
        also=("time", "time-limit"),
    ),
    Option(
        "catch",
        "after the last attempt bind the exception to NAME, None on success, and raise nothing",
        example="error",
        value="NAME",
        parse=parse_name,
        instead="put @catch(var=...) on the function, or use try and except around the call",
        per_cell=True,
    ),
    Option(
        "in",
        "send these names too",
        default="found from the code",
        example="a,b",
        value="NAME[,NAME]",
        parse=_parse_names,
        sets=("inputs",),
        instead="pass arguments to the function",
        per_cell=True,
    ),
    Option(
        "out",
        "bring back only these names",
        default="found from the code",
        example="x,y",
        value="NAME[,NAME]",
        parse=_parse_names,
        sets=("outputs",),
        instead="return values from the function",
        per_cell=True,
    ),
    Option(
        "keep",
        "leave these outputs where they are computed and bind a Kept to each: x.get() brings it "
        "here, the next cell or call that reads x uses it in place. For functions: keep=True",
        example="x,y",
        value="NAME[,NAME]",
        parse=_parse_keep,
        sets=("keep", "keep_returned"),
        per_cell=True,
    ),
    Option(
        "keep-partial",
        "bring back what was assigned although the cell failed",
        instead="return values from the function",
    ),
    Option(
        "bg",
        "do not wait: bind a Run to NAME at once; output goes on appearing under the cell",
        example="run",
        value="NAME",
        parse=parse_name,
        instead="call .submit(...) on the function",
        also=("background",),
        per_cell=True,
    ),
    Option(
        "cache",
        "if code, inputs, ask and environment are what they were, reuse the recorded result "
        "and output. Random numbers, the time and files that the code reads are not looked at",
        also=("cached", "memoize", "memo"),
    ),
    Option(
        "max-cost",
        "stop the run before it costs more dollars; 0 allows only machines that are free",
        default="%compute budget run",
        example="2.50",
        value="USD",
        parse=parse_money,
        also=("budget", "cost", "max-price", "max-usd", "limit"),
    ),
    Option(
        "plan",
        "show what would be sent and where it would run; run nothing",
        instead="call .plan(...) on the function",
        also=("dry-run",),
        per_cell=True,
    ),
    Option(
        "name",
        "label in status and receipts",
        default="first code line",
        example='"my run"',
        value="TEXT",
        parse=_parse_label,
        also=("label", "title"),
        per_cell=True,
    ),
    Option(
        "quiet",
        "no status line and no receipt, only the cell's own output",
        also=("silent", "q"),
    ),
    Option(
        "help",
        "show this table",
        default="",
        instead="see help(remote)",
        also=("h", "?", "usage"),
        per_cell=True,
    ),
)
