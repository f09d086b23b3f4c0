"""``%compute``: look after the pool from the notebook."""

from __future__ import annotations

import difflib
import importlib
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from IPython.core.error import UsageError

from ..errors import AskError
from . import (
    budget,
    chaos,
    cost,
    defaults,
    doctor,
    plan,
    rehearsal,
    session,
    stored,
    submission,
    tables,
)
from .client import Client
from .options import DEFAULTABLE, Options, help_text, parse_line
from .output import shell
from .run import Run, attach
from .transport import Wire

__all__ = ["compute", "introduce"]

_HELP = """\
%compute                     machines and runs
%compute defaults [OPTIONS]  options of every %%remote and @remote in this notebook; reset forgets
%compute ask [OPTIONS]       a form for the options: shows the offer, sets defaults, writes the line
%compute dashboard           machines, runs and cost, live below the cell, with cancel and stop
%compute layers [OPTIONS]    where this ask could run, and why not
%compute plan [OPTIONS]      where this ask would run
%compute runs                recent runs
%compute attach ID [NAME]    a run again, bound to NAME; its output is replayed
%compute cancel ID|all       end a run
%compute cost [OPTIONS]      what runs have used and cost: --since 7d, --by notebook|layer|day
%compute budget [run|notebook|day USD|off]
                             what may be spent by each run, by each notebook, in a day
%compute kept                the kept values
%compute drop ID|all         drop a kept value, or all that no run reads
%compute cache [clear]       the results that --cache has recorded; clear forgets them
%compute machines            the machines of the pool
%compute chaos [FAILURE]     let the next run rehearse a failure, to see its retries work:
                             kill, oom, slow [TIME] or lose-machine; off takes it back
%compute stop                end the pool, when no run is active
%compute doctor              check that everything works, and say what to do if not"""

_ASK = frozenset({"cpu", "memory", "gpu", "on"})


def compute(line: str) -> object:
    """Carry out a line of ``%compute``.

    Raises
    ------
    UsageError, AskError
        If the line is wrong. Nothing has been done.
    ComputeError
        If the service refuses or cannot be reached.
    """
    __tracebackhide__ = True
    command, _, rest = line.strip().partition(" ")
    if command in {"--help", "-h", "help"}:
        _print(_HELP)
        return None
    action = _COMMANDS.get(command or "status")
    if action is None:
        near = difflib.get_close_matches(command, _COMMANDS, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(_COMMANDS)}"
        raise UsageError(f"%compute: {command!r} is not a command of it ({hint})")
    return action(rest.strip())


def introduce(line: str) -> None:
    """Print what ``%remote`` by itself prints: how to use ``%%remote``, and the status."""
    _print(help_text())
    if not line.strip():
        _print("")
        _status("")


def _status(rest: str) -> None:
    _nothing_more("status", rest)
    if session.armed() is not None:
        _chaos("")
    quiet = Client(start=False)
    if not quiet.answers():
        _print("no pool is running; the first %%remote cell starts one")
        return
    status = quiet.status()
    _print(tables.machines(status["machines"]))
    _print(tables.runs(status["runs"]))
    _print(tables.spending(status))


def _defaults(rest: str) -> None:
    if rest == "reset":
        session.set_defaults(Options())
    elif rest:
        defaults.add(_options("defaults", rest, DEFAULTABLE))
    _print(defaults.written(session.defaults()) or "no defaults are set in this notebook")


def _form(rest: str) -> None:
    form = _with_widgets("ask", ".form")
    form.show(_options("ask", rest, frozenset(form.NAMES)))


def _dashboard(rest: str) -> None:
    _nothing_more("dashboard", rest)
    if hasattr(shell(), "kernel"):
        _with_widgets("dashboard", ".dashboard").show()
    else:
        _status("")


def _layers(rest: str) -> None:
    options = session.resolve(_options("layers", rest, _ASK))
    client = session.client()
    rows: list[tuple[Wire, Wire | None, str]] = []
    for layer in client.layers():
        ask = {**session.ask_of(options), "layer": layer["name"]}
        try:
            answer = client.plan(ask)
        except AskError as refusal:
            rows.append((layer, None, str(refusal)))
        else:
            rows.append((layer, answer, "; ".join(answer["notes"])))
    _print(tables.layers(rows))


