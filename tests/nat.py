"""A client's network behind a router: nothing comes in, and little goes out. Needs root.

The router is this process: it takes what the client's namespace sends to some ports of the
rest of the world, calls the same place from outside, and passes the bytes on.

``python nat.py NAME`` is a pool service in the namespace of that name.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

_CLONE_NEWNET = 0x40000000
PROGRAM = str(Path(__file__))


def enter(name: str) -> None:
    """Have this thread use the network of that namespace."""
    with Path("/run/netns", name).open() as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")


class Router:
    """The one way out of a namespace.

    Parameters
    ----------
    name : str
        Of the namespace, which is made.
    world : str
        The addresses outside that there is a way to.
    ports : sequence of int
        The ports there that the router lets out to.
    """

    def __init__(self, name: str, world: Sequence[str], ports: Sequence[int]) -> None:
        self.name = name
        self.let_out: set[tuple[str, int]] = set()
        """Where it has let somebody out to."""
        self._listeners: list[socket.socket] = []
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
        for each in world:
            # Whatever is sent there comes to the listeners, with its destination.
            _ip("-n", name, "route", "add", "local", each, "dev", "lo")
        for port in ports:
            listener = self.inside(lambda port=port: socket.create_server(("0.0.0.0", port)))
            self._listeners.append(listener)
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def inside(self, do):
        """Return what the function returns that uses the network inside."""
        found = []

        def run() -> None:
            enter(self.name)
            try:
                found.append(do())
            except OSError as error:
                found.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return found[0]

    def close(self) -> None:
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        _ip("netns", "del", self.name)

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner, _ = listener.accept()
                threading.Thread(target=self._pass, args=(inner,), daemon=True).start()

    def _pass(self, inner: socket.socket) -> None:
        with inner:
            wanted = inner.getsockname()
            self.let_out.add(wanted)
            try:
                outer = socket.create_connection(wanted, timeout=5)
            except OSError:
                return
            outer.settimeout(None)
            with outer:
                back = threading.Thread(target=_copy, args=(outer, inner), daemon=True)
                back.start()
                _copy(inner, outer)
                back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(2**16):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def router(name: str, world: Sequence[str], ports: Sequence[int]) -> Iterator[Router]:
    """Have a namespace with one way out."""
    own = Router(name, world, ports)
    try:
        yield own
    finally:
        own.close()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


if __name__ == "__main__":
    enter(sys.argv.pop())
    sys.exit(importlib.import_module("jupyter_compute.pool.start").main())
