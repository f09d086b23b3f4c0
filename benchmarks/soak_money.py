"""Money in a soak: what the pool says it has spent is the sandbox's bill, and a budget bounds it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import services
from sandboxes import Sandbox

__all__ = ["Money", "unasked"]

_CLOSE = 0.02
_BIG = {"layer": "ec2", "cpu": 2, "memory": 10**9, "instances": ["c5.large"], "spot": "never"}
_USD_PER_HOUR = 0.085
_RUNS = 5
_MACHINES = 2.5
"""So many machines could be launched within the budget, and not all that are asked for."""
_PATIENCE_S = 60.0
_TROUBLE = ("boot fails", "fault", "freeze", "kill machine", "notice", "stop machine")


class Money:
    """What a soak costs, in the pool's dollars: its seconds are not those of the sandbox's cloud.

    Parameters
    ----------
    sandbox : Sandbox
    foreign : str
        A machine that is not the pool's.
    timers : mapping
        Those of the pool.
    """

    def __init__(self, sandbox: Sandbox, foreign: str, timers: Mapping[str, Any]) -> None:
        self._sandbox = sandbox
        self._foreign = foreign
        self._timers = timers

    def billed(self) -> float:
        """Return what the sandbox charges for the machines of the pool."""
        items = self._sandbox.ask("bill")["items"]
        usd = sum(item["usd"] for item in items if item["machine"] != self._foreign)
        return float(usd / self._sandbox.state["clock_rate"])

    def compare(self) -> tuple[dict[str, float], list[str]]:
        """Return what runs, idle machines and the bill came to, and what of it is wrong.

        All machines have ended. The pool may count more than the bill: it hears later that a
        machine was killed, and of one that an earlier service has left it does not hear when.
        """
        sums = services.ask("GET", "/v1/cost?by=layer").json["rehearsed"]
        runs, idle, bill = float(sums["usd"]), float(sums["idle"]["usd"]), self.billed()
        found = {"runs_usd": runs, "idle_usd": idle, "billed_usd": bill}
        wrong = []
        if runs > bill * (1 + _CLOSE):
            wrong.append(f"I6 runs were charged {runs:.6f}, and all machines cost {bill:.6f}")
        if runs + idle < bill * (1 - _CLOSE):
            wrong.append(f"I6 {runs + idle:.6f} is accounted for, and the bill is {bill:.6f}")
        return {name: round(usd, 6) for name, usd in found.items()}, wrong

    def run_out(self, over: Callable[[], bool]) -> list[str]:
        """Let a day's budget run out, and return what is wrong. No machine is there.

        Parameters
        ----------
        over : callable
            Tells whether there is none again.
        """
        before = self.billed()
        stop_s = self._timers["tick_s"] + self._timers["halt_s"]
        paid_s = self._timers["least_charged_s"] + stop_s
        allowed = _MACHINES * paid_s * _USD_PER_HOUR / 3600
        spent = services.ask("GET", "/v1/budget").json["day"]["rehearsed"]
        services.ask("POST", "/v1/budget", {"kind": "day", "usd": spent + allowed})
        launched = len(self._sandbox.machines())
        code = "import time\ntime.sleep(600)"
        streams = [services.submit(code, **_BIG, detached=True) for _ in range(_RUNS)]
        machines, end = 0, time.monotonic() + _PATIENCE_S
        while time.monotonic() < end and not (machines and over()):
            machines = len(self._sandbox.machines()) - launched
            time.sleep(0.2)
        wrong = [] if machines and over() else ["I6 machines go on when a budget is spent"]
        states = [run["reason"] for run in services.ask("GET", "/v1/status").json["runs"]]
        wrong += [f"I7 waits for a budget: {why!r}" for why in states if "day budget" not in why]
        cost = self.billed() - before
        bound = allowed + machines * stop_s * _USD_PER_HOUR / 3600
        if cost > bound:
            wrong.append(f"I6 a budget of {allowed:.6f} became {cost:.6f} with {machines} machines")
        for stream in streams:
            run = stream.until(kind="accepted")["id"]
            services.ask("POST", f"/v1/runs/{run}/cancel", {"action": "kill"})
        services.hang_up()
        services.ask("POST", "/v1/budget", {"kind": "day", "usd": None})
        return wrong


def unasked(journal: Path, machines: int, done: Mapping[str, int], most: int) -> list[str]:
    """Return that more machines were launched than anything has asked for, if they were.

    Each is for an attempt, or in the place of one that failed or was left by a killed service.

    Parameters
    ----------
    journal : Path
    machines : int
        That were launched.
    done : mapping
        How often what was done, by kind of action.
    most : int
        Machines at a time.
    """
    with sqlite3.connect(journal) as db:
        (asked,) = db.execute(
            "SELECT count(*) FROM attempts JOIN runs ON run = id "
            "WHERE json_extract(spec, '$.layer') != 'local'"
        ).fetchone()
    db.close()
    bound = asked + sum(done.get(kind, 0) for kind in _TROUBLE) + most * done.get("kill service", 0)
    return [f"I5 {machines} machines for {asked} attempts"] if machines > bound else []
