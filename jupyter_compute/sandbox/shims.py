"""The programs of the machines: ``shutdown``, and what an image brings along."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["install", "search_path"]

_SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

_SHUTDOWN = """#!/bin/sh
# The sandbox carries it out; a name that is complete at once, as it is read at any time.
when=now
for word; do
  case $word in
    now|+*) when=$word ;;
    -c) when=cancel ;;
  esac
done
wish="$(dirname "$HOME")/shutdown"
echo "$when" >"$wish.$$" && mv "$wish.$$" "$wish"
"""

_DOCKER = """#!{python}
import os, sys
words = sys.argv[1:]
if words[:1] != ["run"]:
    raise SystemExit(0)
words = words[1:]
with_value = {{"-e", "--env", "-m", "--cpus", "--memory", "--name", "--net", "--network", "-p",
              "--shm-size", "-v", "--volume"}}
while words and words[0].startswith("-"):
    option = words.pop(0)
    if option in with_value:
        value = words.pop(0)
        if option in ("-e", "--env"):
            name, _, text = value.partition("=")
            os.environ[name] = text
os.environ["PATH"] = {image!r} + os.pathsep + os.environ["PATH"]
os.execvp(words[1], words[1:])
"""

_NOTHING_TO_DO = (
    "add-apt-repository",
    "apt-get",
    "apt-key",
    "curl",
    "lsb_release",
    "systemctl",
    "tee",
    "ubuntu-drivers",
)
"""What sets up a fresh Ubuntu with docker, which would reach out to the Internet."""


_AMAZON_LINUX = """
awk basename bash cat chmod chown cp curl cut date df dirname du echo egrep env expr false find
getent getopt grep groups gunzip gzip head hostname id install ip kill less ln logger ls mkdir
mktemp mount mv nice nohup nproc openssl paste pidof printf ps pwd readlink realpath rm rmdir sed
seq setsid sh sha256sum shred sleep sort split stat stty sync tail tar tee test timeout touch tr
true truncate tty umount uname uniq wc which whoami xargs xz zcat
"""
"""What user-data finds on Amazon Linux 2023, besides Python, dnf and systemd.

Its Python is 3.9. Here it is this computer's, which so stands also for the one that a machine
downloads. Programs and libraries with a path of their own are this computer's, as everywhere.
"""


def install(root: Path) -> None:
    """Write the programs of all machines of a sandbox below its directory."""
    for name in ("shutdown", "poweroff", "halt"):
        _program(root / "bin" / name, _SHUTDOWN)
    python = shlex.quote(sys.executable)
    node = f'#!/bin/sh\nexec {python} -m jupyter_compute.node.booted "$@"\n'
    _program(root / "prepared" / "jupyter-compute-node", node)
    bare = f'#!/bin/sh\nexec {shlex.quote(_bare_python())} "$@"\n'
    for name in ("python", "python3", f"python3.{sys.version_info.minor}"):
        _program(root / "prepared" / name, f'#!/bin/sh\nexec {python} "$@"\n')
        _program(root / "python" / name, bare)
    for name in _AMAZON_LINUX.split():
        if found := shutil.which(name, path=os.pathsep.join(_SYSTEM)):
            (root / "amazon-linux").mkdir(mode=0o700, exist_ok=True)
            (root / "amazon-linux" / name).symlink_to(found)
    _program(root / "amazon-linux" / "python3", bare)
    docker = _DOCKER.format(python=sys.executable, image=str(root / "prepared"))
    _program(root / "docker" / "docker", docker)
    for name in _NOTHING_TO_DO:
        _program(root / "docker" / name, "#!/bin/sh\nexit 0\n")


def search_path(
    root: Path, *, prepared: bool, docker: bool, python: bool, amazon_linux: bool
) -> list[str]:
    """Return the directories in which a machine finds programs, the first one first.

    Parameters
    ----------
    root : Path
    prepared : bool
        It was booted from the prepared image.
    docker : bool
        It sets up docker and runs a container in it.
    python : bool
        It is a container of a stock image of Python.
    amazon_linux : bool
        It was booted from a stock image of Amazon Linux, and has nothing else.
    """
    own = ["bin"]
    own += ["prepared"] if prepared else []
    own += ["docker"] if docker else []
    own += ["python"] if python and not prepared else []
    if amazon_linux:
        return [str(root / name) for name in (*own, "amazon-linux")]
    return [*(str(root / name) for name in own), *_SYSTEM]


def _bare_python() -> str:
    """Return an interpreter without anybody's packages."""
    name = f"python3.{sys.version_info.minor}"
    return os.path.realpath(Path(sys.base_prefix) / "bin" / name)


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o700)
