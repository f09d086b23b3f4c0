"""A node's runner without a pool: what it is given, and every event that it sends."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from jupyter_compute.blobs import Blobs
from jupyter_compute.node.runner import Runner
from jupyter_compute.notebook import payload


def gone(pid: int) -> bool:
    """Tell whether the process ends; it may still be waiting for its parent to notice."""
    try:
        psutil.Process(pid).wait(5)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


@dataclass
class Ran:
    """One attempt: its events, its envelope, and what came back."""

    events: list[dict[str, Any]] = field(default_factory=list)
    result: payload.Result = field(default_factory=payload.Result)

    @property
    def envelope(self) -> dict[str, Any]:
        return self.events[-1]["envelope"]

    @property
    def notes(self) -> str:
        return "\n".join(self.envelope.get("notes", []))

    def text(self, kind: str = "stdout") -> str:
        return "".join(e["text"] for e in self.events if e["kind"] == kind)

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events]


class Bench:
    """Runs cells and calls on a runner in this process."""

    def __init__(self, directory: Path) -> None:
        self.loop = asyncio.Runner()
        self.blobs = Blobs([directory])
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.live: dict[str, Ran] = {}
        self._arrived = self.loop.run(self._event())
        self.runner = self.loop.run(self._runner(directory))
        self._count = 0

    async def _event(self) -> asyncio.Condition:
        return asyncio.Condition()

    async def _runner(self, directory: Path) -> Runner:
        return Runner([str(directory)], self._take)

    def _take(self, attempt: str, events: list[dict[str, Any]]) -> None:
        self.live[attempt].events += events
        self.loop.get_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self._arrived:
            self._arrived.notify_all()

    async def until(self, attempt: str, text: str) -> None:
        """Wait until the attempt has written a text."""
        async with self._arrived:
            await asyncio.wait_for(
                self._arrived.wait_for(lambda: text in self.live[attempt].text()), 20
            )

    async def start(
        self, source: str, reads: Iterable[str] = (), *, call: Any = None, **limits: Any
    ) -> tuple[str, Ran]:
        """Run a cell (or ``call=(function, args)``) to its end."""
        attempt = self.next()
        return attempt, await self.go(attempt, source, reads, call=call, **limits)

    def next(self) -> str:
        self._count += 1
        self.live[f"r-{self._count}.1"] = Ran()
        return f"r-{self._count}.1"

    async def go(
        self,
        attempt: str,
        source: str,
        reads: Iterable[str] = (),
        *,
        call: Any = None,
        cpu: float = 1,
        memory: int = 2 * 10**9,
        timeout_s: float | None = None,
        interpreter: str = sys.executable,
        **options: Any,
    ) -> Ran:
        if call is None:
            packed = payload.pack_cell(
                self.blobs,
                self.namespace,
                source=source,
                filename=f"<cell {attempt}>",
                reads=reads,
                **options,
            )
        else:
            packed = payload.pack_call(self.blobs, self.namespace, call[0], call[1], {})
        spec = {
            "run": attempt.rpartition(".")[0],
            "attempt": attempt,
            "interpreter": interpreter,
            "payload": packed.payload,
            "blobs": packed.blobs,
            "environment": payload.pack_environment(self.blobs),
            "cpu": cpu,
            "memory": memory,
            "timeout_s": timeout_s,
            "map": False,
            "preload": payload.preload(),
        }
        ran = self.live[attempt]
        await self.runner.run(json.dumps(spec))
        ran.result = payload.unpack(self.blobs, ran.envelope, self.namespace, packed)
        return ran

    def cell(self, source: str, reads: Iterable[str] = (), **limits: Any) -> Ran:
        """Run a cell and wait."""
        return self.loop.run(self.start(source, reads, **limits))[1]

    def call(self, function: Any, *args: Any, **limits: Any) -> Ran:
        """Run a function and wait."""
        return self.loop.run(self.start("", call=(function, args), **limits))[1]

    def close(self) -> None:
        async def close() -> None:
            self.runner.close()

        self.loop.run(close())
        self.loop.close()
