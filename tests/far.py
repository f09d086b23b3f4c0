"""A pool whose machine shares nothing with this host, and a kernel that uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

import services
from broken_lines import Line
from buckets import NAME, Server
from homes import Home
from kernels import Kernel, Reply, ok

_PROGRAM = (str(Path(__file__).parent / "apart_service.py"),)
_BEGIN = "%load_ext jupyter_compute\nfrom jupyter_compute import remote\nimport numpy as np"


class Far:
    """The pool, its store, the line between it (and its machine) and the store, and a kernel."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.store = Server()
        self.line = Line(self.store.port)
        self.blobs = home.path / "far"
        home.env |= self.store.env | {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.line.port}",
            "FAR_BLOBS": str(self.blobs),
            "FAR_BUCKET": NAME,
            "FAR_PLAIN": "as it is",
            "FAR_PATH": "/some/where:/else",
            "FAR_SECRET_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
        }
        with home.entered():
            self._service = services.start(_PROGRAM)
            self.kernel = Kernel(home)
            ok(self.kernel.run(_BEGIN))

    def run(self, code: str) -> Reply:
        """Run a cell that must end well."""
        return ok(self.kernel.run(code))

    def machine(self) -> psutil.Process:
        """Return the process of the machine."""
        with self.home.entered():
            return psutil.Process(services.node())

    def service(self) -> psutil.Process:
        return psutil.Process(self._service.pid)

    def requests(self, code: str) -> list[tuple[str, str]]:
        """Run a cell; return method and object of each request to the store meanwhile."""
        before = len(self.store.requests)
        self.run(code)
        return [
            (method, path.partition("?")[0]) for method, path, _ in self.store.requests[before:]
        ]

    def forget(self) -> None:
        """Have the machine lose all its blobs."""
        for path in self.blobs.iterdir():
            path.unlink(missing_ok=True)  # the service tidies up, too

    def close(self) -> None:
        self.kernel.close()
        self.home.close()
        self._service.wait(10)
        self.line.close()
        self.store.close()


def begin(shared_home: Home) -> Iterator[Far]:
    """The pool that the tests of a module share."""
    own = Far(Home(shared_home.path.parent))
    yield own
    own.close()
    assert not list(Path(f"{own.blobs}-work").glob("*"))


def lend(session_far: Far) -> Far:
    """The same, its kernel without names."""
    session_far.run(f"%reset -f\n{_BEGIN}")
    return session_far
