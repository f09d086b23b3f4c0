"""Packages of Debian that tests need. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess


def install(package: str) -> bool:
    """Install a package as root of a Debian, and return whether it is there now."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    wanted = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", package]
    for command in (["apt-get", "--quiet", "update"], wanted):
        done = subprocess.run(command, check=False, env=environ, stdout=subprocess.DEVNULL)
    return done.returncode == 0
