"""A run's events, shown as they come: output where it belongs, and one status line."""

from __future__ import annotations

import contextvars
import threading
import time
import uuid
from typing import Any

from .output import Output
from .status import Status

__all__ = ["View"]

_INTERVAL_S = 0.5
"""Two updates a second read as live, and a front end keeps up with hundreds of runs."""


class View:
    """Shows one run.

    Parameters
    ----------
    output : Output
        Where to.
    status : Status
        Kept up to date from the events.
    quiet : bool
        Show the run's own output only. What went wrong with a result is said on stderr.
    patience_s : float
        Show no status before the run has taken this long, or has something to say.
    """

    def __init__(
        self, output: Output, status: Status, *, quiet: bool = False, patience_s: float = 0.0
    ) -> None:
        self.status = status
        self._output = output
        self._quiet = quiet
        self._from = time.monotonic() + patience_s
        self._display_id = uuid.uuid4().hex
        self._shown_at = 0.0
        self._shown: dict[str, str] = {}
        self._placed = False
        self._displaced = False
        self._later: threading.Timer | None = None
        self._lock = threading.RLock()

    def take(self, event: dict[str, Any]) -> None:
        """Show what an event says."""
        with self._lock:
            match event["kind"]:
                case "stdout" | "stderr":
                    self._before_output()
                    self._output.write(event["kind"], event["text"])
                case "display":
                    self._before_output()
                    self._output.display(
                        event["data"], event["metadata"], event["transient"], event["update"]
                    )
                case "clear":
                    self._clear(event["wait"])
                case _:
                    if self.status.take(event) and not self.status.ended:
                        self._refresh(force=self._patient() and _waits(event))

    def say(self, note: str) -> None:
        """Add a note to the status; on stderr if there is no status to add it to."""
        with self._lock:
            self.status.note(note)
            if self._quiet:
                self._output.write("stderr", f"{note}\n")
            elif not self.status.ended:
                self._refresh(force=True)

    def interrupting(self) -> None:
        """Say that the run is being interrupted. Any thread may call it."""
        with self._lock:
            self.status.interrupting = True
            self._refresh(force=True)

    def finish(self) -> None:
        """Show the end: always, even right after an update."""
        with self._lock:
            if self._later is not None:
                self._later.cancel()
                self._later = None
            if self._placed or self.status.notes or self._patient():
                self._show(last=True)

    def _clear(self, wait: bool) -> None:
        """Clear the cell's output; the status line, which goes with it, comes back on top."""
        self._output.clear(wait)
        if self._placed:
            self._displaced = True
            if not wait:
                self._before_output()

    def _before_output(self) -> None:
        """Place the status line above the output, once."""
        if self._displaced:
            self._placed = self._displaced = False
        if not self._placed:
            self._refresh(force=self._patient())

    def _refresh(self, *, force: bool = False) -> None:
        wait_s = max(self._from, self._shown_at + _INTERVAL_S) - time.monotonic()
        if force or wait_s <= 0:
            self._show(last=False)
        elif self._later is None and not self._quiet:
            # Nothing else may happen for long, e.g. while the run waits.
            show = contextvars.copy_context().run
            self._later = threading.Timer(wait_s, show, (self._catch_up,))
            self._later.daemon = True
            self._later.start()

    def _catch_up(self) -> None:
        """Show what came too soon after the update before."""
        with self._lock:
            if self._later is not None and not self.status.ended:
                self._later = None
                self._show(last=False)

    def _patient(self) -> bool:
        return time.monotonic() >= self._from

    def _show(self, *, last: bool) -> None:
        if self._quiet:
            return
        bundle = self.status.bundle()
        if bundle != self._shown or not self._placed or last:
            self._output.show_status(bundle, self._display_id, new=not self._placed, last=last)
        self._shown = bundle
        self._placed = True
        self._shown_at = time.monotonic()


def _waits(event: dict[str, Any]) -> bool:
    """Tell whether the event says why the run waits: it may be the last one for long."""
    return event["kind"] == "state" and event["state"] == "queued" and bool(event.get("reason"))
