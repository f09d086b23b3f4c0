"""Open JupyterLab on the first example notebook: ``python3 scripts/lab.py [jupyter lab options]``.

The first time, it installs what is needed into a virtual environment of its own.
"""

from __future__ import annotations

import os
import sys

import environment

NOTEBOOK = "notebooks/01-first-remote-cell.ipynb"


def main() -> None:
    """Become JupyterLab."""
    python = environment.prepare("demo")
    command = [str(python), "-m", "jupyterlab", NOTEBOOK, *sys.argv[1:]]
    if os.getuid() == 0:
        command.append("--allow-root")
    os.chdir(environment.ROOT)
    # The kernel of this environment, not one of the same name that the user has registered.
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    # As in an activated environment: `!jupyter compute …` in a cell means this one.
    os.environ["PATH"] = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
    os.execv(python, command)  # noqa: S606 - no shell is what is wanted


if __name__ == "__main__":
    main()
