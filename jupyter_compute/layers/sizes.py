"""The sizes that a Fargate task may have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jupyter_compute.errors import AskError

__all__ = ["Size", "every_size"]

_GIB = 1024

_MEMORY: Mapping[int, Sequence[int]] = {
    256: (512, _GIB, 2 * _GIB),
    512: range(_GIB, 4 * _GIB + 1, _GIB),
    1024: range(2 * _GIB, 8 * _GIB + 1, _GIB),
    2048: range(4 * _GIB, 16 * _GIB + 1, _GIB),
    4096: range(8 * _GIB, 30 * _GIB + 1, _GIB),
    8192: range(16 * _GIB, 60 * _GIB + 1, 4 * _GIB),
    16384: range(32 * _GIB, 120 * _GIB + 1, 8 * _GIB),
}
"""MiB for each CPU, https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a task says of itself.

    Parameters
    ----------
    cpu : int
        In 1024ths of a CPU.
    memory : int
        In MiB.
    """

    cpu: int
    memory: int

    def __str__(self) -> str:
        return f"{self.cpu / 1024:g} vCPU {self.memory / _GIB:g} GB"

    @classmethod
    def parse(cls, text: str) -> Size:
        """Return the size of an offer's type, e.g. ``0.5 vCPU 1 GB``.

        Raises
        ------
        AskError
            If Fargate has no such size.
        """
        match = re.search(r"(\d+(?:\.\d+)?)\D+(\d+(?:\.\d+)?)", text)
        if match:
            size = cls(round(float(match[1]) * 1024), round(float(match[2]) * _GIB))
            if size.memory in _MEMORY.get(size.cpu, ()):
                return size
        raise AskError(f"Fargate has no tasks of '{text}'", hint="e.g. 0.5 vCPU 1 GB")


def every_size() -> Iterator[Size]:
    """Return all sizes, the smallest first."""
    for cpu, sizes in _MEMORY.items():
        for memory in sizes:
            yield Size(cpu, memory)
