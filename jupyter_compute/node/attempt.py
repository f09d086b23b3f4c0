"""One attempt, seen from its node: a child, its output, its limits, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..policy.lifecycle import TIMERS
from . import limits
from .channel import STACK_SIGNAL, Frames, encode
from .chaos import Sabotage
from .nursery import Child
from .output import Output

__all__ = ["Attempt", "Use"]

_READ = 256 * 2**10
_BURST, _BURST_S = 4, 0.005
"""After so many reads in such quick succession, the node pauses: waking up for every line
costs more than the line does."""

_TOLD_S = 0.05
"""A lane does not tell of every item that begins."""

_TRACKERS_S = 5.0
"""How long resource trackers may take to remove what the others have left."""

_STACK_S = 0.3
"""How long a child may take to start writing its stack."""

_STACK_REST_S = 0.02
"""And for the rest of it: it is written line by line, in microseconds."""


@dataclass(slots=True)
class Use:
    """What an attempt uses: CPUs now, CPU seconds so far, bytes now and at most.

    Until it is `measured` for the first time these are not known.
    """

    cpu_used: float = 0.0
    cpu_s: float = 0.0
    memory_used: int = 0
    memory_peak: int = 0
    measured: bool = False


class Attempt:
    """Runs one job in a child and sends everything that happens as events.

    Parameters
    ----------
    spec : dict
        The attempt as the pool described it.
    send : callable
        Takes a list of events; the last event is ``ended``.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        send: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        self.spec = spec
        self.use = Use()
        self._loop = asyncio.get_running_loop()
        self._output = Output(send)
        self._frames = Frames()
        self._reads, self._read_at = 0, 0.0
        self._over = asyncio.Event()
        self._child: Child | None = None
        self._envelope: dict[str, Any] | None = None
        self._given: float | None = None
        self._executing: float | None = None
        self._stop_reason = ""
        self._why: dict[str, Any] = {}
        self._ladder: asyncio.TimerHandle | None = None
        self._stack = ""
        self._stack_written = asyncio.Event()
        self._trackers: list[int] = []
        self._messages = b""
        self._sending: asyncio.Future[None] | None = None
        self._sabotage = Sabotage(spec.get("chaos", ""))

    def start_failed(self, message: str, hint: str = "", **more: Any) -> None:
        """End without a child ever having run."""
        why = {"outcome": "died", "reason": "start", "message": message, "hint": hint}
        self._finish(self._died(0) if self._stop_reason else why | more)

    def give_up(self, message: str, **more: Any) -> None:
        """End a lane whose next items do not come."""
        if not (self._stop_reason or self._over.is_set()):
            self._stop_reason, self._why = "transfer", {"message": message} | more
            self._signal(signal.SIGKILL)

    async def execute(self, child: Child, cores: list[int], directories: list[str]) -> None:
        """Give the child its job and wait for the end; then the child is gone."""
        self._child = child
        if self._stop_reason:
            limits.kill_tree(child.pid)
        if hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(child.pid, cores)
        readers = {
            child.frames: self._frames_ready,
            child.output: lambda: self._read_pipe(child.output, "o"),
            child.error: lambda: self._read_pipe(child.error, "e"),
            child.stack: self._read_stack,
        }
        for descriptor, reader in readers.items():
            self._loop.add_reader(descriptor, reader)
        child.exited.add_done_callback(lambda _: self._over.set())
        watch = asyncio.ensure_future(self._watch(child))
        try:
            job = self._job(child) | {"directories": directories}
            with contextlib.suppress(ConnectionError):
                await self._loop.sock_sendall(child.control, encode("j", json.dumps(job).encode()))
            self._given = time.monotonic()
            self._output.later({"kind": "started", "pid": child.pid})
            await self._over.wait()
        finally:
            watch.cancel()
            if self._sending is not None:
                self._sending.cancel()
            self._sabotage.end()
            self._conclude(child)
            for descriptor in readers:
                self._loop.remove_reader(descriptor)
            self._trackers += limits.kill_tree(child.pid)
            with contextlib.suppress(TimeoutError):  # a fork server that hangs cannot tell
                await asyncio.wait_for(asyncio.shield(child.exited), TIMERS.launch_deadline_s)
            await _ended(self._trackers)
            child.close()

    def _job(self, child: Child) -> dict[str, Any]:
        """Return what the child is told, and limit its memory."""
        job = {key: self.spec[key] for key in ("run", "payload", "environment", "blobs", "cpu")}
        # What a lane has returned counts for its group, until the notebook has taken it.
        grouped = child.group is not None and not self.spec["map"]
        if child.group is not None and grouped:
            child.group.limit(self.spec["memory"])
        return job | {
            "grouped": grouped,
            "recorded": self.spec.get("recorded", False),
            "held_s": self._sabotage.held_s,
        }

    def tell(self, message: dict[str, Any]) -> None:
        """Pass a message on to a lane: a slice of a chunk, or that there is nothing more."""
        if self._child is not None and not self._over.is_set():
            self._messages += encode("j", json.dumps(message).encode())
            if self._sending is None or self._sending.done():
                self._sending = asyncio.ensure_future(self._send(self._child.control))

    async def _send(self, control: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a child that is gone is noticed by its exit
            while self._messages:
                data, self._messages = self._messages, b""
                await self._loop.sock_sendall(control, data)

    def stop(self, action: str) -> None:
        """Interrupt politely and then less so, or kill at once."""
        if self._over.is_set() or self._stop_reason == "killed":
            return
        if action == "interrupt" and not self._stop_reason:
            self._stop_reason = "interrupted"
            self._signal(signal.SIGINT)
            self._ladder = self._loop.call_later(TIMERS.interrupt_s, self._terminate)
        elif action == "kill":
            self._stop_reason = "killed"
            self._signal(signal.SIGKILL)

    def _terminate(self) -> None:
        self._signal(signal.SIGTERM)
        self._ladder = self._loop.call_later(
            TIMERS.terminate_s, lambda: self._signal(signal.SIGKILL)
        )

    def _signal(self, number: int) -> None:
        if self._child is None or self._over.is_set():
            return
        if number == signal.SIGKILL:
            self._trackers += limits.kill_tree(self._child.pid)
        else:
            with contextlib.suppress(ProcessLookupError):
                try:
                    os.killpg(self._child.pid, number)
                except ProcessLookupError:  # just forked, it has no group yet
                    os.kill(self._child.pid, number)

    async def _watch(self, child: Child) -> None:
        """Measure the attempt, and stop it at its limits."""
        limit, timeout = self.spec["memory"], self.spec["timeout_s"]
        slack = _TOLD_S if self.spec["map"] else 0.0
        last_time, last_cpu = time.monotonic(), 0.0
        while True:
            await asyncio.sleep(TIMERS.memory_check_s)
            pids = limits.tree(child.pid)
            memory, cpu_s = limits.usage(pids)
            memory = max(0, memory - child.baseline)
            if memory > limit and len(pids) > 1:
                memory = limits.proportional_memory(pids) or memory
            now = time.monotonic()
            use = self.use
            use.memory_used, use.memory_peak = memory, max(use.memory_peak, memory)
            use.cpu_s, use.measured = max(use.cpu_s, cpu_s), True
            if now - last_time >= TIMERS.sample_s:
                use.cpu_used = max(0.0, use.cpu_s - last_cpu) / (now - last_time)
                last_time, last_cpu = now, use.cpu_s
            if child.group is not None and child.group.ran_out():
                use.memory_peak = max(use.memory_peak, child.group.peak())
                await self._stop_at_limit(child, "memory")
                return
            if memory > limit:
                await self._stop_at_limit(child, "memory")
                return
            if timeout and self._executing and now - self._executing > timeout + slack:
                await self._stop_at_limit(child, "timeout")
                return

    def say(self, text: str) -> None:
        """Add a note to the run."""
        self._output.event({"kind": "note", "text": text})

    async def crash(self) -> None:
        """Kill the child, as if somebody else had."""
        if not self._stop_reason:
            self._signal(signal.SIGKILL)

    async def outgrow(self) -> None:
        """End the attempt as one that takes more memory than it may."""
        if self._child is not None:
            await self._stop_at_limit(self._child, "memory")

    async def _stop_at_limit(self, child: Child, reason: str) -> None:
        """Ask where the code is, and kill it."""
        if self._stop_reason or self._over.is_set():
            return
        self._stop_reason = reason
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, STACK_SIGNAL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stack_written.wait(), _STACK_S)
            await asyncio.sleep(_STACK_REST_S)
        self._trackers += limits.kill_tree(child.pid)

    def _frames_ready(self) -> None:
        """Read what has come; let code that prints line by line fill the pipe meanwhile."""
        assert self._child is not None
        self._read_frames()
        now = self._loop.time()
        self._reads = self._reads + 1 if now - self._read_at < _BURST_S else 0
        self._read_at = now
        if self._reads > _BURST and not self._over.is_set():
            self._loop.remove_reader(self._child.frames)
            self._loop.call_later(_BURST_S, self._listen_again)

    def _listen_again(self) -> None:
        if self._child is not None and not self._over.is_set():
            self._loop.add_reader(self._child.frames, self._frames_ready)

    def _read_frames(self) -> None:
        assert self._child is not None
        while data := self._read_all(self._child.frames):
            for kind, body in self._frames.feed(data):
                if kind == "j":
                    self._hear(json.loads(body))
                else:
                    self._output.text(kind, body)
            if len(data) < _READ:
                return

    def _read_pipe(self, descriptor: int, kind: str) -> None:
        self._read_frames()
        self._output.text(kind, self._read_all(descriptor))

    def _read_stack(self) -> None:
        assert self._child is not None
        self._stack += self._read_all(self._child.stack).decode(errors="replace")
        if self._stack.endswith("\n"):
            self._stack_written.set()

    def _read_all(self, descriptor: int) -> bytes:
        try:
            data = os.read(descriptor, _READ)
        except BlockingIOError:
            return b""
        if not data:
            self._loop.remove_reader(descriptor)
        return data

    def _hear(self, event: dict[str, Any]) -> None:
        if event["kind"] == "executing":
            self._executing = time.monotonic()
            self._sabotage.begin(self)
        elif event["kind"] in {"piece", "ready"}:
            if event.get("over"):
                self._executing = None
            self._output.event(event)
            self._output.flush()
        elif event["kind"] == "finishing":
            assert self._child is not None
            assert self._child.group is not None
            self._child.group.release()
            with contextlib.suppress(OSError):
                self._child.control.send(encode("j", b"{}"))
        elif event["kind"] == "ended":
            self._envelope = event["envelope"]
            self._trackers = event["trackers"]
            self.use.cpu_s = max(self.use.cpu_s, event["cpu_s"])
            assert self._child is not None
            peak = event["memory_peak"] - self._child.baseline
            self.use.memory_peak = max(self.use.memory_peak, peak)
            self._over.set()
        else:
            self._output.event(event)

    def _conclude(self, child: Child) -> None:
        """Send the envelope: the child's own, or why there is none."""
        self._read_frames()
        for descriptor, kind in ((child.output, "o"), (child.error, "e")):
            while data := self._read_all(descriptor):
                self._output.text(kind, data)
        self._read_stack()
        if self._envelope is None:
            if not self._stop_reason and child.group is not None and child.group.ran_out():
                self._stop_reason = "memory"
                self.use.memory_peak = max(self.use.memory_peak, child.group.peak())
            status = child.exited.result() if child.exited.done() else 0
            self._finish(self._died(os.waitstatus_to_exitcode(status)))
            return
        self._finish(self._envelope)

    def _died(self, code: int) -> dict[str, Any]:
        number = signal.Signals(-code).name if code < 0 else None
        reason = self._stop_reason or "crash"
        memory = reason == "memory"
        on_purpose = self._sabotage.blame(reason)
        return {
            "outcome": "died",
            "reason": reason,
            "peak": None if memory and on_purpose else self.use.memory_peak,
            "limit": self.spec["memory"] if memory else self.spec["timeout_s"],
            "signal": None if self._stop_reason else number,
            "exit_code": code if code >= 0 else None,
            "stack": _user_stack(self._stack),
            "tail": self._output.recent[-2000:],
            "message": on_purpose,
        } | self._why

    def _finish(self, envelope: dict[str, Any]) -> None:
        run_s = time.monotonic() - self._given if self._given else 0.0
        envelope["usage"] = {
            "run_s": run_s,
            "cpu_s": self.use.cpu_s,
            "memory_peak": self.use.memory_peak,
        }
        self._over.set()
        if self._ladder is not None:
            self._ladder.cancel()
        self._output.end({"kind": "ended", "envelope": envelope})


async def _ended(trackers: list[int]) -> None:
    """Wait until resource trackers have done their work; one that stays is killed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _TRACKERS_S
    while trackers := limits.running(trackers):
        if loop.time() > deadline:
            for pid in trackers:
                limits.kill_tree(pid)
            return
        await asyncio.sleep(0.02)


def _user_stack(text: str) -> str:
    """Keep the frames of the user's code, innermost first, of what faulthandler wrote."""
    ours = ("/jupyter_compute/node/", "/IPython/", "/asyncio/", 'in <module>\n"<string>"')
    lines = [
        line
        for line in text.splitlines()
        if line.strip()
        and not line.startswith(("Extension modules", '  File "<string>"'))
        and not any(part in line for part in ours)
    ]
    # Without a frame of it there is only the thread's name.
    return "\n".join(lines) if any(line.startswith("  File ") for line in lines) else ""
