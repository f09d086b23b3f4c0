"""Outlives the sandbox process, and leaves nothing of it behind.

Its standard input is a pipe from the sandbox: when that ends, however it ends, the
warden kills every process of every machine and removes their files. It holds the
sandbox's lock meanwhile, so that the next one starts on clean ground.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

from .guest import SANDBOX, Guest, marked
from .namespaces import sweep

__all__ = ["main"]


def main() -> None:
    """Wait for the end of the sandbox whose directory is the only argument; clean up."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    root = Path(sys.argv[1])
    sys.stdin.buffer.read()
    while found := marked(SANDBOX, str(root)):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)
    sweep(root)
    for path in root.glob("*/home"):
        Guest(path.parent.name, root).remove()
    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
