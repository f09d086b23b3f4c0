"""The browser that the panel's tests run in. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")


def provide(python: Path) -> None:
    """Install Chromium unless there is one: Debian's where that is possible, else playwright's.

    ``CHROMIUM`` may name another. Tests that need it fail, with the reason, if this fails.
    """
    if "CHROMIUM" in os.environ or any(map(shutil.which, NAMES)):
        return
    print("Installing Chromium (once) ...", flush=True)
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", "chromium"]
        for command in (["apt-get", "--quiet", "update"], install):
            done = subprocess.run(command, check=False, env=environ, stdout=subprocess.DEVNULL)
        if done.returncode == 0:
            return
    if subprocess.run([python, "-m", "playwright", "install", "chromium"], check=False).returncode:
        print("There is no Chromium, and none could be installed.", file=sys.stderr)
