"""What is to go wrong: rules that strike calls of the API."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

__all__ = ["CAPACITY", "Fault", "Faults"]

CAPACITY = frozenset(
    {
        "InsufficientCapacity",
        "InsufficientFreeAddressesInSubnet",
        "InsufficientHostCapacity",
        "InsufficientInstanceCapacity",
        "MaxSpotInstanceCountExceeded",
        "SpotMaxPriceTooLow",
        "UnfulfillableCapacity",
        "Unsupported",
        "VcpuLimitExceeded",
    }
)
"""Codes that are about one kind of machine in one zone, not about a whole call."""

_LAUNCHES = frozenset({"RunInstances", "CreateFleet", "RunTask"})


@dataclass(slots=True)
class Fault:
    """One rule.

    Parameters
    ----------
    action : str
        The call that it strikes, e.g. ``RunInstances`` or ``Describe*``.
    code : str
        The error that AWS answers. Empty if the call succeeds.
    count : int or None
        How often it strikes; None until it is cleared.
    match : mapping
        Parameters that the call must have. ``type``, ``zone`` and ``lifecycle`` are those
        of the machine to be launched; others name a parameter, or the end of its name.
    delay_s : float
        The answer comes later by this. On ``Describe…`` and ``List…``: what was launched
        less than this ago is not seen yet.
    drop_reply : bool
        It is carried out, but the connection closes without an answer.
    partial : int or None
        At most so many machines are launched by one call.
    """

    action: str
    code: str = ""
    count: int | None = None
    match: Mapping[str, str] | None = None
    delay_s: float = 0.0
    drop_reply: bool = False
    partial: int | None = None
    id: int = 0
    struck: int = 0

    @property
    def hides(self) -> bool:
        """Whether it delays what is seen, instead of the answer."""
        return self.delay_s > 0 and self.action.startswith(("Describe", "List"))

    @property
    def of_capacity(self) -> bool:
        """Whether it is about one kind of machine."""
        return self.code in CAPACITY and self.action in {*_LAUNCHES, "*"}

    def strikes(self, action: str, params: Mapping[str, str]) -> bool:
        """Tell whether the rule is about this call."""
        if not fnmatchcase(action, self.action) or (
            self.count is not None and self.struck >= self.count
        ):
            return False
        return all(
            any(
                value == given and (name == key or name.endswith(f".{key}"))
                for name, given in params.items()
            )
            for key, value in (self.match or {}).items()
        )


class Faults:
    """The rules in force. Each is asked for its own moment, so that it strikes once a call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._rules: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a rule into force."""
        with self._lock:
            fault.id = next(self._numbers)
            self._rules.append(fault)

    def clear(self) -> int:
        """Forget all rules, and return how many there were."""
        with self._lock:
            count = len(self._rules)
            self._rules.clear()
            return count

    def listed(self) -> list[dict[str, Any]]:
        """Return the rules as JSON values."""
        with self._lock:
            return [asdict(rule) for rule in self._rules]

    def of_call(self, action: str, params: Mapping[str, str]) -> Fault | None:
        """Return the rule that strikes a call as a whole, which counts."""
        return self._take(
            action, params, lambda f: not f.hides and not f.of_capacity and f.partial is None
        )

    def of_machine(self, action: str, machine: Mapping[str, str]) -> Fault | None:
        """Return the rule that says why such a machine cannot be had, which counts."""
        return self._take(action, machine, lambda f: f.of_capacity)

    def at_most(self, action: str, params: Mapping[str, str]) -> int | None:
        """Return how many machines the call may launch, None if as many as it likes."""
        fault = self._take(action, params, lambda f: f.partial is not None)
        return None if fault is None else fault.partial

    def hidden_s(self, action: str) -> float:
        """Return how long what is launched stays unseen in this call."""
        fault = self._take(action, {}, lambda f: f.hides)
        return 0.0 if fault is None else fault.delay_s

    def _take(self, action: str, params: Mapping[str, str], wanted: Any) -> Fault | None:
        with self._lock:
            for rule in self._rules:
                if wanted(rule) and rule.strikes(action, params):
                    rule.struck += 1
                    return rule
        return None
