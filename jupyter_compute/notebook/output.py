"""Where the output of a run goes: under the cell that started it, whatever runs meanwhile.

A run that the notebook waits for prints like local code. One in the background is sent
to the front end with the parent of its own cell, from its own thread: a plain `print`
there would land under whichever cell runs last.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

__all__ = ["Output", "background", "foreground", "of_no_cell", "shell"]

T = TypeVar("T")

_CLEAR_LINE = "\r\x1b[K"


class Output(Protocol):
    """A place for output. Its methods may be called from one thread at a time."""

    def write(self, stream: str, text: str) -> None:
        """Print text on ``"stdout"`` or ``"stderr"``."""

    def display(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any],
        transient: dict[str, Any],
        update: bool,
    ) -> None:
        """Display a mimebundle, or update the one with the same ``display_id``."""

    def clear(self, wait: bool) -> None:
        """Clear what is there; with `wait`, when the next output comes."""

    def show_status(
        self, bundle: dict[str, str], display_id: str, *, new: bool, last: bool
    ) -> None:
        """Show the status, in place of the one shown before unless it is `new`."""


def shell() -> Any:
    """Return the running IPython shell, or None in a plain Python process."""
    module = sys.modules.get("IPython.core.getipython")
    return None if module is None else module.get_ipython()


def foreground() -> Output:
    """Return the output of the code that runs now, in this thread."""
    ipython = shell()
    if ipython is None:
        return _Stream()
    return _Cell(ipython) if hasattr(ipython, "kernel") else _Terminal(ipython)


def background() -> Output:
    """Return the output of the cell that runs now, for use after it has ended."""
    ipython = shell()
    if ipython is None:
        return _Stream()
    return _Detached(ipython) if hasattr(ipython, "kernel") else _Terminal(ipython)


def of_no_cell(call: Callable[[], T]) -> T:
    """Call something whose widgets can be used while a cell runs, and return what it returns.

    ipykernel handles what a front end says to a widget where the cell ran that last said
    something to the widget: after the cell that runs now, unless that was no cell at all.
    """
    context = contextvars.copy_context()
    parent = getattr(getattr(shell(), "kernel", None), "_shell_parent", None)
    if isinstance(parent, contextvars.ContextVar):
        context.run(parent.set, {})
    return context.run(call)


class _Stream:
    """A plain Python process: text only, and a status line only where a person looks."""

    def __init__(self) -> None:
        self._status_shown = False
        self._at_line_start = True

    def write(self, stream: str, text: str) -> None:
        self._clear_status()
        target = sys.stderr if stream == "stderr" else sys.stdout
        target.write(text)
        target.flush()
        self._at_line_start = text.endswith("\n")

    def display(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any],
        transient: dict[str, Any],
        update: bool,
    ) -> None:
        if "text/plain" in data:
            self.write("stdout", data["text/plain"] + "\n")

    def clear(self, wait: bool) -> None:
        """A terminal keeps what was printed."""

    def show_status(
        self, bundle: dict[str, str], display_id: str, *, new: bool, last: bool
    ) -> None:
        # To clear a status line that follows text would clear the text too.
        if not sys.stderr.isatty() or not (self._at_line_start or last):
            return
        self._clear_status()
        text = bundle["text/plain"]
        self._status_shown = not last
        before = "" if self._at_line_start else "\n"
        sys.stderr.write(f"{before}{text}\n" if last else text.partition("\n")[0])
        sys.stderr.flush()

    def _clear_status(self) -> None:
        if self._status_shown:
            self._status_shown = False
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()


class _Terminal(_Stream):
    """IPython in a terminal: displays are IPython's to print."""

    def __init__(self, ipython: Any) -> None:
        super().__init__()
        self._publish = ipython.display_pub.publish

    def display(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any],
        transient: dict[str, Any],
        update: bool,
    ) -> None:
        self._clear_status()
        self._publish(data=data, metadata=metadata, transient=transient, update=update)


class _Cell:
    """The cell that is being executed by a kernel."""

    def __init__(self, ipython: Any) -> None:
        self._publisher = ipython.display_pub
        self._written = sys.stdout

    def write(self, stream: str, text: str) -> None:
        target = sys.stderr if stream == "stderr" else sys.stdout
        if target is not self._written:
            # ipykernel keeps a buffer for each: what came first is to be sent first.
            self._written.flush()
            self._written = target
        target.write(text)

    def display(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any],
        transient: dict[str, Any],
        update: bool,
    ) -> None:
        self._publisher.publish(data=data, metadata=metadata, transient=transient, update=update)

    def clear(self, wait: bool) -> None:
        self._publisher.clear_output(wait=wait)

    def show_status(
        self, bundle: dict[str, str], display_id: str, *, new: bool, last: bool
    ) -> None:
        self.display(dict(bundle), {}, {"display_id": display_id}, not new)


class _Detached:
    """A cell of a kernel that has ended, or will: messages bear its own parent."""

    def __init__(self, ipython: Any) -> None:
        self._kernel = ipython.kernel
        self._topic = ipython.display_pub.topic
        self._parent = ipython.get_parent()

    def write(self, stream: str, text: str) -> None:
        self._send("stream", {"name": stream, "text": text})

    def display(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any],
        transient: dict[str, Any],
        update: bool,
    ) -> None:
        content = {"data": data, "metadata": metadata, "transient": transient}
        self._send("update_display_data" if update else "display_data", content)

    def clear(self, wait: bool) -> None:
        self._send("clear_output", {"wait": wait})

    def show_status(
        self, bundle: dict[str, str], display_id: str, *, new: bool, last: bool
    ) -> None:
        self.display(dict(bundle), {}, {"display_id": display_id}, not new)

    def _send(self, kind: str, content: dict[str, Any]) -> None:
        self._kernel.session.send(
            self._kernel.iopub_socket, kind, content, parent=self._parent, ident=self._topic
        )
