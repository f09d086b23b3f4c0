"""What a user asks for - CPUs, memory, GPUs, time, reruns - read, checked and shown.

Every ``parse_*`` function takes what the user gave, as text from a magic's line or as
a Python value from a keyword, and the name to call it by in messages (``"--memory"``).
It returns a finite value within its limits or raises `AskError`, never anything else;
the message is one line that repeats the input, the rule and an example.

Sizes are bytes, durations seconds, prices dollars.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NoReturn

from jupyter_compute.errors import AskError

__all__ = [
    "LARGEST_CPU",
    "LARGEST_DISK",
    "LARGEST_GPU",
    "LARGEST_MEMORY",
    "LEAST_CPU",
    "LEAST_MEMORY",
    "LONGEST_TIME",
    "MOST_MONEY",
    "MOST_RETRIES",
    "Ask",
    "exact_memory",
    "format_cpu",
    "format_memory",
    "format_money",
    "format_time",
    "make_ask",
    "odd_characters",
    "parse_count",
    "parse_cpu",
    "parse_disk",
    "parse_gpu",
    "parse_memory",
    "parse_memory_range",
    "parse_money",
    "parse_time",
    "refuse",
    "show",
]

LEAST_CPU = 0.1
LEAST_MEMORY = 64 * 2**20
LONGEST_TIME = 30 * 86400.0
MOST_RETRIES = 100
MOST_MONEY = 1e6

# AWS's DescribeInstanceTypes for us-east-1 without bare metal, as of 2026-07-20.
LARGEST_CPU = 896
LARGEST_MEMORY = 32 * 2**40
LARGEST_GPU = 8
LARGEST_DISK = 64 * 2**40  # of one EBS volume
_LARGEST_MACHINE = "u7in-32tb.224xlarge (896 CPUs, 32 TiB)"
_LARGEST_GPU_MACHINE = "p6-b300.48xlarge (8 GPUs)"

# No pattern matches a text in two ways, so that refusing a long text takes linear time. They are
# compiled when first used: that would be most of what importing this module takes.
_FLAGS = re.ASCII | re.IGNORECASE
_FINITE = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_NUMBER = rf"{_FINITE}|[+-]?(?:nan|inf|infinity)"
_NUMBERLIKE = r"[+-]?\d[\d.,x]*[.,x]"
_UNIT = r"(?:[KMGT]i?B?|B)"
_SIZE = rf"({_FINITE})\s*({_UNIT})"
_TIME = "".join(rf"(?:(\d+(?:\.\d*)?)\s*{unit}\s*)?" for unit in ("d", "h", "m(?:in)?", "s"))
_GPU = r"([A-Za-z][A-Za-z0-9 ._-]{0,39})(?::([0-9]{1,4}))?"
_LAYER = r"[a-z][a-z0-9_.-]{0,63}"

_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}
_BEYOND = "is more than any known machine has; the largest is "
_USE_SIZE = "use 32G (decimal) or 32GiB"


def show(value: object) -> str:
    """Return ``value`` as a message repeats it: on one line, short, nothing invisible."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else repr(value[:59] + "…")
    small = type(value) is int and value.bit_length() <= 64
    if small or value is None or isinstance(value, bool | float):
        return repr(value)
    return f"a value of type {type(value).__name__}"


def odd_characters(text: str) -> str:
    """Name the characters of ``text`` that only look like what was meant, or return ``""``.

    The result ends a sentence, as in ``" (it holds U+2014 EM DASH)"``.
    """
    odd = dict.fromkeys(c for c in text if not " " <= c <= "~")
    if not odd:
        return ""
    import unicodedata

    names = [f"U+{ord(c):04X} {unicodedata.name(c, '')}".rstrip() for c in list(odd)[:2]]
    return f" (it holds {' and '.join(names)})"


def refuse(what: str, value: object, rule: str, hint: str = "") -> NoReturn:
    """Raise the `AskError` that says which rule ``value``, given as ``what``, breaks."""
    odd = odd_characters(value) if isinstance(value, str) else ""
    raise AskError(f"{what}: {show(value)} {rule}{odd}", hint=hint)


def _number(value: object) -> float | None:
    """Return ``value`` as a float, which may be infinite or nan; None if it is no number."""
    if isinstance(value, str):
        text = value.strip()
        return float(text) if re.fullmatch(_NUMBER, text, _FLAGS) else None
    # To float, NumPy's durations are numbers of whatever unit they have, its booleans 0 and 1.
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    if isinstance(value, bool) or not hasattr(value, "__float__") or kind not in "iuf":
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return None


def parse_cpu(value: object, what: str = "cpu") -> float:
    """Return a number of CPUs from 0.1 up to the largest known machine's."""
    number = _number(value)
    if number is None or not math.isfinite(number) or number < LEAST_CPU:
        refuse(what, value, f"is not a number > 0, at least {LEAST_CPU}", "e.g. 8 or 0.5")
    if number > LARGEST_CPU:
        refuse(what, value, _BEYOND + _LARGEST_MACHINE, f"e.g. {LARGEST_CPU} or less")
    return number


