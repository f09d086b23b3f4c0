"""An environment per library, made once and kept outside of the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from peer_table import DRIVER_NEEDS, Peer

INSTALL_S = 900
_VERSIONS = (
    "import sys, importlib.metadata as m\n"
    "for name in sys.argv[1:]: print(name, m.version(name), sep='==')"
)


class NotInstalledError(Exception):
    """A library cannot be installed here; the message is for the table."""


def prepare(name: str, peer: Peer, directory: Path) -> Path:
    """Return the Python that has the library; make its environment unless it is there.

    Raises
    ------
    NotInstalledError
        If that fails. The next run tries again.
    """
    if not peer.requirements:
        return Path(sys.executable)
    home = directory / name
    python = home / "bin" / "python"
    stamp = home / "complete.json"
    needed = [*peer.requirements, *DRIVER_NEEDS]
    wanted = json.dumps({"python": sys.version, "requirements": needed})
    if not (python.exists() and stamp.is_file() and stamp.read_text() == wanted):
        print(f"{name}: installing into {home} (once) ...", file=sys.stderr, flush=True)
        shutil.rmtree(home, ignore_errors=True)
        try:
            _install(home, python, needed)
        except (OSError, subprocess.SubprocessError) as error:
            raise NotInstalledError(_reason(error)) from error
        stamp.write_text(wanted)
    return python


def versions(python: Path, peer: Peer) -> list[str]:
    """Return what is installed, as ``name==version``.

    Raises
    ------
    NotInstalledError
        If something that is needed is not there.
    """
    names = list(peer.requirements) or ["jupyter-compute", "distributed"]
    command = [python, "-c", _VERSIONS, *names, *DRIVER_NEEDS]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    except subprocess.CalledProcessError as error:
        raise NotInstalledError(_reason(error)) from error


def _install(home: Path, python: Path, needed: list[str]) -> None:
    uv = shutil.which("uv")
    if uv:
        _run(uv, "venv", "--quiet", "--python", sys.executable, home)
        _run(uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *needed)
        return
    own_pip = _has_pip()
    venv.create(home, symlinks=True, with_pip=not own_pip)
    pip = [sys.executable, "-m", "pip", "--python", python] if own_pip else [python, "-m", "pip"]
    _run(*pip, "install", "--quiet", *needed)


def _has_pip() -> bool:
    command = [sys.executable, "-c", "import pip"]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


def _run(*command: str | Path) -> None:
    environ = os.environ | {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=INSTALL_S, env=environ
    )


def _reason(error: Exception) -> str:
    """Return the last thing that an installer said, as one line."""
    said = getattr(error, "stderr", None) or str(error)
    text = said if isinstance(said, str) else said.decode(errors="replace")
    return "not installed: " + (text.strip().splitlines() or ["no reason given"])[-1][:200]
