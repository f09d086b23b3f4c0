"""The node's side of a fork server: a spare child is always ready."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..policy.lifecycle import TIMERS
from . import limits
from .cgroup import Group

__all__ = ["Child", "Nursery", "NurseryFailed"]

_PROGRAM = (
    "import sys; sys.path.append(sys.argv[2]);"
    "from jupyter_compute.node.forkserver import main; main(int(sys.argv[1]))"
)
_PIPE_SIZE = 1031  # F_SETPIPE_SZ, Linux
_ROOM = 256 * 2**10
_PREPARE_S = 0.05
"""A spare child is made this long after the last was taken: most jobs have begun by then, and
need not share the CPU with it."""


class NurseryFailed(Exception):
    """The interpreter of the user's environment cannot serve children."""


@dataclass(slots=True)
class Child:
    """A forked process that waits for its job, and the node's ends of its pipes.

    Parameters
    ----------
    pid : int
    control : socket
    frames, output, error, stack : int
        Read ends: the child's channel, standard output and error of C code and
        subprocesses, and stacks.
    baseline : int
        Resident memory before the job, in bytes: shared with the fork server.
    exited : Future of int
        The wait status, once the process is gone.
    group : Group or None
        Where the kernel enforces the memory limit.
    """

    pid: int
    control: socket.socket
    frames: int
    output: int
    error: int
    stack: int
    exited: asyncio.Future[int]
    baseline: int = 0
    group: Group | None = None

    def close(self) -> None:
        """Close the node's ends. A child without a job ends by itself."""
        self.control.close()
        for descriptor in (self.frames, self.output, self.error, self.stack):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        if self.group is not None:
            self.group.remove()

    async def dismiss(self) -> None:
        """End a child that has no job."""
        self.close()
        await self.exited
        if self.group is not None:
            self.group.remove()


@dataclass(slots=True)
class _Ends:
    """Both ends of what a child needs."""

    ours: socket.socket
    theirs: socket.socket
    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)

    @classmethod
    def make(cls) -> _Ends:
        ends = cls(*socket.socketpair())
        for _ in range(4):
            read, write = os.pipe()
            os.set_blocking(read, False)
            with contextlib.suppress(OSError, ImportError):
                import fcntl

                fcntl.fcntl(write, _PIPE_SIZE, _ROOM)
            ends.reads.append(read)
            ends.writes.append(write)
        ends.ours.setblocking(False)
        return ends

    @property
    def for_child(self) -> list[int]:
        _, output, error, _ = self.reads
        return [self.theirs.fileno(), output, error, *self.writes]

    def close_theirs(self) -> None:
        self.theirs.close()
        for descriptor in self.writes:
            os.close(descriptor)

    def close_ours(self) -> None:
        self.ours.close()
        for descriptor in self.reads:
            os.close(descriptor)


