"""A warm process of the user's environment from which children are forked.

It has imported IPython and made a shell, so a child is ready in milliseconds. It
runs no user code itself. It speaks JSON lines with its node, which sends the file
descriptors of each child along:

    node: {"op": "fork"} + descriptors      server: {"forked": PID, "memory": BYTES}
                                            server: or {"refused": "why"}
    node: {"op": "preload", "modules": []}  server: {"preloaded": [...]}
                                            server: {"exited": PID, "status": N}

When the node goes away it kills every child and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import warnings
from typing import Any, NoReturn

from . import child, limits
from .channel import STACK_SIGNAL, Channel
from .shell import ChildShell

__all__ = ["main"]

_DESCRIPTORS = 7
_KILL_WITH_PARENT = 1
_ADOPT_ORPHANS = 36


class ForkServer:
    """Forks a child whenever the node asks for one, and tells when it has exited."""

    def __init__(self, control: socket.socket, shell: ChildShell) -> None:
        self._control = control
        self._shell = shell
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._children: set[int] = set()

    def serve(self) -> None:
        """Answer the node until it closes the socket; then leave nothing behind."""
        woken, waker = os.pipe()
        for end in (woken, waker):
            os.set_blocking(end, False)
        # Blocked and not ignored: one that reaches a child as it starts waits there.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._prctl(_ADOPT_ORPHANS)
        selector = selectors.DefaultSelector()
        selector.register(self._control, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        self._say({"ready": os.getpid()})
        serving = True
        while serving:
            for key, _ in selector.select():
                if key.fd == woken:
                    os.read(woken, 4096)
                    self._reap()
                else:
                    serving = self._answer()
        for pid in self._children:
            limits.kill_tree(pid)
        for pid in self._children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _answer(self) -> bool:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, 65536, _DESCRIPTORS)
        except ConnectionError:
            return False
        if not data:
            return False
        message = json.loads(data)
        if message["op"] == "preload":
            self._say({"preloaded": [name for name in message["modules"] if _imported(name)]})
            child.find_pools()
            gc.freeze()
            return True
        try:
            pid, memory = self._fork(descriptors)
        except OSError as error:  # too many processes, or no memory: other children go on
            self._say({"refused": str(error)})
        else:
            self._children.add(pid)
            self._say({"forked": pid, "memory": memory})
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _fork(self, descriptors: list[int]) -> tuple[int, int]:
        """Return a child's process id, and the bytes that it had resident at first.

        It measures them itself: what it touches a moment later is its own.
        """
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", 0) as told:
            with os.fdopen(writing, "wb", 0) as telling:
                pid = os.fork()
                if pid == 0:
                    memory, _ = limits.usage([os.getpid()])
                    telling.write(str(memory).encode())
                    telling.close()
                    told.close()
                    self._become_child(descriptors)
            return pid, int(told.read(64) or 0)

    def _become_child(self, descriptors: list[int]) -> NoReturn:
        code = 1
        try:
            control, output, error, frames, output_end, error_end, stack = descriptors
            self._prctl(_KILL_WITH_PARENT, signal.SIGKILL)
            self._prctl(_ADOPT_ORPHANS)
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output_end, 1)
            os.dup2(error_end, 2)
            os.close(output_end)
            os.close(error_end)
            faulthandler.enable(stack)
            faulthandler.register(STACK_SIGNAL, stack)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            child.serve(self._shell, Channel(socket.socket(fileno=control), frames, output, error))
            code = 0
        except KeyboardInterrupt:
            code = 0
        finally:
            os._exit(code)

    def _reap(self) -> None:
        """Report children that have exited; end what they left behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in self._children:
                self._children.discard(pid)
                self._say({"exited": pid, "status": status})
        strays = set(limits.children(os.getpid())) - self._children
        for stray in strays.difference(limits.trackers(list(strays))):
            limits.kill_tree(stray)

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self._control.sendall(json.dumps(message).encode() + b"\n")
        except ConnectionError:
            """The node is gone; the next read says so."""

    def _prctl(self, option: int, value: int = 1) -> None:
        """Linux ties processes together; elsewhere only this server's own loop does."""
        if sys.platform == "linux":
            self._libc.prctl(option, value, 0, 0, 0)


def _imported(name: str) -> bool:
    """Import a module for all children to come; one that fails is none of our business."""
    try:
        importlib.import_module(name)
    except Exception:  # noqa: BLE001 - a module may raise anything when it is imported
        return False
    return True


def main(descriptor: int) -> None:
    """Serve the node at the other end of the socket."""
    # One thread while modules are imported here: a fork copies only one.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    shell = ChildShell.instance()
    warnings.filterwarnings("ignore", "To exit: use", UserWarning)  # the notebook says it
    child.rehearse(shell)
    gc.collect()
    gc.freeze()
    ForkServer(socket.socket(fileno=descriptor), shell).serve()
