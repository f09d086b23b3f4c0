"""The users of a soak: kernels that are given work, and what must have come of it."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from homes import Home
from kernels import Kernel, Reply
from soak_actions import Action

__all__ = ["Task", "User", "check_results", "summary"]

_BEGIN = """
%load_ext jupyter_compute
import os, time
from jupyter_compute import attach, remote

@remote
def work(number, seconds, how, large):
    import os, time
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
    if how == "raise":
        raise ValueError(f"number {number}")
    if how == "exit":
        os._exit(3)
    return bytes([number % 251]) * 3_000_000 if large else number * number + 1

def outcome(run):
    try:
        value = run.result(timeout=20)
    except BaseException as error:
        return type(error).__name__ + ": " + str(error).splitlines()[0]
    return repr(value) if isinstance(value, int) else f"{len(value)} x {value[0]}"
"""
_PATIENCE_S = 300.0
_MOST_WAITING = 3


@dataclass(slots=True)
class Task:
    """One piece of work, and what became of it.

    Parameters
    ----------
    action : Action
    run : str
        The id, if it was submitted in the background.
    ended : str
        How its cell ended.
    interrupted, cancelled : bool
        Whether that was done to it, perhaps too late.
    """

    action: Action
    run: str = ""
    ended: str = ""
    said: str = ""
    value: str = ""
    interrupted: bool = False
    cancelled: bool = False
    times: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return it as a line of the timeline."""
        about = self.action
        done = "interrupted " * self.interrupted + "cancelled " * self.cancelled
        return (
            f"{' - '.join(self.times)} {about.kind} {about.number} of user {about.about['user']} on"
            f" {about.about['on']} {self.run} {done}{self.ended} {self.said!r} {self.value!r}"
        )

    @property
    def expected(self) -> str:
        """What comes of it if nobody ends it."""
        number, about = self.action.number, self.action.about
        if self.action.kind == "map":
            return str(sum(n * n + 1 for n in range(number, number + about["items"])))
        if self.action.kind == "raise":
            return f"ValueError: number {number}"
        if self.action.kind == "exit":
            return "Crashed"
        large = about["large"] and self.action.kind == "submit"
        return f"3000000 x {number % 251}" if large else str(number * number + 1)

    def code(self) -> str:
        """Return the cell."""
        about, number = self.action.about, self.action.number
        ask = f"on={about['on']!r}, cpu={about['cpu']}, memory='300M'"
        if about["on"] != "local":
            ask += f", spot={about['spot']!r}"
        how = repr(self.action.kind)
        if self.action.kind == "map":
            count = about["items"]
            each = [about["seconds"] / 5] * count
            lists = (
                f"range({number}, {number + count}), {each}, {['map'] * count}, {[False] * count}"
            )
            return f"x{number} = sum(work.options({ask}).map({lists}))"
        if self.action.kind == "cell":
            line = f"%%remote --on {about['on']} --cpu {about['cpu']} --memory 300M"
            line += "" if about["on"] == "local" else f" --spot {about['spot']}"
            wait = f"import time\ntime.sleep({about['seconds']})"
            return f"{line}\n{wait}\nx{number} = {number} * {number} + 1"
        given = f"{number}, {about['seconds']}, {how}, {about['large']}"
        return f"print(work.options({ask}).submit({given}).id)"


