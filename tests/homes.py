"""Homes for tests: a place where everything a test starts lives, and what it left behind."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_compute import places
from jupyter_compute.errors import PoolError
from jupyter_compute.notebook.client import Client

MARK = "JUPYTER_COMPUTE_TEST"
"""The variable that marks every process of a home, however far down it was started."""

# Without the last, every process would compile all that it imports anew.
_OTHERS = ("DASK_", "IPYTHON", "JUPYTER_", "MPL", "PYTEST_", "XDG_", "PYTHONDONTWRITEBYTECODE")
_SHARED_MEMORY = Path("/dev/shm")
_numbers = itertools.count(1)


def new_root() -> Path:
    """Return a new directory for homes, with a path short enough for Unix sockets below it."""
    root = Path(tempfile.mkdtemp(prefix="jc-", dir="/tmp"))
    # Not earlier: a shell that a test made in its own process writes its history at exit.
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


class Home:
    """A user's home, Jupyter directories and configuration, empty and away from the real ones.

    Parameters
    ----------
    root : Path
        The directory of all homes of a test session.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / str(next(_numbers))
        self.notebooks = self.path / "notebooks"
        self.notebooks.mkdir(parents=True)
        kept = {name: text for name, text in os.environ.items() if not name.startswith(_OTHERS)}
        self.env = kept | {
            "DASK_CONFIG": str(self.path / "dask"),
            "HOME": str(self.path),
            "IPYTHONDIR": str(self.path / "ipython"),
            "JUPYTER_CONFIG_DIR": str(self.path / "config"),
            "JUPYTER_DATA_DIR": str(self.path / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.path / "run"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            # Shared, so that matplotlib looks through the computer's fonts only once.
            "XDG_CACHE_HOME": str(root / "cache"),
            MARK: str(self.path),
        }
        self.service_was_killed = False
        """For a test that kills the service and does not bring it back: files may remain."""

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Make this the home of the test process too."""
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ.keys() - self.env.keys():
                patch.delenv(name)
            for name, text in self.env.items():
                patch.setenv(name, text)
            yield

    def processes(self) -> dict[int, str]:
        """Return the processes of this home that are alive, each with its command line."""
        return marked_processes(self.path)

    def stop_pool(self) -> None:
        """Stop the pool if there is one."""
        with self.entered(), contextlib.suppress(PoolError):
            Client(start=False).stop(force=True)

    def close(self, patience_s: float = 10.0) -> None:
        """Stop the pool; fail if a process, a socket or shared memory is left after that."""
        with self.entered():
            self.stop_pool()
            left = [f"process {pid}: {line}" for pid, line in self._stragglers(patience_s).items()]
            left += self._remains()
        if left:
            raise AssertionError("left behind:\n" + "\n".join(left))

    def _remains(self) -> list[str]:
        """Remove what is outside of the home; return what the pool should have removed itself."""
        before = set(_SHARED_MEMORY.glob("jupyter-compute-*"))
        shared = [path for path in places.blob_dirs() if path.is_relative_to(_SHARED_MEMORY)]
        left = [path for path in shared if path in before]
        left += [path for path in (places.socket(),) if path.exists()]
        for path in shared:
            shutil.rmtree(path)
        return [] if self.service_was_killed else [f"file {path}" for path in left]

    def _stragglers(self, patience_s: float) -> dict[int, str]:
        """Wait for the end of this home's processes; kill and return those that do not end."""
        deadline = time.monotonic() + patience_s
        while (alive := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return alive


def marked_processes(path: Path) -> dict[int, str]:
    """Return the live processes that belong to homes at or below ``path``."""
    mark = f"\0{MARK}={path}".encode()
    found: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        # A process may end while it is looked at; a zombie has no environment any more.
        with contextlib.suppress(OSError):
            environ = b"\0" + (entry / "environ").read_bytes()
            after = environ.partition(mark)[2][:1]
            if mark in environ and after in {b"", b"\0", b"/"} and int(entry.name) != os.getpid():
                line = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                found[int(entry.name)] = line.strip()
    return found
