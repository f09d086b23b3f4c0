"""The options of every ``%%remote`` and ``@remote`` in this notebook, as they are written."""

from __future__ import annotations

from ..ask import exact_memory, format_cpu
from . import session
from .options import Options

__all__ = ["add", "text", "written"]


def add(options: Options) -> None:
    """Let the notebook have these defaults, besides those that it has."""
    session.set_defaults(options.merge(session.defaults()))


def written(options: Options) -> str:
    """Return the options that were given, as a line has them."""
    return " ".join(f"--{name} {text(options, name)}".rstrip() for name in sorted(options.given))


def text(options: Options, name: str) -> str:
    """Return an option's value as a line has it; empty if it was not given, or has none."""
    if name not in options.given:
        return ""
    match name:
        case "cpu":
            return format_cpu(options.cpu)
        case "memory":
            sizes = [size for size in (options.memory, options.memory_high) if size]
            return "..".join(map(exact_memory, sizes))
        case "gpu":
            return f"{options.gpu_name}:{options.gpu}".lstrip(":")
        case "retry-on":
            return ",".join(options.retry_on)
        case "retry-delay" | "timeout":
            return f"{getattr(options, name.replace('-', '_')):g}s"
        case "on" | "retries":
            return str(getattr(options, name))
    return ""
