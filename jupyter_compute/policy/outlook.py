"""What each of those is told who wait for the same: the first in line something else than the last.

Pure, no I/O.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jupyter_compute.policy.steps import Scaling

__all__ = ["Outlook", "outlooks"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """Why runs that need the same wait, the first in line first.

    Parameters
    ----------
    parts : tuple of (float, str)
        For how many of them what is true; of whom no part tells, nothing is known yet.
    """

    parts: tuple[tuple[float, str], ...] = ()

    @classmethod
    def of_all(cls, why: str) -> Outlook:
        """Return that the same is true for each of them."""
        return cls(((math.inf, why),))

    def told(self, ahead: int) -> str:
        """Return why the one with so many ahead of it waits; empty if it is not known."""
        rest = self.after(ahead).parts
        return rest[0][1] if rest else ""

    def after(self, count: float) -> Outlook:
        """Return the same without the first ones."""
        left = []
        for many, why in self.parts:
            if many > count:
                left.append((many - count, why))
            count = max(0.0, count - many)
        return Outlook(tuple(left))

    def behind(self, first: Iterable[tuple[int, str]]) -> Outlook:
        """Return the same where more is known of the first ones."""
        ahead = tuple(first)
        return Outlook((*ahead, *self.after(sum(many for many, _ in ahead)).parts))


def outlooks(scaling: Scaling, whys: Sequence[str]) -> dict[str, Outlook]:
    """Return by key what is true for those who wait, the first in line first.

    Room that is there goes to the first ones, machines that are launched to the next, and what
    the scaling waits for is for the others.

    Parameters
    ----------
    scaling : Scaling
    whys : sequence of str
        What those are told whom an intent is for, as far as intents were carried out.
    """
    found: dict[str, list[tuple[float, str]]] = {}
    for wait in scaling.waits:
        if wait.kind == "held":
            found.setdefault(wait.key, []).append((wait.count, wait.why))
    for intent, why in zip(scaling.intents, whys, strict=False):
        for key, runs in itertools.chain.from_iterable(intent.meant):
            found.setdefault(key, []).append((runs, why))
    for wait in scaling.waits:
        if wait.kind != "held":
            found.setdefault(wait.key, []).append((wait.count, wait.why))
    return {key: Outlook(tuple(parts)) for key, parts in found.items()}
