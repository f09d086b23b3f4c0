"""This project, as its users have it: ``@remote`` from a process of theirs."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from jupyter_compute import remote


class JupyterCompute:
    """Calls, ``submit`` and ``map`` of decorated functions; the pool starts on demand."""

    def start(self, way: str) -> None:
        """Do nothing: the first call starts the pool."""
        self._made = functools.cache(remote(memory="2G"))

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the decorated function."""
        return self._made(function)(*arguments)

    def map(self, function: Callable[[Any], Any], items: range) -> list[Any]:
        """Map the decorated function."""
        return list(self._made(function).map(items))

    def hand_over(self, array: Any) -> Any:
        """Pass the array itself: unchanged ones are recognised."""
        return array

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Submit the decorated function."""
        return self._made(function).submit(*arguments)

    def cancel(self, task: Any) -> None:
        """Cancel the run."""
        task.cancel()

    def stop(self) -> None:
        """Stop the pool, which would outlive this process."""
        command = [sys.executable, "-m", "jupyter_compute", "stop", "--all"]
        subprocess.run(command, check=False, timeout=30)


PEER = JupyterCompute()
