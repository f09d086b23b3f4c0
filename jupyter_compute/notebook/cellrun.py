"""One ``%%remote`` cell, from its text to its results."""

from __future__ import annotations

from typing import Any

from ..errors import Cancelled
from . import plan, session, submission
from .cells import Cell, analyse
from .credentials import held_back
from .follow import Ending, follow
from .options import Options, help_text, parse_line
from .output import background, foreground, shell
from .results import Results
from .run import Run, watch
from .status import Status
from .submission import Submission
from .view import View

__all__ = ["run_cell"]


def run_cell(line: str, body: str) -> object:
    """Run a cell where there is room, as its line says; return its last expression's value.

    Raises
    ------
    AskError
        If the line or the cell is refused. Nothing has been sent or started.
    BaseException
        What the cell raised, or a `ComputeError` if it ended in another way.
    """
    __tracebackhide__ = True
    ipython = shell()
    names: dict[str, Any] = ipython.user_ns
    options = parse_line(line, submission.layers(), names)
    if options.help:
        print(help_text())  # noqa: T201 - what was asked for
        return None
    options = session.resolve(options)
    filename = _remember(ipython, line, body)
    cell = analyse(body, filename=filename, namespace=names)
    session.client().warm_up()
    secrets = _secrets(cell, options, names)
    if options.plan:
        plan.show(options, names, _wanted(cell, options, names), secrets)
        return None
    prepared = submission.prepare_cell(
        names,
        options,
        source=body,
        filename=filename,
        reads=cell.inputs(names),
        withheld=secrets,
        label=cell.label,
        cell=str(ipython.execution_count),
        interactivity=ipython.ast_node_interactivity,
    )
    status = Status(cpu=options.cpu, memory=options.memory, notes=list(secrets.values()))
    if options.bg:
        return _start(prepared, status, options, names)
    return _wait(prepared, status, options, names)


def _remember(ipython: Any, line: str, body: str) -> str:
    """Let tracebacks show the cell's own lines, counted as the notebook counts them."""
    text = f"%%remote {line}".rstrip() + "\n" + body
    filename: str = ipython.compile.cache(text, ipython.execution_count, text)
    return filename


def _wanted(cell: Cell, options: Options, names: dict[str, Any]) -> list[str]:
    more = {name for name in options.inputs or () if name in names}
    return sorted(more.union(cell.inputs(names)))


def _secrets(cell: Cell, options: Options, names: dict[str, Any]) -> dict[str, str]:
    """Return a note for each credential that is held back, because nobody asked to send it."""
    asked = frozenset(options.inputs or ())
    return {
        name: f"{name} looks like {what} and was not sent; --in {name} sends it"
        for name, what in held_back({n: names[n] for n in cell.inputs(names)}).items()
        if name not in asked
    }


def _start(
    prepared: Submission, status: Status, options: Options, names: dict[str, Any]
) -> None:
    run_id = session.client().submit_only(prepared.spec)
    assert options.bg is not None
    status.run_id = run_id
    watch(run_id, background(), status, quiet=options.quiet)
    names[options.bg] = Run(run_id, Results(names, prepared.packed))


def _wait(
    prepared: Submission, status: Status, options: Options, names: dict[str, Any]
) -> object:
    __tracebackhide__ = True
    client = session.client()
    view = View(foreground(), status, quiet=options.quiet)
    ending = follow(client, client.submit(prepared.spec), view)
    for note in ending.envelope.get("notes", ()):
        view.say(note)
    view.finish()
    return _receive(Results(names, prepared.packed), ending, options)


def _receive(results: Results, ending: Ending, options: Options) -> object:
    __tracebackhide__ = True
    if options.catch is None:
        return results.receive(ending, once=True)
    try:
        value = results.receive(ending, once=True)
    except (KeyboardInterrupt, Cancelled):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the cell raised is asked for
        results.namespace[options.catch] = error
        return None
    results.namespace[options.catch] = None
    return value
