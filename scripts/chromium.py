"""The browser that the panel's tests run in. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import debian

NAMES = ("chromium", "chromium-browser", "google-chrome")


def provide(python: Path) -> None:
    """Install Chromium unless there is one: Debian's where that is possible, else playwright's.

    ``CHROMIUM`` may name another. Tests that need it fail, with the reason, if this fails.
    """
    if "CHROMIUM" in os.environ or any(map(shutil.which, NAMES)):
        return
    print("Installing Chromium (once) ...", flush=True)
    if debian.install("chromium"):
        return
    if subprocess.run([python, "-m", "playwright", "install", "chromium"], check=False).returncode:
        print("There is no Chromium, and none could be installed.", file=sys.stderr)
