"""What the parts of the sandbox share: its settings, its knobs and its machines."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .calls import Calls
from .faults import Faults
from .machines import Machine
from .tokens import Tokens

__all__ = ["IMAGE", "Settings", "World"]

IMAGE = "jupyter-compute-sandbox"
"""The name of the prepared image, of EC2 as of Fargate."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a sandbox was started.

    Parameters
    ----------
    boot_delay_s : float
        From the launch of a machine until it runs, before the clock rate.
    clock_rate : float
        How many times faster than in a cloud delays pass and costs grow.
    net : {"loopback", "netns"}
        What separates the machines from each other.
    seed : int
        Decides prices, addresses and whatever else is left to chance.
    """

    boot_delay_s: float = 2.0
    clock_rate: float = 1.0
    net: Literal["loopback", "netns"] = "loopback"
    seed: int = 0


@dataclass(slots=True)
class World:
    """A sandbox while it runs.

    Parameters
    ----------
    settings : Settings
    root : Path
        The directory of the machines' own directories.
    """

    settings: Settings
    root: Path
    endpoint: str = ""
    image: str = ""
    amazon_linux: set[str] = field(default_factory=set)
    """The ids of the stock images whose machines have nothing but what Amazon Linux has."""
    key: str = ""
    calls: Calls = field(default_factory=Calls)
    faults: Faults = field(default_factory=Faults)
    tokens: Tokens = field(default_factory=Tokens)
    machines: dict[str, Machine] = field(default_factory=dict)
    quota: int | None = None
    boots_that_fail: int = 0
    """How many of the next machines do not boot; -1 for all of them."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held by whoever launches, boots or ends machines."""
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.settings.seed)

    def scaled(self, seconds: float) -> float:
        """Return how long something that takes so long in a cloud takes here."""
        return seconds / self.settings.clock_rate

    def cloud_seconds(self, since: float, until: float | None = None) -> float:
        """Return how long it would have been in a cloud between two times, the second now."""
        return ((time.time() if until is None else until) - since) * self.settings.clock_rate
