"""Every error that jupyter-compute raises, in one tree.

::

    ComputeError
    ├─ AskError            bad or impossible ask
    ├─ TransferError       a value cannot be sent or brought back
    ├─ RemoteError         the exception itself could not be brought back
    ├─ AttemptError        an attempt ended without an exception of the user's code
    │   ├─ OutOfMemory
    │   ├─ TimedOut
    │   ├─ Crashed
    │   └─ MachineLost
    ├─ Cancelled
    ├─ CapacityError       the machine that a run needs cannot be had now
    │   ├─ NoCapacity
    │   ├─ QuotaReached
    │   └─ LaunchFailed
    ├─ BudgetReached       a budget does not allow to go on
    ├─ EnvironmentMismatch
    └─ PoolError           the pool cannot be reached or started

An exception raised by the user's own code is not in this tree: it is raised as
itself, with the remote frames in its traceback.

Every class can be pickled, and crosses from the pool to the kernel as JSON
(:meth:`ComputeError.to_wire`, :func:`from_wire`).
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AskError",
    "AttemptError",
    "BudgetReached",
    "Cancelled",
    "CapacityError",
    "ComputeError",
    "Crashed",
    "EnvironmentMismatch",
    "LaunchFailed",
    "MachineLost",
    "NoCapacity",
    "OutOfMemory",
    "PoolError",
    "QuotaReached",
    "RemoteError",
    "TimedOut",
    "TransferError",
]


class ComputeError(Exception):
    """Something went wrong in jupyter-compute, not in the user's code.

    Parameters
    ----------
    message : str
        One sentence that names the input, the rule and what happened.
    hint : str, optional
        What the user can do about it.
    **facts
        JSON values that describe the event. They hold no user data and may be logged.
    """

    def __init__(self, message: str, *, hint: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        if "\n" in self.message:
            return f"{self.message.rstrip()}\n{self.hint}"
        return f"{self.message} ({self.hint})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _build, (type(self), self.message, self.hint, self.facts)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form: class name, message, hint and facts."""
        return {
            "error": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "facts": self.facts,
        }


class AskError(ComputeError):
    """The ask is malformed, or no offer of the layer can satisfy it."""

    @property
    def nearest(self) -> list[dict[str, Any]]:
        """The offers closest to the ask, each as the JSON form of an ``Offer``."""
        return list(self.facts.get("nearest", []))

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class TransferError(ComputeError):
    """A value cannot be sent to the machine or brought back from it."""

    @property
    def name(self) -> str:
        """The variable that holds the (first) value that cannot travel."""
        return str(self.facts.get("name", ""))

    @property
    def path(self) -> str:
        """Where inside the variable the culprit sits, e.g. ``model.cache._lock``."""
        return str(self.facts.get("path", ""))


class RemoteError(ComputeError):
    """The remote code raised an exception that itself could not be brought back."""

    @property
    def type_name(self) -> str:
        """The type of the original exception."""
        return str(self.facts.get("type_name", ""))

    @property
    def traceback(self) -> str:
        """The remote traceback as text."""
        return str(self.facts.get("traceback", ""))


class AttemptError(ComputeError):
    """An attempt ended without an exception of the user's code."""


class OutOfMemory(AttemptError):
    """The attempt used more memory than it asked for, and was stopped."""

    @property
    def peak(self) -> int | None:
        """The most memory the attempt was seen to use, in bytes."""
        return self.facts.get("peak")

    @property
    def limit(self) -> int | None:
        """The memory it asked for, in bytes."""
        return self.facts.get("limit")


class TimedOut(AttemptError):
    """The attempt ran longer than its timeout, and was stopped."""

    @property
    def limit(self) -> float | None:
        """The timeout in seconds, counted from the start of execution."""
        return self.facts.get("limit")


class Crashed(AttemptError):
    """The process of the attempt ended before the code did."""

    @property
    def signal(self) -> str | None:
        """The signal that ended it, e.g. ``"SIGSEGV"``."""
        return self.facts.get("signal")

    @property
    def exit_code(self) -> int | None:
        """The exit code, when it ended by itself."""
        return self.facts.get("exit_code")


class MachineLost(AttemptError):
    """The machine went away while the attempt ran, more often than is rerun."""


class Cancelled(ComputeError):
    """The run was cancelled."""


class CapacityError(ComputeError):
    """The machine that a run needs cannot be had now."""


class NoCapacity(CapacityError):
    """The layer has no machine left that would do, in any zone and at any price."""


class QuotaReached(CapacityError):
    """The account may have no more such machines."""


class LaunchFailed(CapacityError):
    """Machines could not be started, or started and never joined the pool."""


class BudgetReached(ComputeError):
    """The run was stopped, as what may be spent is spent."""

    @property
    def limit(self) -> float | None:
        """What may be spent, in dollars."""
        return self.facts.get("limit")

    @property
    def spent(self) -> float | None:
        """What was spent when the run was stopped, in dollars."""
        return self.facts.get("spent")


class EnvironmentMismatch(ComputeError):
    """The machine cannot offer the Python or the packages that the run needs."""


class PoolError(ComputeError):
    """The pool service cannot be reached, started or understood."""


def _build(cls: type[ComputeError], message: str, hint: str, facts: dict[str, Any]) -> ComputeError:
    return cls(message, hint=hint, **facts)


def from_wire(wire: dict[str, Any]) -> ComputeError:
    """Return the error that :meth:`ComputeError.to_wire` described.

    An unknown class name, from a newer pool, becomes a plain `ComputeError`.
    """
    cls = globals().get(str(wire.get("error")), ComputeError)
    if not (isinstance(cls, type) and issubclass(cls, ComputeError)):
        cls = ComputeError
    return _build(cls, str(wire["message"]), str(wire.get("hint", "")), dict(wire.get("facts", {})))
