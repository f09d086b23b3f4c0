"""How the service process starts: one per user, and answering as early as it can.

The node needs longest to be ready, so it is started first, before this process imports
Dask. The socket listens from then on too: early clients wait in its queue, and need
not ask again and again.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import socket
import sys
import time
from pathlib import Path

from jupyter_compute import places
from jupyter_compute.layers.base import Layer
from jupyter_compute.layers.local import LocalLayer
from jupyter_compute.model import SystemClock
from jupyter_compute.pool.scaler import Scaler
from jupyter_compute.redaction import redacted

__all__ = ["main"]

_LOCK_S = 15.0
_BACKLOG = 512


def main() -> int:
    """Run the pool service. Return 0 at once if this user has one already."""
    os.umask(0o077)
    lock = _only_one()
    if lock is None:
        return 0
    listener = _listen(places.socket())
    _log_to(places.service_log())
    local = LocalLayer()
    layers: dict[str, Layer] = {local.name: local}
    scaler = Scaler(layers, SystemClock())
    scaler.launch(local.offers()[0])

    gc.disable()  # importing makes no garbage
    import dask.config

    dask.config.set({"logging": {"distributed": "warning"}})
    from jupyter_compute.layers.known import others
    from jupyter_compute.pool.service import serve

    layers |= others()

    gc.freeze()
    gc.enable()
    serve(listener, scaler)
    return 0


def _only_one() -> int | None:
    """Take the service's lock, None if a service answers. Wait for one that is ending."""
    lock = os.open(places.service_lock(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _listens(places.socket()) or time.monotonic() > end:
                os.close(lock)
                return None
            time.sleep(0.05)
        else:
            return lock


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _listen(path: Path) -> socket.socket:
    """Return the listening socket; one that a dead service left behind makes way.

    It gets its name last, so that whoever finds it can connect.
    """
    unready = path.with_name(f"{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(unready))
    unready.chmod(0o600)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    unready.replace(path)
    return listener


def _log_to(path: Path) -> None:
    """Send stderr, also that of the nodes, to the log, which does not grow without end."""
    places.rotate_service_log()
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.fchmod(log, 0o600)
    os.dup2(log, sys.stderr.fileno())
    os.close(log)
    handler = logging.StreamHandler()
    handler.setFormatter(_Discreet("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler])


class _Discreet(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))
