"""Plain Dask: a ``LocalCluster`` of two processes with one thread each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.bag
from distributed import Client, LocalCluster


class Distributed:
    """Futures of a client. Ways: ``batches``, ``bag``, ``handle`` (scatter), ``force``."""

    def start(self, way: str) -> None:
        """Start scheduler and workers."""
        self._way = way
        self._cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        )
        self._client = Client(self._cluster)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Submit and wait; without ``pure=False`` Dask would answer from its memory."""
        return self._client.submit(function, *arguments, pure=False).result()

    def map(self, function: Callable[[Any], Any], items: range) -> list[Any]:
        """Map with one task per item, or with a bag in partitions of 100."""
        if self._way == "bag":
            return dask.bag.from_sequence(items, partition_size=100).map(function).compute()
        size = 1000 if self._way == "batches" else None
        return self._client.gather(self._client.map(function, items, pure=False, batch_size=size))

    def hand_over(self, array: Any) -> Any:
        """Pass the array in the task, or scatter it."""
        return self._client.scatter(array) if self._way == "handle" else array

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Submit the function."""
        return self._client.submit(function, *arguments, pure=False)

    def cancel(self, task: Any) -> None:
        """Restart the worker that runs the task: a running task cannot be cancelled."""
        busy = [worker for worker, keys in self._client.processing().items() if keys]
        task.cancel()
        self._client.restart_workers(busy)

    def stop(self) -> None:
        """Close client and cluster."""
        self._client.close()
        self._cluster.close()


PEER = Distributed()
