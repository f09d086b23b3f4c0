"""A TCP proxy on which connections break when they are told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any


class Line:
    """Passes everything on to a port, and counts the bytes.

    ``break_next(count, after)`` has that many of the next connections end once so many bytes
    have gone one way on them; ``cut`` refuses all.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.sent = self.received = self.broken = 0
        self.cut = False
        self._left, self._after = 0, 0
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def break_next(self, count: int, after: int) -> None:
        self._left, self._after, self.broken = count, after, 0

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for end in self._ends:
            self._end(end, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.cut:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._port))
            self._ends += [near, far]
            for target, arguments in ((self._pass, (near, far)), (self._back, (far, near))):
                thread = threading.Thread(target=target, args=arguments)
                self._threads.append(thread)
                thread.start()

    def _pass(self, near: Any, far: Any) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := near.recv(2**16):
                passed += len(data)
                self.sent += len(data)
                if self.cut or self._breaks(passed):
                    break
                far.sendall(data)
        self._end(far, socket.SHUT_RDWR)
        self._end(near, socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while near.recv(2**16):  # who is blocked in sending would not see the end
                pass

    def _back(self, far: Any, near: Any) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := far.recv(2**16):
                passed += len(data)
                self.received += len(data)
                near.sendall(data)
                if self.cut or self._breaks(passed):
                    break
        self._end(near, socket.SHUT_WR)
        self._end(far, socket.SHUT_RDWR)

    def _breaks(self, passed: int) -> bool:
        with self._lock:
            if not self._left or passed < self._after:
                return False
            self._left -= 1
            self.broken += 1
            return True

    def _end(self, end: socket.socket, how: int) -> None:
        with contextlib.suppress(OSError):
            end.shutdown(how)
