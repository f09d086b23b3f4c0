"""ipyparallel: a controller and two engines."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import ipyparallel


class IPyParallel:
    """Views of a cluster. Ways: ``direct`` (what ``%%px`` uses), ``chunks``, ``handle`` (push)."""

    def start(self, way: str) -> None:
        """Start controller and engines, and wait for the engines."""
        self._way = way
        self._cluster = ipyparallel.Cluster(n=2)
        self._client = self._cluster.start_and_connect_sync()
        self._direct = self._client[:]
        self._balanced = self._client.load_balanced_view()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Apply and wait."""
        one = self._way in {"direct", "handle"}
        return (self._client[0] if one else self._balanced).apply_sync(function, *arguments)

    def map(self, function: Callable[[Any], Any], items: range) -> list[Any]:
        """Map with one message per item, per 100 items, or (``direct``) per engine."""
        if self._way == "direct":
            return list(self._direct.map_sync(function, items))
        size = 100 if self._way == "chunks" else 1
        return list(self._balanced.map(function, items, block=True, chunksize=size))

    def hand_over(self, array: Any) -> Any:
        """Pass the array in the message, or push it to the engines."""
        if self._way != "handle":
            return array
        self._direct.push({"array": array}, block=True)
        return ipyparallel.Reference("array")

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Apply on the first engine, to know which one to interrupt."""
        return self._client[0].apply_async(function, *arguments)

    def cancel(self, task: Any) -> None:
        """Interrupt the engine."""
        self._client.send_signal(signal.SIGINT, targets=[0], block=False)

    def stop(self) -> None:
        """Stop engines and controller."""
        self._client.close()
        self._cluster.stop_cluster_sync()


PEER = IPyParallel()
