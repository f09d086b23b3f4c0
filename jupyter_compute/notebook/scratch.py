"""The scratch disk of runs: this computer's own, or what machines elsewhere have."""

from __future__ import annotations

from .. import settings
from ..ask import format_memory, parse_memory
from ..errors import AskError
from .options import Options

__all__ = ["short_of"]

_TASK_DISK = 20 * 2**30
"""What AWS gives a Fargate task."""


def short_of(options: Options) -> list[str]:
    """Return a note if a run on this computer asks for more scratch disk than is free.

    Raises
    ------
    AskError
        If it asks for more than machines elsewhere have.
    """
    layer = options.on or settings.get("layer")
    if options.disk is None:
        return []
    if layer != "local":
        _refuse_more(options.disk, str(layer))
        return []
    import shutil
    import tempfile

    free = shutil.disk_usage(tempfile.gettempdir()).free
    if options.disk <= free:
        return []
    asked, left = format_memory(options.disk), format_memory(free)
    return [f"asked {asked} disk, this computer has {left} free: running with that"]


def _refuse_more(disk: int, layer: str) -> None:
    if layer not in {"aws", "ec2", "fargate", "sandbox"}:
        raise AskError(f"--disk: how much machines of {layer} have is not known here")
    has = _TASK_DISK if layer == "fargate" else parse_memory(str(settings.get("layers.ec2.disk")))
    if disk > has:
        hint = "" if layer == "fargate" else "; set layers.ec2.disk"
        raise AskError(
            f"--disk: asked {format_memory(disk)}, machines of {layer} have {format_memory(has)}{hint}"
        )