def _plan(rest: str) -> None:
    options = session.resolve(_options("plan", rest, _ASK))
    answer = session.client().plan(session.ask_of(options))
    _print("\n".join([plan.where(answer), *plan.costs(answer)]))


def _runs(rest: str) -> None:
    _nothing_more("runs", rest)
    _print(tables.runs(session.client().runs()))


def _attach(rest: str) -> Run | None:
    words = _words("attach", rest)
    if len(words) not in {1, 2}:
        raise UsageError("%compute attach needs the id of a run, e.g. %compute attach r-k3m2xq7a")
    if len(words) == 2 and not words[1].isidentifier():
        raise UsageError(f"%compute attach: {words[1]!r} is not a Python name")
    run = attach(words[0])
    if len(words) == 1:
        return run
    shell().user_ns[words[1]] = run
    return None


def _cancel(rest: str) -> None:
    words = _words("cancel", rest)
    if len(words) != 1:
        raise UsageError("%compute cancel needs the id of a run, or all")
    client = session.client()
    ids = words if words != ["all"] else [run["id"] for run in client.status()["runs"]]
    for run_id in ids:
        run = client.cancel(run_id)
        _print(f"{run_id}: {'being cancelled' if run['finished'] is None else run['state']}")
    if not ids:
        _print("nothing to cancel")


def _cost(rest: str) -> None:
    if "--help" in rest.split():
        _print(cost.help_text())
        return
    _print(cost.table(cost.sums(session.client(), *cost.read(rest))))


def _budget(rest: str) -> None:
    _print(budget.command(_words("budget", rest)))


def _machines(rest: str) -> None:
    _nothing_more("machines", rest)
    quiet = Client(start=False)
    _print(tables.machines(quiet.status()["machines"] if quiet.answers() else []))


def _chaos(rest: str) -> None:
    _print(chaos.command(rest))


def _stop(rest: str) -> None:
    _nothing_more("stop", rest)
    quiet = Client(start=False)
    if not quiet.answers():
        _print("no pool is running")
        return
    quiet.stop()
    _print("the pool has been stopped")


def _doctor(rest: str) -> None:
    _nothing_more("doctor", rest)
    for check in doctor.examine():
        _print(check.line())


def _sandbox(rest: str) -> None:
    actions = {"on": rehearsal.begin, "off": rehearsal.end, "": rehearsal.where}
    if rest not in actions:
        raise UsageError(
            f"%compute sandbox: {rest!r} is neither on nor off (e.g. %compute sandbox on)"
        )
    _print(actions[rest]() or "the pool uses no sandbox")


_COMMANDS: Mapping[str, Callable[[str], object]] = {
    "status": _status,
    "defaults": _defaults,
    "ask": _form,
    "dashboard": _dashboard,
    "layers": _layers,
    "plan": _plan,
    "runs": _runs,
    "attach": _attach,
    "cancel": _cancel,
    "cost": _cost,
    "budget": _budget,
    "kept": stored.kept,
    "drop": stored.drop,
    "cache": stored.cache,
    "machines": _machines,
    "chaos": _chaos,
    "sandbox": _sandbox,
    "stop": _stop,
    "doctor": _doctor,
}


def _options(command: str, rest: str, allowed: frozenset[str]) -> Options:
    return parse_line(
        rest,
        submission.layers(),
        shell().user_ns,
        command=f"%compute {command}",
        allowed=allowed,
    )


def _with_widgets(command: str, module: str) -> Any:
    """Import a module that needs ipywidgets, which nothing else in the kernel does."""
    try:
        return importlib.import_module(module, __package__)
    except ImportError as error:
        hint = "%pip install 'ipywidgets>=8.1', then restart the kernel"
        raise UsageError(f"%compute {command} needs ipywidgets: {error} ({hint})") from None


def _words(command: str, rest: str) -> list[str]:
    try:
        return shlex.split(rest)
    except ValueError:
        raise UsageError(f"%compute {command}: quote not closed in {rest!r}") from None


def _nothing_more(command: str, rest: str) -> None:
    if rest:
        raise UsageError(f"%compute {command} takes nothing more, but {rest!r} follows")


def _print(text: str) -> None:
    print(text)  # noqa: T201 - this is what a command of the notebook is for
