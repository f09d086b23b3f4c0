"""``jupyter compute sandbox …``: a rehearsal AWS on this computer, and its knobs."""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import time
from collections.abc import Callable
from typing import Any

from jupyter_compute import ask
from jupyter_compute.errors import AskError, PoolError
from jupyter_compute.sandbox import start
from jupyter_compute.sandbox.world import Settings

__all__ = ["add_commands"]

Action = Callable[[argparse.Namespace], Any]


def add_commands(parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    """Add the subcommands to the parser of ``sandbox``."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, action: Action, show: Callable[[Any], str], text: str) -> Any:
        command = commands.add_parser(name, parents=[shared], help=text, description=text)
        command.set_defaults(action=functools.partial(_run, action, show))
        return command

    up = add("up", _up, _told, "Start the sandbox, and print how AWS clients reach it.")
    up.add_argument("--seed", type=_count, default=0, metavar="N", help="decides prices (0)")
    up.add_argument(
        "--boot-delay", type=_time, default=2.0, metavar="TIME", help="per machine (2s)"
    )
    up.add_argument("--clock-rate", type=_rate, default=1.0, metavar="N", help="faster by this (1)")
    up.add_argument("--net", choices=["loopback", "netns"], default="loopback")
    add("down", lambda _: {"ended": start.down()}, _down_told, "End it and all its machines.")
    add("status", _status, _told, "Say whether it runs, and how clients reach it.")
    add("machines", lambda _: start.ask("machines"), _machines, "List all machines so far.")
    add("bill", lambda _: start.ask("bill"), _bill, "Sum up what AWS would have charged.")
    calls = add("calls", _calls, _call_lines, "List the calls of the API so far.")
    calls.add_argument("--since", type=_count, default=0, metavar="N", help="those after call N")
    _add_fault(add("fault", _fault, _faults, "Let calls of the API go wrong from now on."))
    add(
        "clear",
        lambda _: start.ask("clear"),
        lambda done: f"{done['cleared']} faults cleared",
        "Forget all faults.",
    )
    for name, text in _MACHINE_VERBS.items():
        verb = add(name, functools.partial(_machine, name), lambda found: _machines([found]), text)
        verb.add_argument("machine", metavar="MACHINE")
    _add_limits(add)


def _add_limits(add: Callable[..., Any]) -> None:
    quota = add(
        "quota",
        _quota,
        lambda done: f"quota: {done['quota'] or 'none'}",
        "Limit the account's vCPUs, those of spot apart.",
    )
    quota.add_argument("vcpus", type=_quota_value, metavar="VCPUS|none")
    fails = add(
        "boot-fail",
        _boot_fail,
        lambda done: f"boot-fail: {done['boot-fail']}",
        "Let the next machines not boot.",
    )
    fails.add_argument("count", type=_boots, metavar="N|always|never")


_MACHINE_VERBS = {
    "kill": "Kill a machine at once and without notice.",
    "freeze": "Stop all processes of a machine, as if it hung.",
    "thaw": "Let a frozen machine go on.",
    "cut": "Cut a machine off from all others (--net netns).",
    "heal": "Let a machine that was cut off back.",
    "notice": "Tell a spot machine that it is taken away in two minutes.",
}


def _add_fault(fault: Any) -> None:
    fault.add_argument("call", metavar="ACTION", help="e.g. RunInstances, 'Describe*'")
    fault.add_argument("--code", default="", help="the error to answer")
    fault.add_argument("--count", type=_count, default=None, metavar="N", help="how often (ever)")
    fault.add_argument(
        "--match",
        nargs="+",
        type=_pair,
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="only such calls; also type=, zone=, lifecycle=",
    )
    fault.add_argument(
        "--delay",
        type=_time,
        default=0.0,
        metavar="TIME",
        help="answer later; Describe: new ones are unseen for so long",
    )
    fault.add_argument("--drop-reply", action="store_true", help="carry it out, answer nothing")
    fault.add_argument("--partial", type=_count, default=None, metavar="N", help="launch at most N")


def _run(action: Action, show: Callable[[Any], str], options: argparse.Namespace) -> int:
    found = action(options)
    print(json.dumps(found) if options.json else show(found), flush=True)  # noqa: T201 - a command prints
    return 0


def _up(options: argparse.Namespace) -> Any:
    settings = Settings(
        boot_delay_s=options.boot_delay,
        clock_rate=options.clock_rate,
        net=options.net,
        seed=options.seed,
    )
    found, new = start.up(settings)
    return {"running": True, "new": new, **found}


def _status(_: argparse.Namespace) -> Any:
    found = start.status()
    return {"running": found is not None, **(found or {})}


def _told(found: dict[str, Any]) -> str:
    if not found["running"]:
        return "no sandbox is running; start it: jupyter compute sandbox up"
    again = "" if found.get("new", True) else " already"
    lines = [f"# the sandbox is up{again} at {found['endpoint']}, process {found['pid']}"]
    if found["net"] == "netns" and not found["security_groups"]:
        lines.append("# machines let in whatever comes: there is no nft (package nftables)")
    lines += [f"export {key}={shlex.quote(text)}" for key, text in found["environment"].items()]
    return "\n".join(lines)


def _down_told(found: dict[str, Any]) -> str:
    return "the sandbox has ended" if found["ended"] else "no sandbox is running"


def _calls(options: argparse.Namespace) -> Any:
    return start.ask("calls", since=options.since)


def _call_lines(calls: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{call['n']:6} {call['service']}:{call['action']} {call['status']} {call['code']}".rstrip()
        for call in calls
    )


def _machines(machines: list[dict[str, Any]]) -> str:
    if not machines:
        return "no machines yet"
    rows = []
    for found in machines:
        until = found["ended"] or time.time()
        kind = f"{found['type']}{' spot' if found['spot'] else ''}"
        age = ask.format_time(until - found["launched"])
        why = found["why"]
        rows.append(
            f"{found['id']}  {kind}  {found['zone']}  {found['state']}  {age}  {why}".rstrip()
        )
    return "\n".join(rows)


def _bill(found: dict[str, Any]) -> str:
    rows = [
        f"{item['machine']}  {item['type']}{' spot' if item['spot'] else ''}  {item['zone']}"
        f"  {ask.format_time(item['seconds'])}  {ask.format_money(item['usd'])}"
        for item in found["items"]
    ]
    return "\n".join([*rows, f"{ask.format_money(found['usd'])} in a cloud; nothing here"])


def _fault(options: argparse.Namespace) -> Any:
    if not (options.code or options.delay or options.drop_reply or options.partial is not None):
        raise PoolError(
            "this fault does nothing", hint="give --code, --delay, --drop-reply or --partial"
        )
    return start.ask(
        "fault",
        action=options.call,
        code=options.code,
        count=options.count,
        match=dict(options.match),
        delay_s=options.delay,
        drop_reply=options.drop_reply,
        partial=options.partial,
    )


def _faults(found: dict[str, Any]) -> str:
    return "\n".join(
        f"{fault['id']}: {fault['action']} {fault['code']}".rstrip() for fault in found["faults"]
    )


def _machine(verb: str, options: argparse.Namespace) -> Any:
    return start.ask(verb, machine=options.machine)


def _quota(options: argparse.Namespace) -> Any:
    return start.ask("quota", vcpus=options.vcpus[0])


def _boot_fail(options: argparse.Namespace) -> Any:
    return start.ask("boot-fail", count=options.count)


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _quota_value(text: str) -> tuple[int | None]:
    # In a tuple, as argparse takes None for "not given".
    return (None,) if text == "none" else (_count(text),)


def _boots(text: str) -> int:
    words = {"always": -1, "never": 0}
    return words[text] if text in words else _count(text)


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= 10_000:
        raise ValueError(text)
    return rate


def _time(text: str) -> float:
    if text in {"0", "0s"}:
        return 0.0
    try:
        return ask.parse_time(text, "the time")
    except AskError as refusal:
        raise argparse.ArgumentTypeError(str(refusal)) from None


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value
