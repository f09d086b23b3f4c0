"""Parsl: its ``HighThroughputExecutor`` with two workers."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider


class Parsl:
    """Python apps, which cannot be cancelled. Way: ``prefetch`` (workers' managers take tasks ahead)."""

    def start(self, way: str) -> None:
        """Start interchange and manager."""
        executor = HighThroughputExecutor(
            label="two",
            address="127.0.0.1",
            max_workers_per_node=2,
            prefetch_capacity=100 if way == "prefetch" else 0,
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        parsl.load(
            Config(
                executors=[executor],
                run_dir=os.environ["PEERS_TEMPORARY"],
                usage_tracking=0,
                strategy="none",
            )
        )
        self._made = functools.cache(parsl.python_app)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Start the app and wait."""
        return self._made(function)(*arguments).result()

    def map(self, function: Callable[[Any], Any], items: range) -> list[Any]:
        """Start one app per item and wait for all."""
        made = self._made(function)
        return [future.result() for future in [made(item) for item in items]]

    def hand_over(self, array: Any) -> Any:
        """Pass the array in the call."""
        return array

    def stop(self) -> None:
        """End manager and interchange."""
        parsl.dfk().cleanup()
        parsl.clear()


PEER = Parsl()
