"""Check and test everything: ``python3 scripts/test.py``.

Arguments go to pytest, and then nothing else is run: ``python3 scripts/test.py tests/unit -k ask``.
The first time, it installs what is needed into a virtual environment of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import chromium
import debian
import environment

_MOST_PROCESSES = 4
"""Each may have a JupyterLab or some machines; more want more than 16 GB."""


def main() -> int:
    """Return 0 if every check passed. One that fails does not keep the others from running."""
    # Images that are built by Docker set it; some thousand processes would compile all they import.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    python = environment.prepare("test")
    chromium.provide(python)
    if not shutil.which("nft"):
        debian.install("nftables")  # what it lets through is tested as root only
    checks: list[list[str]] = [
        ["-m", "ruff", "check"],
        ["-m", "ruff", "format", "--check"],
        ["-m", "mypy"],
        [str(python.with_name("lint-imports")), "--no-cache"],
    ]
    if sys.argv[1:]:
        checks = []
    checks.append(["-m", "pytest", *(sys.argv[1:] or _side_by_side())])
    failed = [check for check in checks if _fails(str(python), check)]
    for check in failed:
        print("failed:", *check)
    return 1 if failed else 0


def _side_by_side() -> list[str]:
    """Return what makes pytest use several processors; ``tests/division.py`` says how."""
    return ["-n", str(min(os.cpu_count() or 1, _MOST_PROCESSES))]


def _fails(python: str, check: list[str]) -> bool:
    print("\n$", "python", *check, flush=True)
    return subprocess.run([python, *check], check=False, cwd=environment.ROOT).returncode != 0


if __name__ == "__main__":
    sys.exit(main())
