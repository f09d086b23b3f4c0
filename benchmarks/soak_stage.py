"""Where a soak happens: a home, a sandbox, a service that is brought back, and two kernels."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import homes
import services
from clouds import HASTY
from homes import Home
from jupyter_compute import places
from jupyter_compute.errors import PoolError
from jupyter_compute.layers import setup
from sandboxes import Sandbox
from soak_actions import USERS, Action
from soak_checker import Checker, secret_in_files
from soak_money import Money, unasked
from soak_users import User, check_results, summary

__all__ = ["soak"]

_CLOCK_RATE = 10.0
_TIMERS = {
    "breaker_s": [4.0],
    "ec2_launch_deadline_s": 30.0,
    "fargate_launch_deadline_s": 30.0,
    "halt_s": 4.0,
    "launch_retry_s": 0.5,
    "least_charged_s": 60.0 / _CLOCK_RATE,
    "list_s": 1.0,
    "lost_machine_s": 10.0,
    "stray_s": 3.0,
    "sweep_first_s": 1.0,
    "sweep_s": 1.0,
    "tick_s": 0.5,
    "unavailable_s": 5.0,
}
_MOST = 4
_CONFIG = f"""
jupyter-compute:
  machine-idle-timeout: 6s
  max-machines: {_MOST}
  abandoned-timeout: 10s
