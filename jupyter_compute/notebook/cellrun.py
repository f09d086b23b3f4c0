"""One ``%%remote`` cell, from its text to its results."""

from __future__ import annotations

import linecache
import os
from typing import Any

from ..errors import AskError, ComputeError
from ..model import ENDED
from . import plan, scratch, session, submission
from .caught import Catch
from .cells import FIRST_LINE, Cell, analyse
from .code import key_of_cell
from .credentials import held_back
from .follow import follow
from .options import Options, help_text, parse_line
from .output import background, foreground, shell
from .refusals import check_text
from .remote import INSIDE
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
    if INSIDE in os.environ:
        raise AskError("a run cannot start another run: %%remote works in the notebook only")
    ipython = shell()
    names: dict[str, Any] = ipython.user_ns
    options = parse_line(line, submission.layers(), names)
    if options.help:
        print(help_text())  # noqa: T201 - what was asked for
        return None
    options = session.resolve(options)
    check_text(body, FIRST_LINE)
    number = len(ipython.history_manager.input_hist_parsed) - 1
    filename = _name(ipython, number, line, body)
    cell = analyse(body, filename=filename, namespace=names)
    _remember(filename, line, cell)
    session.client().warm_up()
    secrets = _secrets(options, names)
    inputs = sorted({*cell.inputs(names), *(n for n in options.inputs or () if n in names)})
    notes = [_note(n, secrets[n]) for n in inputs if n in secrets] + scratch.short_of(options)
    code = key_of_cell(cell.code)
    if options.plan:
        plan.show(options, names, (n for n in inputs if n not in secrets), notes, code)
        return None
    prepared = submission.prepare_cell(
        names,
        options,
        source=body,
        filename=filename,
        reads=inputs,
        withheld=secrets,
        label=cell.label,
        cell=str(number),
        interactivity=ipython.ast_node_interactivity,
        code=code,
    )
    status = Status(cpu=options.cpu, memory=options.memory, notes=notes)
    if options.bg:
        _start(prepared, status, options, names)
        return None
    return _wait(prepared, status, options, names)


def _name(ipython: Any, number: int, line: str, body: str) -> str:
    """Return the file name of the cell's code, which IPython shows as ``Cell In[number]``."""
    raw: str = ipython.history_manager.input_hist_raw[-1]
    # The name that the cell has as a local one, unless another cell runs this one.
    text = raw if raw.startswith("%%remote") else f"%%remote {line}\n{body}"
    filename: str = ipython.compile.cache(text, number, text)
    return filename


def _remember(filename: str, line: str, cell: Cell) -> None:
    """Let tracebacks show the cell's lines, as Python and counted as the notebook does."""
    text = f"# %%remote {line}".rstrip() + cell.code
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)


def _secrets(options: Options, names: dict[str, Any]) -> dict[str, str]:
    """Return what each credential looks like that is held back, as nobody asked to send it."""
    asked = options.inputs or ()
    return {name: what for name, what in held_back(names).items() if name not in asked}


def _note(name: str, what: str) -> str:
    return f"{name} looks like {what} and was not sent; --in {name} sends it"


def _start(prepared: Submission, status: Status, options: Options, names: dict[str, Any]) -> None:
    assert options.bg is not None
    if going_on := _still_active(names.get(options.bg)):
        status.note(
            f"{options.bg} was {going_on}, which goes on: "
            f"%compute cancel {going_on} ends it, %compute attach {going_on} NAME binds it again"
        )
    run_id = session.client().submit_only(prepared.spec)
    status.run_id = run_id
    watch(run_id, background(), status, quiet=options.quiet)
    names[options.bg] = Run(run_id, Results(names, prepared.packed, _catch(options)))


def _catch(options: Options) -> Catch | None:
    return None if options.catch is None else Catch(options.catch)


def _still_active(value: object) -> str:
    """Return the id of a run that has not ended; empty if the value is no such run."""
    if not isinstance(value, Run):
        return ""
    try:
        return "" if value.state in ENDED else value.id
    except ComputeError:
        return ""


def _wait(prepared: Submission, status: Status, options: Options, names: dict[str, Any]) -> object:
    __tracebackhide__ = True
    client = session.client()
    view = View(foreground(), status, quiet=options.quiet)
    ending = follow(client, client.submit(prepared.spec), view)
    for note in ending.envelope.get("notes", ()):
        view.say(note)
    view.finish()
    return Results(names, prepared.packed, _catch(options)).receive(ending, once=True)
