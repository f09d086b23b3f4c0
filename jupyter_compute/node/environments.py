"""Environments of notebooks on a machine that started from a stock image.

Each is a directory of its own, with the notebook's minor version of Python, exactly its packages
and this package; it stays as long as the machine. Files that several have are there once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import installer

__all__ = ["PLACE", "Environment", "Environments", "NotInstalled"]

PLACE = "JUPYTER_COMPUTE_BOOT_PLACE"
"""The variable with the directory that the archive was installed in; prepared images have none."""

_MOST_TOLD = 600
_CHATTER = ("Activate with", "Creating virtual", "Resolved", "Using", "jupyter-compute:")
"""How lines of uv begin that are about no failure."""


class NotInstalled(Exception):
    """An environment cannot be had on this machine, and why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What code of one notebook runs in.

    Parameters
    ----------
    directory : Path
    python : str
        Its minor version, e.g. ``3.12``.
    """

    directory: Path
    python: str

    @property
    def interpreter(self) -> str:
        """The path of its Python."""
        return str(self.directory / "bin" / "python")

    @property
    def packages(self) -> str:
        """The directory with its packages, of which this one is one."""
        return str(self.directory / "lib" / f"python{self.python}" / "site-packages")

    def variables(self, path: str) -> dict[str, str]:
        """Return what makes its programs those that are found first.

        Parameters
        ----------
        path : str
            Where else programs are searched.
        """
        programs = str(self.directory / "bin")
        return {
            "PATH": f"{programs}{os.pathsep}{path}" if path else programs,
            "VIRTUAL_ENV": str(self.directory),
        }


class Environments:
    """The environments of this machine, installed when they are needed first.

    Parameters
    ----------
    place : Path
        What `installer` has set up.
    variables : mapping of str to str
        Those of this machine.
    """

    def __init__(self, place: Path, variables: Mapping[str, str]) -> None:
        self._place = place
        self._variables = dict(variables)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Lock()
        self._closed = False
        self._process: asyncio.subprocess.Process | None = None

    def has(self, name: str) -> bool:
        """Tell whether an environment is there."""
        task = self._tasks.get(name)
        return task is not None and task.done()

    async def get(self, name: str, listed: Mapping[str, Any]) -> Environment:
        """Return an environment once it is there.

        An installation goes on if nobody waits for it any more: the next run needs it too. If it
        fails, the next who asks tries again.

        Parameters
        ----------
        name : str
            The hash of what is listed.
        listed : mapping
            ``python`` and ``packages``, see `jupyter_compute.packages.describe`.

        Raises
        ------
        NotInstalled
        """
        if name not in self._tasks:
            self._tasks[name] = task = asyncio.ensure_future(self._install(name, listed))
            task.add_done_callback(lambda done: self._over(name, done))
        await asyncio.shield(self._tasks[name])
        return Environment(self._place / name, str(listed["python"]))

    def close(self) -> None:
        """End what is being installed, and begin nothing more."""
        self._closed = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _install(self, name: str, listed: Mapping[str, Any]) -> None:
        # One after the other: they share what they download.
        async with self._turn:
            if self._closed:
                raise NotInstalled("the machine ends")
            (self._place / f"{name}.txt").write_text("\n".join([*listed["packages"], ""]))
            self._process = process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(Path(installer.__file__)), str(self._place)),
                *(name, str(listed["python"])),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=self._variables,
                start_new_session=True,
            )
            said, _ = await process.communicate()
            self._process = None
        if process.returncode:
            raise NotInstalled(_told(said.decode(errors="replace")))

    def _over(self, name: str, done: asyncio.Task[None]) -> None:
        if done.cancelled() or done.exception() is not None:
            del self._tasks[name]


def _told(said: str) -> str:
    """Return what uv said about its failure, as one line."""
    lines = [re.sub(r"^\W+", "", line).rstrip() for line in said.splitlines()]
    useful = [line for line in lines if line and not line.startswith(_CHATTER)]
    return " ".join(useful)[:_MOST_TOLD] or "the installation was ended"
