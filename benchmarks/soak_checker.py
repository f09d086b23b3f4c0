"""Looks at the invariants of a soak, each second and at the end."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandboxes import Sandbox

__all__ = ["Checker", "secret_in_files"]

_UNKNOWN_S = 20.0
"""For how long the pool may not know a machine of ours: a launch whose answer is lost is repeated,
a stray is older than three seconds here, and a busy computer is slow."""
_SILENT_S = 15.0
_ENDED = {"done", "failed", "cancelled", "lost"}


class Checker:
    """What was seen, and what of it was wrong.

    Parameters
    ----------
    sandbox : Sandbox
    secret : str
        What must be nowhere.
    most : int
        Machines elsewhere at a time.
    foreign : sequence of str
        Machines that are not ours.
    """

    def __init__(self, sandbox: Sandbox, secret: str, most: int, foreign: Sequence[str]) -> None:
        self.violations: list[str] = []
        self.looks = 0
        self.most_alive = 0
        self.ended: dict[str, str] = {}
        self._sandbox = sandbox
        self._secret = secret
        self._most = most
        self._foreign = set(foreign)
        self._unknown: dict[str, float] = {}
        self._silent: dict[str, float] = {}
        self._calls = 0
        self._said: set[str] = set()

    def look(self, status: dict[str, Any] | None, runs: Sequence[dict[str, Any]] | None) -> None:
        """Compare, once.

        Parameters
        ----------
        status, runs
            What the pool answers; None while there is none.
        """
        self.looks += 1
        now = time.monotonic()
        alive = self._alive()
        self.most_alive = max(self.most_alive, len(alive))
        shown = {m["id"]: m["state"] for m in (status or {}).get("machines", ())}
        # One whose end is asked for may take a while, or AWS refuses: it is replaced meanwhile.
        counted = [name for name in alive if shown.get(name) != "ending"]
        if len(counted) > self._most:
            self.say(f"I5 {counted}, and {self._most} may be; the pool: {shown}")
        self._others()
        if status is None:
            self._unknown.clear()
            self._silent.clear()
            return
        self._unknown = {name: self._unknown.get(name, now) for name in alive if name not in shown}
        for name, since in self._unknown.items():
            if now - since > _UNKNOWN_S:
                self.say(f"I1 the pool does not know {name}", name)
        self._reasons(status["runs"], now)
        for run in runs or ():
            self._end(run)
        if self._secret in json.dumps([status, runs]):
            self.say("I8 the secret is in an answer", "I8")

    def say(self, text: str, once: str = "") -> None:
        """Note a violation, of a kind once only if one is named."""
        if not once or once not in self._said:
            self._said.add(once)
            self.violations.append(f"{time.strftime('%H:%M:%S')} {text}")

    def _alive(self) -> list[str]:
        states = ("pending", "running")  # the others are not paid for any more
        return [m["id"] for m in self._sandbox.machines(*states) if m["id"] not in self._foreign]

    def _others(self) -> None:
        for call in self._sandbox.ask("calls", since=self._calls):
            self._calls = call["n"]
            if call["action"] in {"TerminateInstances", "StopInstances"}:
                for name in self._foreign & set(call["params"].values()):
                    self.say(f"I2 {call['action']} of {name}, which is not ours")
            if self._secret in json.dumps(call):
                self.say("I8 the secret is in a call of AWS", "I8")
        for name in self._foreign:
            if self._sandbox.machine(name)["state"] != "running":
                self.say(f"I2 {name} has been ended, and is not ours", name)

    def _reasons(self, runs: Sequence[dict[str, Any]], now: float) -> None:
        silent = [
            run["id"]
            for run in runs
            if run["state"] in {"queued", "starting"} and not run["reason"]
        ]
        self._silent = {name: self._silent.get(name, now) for name in silent}
        for name, since in self._silent.items():
            if now - since > _SILENT_S:
                self.say(f"I7 {name} waits and does not say why", name)

    def _end(self, run: dict[str, Any]) -> None:
        before = self.ended.get(run["id"])
        if before is not None and before != run["state"]:
            self.say(f"I3 {run['id']} was {before} and is {run['state']}", run["id"])
        if run["state"] in _ENDED:
            self.ended[run["id"]] = run["state"]

    def close(self, journal: Path, submitted: Sequence[str]) -> dict[str, Any]:
        """Look into the journal of a pool that has ended, and return its figures."""
        with sqlite3.connect(journal) as db:
            runs = dict(db.execute("SELECT id, json_extract(record, '$.state') FROM runs"))
            left = [name for (name,) in db.execute("SELECT id FROM runs WHERE ended IS NULL")]
            attempts = db.execute("SELECT run, n, outcome, ended, machine FROM attempts").fetchall()
            launches = db.execute("SELECT id FROM launches").fetchall()
        db.close()
        for name in left:
            self.say(f"I3 {name} has not ended in the journal: {runs[name]}")
        for name, state in runs.items():
            if state not in _ENDED:
                self.say(f"I3 {name} is {state} in the journal")
            elif self.ended.get(name, state) != state:
                self.say(f"I3 {name} was {self.ended[name]} and is {state} in the journal")
        for name in submitted:
            if name not in runs:
                self.say(f"I3 {name} was accepted and is not in the journal")
        for run, n, _, ended, _ in attempts:
            if ended is None:
                self.say(f"I3 attempt {run}.{n} has not ended in the journal")
        elsewhere = sum(1 for *_, machine in attempts if machine and machine[:2] in {"i-", "ar"})
        counts: dict[str, int] = {}
        for state in runs.values():
            counts[state] = counts.get(state, 0) + 1
        return {
            "runs": counts,
            "attempts": len(attempts),
            "attempts_elsewhere": elsewhere,
            "launches_not_settled": len(launches),
        }


def secret_in_files(secret: str, *places: Path) -> list[str]:
    """Return the files that hold the secret."""
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    return [str(path) for path in files if secret.encode() in path.read_bytes()]
