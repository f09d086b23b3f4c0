"""The Python environment that the project's commands run in. Standard library only."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
EXTENSION = ROOT / "jupyter_compute" / "labextension"
"""The compiled JupyterLab extension. An installation builds it if it is not there."""


def prepare(extra: str) -> Path:
    """Return the Python that has this clone installed with the dependencies of ``extra``.

    That is the virtual environment which runs this script, else ``.venv`` in the clone; nothing
    outside of it is changed. It takes no time if it was done before. When the installation
    fails, the script ends with pip's own words.
    """
    if sys.version_info < (3, 11):
        sys.exit(f"jupyter-compute needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    python = Path(sys.executable) if sys.prefix != sys.base_prefix else _own_environment()
    stamp = python.parent.parent / f"jupyter-compute-{extra}.stamp"
    wanted = fingerprint(ROOT)
    if not (stamp.is_file() and stamp.read_text() == wanted):
        shutil.rmtree(EXTENSION, ignore_errors=True)
        print(f"Installing into {python.parent.parent} (a minute or two, once) ...", flush=True)
        _provide_pip(python)
        project = ["--editable", f"{ROOT}[{extra}]", "--constraint", str(ROOT / "constraints.txt")]
        _run(python, "-m", "pip", "install", "--quiet", *project)
        stamp.write_text(wanted)
    return python


def _own_environment() -> Path:
    """Create ``.venv`` unless it is there; make it anew when the clone was moved."""
    python = VENV / "bin" / "python"
    birthplace = VENV / "birthplace"
    moved = birthplace.is_file() and birthplace.read_text() != str(ROOT)
    if moved or not python.exists():
        venv.EnvBuilder(clear=True, symlinks=True).create(VENV)
        birthplace.write_text(str(ROOT))
    return python


def fingerprint(root: Path) -> str:
    """Return what changes with everything that an installation of the clone depends on.

    Python's own sources are not among it: they are used where they are.
    """
    front = root / "labextension"
    sources = [path for part in ("src", "style", "schema") for path in (front / part).rglob("*.*")]
    settings = [front / name for name in ("package.json", "tsconfig.json", "yarn.lock")]
    digest = hashlib.sha256(str(root).encode())
    for path in [root / "pyproject.toml", root / "constraints.txt", *settings, *sorted(sources)]:
        digest.update(f"\0{path.relative_to(root)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _provide_pip(python: Path) -> None:
    """Put pip into the environment unless it is there.

    The pip beside the Python that runs this can reach in, so that a Python without ensurepip,
    such as bare Debian's, will do. What comes is a recent pip, which is the faster one.
    """
    if _has_pip(python):
        return
    if python != Path(sys.executable) and _has_pip(Path(sys.executable)):
        _run(Path(sys.executable), "-m", "pip", "--python", python, "install", "--quiet", "pip")
    else:
        _run(python, "-m", "ensurepip")


def _has_pip(python: Path) -> bool:
    command = [str(python), "-c", "import pip"]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


def _run(*command: str | Path) -> None:
    # PIP_USER, which some images set, is refused in a virtual environment.
    environ = os.environ | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    status = subprocess.run(command, check=False, env=environ, cwd=ROOT).returncode
    if status:
        sys.exit(f"{' '.join(map(str, command))}\nfailed with exit status {status}")