@dataclass(slots=True)
class User:
    """A kernel that does one piece of work after the other, in a thread of its own.

    Parameters
    ----------
    home : Home
    """

    home: Home
    tasks: list[Task] = field(default_factory=list)
    now: Task | None = None
    kernel: Kernel | None = None
    kernels: int = 0
    errors: list[str] = field(default_factory=list)
    _asked: queue.Queue[Task | None] = field(default_factory=queue.Queue)
    _killed: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def give(self, action: Action) -> bool:
        """Have this done, unless there is a lot to do already."""
        if self._asked.qsize() >= _MOST_WAITING:
            return False
        task = Task(action)
        self.tasks.append(task)
        self._asked.put(task)
        return True

    def interrupt(self) -> str:
        """Interrupt the cell that runs, and return which; empty if none does."""
        task, kernel = self.now, self.kernel
        if task is None or kernel is None or task.action.kind not in {"cell", "map"}:
            return ""
        task.interrupted = True
        os.kill(kernel.pid, signal.SIGINT)
        return f"{task.action.kind} {task.action.number}"

    def kill(self) -> bool:
        """Kill the kernel; another one takes its place."""
        if self.kernel is None or self._killed.is_set():
            return False
        os.kill(self.kernel.pid, signal.SIGKILL)
        self._killed.set()
        return True

    @property
    def busy(self) -> bool:
        """Whether there is work left, and somebody to do it."""
        alive = self._thread is not None and self._thread.is_alive()
        return alive and (self.now is not None or not self._asked.empty())

    def finish(self) -> None:
        """Return once all work is done."""
        self._asked.put(None)
        assert self._thread is not None
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            doing = "nothing" if self.now is None else self.now.code()
            self.errors.append(f"I7 a kernel is busy for {_PATIENCE_S:g} s with {doing!r}")

    def close(self) -> None:
        """End the kernel."""
        if self.kernel is not None:
            self.kernel.close()

    def ask(self, code: str) -> str:
        """Return what a cell prints, once all work is done."""
        assert self.kernel is not None
        reply = self.kernel.run(code, 120)
        return reply.stdout if reply.status == "ok" else f"{reply.ename}: {reply.evalue}"

    def _live(self) -> None:
        try:
            self.kernel = Kernel(self.home)
            self._begin()
            while (task := self._asked.get()) is not None:
                self._do(task)
        except Exception as error:  # noqa: BLE001 - the report is the place for it
            self.errors.append(f"a user gave up: {type(error).__name__}: {error}"[:2000])

    def _begin(self) -> None:
        assert self.kernel is not None
        self.kernels += 1
        reply = self.kernel.run(_BEGIN)
        if reply.status != "ok":
            self.errors.append(f"a kernel did not begin: {reply.evalue}")

    def _do(self, task: Task) -> None:
        if self._killed.is_set():
            self._again()
        assert self.kernel is not None
        kernel, reply = self.kernel, self.kernel.start(task.code())
        self.now = task
        task.times.append(time.strftime("%H:%M:%S"))
        kernel.wait_for(lambda: reply.ended or self._killed.is_set(), _PATIENCE_S)
        self.now = None
        task.times.append(time.strftime("%H:%M:%S"))
        if self._killed.is_set():
            task.ended = "killed"
            _take(task, reply)
            self._again()
            return
        _take(task, reply)
        if task.action.kind in {"cell", "map"}:
            number = task.action.number
            looked = kernel.run(f"print(globals().get('x{number}'))", 60)
            task.value = looked.stdout.strip()

    def _again(self) -> None:
        assert self.kernel is not None
        self.kernel.restart()
        self._killed.clear()
        self._begin()


def _take(task: Task, reply: Reply) -> None:
    task.ended = task.ended or (reply.ename or reply.status)
    task.said = f"{reply.ename}: {reply.evalue}" if reply.ename else ""
    words = reply.stdout.split()
    if words and words[-1].startswith("r-"):
        task.run = words[-1]


def check_results(users: list[User], lost: dict[str, int]) -> list[str]:
    """Return what is wrong with what came of all the work.

    Parameters
    ----------
    users : list of User
        Who have finished.
    lost : dict
        How many attempts of a run lost their machine.
    """
    wrong = [error for user in users for error in user.errors]
    for user in users:
        wrong += [text for task in user.tasks if (text := _wrong_in_notebook(task))]
        submitted = [task for task in user.tasks if task.run]
        for task in submitted:
            found = user.ask(f"print(outcome(attach({task.run!r})))").strip().splitlines()
            task.value = found[-1] if found else ""
            allowed = [task.expected]
            allowed += ["Cancelled", "KeyboardInterrupt"] if task.cancelled else []
            allowed += ["MachineLost"] if lost.get(task.run, 0) >= 2 else []
            if not any(task.value.startswith(one) for one in allowed):
                wrong.append(f"I3 {task.run}: {task.value!r} instead of {task.expected!r}")
    return wrong


def _wrong_in_notebook(task: Task) -> str:
    if task.action.kind not in {"cell", "map"} or task.ended in {"", "killed"}:
        return ""
    what = f"{task.action.kind} {task.action.number}"
    if task.ended == "ok":
        right = task.value == task.expected
        return "" if right else f"I3 {what}: {task.value!r} instead of {task.expected!r}"
    if task.value != "None":
        return f"I4 {what} ended with {task.said!r}, and wrote its name"
    if (task.ended == "KeyboardInterrupt" and task.interrupted) or (
        task.ended in {"Cancelled", "KeyboardInterrupt"} and task.cancelled
    ):
        return ""
    if task.ended == "MachineLost":
        return ""
    return f"I3 {what} on {task.action.about['on']} ended with {task.said!r}"


def summary(users: list[User]) -> dict[str, Any]:
    """Return how much work ended how."""
    counts: dict[str, int] = {}
    for user in users:
        for task in user.tasks:
            key = f"{task.action.kind}: {task.ended or 'not begun'}"
            counts[key] = counts.get(key, 0) + 1
    return dict(sorted(counts.items()))