def parse_memory(value: object, what: str = "memory") -> int:
    """Return bytes; a unit is required: ``"32G"`` is 32·10⁹ bytes, ``"32GiB"`` 32·2³⁰."""
    if (size := _read_size(value, what)) > LARGEST_MEMORY:
        refuse(what, value, _BEYOND + _LARGEST_MACHINE, "e.g. 32TiB or less")
    return round(size)


def parse_disk(value: object, what: str = "disk") -> int:
    """Return bytes of scratch disk; a unit is required, as for memory."""
    if (size := _read_size(value, what)) > LARGEST_DISK:
        refuse(what, value, "is more than the largest known volume has, 64 TiB", "e.g. 100G")
    return round(size)


def _read_size(value: object, what: str) -> float:
    text = value.strip() if isinstance(value, str) else value
    if text == "":
        refuse(what, text, "needs a value, e.g. 8G")
    if not isinstance(text, str) or not (size := re.fullmatch(_SIZE, text, _FLAGS)):
        _refuse_size(text, what)
    unit = size[2].upper()
    base = 1024 if "I" in unit else 1000
    return _check_least(float(size[1]) * base ** _POWERS.get(unit[0], 0), text, what)


def _check_least(size: float, value: object, what: str) -> float:
    if not math.isfinite(size):
        refuse(what, value, "is not a finite size", _USE_SIZE)
    if size < LEAST_MEMORY:
        hint = "e.g. 8G"
        if isinstance(value, str) and value.endswith("m"):
            hint = "m is read as M, 10⁶ bytes; e.g. 512M or 5G"
        refuse(what, value, "is below the least, 64 MiB", hint)
    return size


def _refuse_size(value: object, what: str) -> NoReturn:
    number = _number(value)
    if number is not None and not 0 < number < math.inf:
        _check_least(number, value, what)
    if number is not None and number < LEAST_MEMORY:
        short, power = f"{number:.15g}", "G" if number < 1024 else "M"
        refuse(what, value, f"has no unit: {short} what? {short}{power} or {short}{power}iB")
    if number is not None:
        size = exact_memory(min(int(number), LARGEST_MEMORY))
        refuse(what, value, "has no unit", f"if these are bytes, use {size}")
    if isinstance(value, str) and re.fullmatch(_UNIT, value, _FLAGS):
        refuse(what, value, "is a unit without a number: it needs a value, e.g. 8G")
    if isinstance(value, str) and re.match(_NUMBERLIKE, value, _FLAGS):
        refuse(what, value, "is not a size", "write it with one decimal point, e.g. 32.5G")
    refuse(what, value, "is not a size", _USE_SIZE)


def parse_memory_range(value: object, what: str = "memory") -> tuple[int, int | None]:
    """Return ``(low, high)`` of a ladder such as ``"8G..64G"``; high is None for one size."""
    if not isinstance(value, str) or ".." not in value:
        return parse_memory(value, what), None
    first, _, last = value.partition("..")
    if not (first.strip() and last.strip()):
        refuse(what, value, "is a range without both its ends", "e.g. 8G..64G")
    low, high = parse_memory(first, what), parse_memory(last, what)
    if low > high:
        refuse(what, value, "is a range from more to less", "e.g. 8G..64G")
    return low, high


def parse_time(value: object, what: str = "timeout", longest: float = LONGEST_TIME) -> float:
    """Return seconds, more than 0 and at most `longest`, of ``"90"``, ``"1h30m"``, a timedelta."""
    number = _number(value)
    if number is None and isinstance(value, str):
        parts = re.fullmatch(_TIME, value.strip(), re.ASCII)
        if parts and any(parts.groups()):
            days, hours, minutes, seconds = (float(part or 0) for part in parts.groups())
            number = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    elif number is None and hasattr(value, "total_seconds"):
        number = _number(value.total_seconds())
    if number is None and isinstance(value, str) and not value.strip():
        refuse(what, value, "needs a value, e.g. 10m")
    if number is None or not 0 < number <= longest:
        rule = f"is not a time > 0 and at most {longest / 86400:g} days"
        refuse(what, value, rule, "e.g. 90 (seconds), 90s, 10m or 1h30m")
    return number


def parse_count(value: object, what: str = "retries", most: int = MOST_RETRIES) -> int:
    """Return a whole number from 0 to 100, or to another limit."""
    number = _number(value)
    if number is None or not 0 <= number <= most or number != int(number):
        refuse(what, value, f"is not a whole number from 0 to {most}", "e.g. 3")
    return int(number)


