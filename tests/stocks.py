"""The package index that this computer is set up with."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from jupyter_compute import settings

__all__ = ["configured_index"]

_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")


@functools.cache
def configured_index() -> str:
    """Return its address: that of uv or pip, as variables or their files have it, else the default."""
    for name in _VARIABLES:
        if address := os.environ.get(name):
            return address
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or str(settings.default("layers.aws.index"))