class Nursery:
    """One fork server, for one interpreter and environment.

    Parameters
    ----------
    interpreter : str
        Path of the Python that children run.
    variables : mapping of str to str
        The environment that the interpreter starts in.
    package : str
        Directory that holds this package, if the interpreter has none of its own.
    groups : Path or None
        Where control groups may be made, if that is allowed here.
    """

    def __init__(
        self,
        interpreter: str,
        variables: Mapping[str, str],
        package: str,
        groups: Path | None = None,
    ) -> None:
        self.interpreter = interpreter
        self._groups = groups
        self.loaded: set[str] = set()
        self.busy = 0
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._control = ours
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [interpreter, "-P", "-c", _PROGRAM, str(theirs.fileno()), package],
                    pass_fds=[theirs.fileno()],
                    env=dict(variables),
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                )
            except OSError as error:
                ours.close()
                self._errors.close()
                raise NurseryFailed(f"{interpreter} cannot be started: {error}") from error
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: asyncio.Future[Any]
        self._reply: asyncio.Future[Any] | None = None
        self._asking: asyncio.Lock
        self._hung = ""
        self._lines = bytearray()
        self._children: dict[int, Child] = {}
        self._spare: asyncio.Task[Child] | None = None

    @property
    def pid(self) -> int:
        """Process id of the fork server."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the fork server still serves."""
        return self._control.fileno() >= 0 and self._process.poll() is None

    async def child(self) -> Child:
        """Return a child that waits for its job; another one gets ready soon.

        That takes as much time of the CPU as a short job: whoever knows that the job has
        ended calls `prepare` before.

        Raises
        ------
        NurseryFailed
            If the fork server cannot fork.
        """
        await self._attach()
        try:
            while True:
                spare = self._spare or asyncio.ensure_future(self._fork())
                self._spare = None
                child = await asyncio.shield(spare)
                if not child.exited.done():
                    return child
                # Somebody has killed it while it waited.
                child.close()
        finally:
            self._loop.call_later(_PREPARE_S, self.prepare)  # type: ignore[union-attr]

    async def warm_up(self) -> None:
        """Have a child ready before the first one is asked for."""
        await self._attach()
        self.prepare()

    def prepare(self) -> None:
        """Have a spare child forked unless there is one."""
        if self._spare is None and self.alive:
            self._spare = asyncio.ensure_future(self._fork())

    async def preload(self, modules: Iterable[str]) -> None:
        """Import modules for all children from now on."""
        wanted = [name for name in modules if name not in self.loaded]
        if not wanted:
            return
        await self._attach()
        self.loaded.update(wanted)
        outdated, self._spare = self._spare, None
        try:
            await self._ask({"op": "preload", "modules": wanted}, [])
        finally:
            self.prepare()
            if outdated is not None:
                await (await outdated).dismiss()

    def close(self) -> None:
        """End the fork server; it kills its children. Those in use tell by `exited`."""
        if self._loop is not None:
            self._loop.remove_reader(self._control)
        self._control.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            limits.kill_tree(self._process.pid)
            self._process.wait()
        # Its control group can be removed now that the process is gone.
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.cancel()
            if spare.done() and not spare.cancelled() and spare.exception() is None:
                spare.result().close()
        self._fail(f"the fork server of {self.interpreter} was closed")
        self._errors.close()

    async def _attach(self) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._ready = self._loop.create_future()
            self._asking = asyncio.Lock()
            self._loop.add_reader(self._control, self._readable)
        await self._answered(self._ready)

    async def _fork(self) -> Child:
        ends = _Ends.make()
        try:
            reply = await self._ask({"op": "fork"}, ends.for_child)
            pid, baseline = _forked(reply)
        except BaseException:
            ends.close_ours()
            raise
        finally:
            ends.close_theirs()
        assert self._loop is not None
        frames, output, error, stack = ends.reads
        exited = self._loop.create_future()
        group = Group.create(self._groups, str(pid)) if self._groups is not None else None
        child = Child(pid, ends.ours, frames, output, error, stack, exited, baseline, group)
        self._children[pid] = child
        if group is not None:
            try:
                await self._loop.run_in_executor(None, group.take, pid)
            except BaseException:
                child.close()
                raise
        return child

    async def _ask(self, message: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        """Ask for one thing at a time: descriptors belong to the message they came with."""
        assert self._loop is not None
        async with self._asking:
            if not self.alive:
                raise NurseryFailed(
                    self._hung or f"the fork server of {self.interpreter} has ended"
                )
            self._reply = self._loop.create_future()
            try:
                socket.send_fds(self._control, [json.dumps(message).encode()], descriptors)
            except OSError as error:
                raise NurseryFailed(f"{self.interpreter}: {error}") from error
            reply: dict[str, Any] = await self._answered(self._reply)
            return reply

    async def _answered(self, future: asyncio.Future[Any]) -> Any:
        """Wait for the fork server; one that hangs is ended, with all its children."""
        try:
            return await asyncio.wait_for(asyncio.shield(future), TIMERS.launch_deadline_s)
        except TimeoutError:
            limits.kill_tree(self._process.pid)
            patience_s = TIMERS.launch_deadline_s
            self._hung = f"{self.interpreter} did not answer for {patience_s:g} s"
            raise NurseryFailed(self._hung) from None

    def _readable(self) -> None:
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            assert self._loop is not None
            self._loop.remove_reader(self._control)
            self._fail(self._hung or self._obituary())
            return
        self._lines += data
        *lines, rest = self._lines.split(b"\n")
        self._lines = bytearray(rest)
        for line in lines:
            self._hear(json.loads(line))

    def _hear(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._ready.set_result(None)
        elif "exited" in message:
            child = self._children.pop(message["exited"], None)
            if child is not None and not child.exited.done():
                child.exited.set_result(message["status"])
        elif self._reply is not None and not self._reply.done():
            self._reply.set_result(message)

    def _fail(self, why: str) -> None:
        """Nobody waits for a server that is gone."""
        waiting = [self._reply, self._ready if self._loop is not None else None]
        for future in waiting:
            if future is not None and not future.done():
                future.set_exception(NurseryFailed(why))
                future.exception()
        for child in self._children.values():
            if not child.exited.done():
                child.exited.set_result(9)
        self._children.clear()

    def _obituary(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"{self.interpreter} cannot run children: {lines[-1] if lines else 'it ended'}"


def _forked(reply: dict[str, Any]) -> tuple[int, int]:
    if "refused" in reply:
        raise NurseryFailed(f"no process can be started: {reply['refused']}")
    return int(reply["forked"]), int(reply["memory"])
