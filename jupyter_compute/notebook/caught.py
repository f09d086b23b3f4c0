"""An exception that is held in the notebook instead of being raised there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import Cancelled

__all__ = ["Catch"]


@dataclass(frozen=True, slots=True)
class Catch:
    """Holds what a run raised after its last attempt: ``--catch NAME``, or ``@catch``.

    Parameters
    ----------
    var : str or None
        The name in the notebook that the exception is bound to; None after a success.
    print_exception : bool
        Print the exception under the cell.
    source : str
        What raises it, for the print.
    """

    var: str | None = None
    print_exception: bool = False
    source: str = ""

    def hold(self, error: BaseException, namespace: dict[str, Any]) -> None:
        """Hold an exception: print it and bind it, as asked.

        Raises
        ------
        BaseException
            The exception itself, if somebody wanted the run to end.
        """
        __tracebackhide__ = True
        if isinstance(error, KeyboardInterrupt | Cancelled):
            raise error
        if self.print_exception:
            from .frames import told
            from .output import foreground

            lines = "\n".join(f">  {line}" for line in told(error).splitlines())
            foreground().write(
                "stdout", f"@catch caught an exception from {self.source}\n{lines}\n"
            )
        self._bind(error, namespace)

    def clear(self, namespace: dict[str, Any]) -> None:
        """Say that there was none."""
        self._bind(None, namespace)

    def _bind(self, error: BaseException | None, namespace: dict[str, Any]) -> None:
        if self.var is not None:
            namespace[self.var] = error
