"""Ray: a local instance with two CPUs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import ray
from ray.util.multiprocessing import Pool


class Ray:
    """Remote functions. Ways: ``pool`` (Ray's pool of actors), ``handle`` (put), ``force``."""

    def start(self, way: str) -> None:
        """Start the instance; with ``pool``, two actors too."""
        self._way = way
        ray.init(
            num_cpus=2,
            _temp_dir=os.environ["PEERS_TEMPORARY"],
            _node_ip_address="127.0.0.1",  # nothing listens to other computers
        )
        self._made = functools.cache(ray.remote)
        self._pool = Pool(processes=2) if way == "pool" else None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Start and get; the pool's actors have both CPUs."""
        if self._pool is not None:
            return self._pool.apply(function, arguments)
        return ray.get(self._made(function).remote(*arguments))

    def map(self, function: Callable[[Any], Any], items: range) -> list[Any]:
        """Start one task per item and get them all, or map the pool in chunks of 100."""
        if self._pool is not None:
            return self._pool.map(function, items, chunksize=100)
        made = self._made(function)
        return ray.get([made.remote(item) for item in items])

    def hand_over(self, array: Any) -> Any:
        """Pass the array in the call, or put it into the object store."""
        return ray.put(array) if self._way == "handle" else array

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Start the function."""
        return self._made(function).remote(*arguments)

    def cancel(self, task: Any) -> None:
        """Cancel by an interrupt, or by ending the worker."""
        ray.cancel(task, force=self._way == "force")

    def stop(self) -> None:
        """End the instance."""
        ray.shutdown()


PEER = Ray()
