"""The IPython shell that runs a cell inside a child."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

from IPython.core.compilerop import CachingCompiler
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell

__all__ = ["ChildShell", "refuse_input"]

Emit = Callable[[dict[str, Any]], None]


def _nowhere(event: dict[str, Any]) -> None:
    """Before a job arrives nobody listens."""


class _Publisher(DisplayPublisher):
    """Sends what would be displayed to the notebook."""

    emit: Emit = staticmethod(_nowhere)

    def publish(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        source: str | None = None,
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        **_: Any,
    ) -> None:
        self.emit(
            {
                "kind": "display",
                "data": data,
                "metadata": metadata or {},
                "transient": transient or {},
                "update": update,
            }
        )

    def clear_output(self, wait: bool = False) -> None:
        """Clear what the notebook shows under the cell."""
        self.emit({"kind": "clear", "wait": wait})


class _LastValue(DisplayHook):
    """Keeps the value of the last expression, so that the notebook can display it."""

    has_value = False
    value: object = None

    def __call__(self, result: object = None) -> None:
        if result is None:
            return
        if self.has_value:
            self.show()
        self.has_value, self.value = True, result

    def show(self) -> None:
        """Display the value from here, as it will not travel."""
        assert self.shell is not None
        data, metadata = self.shell.display_formatter.format(self.value)
        self.shell.display_pub.publish(data, metadata)


class _Compiler(CachingCompiler):
    """Names every cell as the notebook does, so that tracebacks there find its lines."""

    filename = ""

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        return self.filename or str(super().get_code_name(raw_code, transformed_code, number))

    def cache(self, transformed_code: str, number: int = 0, raw_code: str | None = None) -> str:
        name = str(super().cache(transformed_code, number, raw_code))
        if raw_code is not None:
            text = "\n" + raw_code
            linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        return name


class ChildShell(InteractiveShell):
    """A shell without history, profile or prompt, whose displays travel as events."""

    display_pub_class = _Publisher
    displayhook_class = _LastValue
    compiler_class = _Compiler

    def init_history(self) -> None:
        """Keep nothing of what is run."""
        self.history_manager = HistoryManager(
            shell=self, parent=self, hist_file=":memory:", enabled=False
        )

    def init_profile_dir(self, profile_dir: object) -> None:
        """Create no directories in the user's home."""
        # Where magics such as %cd remember things: IPython's own store is a directory.
        self.db = {}

    def init_magics(self) -> None:
        """Add magics that say why a run cannot start another."""
        super().init_magics()  # type: ignore[no-untyped-call]
        for kind, name in (("cell", "remote"), ("line", "remote"), ("line", "compute")):
            self.magics_manager.register_function(_refuse_run, kind, name)

    def ask_exit(self) -> None:
        """End the cell that says ``exit``.

        Raises
        ------
        SystemExit
            Always.
        """
        raise SystemExit

    def transform_cell(self, raw_cell: str) -> str:
        """Keep line numbers those of the notebook, where line 1 is ``%%remote``."""
        # IPython drops leading blank lines.
        blank = raw_cell[: len(raw_cell) - len(raw_cell.lstrip())].count("\n")
        transformed = str(super().transform_cell(raw_cell))  # type: ignore[no-untyped-call]
        return "\n" * (1 + blank) + transformed

    def enable_gui(self, gui: str | None = None) -> None:
        """There is no event loop of a GUI here."""

    def showtraceback(self, *_: Any, **__: Any) -> None:
        """The notebook shows it."""

    def showsyntaxerror(self, *_: Any, **__: Any) -> None:
        """The notebook shows it."""

    def listen(self, emit: Emit) -> None:
        """Send displays to `emit` from now on."""
        publisher = self.display_pub
        assert isinstance(publisher, _Publisher)
        publisher.emit = emit

    @property
    def last(self) -> _LastValue:
        """The value of the last expression."""
        hook = self.displayhook
        assert isinstance(hook, _LastValue)
        return hook

    def name_cell(self, filename: str) -> None:
        """Have the next cell's frames bear this name."""
        assert isinstance(self.compile, _Compiler)
        self.compile.filename = filename


def _refuse_run(line: str, cell: str = "") -> None:  # noqa: ARG001 - whatever they say
    """Stand in for ``%%remote`` and ``%compute``."""
    raise UsageError(
        "a run cannot start another run: %%remote and %compute work in the notebook only"
    )


def refuse_input(*_: object, **__: object) -> str:
    """Stand in for ``input``, ``getpass`` and debuggers.

    Raises
    ------
    StdinNotImplementedError
        Always: nobody can type into a remote run.
    """
    raise StdinNotImplementedError(
        "a remote run has no keyboard: input(), getpass() and debuggers work only in the notebook"
    )