"""
_QUIET_S = 90.0
_ALIVE = ("pending", "running", "stopping", "shutting-down")


class Stage:
    """Everything that is there during a soak."""

    def __init__(self) -> None:
        self.root = homes.new_root()
        self.home = Home(self.root)
        self.secret = f"canary-{secrets.token_hex(12)}"
        self.home.env["SOAK_ACCESS_TOKEN"] = self.secret
        (self.home.path / "dask").mkdir()
        (self.home.path / "dask" / "compute.yaml").write_text(_CONFIG)
        self.sandbox = Sandbox(self.home, boot_delay_s=4.0, clock_rate=_CLOCK_RATE)
        self.users = [User(self.home) for _ in range(USERS)]
        self.done: dict[str, int] = {}
        self.timeline: list[str] = []
        self.service: Any = None
        self._thaws: list[tuple[float, str]] = []

    def open(self) -> None:
        """Start everything."""
        with self.sandbox.entered():
            setup.run(yes=True, quiet=True)
        (foreign,) = self.sandbox.run()
        self.checker = Checker(self.sandbox, self.secret, _MOST, [foreign["InstanceId"]])
        self.foreign = str(foreign["InstanceId"])
        self.money = Money(self.sandbox, self.foreign, _TIMERS)
        self._serve()
        for user in self.users:
            user.start()

    def _serve(self) -> None:
        self.service = services.start(
            HASTY, HASTY_TIMERS=json.dumps(_TIMERS), **self.sandbox.environment
        )

    def look(self) -> None:
        """Have the checker look, and do what is due."""
        while self._thaws and self._thaws[0][0] < time.monotonic():
            with contextlib.suppress(PoolError):
                self.sandbox.ask("thaw", machine=self._thaws.pop(0)[1])
        try:
            status = services.ask("GET", "/v1/status").json
            runs = services.ask("GET", "/v1/runs?limit=1000").json["runs"]
        except (OSError, http.client.HTTPException):
            status = runs = None
            if self.service.poll() is not None:
                self.checker.say(f"the service ended by itself ({self.service.returncode})")
                self._serve()
        self.checker.look(status, runs)

    def do(self, action: Action) -> None:
        """Carry an action out, if it can be."""
        if "user" in action.about:
            happened = self.users[action.about["user"]].give(action)
        else:
            happened = getattr(self, "_" + action.kind.replace(" ", "_"))(action)
        if happened:
            text = f"{time.strftime('%H:%M:%S')} {action.kind} {dict(action.about)} {happened}"
            self.timeline.append(text)
            self.done[action.kind] = self.done.get(action.kind, 0) + 1

    def _interrupt(self, action: Action) -> str:
        return self.users[int(action.pick * USERS)].interrupt()

    def _cancel(self, action: Action) -> bool:
        active = {run["id"] for run in services.ask("GET", "/v1/status").json["runs"]}
        tasks = [task for user in self.users for task in user.tasks if task.run in active]
        if not tasks:
            return False
        task = tasks[int(action.pick * len(tasks))]
        task.cancelled = True
        how = "kill" if action.number % 2 else "interrupt"
        services.ask("POST", f"/v1/runs/{task.run}/cancel", {"action": how})
        return True

    def _machine(self, action: Action, *, spot: bool = False) -> str:
        found = [
            machine["id"]
            for machine in self.sandbox.machines("running")
            if machine["id"] != self.foreign and (machine["spot"] or not spot)
        ]
        return found[int(action.pick * len(found))] if found else ""

    def _turn(self, knob: str, machine: str) -> bool:
        try:
            self.sandbox.ask(knob, machine=machine)
        except PoolError:  # it has ended meanwhile
            return False
        return True

    def _kill_machine(self, action: Action) -> str:
        machine = self._machine(action)
        return machine if machine and self._turn("kill", machine) else ""

    def _notice(self, action: Action) -> str:
        machine = self._machine(action, spot=True)
        return machine if machine and self._turn("notice", machine) else ""

    def _freeze(self, action: Action) -> bool:
        machine = self._machine(action)
        if not machine or not self._turn("freeze", machine):
            return False
        self._thaws.append((time.monotonic() + action.about["thaw_s"], machine))
        self._thaws.sort()
        return True

    def _stop_machine(self, action: Action) -> bool:
        machine = self._machine(action)
        if not machine:
            return False
        path = f"/v1/machines/{machine}/stop"
        return services.ask("POST", path, {"force": action.number % 2 == 0}).status == 200

    def _boot_fails(self, action: Action) -> bool:
        self.sandbox.ask("boot-fail", count=1)
        return True

    def _fault(self, action: Action) -> bool:
        self.sandbox.ask("fault", **action.about)
        return True

    def _kill_kernel(self, action: Action) -> bool:
        return self.users[int(action.pick * USERS)].kill()

    def _kill_local_machine(self, action: Action) -> bool:
        try:
            os.kill(services.node(), signal.SIGKILL)
        except (AssertionError, OSError, ValueError):
            return False  # it is being replaced
        return True

    def _kill_service(self, action: Action) -> bool:
        with self._nobody_starts_one():
            services.kill(self.service)
            self._serve()
        return True

    @contextlib.contextmanager
    def _nobody_starts_one(self) -> Iterator[None]:
        """Hold the lock that a kernel takes to start a service: it would have other timers."""
        with places.start_lock().open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def settle(self) -> None:
        """Let everything come to rest."""
        self.sandbox.ask("clear")
        self.sandbox.ask("boot-fail", count=0)
        for _, machine in self._thaws:
            self._turn("thaw", machine)
        self._thaws.clear()
        for user in self.users:
            while user.busy:
                self.look()
                time.sleep(1)
            user.finish()
        self._until(lambda: not services.ask("GET", "/v1/status").json["runs"], "a run goes on")

    def _until(self, true: Any, otherwise: str) -> None:
        end = time.monotonic() + _QUIET_S
        while not true():
            if time.monotonic() > end:
                status = services.ask("GET", "/v1/status").json
                self.checker.say(f"{otherwise} {_QUIET_S:g} s after the end: {json.dumps(status)}")
                return
            self.look()
            time.sleep(0.5)

    def close(self) -> dict[str, Any]:
        """Look at what came of it, end everything, and look at what is left."""
        lost = self._lost()
        wrong = check_results(self.users, lost)
        submitted = [task.run for user in self.users for task in user.tasks if task.run]
        for user in self.users:
            user.close()
        self._until(self._empty, "I1 machines are left")
        machines = len(self.sandbox.machines()) - 1
        wrong += self.money.run_out(self._empty)
        self._until(self._empty, "I1 machines are left")
        time.sleep(2 * _TIMERS["tick_s"])  # what ended just now is written down once a tick
        costs, wrong_costs = self.money.compare()
        wrong += wrong_costs
        self.home.stop_pool()
        self.service.wait(30)
        figures = self.checker.close(places.journal(), submitted)
        figures |= {"machines": machines, **costs}
        wrong += unasked(places.journal(), machines, self.done, _MOST)
        wrong += [f"I8 the secret is in {path}" for path in self._files()]
        for text in wrong:
            self.checker.say(text)
        return figures

    def _empty(self) -> bool:
        return [m["id"] for m in self.sandbox.machines(*_ALIVE)] == [self.foreign]

    def _lost(self) -> dict[str, int]:
        found = {}
        for user in self.users:
            for task in user.tasks:
                if task.run:
                    found[task.run] = services.ask("GET", f"/v1/runs/{task.run}").json["attempt"]
        return found

    def _files(self) -> list[str]:
        # IPython's own history holds what users type, and a kernel's environment is its own.
        return secret_in_files(self.secret, self.home.path)


def soak(actions: Sequence[Action], lasts_s: float, *, keep: bool = False) -> dict[str, Any]:
    """Carry out the actions, and return figures and violations."""
    stage = Stage()
    print(f"home: {stage.home.path}", flush=True)
    with stage.home.entered():
        stage.open()
        _play(stage, actions, lasts_s)
        stage.settle()
        figures = stage.close()
    for close in (stage.sandbox.close, stage.home.close):
        try:
            close()
        except (AssertionError, PoolError) as error:
            stage.checker.say(f"I1 {error}")
    lines = [task.line() for user in stage.users for task in user.tasks]
    (stage.home.path / "timeline").write_text("\n".join(sorted(stage.timeline + lines)))
    if keep:
        import atexit
        import shutil

        atexit.unregister(shutil.rmtree)
    return {
        "done": dict(sorted(stage.done.items())),
        "work": summary(stage.users),
        **figures,
        "looks": stage.checker.looks,
        "most_machines": stage.checker.most_alive,
        "violations": stage.checker.violations,
    }


def _play(stage: Stage, actions: Sequence[Action], lasts_s: float) -> None:
    begun = time.monotonic()
    left = list(actions)
    next_look = begun
    while (now := time.monotonic()) - begun < lasts_s:
        if now >= next_look:
            stage.look()
            next_look = max(next_look + 1, time.monotonic() + 0.2)
        elif left and now - begun >= left[0].at_s:
            stage.do(left.pop(0))
        else:
            time.sleep(0.05)
