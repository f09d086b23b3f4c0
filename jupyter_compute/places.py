"""Where files live. Every directory is the user's own, and closed to everybody else.

``JUPYTER_RUNTIME_DIR`` and ``JUPYTER_DATA_DIR`` move everything, so two values of them
are two separate pools.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from jupyter_core.paths import jupyter_data_dir, jupyter_runtime_dir

from jupyter_compute.errors import PoolError

__all__ = [
    "blob_dirs",
    "cache_dir",
    "data_dir",
    "journal",
    "private_directory",
    "rehearsal",
    "rotate_service_log",
    "run_dir",
    "runtime_dir",
    "service_lock",
    "service_log",
    "shared_memory",
    "socket",
    "start_lock",
]

_LONGEST_SOCKET = 92
"""The system allows 107 bytes on Linux and 103 on macOS, and a process id is added at first."""

_LOG_BYTES = 1_000_000
_SHARED_MEMORY = Path("/dev/shm")


def private_directory(path: Path) -> Path:
    """Make the directory if need be, and ensure that only this user can use it.

    Raises
    ------
    PoolError
        If it cannot be made, is a symbolic link, or belongs to somebody else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
    except OSError as error:
        raise PoolError(f"the directory {path} cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PoolError(
            f"{path} is not a directory of this user",
            hint="remove it, or point JUPYTER_RUNTIME_DIR and JUPYTER_DATA_DIR elsewhere",
        )
    if stat.S_IMODE(status.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def runtime_dir() -> Path:
    """Return the directory of the socket, the locks and the log."""
    return private_directory(Path(jupyter_runtime_dir()) / "compute")


def socket() -> Path:
    """Return the socket of the pool service, at a path short enough for a socket."""
    path = runtime_dir() / "service.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        return path
    # Not $TMPDIR: kernel and service must find the same place whatever their environments say.
    short = private_directory(Path(f"/tmp/jupyter-compute-{os.getuid()}"))
    return private_directory(short / _mark()) / "service.sock"


def service_lock() -> Path:
    """Return the file that the running service has locked."""
    return runtime_dir() / "service.lock"


def start_lock() -> Path:
    """Return the file that whoever starts the service locks meanwhile."""
    return runtime_dir() / "start.lock"


def service_log() -> Path:
    """Return the file with what the service and its local machine write to stderr."""
    return runtime_dir() / "service.log"


def rotate_service_log() -> None:
    """Move a log that has grown large aside, over the one moved aside before."""
    log = service_log()
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def rehearsal() -> Path:
    """Return where the service notes which sandbox it uses, for one that comes after it."""
    return runtime_dir() / "rehearsal.json"


def data_dir() -> Path:
    """Return the directory of what outlives the service."""
    return private_directory(Path(jupyter_data_dir()) / "compute")


def journal() -> Path:
    """Return the database of runs and attempts."""
    return data_dir() / "journal.sqlite"


def run_dir() -> Path:
    """Return the directory of the runs' event logs."""
    return private_directory(data_dir() / "runs")


def cache_dir() -> Path:
    """Return the directory of the output of recorded results."""
    return private_directory(data_dir() / "cache")


def blob_dirs() -> list[Path]:
    """Return where blobs go, the best place first: shared memory if usable, then disk."""
    disk = private_directory(data_dir() / "blobs")
    if not os.access(_SHARED_MEMORY, os.W_OK | os.X_OK):
        return [disk]
    try:
        shared = private_directory(shared_memory(runtime_dir()))
    except PoolError:
        return [disk]
    return [shared, disk]


def shared_memory(runtime: Path) -> Path:
    """Return the directory in shared memory of the pool or node with this runtime directory."""
    return _SHARED_MEMORY / f"jupyter-compute-{os.getuid()}-{_mark(runtime)}"


def _mark(runtime: Path | None = None) -> str:
    """Tell this pool's shared places from those of another runtime directory."""
    return hashlib.sha256(os.fsencode(runtime or runtime_dir())).hexdigest()[:12]