def parse_money(value: object, what: str = "max_cost") -> float:
    """Return dollars from 0 to a million, of ``"2.50"``, ``"$5"`` or a number."""
    number = _number(value.strip().removeprefix("$") if isinstance(value, str) else value)
    if number is None or not 0 <= number <= MOST_MONEY:
        rule = f"is not an amount of dollars from 0 to {MOST_MONEY:.0f}"
        refuse(what, value, rule, "e.g. 2.50")
    return number


def parse_gpu(value: object, what: str = "gpu") -> tuple[int, str]:
    """Return ``(count, name)`` of ``"1"``, ``"L4"`` or ``"L4:2"``; name is empty for any kind."""
    number, name = _number(value), ""
    named = re.fullmatch(_GPU, value.strip()) if isinstance(value, str) else None
    if number is None and named:
        name, number = named[1].strip(), float(named[2] or 1)
    if number is None or not number >= (1 if name else 0) or number % 1 != 0:
        refuse(what, value, "is not a whole number of GPUs or NAME[:N]", "e.g. 1, L4 or L4:2")
    if number > LARGEST_GPU:
        refuse(what, value, _BEYOND + _LARGEST_GPU_MACHINE, f"e.g. {LARGEST_GPU} or less")
    return int(number), name


@dataclass(frozen=True, slots=True)
class Ask:
    """What one run asks a layer for.

    Parameters
    ----------
    cpu : float
    memory, memory_high : int or None
        Bytes, and the top of the ladder; None leaves it to the layer.
    gpu : int
    gpu_name : str
        Empty for any kind.
    layer : str
    instances : tuple of str
        The only machine types that will do; empty if any will.
    spot : {"auto", "always", "never"}
    max_cost : float or None
        What the run may cost, in dollars; 0 for machines that are free.
    priced : bool
        True if only machines will do whose price is known, as there is a budget.
    """

    cpu: float = 1.0
    memory: int | None = None
    memory_high: int | None = None
    gpu: int = 0
    gpu_name: str = ""
    layer: str = "local"
    instances: tuple[str, ...] = ()
    spot: str = "auto"
    max_cost: float | None = None
    priced: bool = False

    def __str__(self) -> str:
        sizes = [format_memory(size) for size in (self.memory, self.memory_high) if size]
        gpus = [str(self.gpu), self.gpu_name, "gpu"] if self.gpu else []
        return " ".join(filter(None, [format_cpu(self.cpu), "cpu", "..".join(sizes), *gpus]))


def make_ask(
    cpu: object = 1, memory: object = None, gpu: object = 0, layer: object = "local"
) -> Ask:
    """Return the ask of what a user gave, e.g. ``make_ask(8, "8G..64G", "L4")``.

    Raises
    ------
    AskError
        If one of them is malformed, or is more than any known machine has.
    """
    low, high = (None, None) if memory is None else parse_memory_range(memory)
    count, name = parse_gpu(gpu)
    if not isinstance(layer, str) or not re.fullmatch(_LAYER, layer):
        refuse("layer", layer, "is not the name of a layer", "e.g. local")
    return Ask(parse_cpu(cpu), low, high, count, name, layer)


def format_cpu(cpu: float) -> str:
    """Return a number of CPUs to two decimals at most: ``"8"``, ``"2.5"``."""
    return f"{cpu:.2f}".rstrip("0").rstrip(".")


def format_memory(size: float) -> str:
    """Return bytes in the decimal unit that fits: ``"9.8 GB"``, ``"32 GB"``, ``"512 MB"``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        number = round(size, 1) if unit != "B" and size < 9.95 else round(size)
        if number < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{number:g} {unit}"


def exact_memory(size: int) -> str:
    """Return bytes such that ``parse_memory(exact_memory(size)) == size``: ``"32G"``, ``"1GiB"``."""
    for power in "TGMK":
        for base, suffix in ((1000, ""), (1024, "iB")):
            if size % base ** _POWERS[power] == 0:
                return f"{size // base ** _POWERS[power]}{power}{suffix}"
    return f"{size}B"


def format_time(seconds: float) -> str:
    """Return a duration in its two leading units: ``"0.4 s"``, ``"41 s"``, ``"1 h 30 min"``."""
    if seconds < 9.95:
        return f"{seconds * 1000:.0f} ms" if 0 < seconds < 0.1 else f"{round(seconds, 1):g} s"
    total = round(seconds) if seconds < 3600 else round(seconds / 60) * 60
    days, rest = divmod(total, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{n} {unit}" for n, unit in parts if n)


def format_money(usd: float) -> str:
    """Return dollars to the cent, or to two figures below one: ``"$12.40"``, ``"$0.0034"``."""
    if usd == 0:
        return "$0"
    if usd < 0.0001:
        return "<$0.0001"
    digits = 2 if usd >= 0.01 else 1 - math.floor(math.log10(usd))
    return f"${usd:,.{digits}f}"
