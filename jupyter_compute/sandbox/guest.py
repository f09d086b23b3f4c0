"""The inside of a machine: real processes with an environment, a home and a console of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from jupyter_compute import places

__all__ = ["MACHINE", "SANDBOX", "Guest", "marked"]

SANDBOX = "JUPYTER_COMPUTE_SANDBOX_ROOT"
"""The variable that marks every process of every machine of a sandbox."""

MACHINE = "JUPYTER_COMPUTE_SANDBOX_MACHINE"
"""The variable that marks every process of one machine."""


class Guest:
    """The processes of one machine, however far down they were started.

    Parameters
    ----------
    id : str
        The machine's.
    root : Path
        The directory below which the machine has its own.
    """

    def __init__(self, id: str, root: Path) -> None:  # noqa: A002 - the machine's own word
        self.id = id
        self.directory = root / id
        self.home = self.directory / "home"
        for path in (self.home, self.directory / "tmp"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.console = self.directory / "console.log"
        self.pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def environment(
        self, root: Path, path: Sequence[str], more: Mapping[str, str]
    ) -> dict[str, str]:
        """Return the variables of a machine that was just set up: nothing of the user's."""
        # A cache of downloads that was given to the sandbox is one for all machines.
        names = ("JUPYTER_COMPUTE_TEST", "TZ", "UV_CACHE_DIR")
        kept = {name: os.environ[name] for name in names if name in os.environ}
        return {
            "HOME": str(self.home),
            "JUPYTER_COMPUTE_SANDBOX": "1",
            "LANG": "C.UTF-8",
            "LOGNAME": "root",
            "PATH": os.pathsep.join(path),
            "SHELL": "/bin/sh",
            "TMPDIR": str(self.directory / "tmp"),
            "USER": "root",
            **kept,
            **more,
            SANDBOX: str(root),
            MACHINE: self.id,
        }

    def boot(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the machine's first process.

        What cannot be started is said on its console, and ends with status 127.
        """
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", 'exec "$@"', "sh", *arguments],
                cwd=self.home,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def script(self, text: bytes) -> Path:
        """Store what the machine boots into, and return where."""
        path = self.directory / "user-data"
        path.write_bytes(text)
        path.chmod(0o700)
        return path

    def status(self) -> int | None:
        """Return the exit status of the first process; None while it lives, or never did."""
        return None if self._process is None else self._process.poll()

    def processes(self) -> list[int]:
        """Return the ids of all live processes."""
        self.status()
        return marked(MACHINE, self.id)

    def signal(self, number: signal.Signals) -> int:
        """Send all processes the signal, and return how many there were."""
        found = self.processes()
        for pid in found:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        return len(found)

    def freeze(self) -> None:
        """Stop all processes, also those that one of them was just starting."""
        stopped: set[int] = set()
        while found := set(self.processes()) - stopped:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped |= found

    def told_to_end(self) -> None:
        """Send the first process a SIGTERM if it handles it: a container's ignores it otherwise."""
        try:
            text = Path(f"/proc/{self.pid}/status").read_text()
            caught = int(text.partition("SigCgt:")[2].split()[0], 16)
            if caught >> (signal.SIGTERM - 1) & 1:
                os.kill(self.pid or 0, signal.SIGTERM)
        except (OSError, IndexError):
            return

    def output(self, limit: int = 65536) -> bytes:
        """Return the end of what was written to the console."""
        if not self.console.exists():
            return b""
        with self.console.open("rb") as file:
            file.seek(max(0, self.console.stat().st_size - limit))
            return file.read()

    def wish(self) -> str | None:
        """Return what the machine's own ``shutdown`` was last called with, once."""
        path = self.directory / "shutdown"
        try:
            text = path.read_text()
            path.unlink()
        except FileNotFoundError:
            return None
        return text.strip()

    def remove(self) -> None:
        """Remove what the machine has stored, except its console."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.directory / "tmp", ignore_errors=True)
        shared = places.shared_memory(self.home / ".local/share/jupyter/runtime/compute")
        shutil.rmtree(shared, ignore_errors=True)


def marked(name: str, value: str) -> list[int]:
    """Return the ids of the live processes that have the variable in their environment."""
    mark = f"{name}={value}\0".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # A zombie has no environment any more.
            if mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
