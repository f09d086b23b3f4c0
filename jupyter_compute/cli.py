"""``jupyter compute``: the pool from a terminal.

Exit status 0 means done, 1 failed, 2 wrong usage. With ``--json`` the only thing on
standard output is one JSON value (one a line for ``logs``).
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import __version__
from .errors import AskError, ComputeError, PoolError
from .notebook import cost, tables
from .notebook.client import Client

__all__ = ["main"]

_YOUNG_S = 120.0
"""A machine that is younger may be on its way to the pool that runs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(sandbox=words[:1] == ["sandbox"]).parse_args(words)
    action: Callable[[argparse.Namespace], int] = options.action
    try:
        return action(options)
    except ComputeError as error:
        if options.json:
            _print_json(error.to_wire())
        else:
            print(f"jupyter compute: {error.message}", file=sys.stderr)
            if error.hint:
                print(f"  {error.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:
        # The reader, such as `head`, has what it wanted.
        sys.stderr.close()
        return 0


def _parser(*, sandbox: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jupyter compute", description="The pool of this user.")
    parser.add_argument("--version", action="version", version=__version__)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, action: Callable[[argparse.Namespace], int], text: str) -> Any:
        command = commands.add_parser(name, parents=[shared], help=text, description=text)
        command.set_defaults(action=action)
        return command

    add("status", _status, "Show machines and active runs; never starts the service.")
    listed = add("runs", _runs, "List recent runs, newest first.")
    listed.add_argument("--limit", type=_positive, default=50, help="how many (50)")
    logs = add("logs", _logs, "Print what a run has printed.")
    logs.add_argument("run", metavar="RUN")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until it ends")
    cancel = add("cancel", _cancel, "End a run: interrupt it, and kill it if it goes on.")
    cancel.add_argument("run", metavar="RUN")
    costs = add("cost", _cost, "Sum up what runs have used and cost.")
    for option in cost.OPTIONS:
        read = functools.partial(_read, option)
        text = f"{option.meaning} ({option.default})"
        costs.add_argument(f"--{option.name}", metavar=option.value, type=read, help=text)
    stop = add("stop", _stop, "End the pool service and its machines.")
    stop.add_argument("--all", action="store_true", help="also if runs are active; cancels them")
    setup = add("setup", _setup, "Make once what machines of AWS need, in the account in use.")
    _setup_options(setup)
    collect = add("gc", _gc, "Find and end machines of ours in a cloud that no pool knows.")
    collect.add_argument("--dry-run", action="store_true", help="only show them")
    add("doctor", _doctor, "Check that everything works, and say what to do if not.")
    text = "Rehearse AWS on this computer: up, down, status, and what can go wrong."
    rehearsal = commands.add_parser("sandbox", help=text, description=text)
    if sandbox:
        # The other commands do without it.
        from .sandbox.command import add_commands

        add_commands(rehearsal, shared)
    return parser


def _setup_options(setup: argparse.ArgumentParser) -> None:
    setup.add_argument("cloud", metavar="aws", choices=["aws"])
    how = setup.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="only show what would be done")
    how.add_argument("--yes", action="store_true", help="do not ask")
    setup.add_argument("--remove", action="store_true", help="remove what this installation made")


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise ValueError(text)
    return number


def _read(option: cost.Option, text: str) -> Any:
    try:
        return option.parse(text, f"--{option.name}")
    except AskError as refusal:
        # argparse puts the option's name in front, too.
        text = str(refusal).removeprefix(f"--{option.name}: ")
        raise argparse.ArgumentTypeError(text) from None


def _status(options: argparse.Namespace) -> int:
    client = Client(start=False)
    running = client.answers()
    status = client.status() if running else {"machines": [], "runs": []}
    if options.json:
        _print_json({"running": running, **status})
    elif not running:
        print("no pool is running; the first cell or call starts one")
    else:
        print(f"pool service {status['version']}, process {status['pid']}")
        print(tables.machines(status["machines"]))
        print(tables.runs(status["runs"]))
        print(tables.spending(status))
    return 0


def _runs(options: argparse.Namespace) -> int:
    found = Client().runs(options.limit)
    if options.json:
        _print_json(found)
    else:
        print(tables.runs(found))
    return 0


def _cost(options: argparse.Namespace) -> int:
    found = cost.sums(Client(), options.since, options.by)
    if options.json:
        _print_json(found)
    else:
        print(cost.table(found))
    return 0


def _logs(options: argparse.Namespace) -> int:
    client = Client()
    client.run(options.run)
    events = client.follow(options.run) if options.follow else client.events(options.run)
    for event in events:
        if options.json:
            _print_json(event)
        else:
            _print_event(event)
    return 0


def _print_event(event: dict[str, Any]) -> None:
    match event["kind"]:
        case "stdout" | "stderr" as name:
            stream = getattr(sys, name)
            stream.write(event["text"])
            stream.flush()
        case "display":
            print(event["data"].get("text/plain", "<output without text>"))
        case "note":
            print(event["text"], file=sys.stderr)
        case "attempt":
            print(f"attempt {event['n']}: {event['message']}", file=sys.stderr)
        case "end":
            print(event["state"], file=sys.stderr)


def _cancel(options: argparse.Namespace) -> int:
    client = Client()
    run = client.run(options.run)
    if run["finished"] is not None:
        raise PoolError(f"{options.run} has ended already: {run['state']}")
    client.cancel(options.run)
    *_, end = client.follow(options.run)
    if options.json:
        _print_json({"id": options.run, "state": end["state"]})
    else:
        print(f"{options.run}: {end['state']}")
    return 0


def _stop(options: argparse.Namespace) -> int:
    client = Client(start=False)
    running = client.answers()
    if running:
        client.stop(force=options.all)
    if options.json:
        _print_json({"stopped": running})
    else:
        print("the pool has been stopped" if running else "no pool is running")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    # It loads what a run needs, which the other commands do without.
    from .notebook.doctor import examine

    passed, found = True, []
    for check in examine():
        passed &= check.passed
        found.append(check.to_wire())
        if not options.json:
            print(check.line(), flush=True)
    if options.json:
        _print_json(found)
    return 0 if passed else 1


def _setup(options: argparse.Namespace) -> int:
    from .layers.setup import run

    done = run(dry=options.dry_run, yes=options.yes, remove=options.remove, quiet=options.json)
    if options.json:
        _print_json(done.to_wire())
    return 0


def _gc(options: argparse.Namespace) -> int:
    from .layers import strays

    client = Client(start=False)
    ours = [machine["id"] for machine in client.status()["machines"]] if client.answers() else []
    found = strays.find(ours, _YOUNG_S if ours else 0.0)
    ended, failed = [], {}
    for machine in found.machines:
        try:
            if not options.dry_run:
                strays.end(machine)
        except PoolError as error:
            failed[machine.id] = str(error)
            continue
        ended.append({"id": machine.id, "layer": machine.offer.layer, "type": machine.offer.type})
    if options.json:
        _print_json({"machines": ended, "unasked": dict(found.unasked), "failed": failed})
        return 1 if failed else 0
    for one in ended:
        print(f"{'would end' if options.dry_run else 'ended'} {one['id']} ({one['type']})")
    for layer, why in found.unasked.items():
        print(f"{layer} was not asked: {why}", file=sys.stderr)
    for name, why in failed.items():
        print(f"{name} was not ended: {why}", file=sys.stderr)
    if not (ended or failed):
        print("no machine is left over")
    return 1 if failed else 0


def _print_json(value: Iterable[Any] | dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)
