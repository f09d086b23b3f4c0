"""A notebook's kernel as a front end drives it: real ipykernel, real messages."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from homes import Home
from widgets import Widgets

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SHOWN = {
    "clear_output",
    "display_data",
    "error",
    "execute_result",
    "stream",
    "update_display_data",
}


class Reply:
    """What a cell has sent so far.

    ``outputs`` has the messages' contents, each with its ``type``, in the order in which they
    came; texts of one stream that follow each other are joined. ``status`` is empty until the cell
    has ended. A background run goes on writing to the reply of the cell that started it.
    """

    def __init__(self, code: str) -> None:
        self.code = code
        self.outputs: list[dict[str, Any]] = []
        self.status = ""
        self.ename = ""
        self.evalue = ""
        self.traceback = ""
        self.idle = False
        self.next_inputs: list[str] = []
        """The cells that the front end was told to add below it."""

    @property
    def ended(self) -> bool:
        """Whether the cell has ended and everything it sent before has arrived."""
        return self.idle and bool(self.status)

    @property
    def stdout(self) -> str:
        return self._stream("stdout")

    @property
    def stderr(self) -> str:
        return self._stream("stderr")

    @property
    def result(self) -> str:
        """The last expression as text; empty if there was none."""
        results = [one["data"] for one in self.outputs if one["type"] == "execute_result"]
        return results[-1].get("text/plain", "") if results else ""

    @property
    def displays(self) -> list[dict[str, Any]]:
        """The mimebundles that were displayed as new, without status lines."""
        shown = [one["data"] for one in self.outputs if one["type"] == "display_data"]
        return [data for data in shown if not _is_status(data)]

    @property
    def updates(self) -> list[dict[str, Any]]:
        """The mimebundles that replaced earlier ones, without status lines."""
        shown = [one["data"] for one in self.outputs if one["type"] == "update_display_data"]
        return [data for data in shown if not _is_status(data)]

    @property
    def status_lines(self) -> list[str]:
        """Every status line as text; the receipt is the last one."""
        shown = [one["data"] for one in self.outputs if "data" in one]
        return [data["text/plain"] for data in shown if _is_status(data)]

    @property
    def visible(self) -> list[dict[str, Any]]:
        """The outputs that a front end shows now: replaced and cleared as was asked for."""
        shown: list[dict[str, Any]] = []
        clear_next = False
        for one in self.outputs:
            if one["type"] == "clear_output":
                clear_next = one["wait"]
                shown = shown if clear_next else []
            elif one["type"] == "update_display_data":
                ident = one["transient"]["display_id"]
                same = [old.get("transient", {}).get("display_id") == ident for old in shown]
                shown = [
                    {**old, "data": one["data"]} if hit else old
                    for old, hit in zip(shown, same, strict=True)
                ]
            else:
                shown = [one] if clear_next else [*shown, one]
                clear_next = False
        return shown

    def _stream(self, name: str) -> str:
        streams = [one for one in self.outputs if one["type"] == "stream"]
        return "".join(one["text"] for one in streams if one["name"] == name)

    def take(self, kind: str, content: dict[str, Any]) -> None:
        """Take a message from the kernel in."""
        last = self.outputs[-1] if self.outputs else {}
        if kind == "execute_reply":
            self.status = content["status"]
            payload = content.get("payload", [])
            self.next_inputs = [p["text"] for p in payload if p["source"] == "set_next_input"]
            self.ename = content.get("ename", "")
            self.evalue = content.get("evalue", "")
            self.traceback = _COLOUR.sub("", "\n".join(content.get("traceback", [])))
        elif kind == "status":
            self.idle = self.idle or content["execution_state"] == "idle"
        elif kind == "stream" and (last.get("type"), last.get("name")) == (kind, content["name"]):
            last["text"] += content["text"]
        elif kind in _SHOWN:
            self.outputs.append({"type": kind, **content})

    def __repr__(self) -> str:
        return f"Reply({self.code!r}, status={self.status!r}, outputs={self.outputs})"


def _is_status(data: dict[str, Any]) -> bool:
    return "data-jc-run" in data.get("text/html", "")


class Kernel:
    """A kernel that runs in a home, with the home's notebook directory as its own.

    Every method that waits raises `TimeoutError` with what has come so far.
    """

    def __init__(self, home: Home) -> None:
        self._replies: dict[str, Reply] = {}
        self._manager = KernelManager(
            connection_file=str(home.path / f"kernel-{id(self)}.json"),
            transport="ipc",  # no ports that other tests could take meanwhile
            ip=str(home.path / f"kernel-{id(self)}"),
            # No directories: the kernel of this very Python, whatever a user has registered.
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        )
        self._manager.start_kernel(env=home.env, cwd=str(home.notebooks))
        self._client = self._connect()
        self.widgets = Widgets(self._send)

    @property
    def pid(self) -> int:
        """The process id of the kernel."""
        return int(self._manager.provisioner.pid)

    def run(self, code: str, timeout: float = 60) -> Reply:
        """Run a cell and return its reply once it has ended, whether well or not."""
        return self.finish(self.start(code), timeout)

    def start(self, code: str) -> Reply:
        """Start a cell; the reply fills while `finish` or `wait_for` is waiting."""
        reply = Reply(code)
        self._replies[self._client.execute(code)] = reply
        return reply

    def finish(self, reply: Reply, timeout: float = 60) -> Reply:
        """Wait for the end of a cell."""
        self.wait_for(lambda: reply.ended, timeout)
        return reply

    def wait_for(self, predicate: Callable[[], object], timeout: float = 60) -> None:
        """Take messages in until the predicate holds; it may look at anything."""
        deadline = time.monotonic() + timeout
        while not predicate():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout} s: {list(self._replies.values())[-3:]}")
            self._take_messages(within_ms=50)

    def interrupt(self) -> None:
        """Interrupt the cell that runs, as the front end's button does."""
        self._manager.interrupt_kernel()

    def restart(self) -> None:
        """Kill the kernel and start a new one in its place."""
        self._client.stop_channels()
        self._manager.restart_kernel(now=True)
        self._client = self._connect()

    def close(self) -> None:
        """Kill the kernel."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources(restart=False)

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        self._client.shell_channel.send(self._client.session.msg(kind, content))

    def _connect(self) -> BlockingKernelClient:
        client = self._manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        return client

    def _take_messages(self, within_ms: int) -> None:
        poller = zmq.Poller()
        channels = {
            channel.socket: channel
            for channel in (self._client.iopub_channel, self._client.shell_channel)
        }
        for socket in channels:
            poller.register(socket, zmq.POLLIN)
        for socket, _ in poller.poll(within_ms):
            message = channels[socket].get_msg(timeout=0)
            self.widgets.take(message["msg_type"], message["content"])
            reply = self._replies.get(message["parent_header"].get("msg_id", ""))
            if reply is not None:
                reply.take(message["msg_type"], message["content"])


def ok(reply: Reply) -> Reply:
    """Return the reply of a cell that must have ended well."""
    assert reply.status == "ok", reply.traceback or reply
    return reply


def recent_runs(kernel: Kernel) -> list[str]:
    """Return the ids of the recent runs."""
    table = ok(kernel.run("%compute runs")).stdout.splitlines()
    return [line.split()[0] for line in table[1:]]
