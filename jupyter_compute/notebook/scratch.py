"""The scratch disk of runs on this computer: its own."""

from __future__ import annotations

from .. import settings
from ..ask import format_memory
from .options import Options

__all__ = ["short_of"]


def short_of(options: Options) -> list[str]:
    """Return a note if a run on this computer asks for more scratch disk than is free."""
    if options.disk is None or (options.on or settings.get("layer")) != "local":
        return []
    import shutil
    import tempfile

    free = shutil.disk_usage(tempfile.gettempdir()).free
    if options.disk <= free:
        return []
    asked, left = format_memory(options.disk), format_memory(free)
    return [f"asked {asked} disk, this computer has {left} free: running with that"]
