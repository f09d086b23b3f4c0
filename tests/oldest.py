"""The Python of stock images, which runs what travels to them."""

from __future__ import annotations

import shutil
import subprocess
import sys

__all__ = ["oldest_python"]


def oldest_python() -> str:
    """Return Python 3.9, as Amazon Linux 2023 has it, if it is on the path; else this one."""
    found = shutil.which("python3.9")
    if found and subprocess.run([found, "-V"], check=False, capture_output=True).returncode == 0:
        return found
    return sys.executable
