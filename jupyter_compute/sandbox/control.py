"""The knobs of a running sandbox, as the command line turns them."""

from __future__ import annotations

import hmac
import json
import signal
from collections.abc import Callable
from typing import Any

from .bill import bill
from .booter import Booter
from .faults import Fault
from .machines import GONE, Machine
from .metadata import Metadata
from .networks import Networks
from .prices import Prices
from .world import World

__all__ = ["Control", "Refused"]

Answer = tuple[int, list[tuple[str, str]], bytes]


class Refused(Exception):
    """The knob cannot be turned; the message is for the user."""


class Control:
    """Answers ``POST /_sandbox/control/NAME`` with the sandbox's key, machines' metadata, and
    from which address somebody asks.

    Parameters
    ----------
    world : World
    booter : Booter
    prices : Prices
    networks : Networks
    """

    def __init__(self, world: World, booter: Booter, prices: Prices, networks: Networks) -> None:
        self._world = world
        self._booter = booter
        self._networks = networks
        self._metadata = Metadata(world)
        self._verbs: dict[str, Callable[..., Any]] = {
            "bill": lambda: bill(world, prices),
            "boot-fail": self._boot_fail,
            "calls": lambda since=0: world.calls.since(since),
            "clear": lambda: {"cleared": world.faults.clear()},
            "cut": lambda machine: self._join(machine, joined=False),
            "fault": self._fault,
            "freeze": lambda machine: self._freeze(machine, frozen=True),
            "heal": lambda machine: self._join(machine, joined=True),
            "kill": self._kill,
            "machines": lambda: [machine.listed() for machine in list(world.machines.values())],
            "notice": self._notice,
            "quota": self._quota,
            "thaw": lambda machine: self._freeze(machine, frozen=False),
        }

    def answer(self, environ: dict[str, Any]) -> Answer:
        """Answer a request below ``/_sandbox``."""
        if environ["PATH_INFO"] == "/_sandbox/checkip":
            return 200, [("Content-Type", "text/plain")], f"{environ['REMOTE_ADDR']}\n".encode()
        _, _, kind, name, *rest = environ["PATH_INFO"].split("/", 4)
        if kind == "metadata":
            return self._metadata.answer(name, "/".join(rest), environ)
        key = environ.get("HTTP_X_SANDBOX_KEY", "")
        if not hmac.compare_digest(key.encode(), self._world.key.encode()):
            return _json(403, {"message": "this sandbox belongs to somebody else"})
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            with self._world.lock:
                return _json(200, self._verbs[name](**json.loads(body or b"{}")))
        except (KeyError, TypeError):
            return _json(400, {"message": f"the running sandbox does not know this: {name}"})
        except Refused as refused:
            return _json(409, {"message": str(refused)})

    def _machine(self, name: str) -> Machine:
        machine = self._world.machines.get(name)
        if machine is None:
            raise Refused(f"there is no machine {name}; see `jupyter compute sandbox machines`")
        if machine.state in GONE:
            raise Refused(f"{name} is {machine.state} already")
        return machine

    def _fault(self, **rule: Any) -> dict[str, Any]:
        self._world.faults.add(Fault(**rule))
        return {"faults": self._world.faults.listed()}

    def _kill(self, machine: str) -> dict[str, Any]:
        found = self._machine(machine)
        why = (
            "Server.InternalError: Internal error on launch"
            if found.guest is None
            else ("Server.InternalError: the sandbox was told to kill it")
        )
        self._booter.end(found, why, at_once=True)
        return found.listed()

    def _freeze(self, machine: str, *, frozen: bool) -> dict[str, Any]:
        found = self._machine(machine)
        if found.guest is None:
            raise Refused(f"{machine} has not booted yet")
        if frozen:
            found.guest.freeze()
        else:
            found.guest.signal(signal.SIGCONT)
        found.frozen = frozen
        return found.listed()

    def _join(self, machine: str, *, joined: bool) -> dict[str, Any]:
        found = self._machine(machine)
        if found.guest is None:
            raise Refused(f"{machine} has not booted yet")
        refused = self._networks.join(found, joined=joined)
        if refused:
            raise Refused(refused)
        found.cut = not joined
        return found.listed()

    def _notice(self, machine: str) -> dict[str, Any]:
        found = self._machine(machine)
        if not found.spot:
            raise Refused(f"{machine} is no spot machine: AWS does not take it away")
        self._booter.notice(found)
        return found.listed()

    def _quota(self, vcpus: int | None) -> dict[str, Any]:
        self._world.quota = vcpus
        return {"quota": vcpus}

    def _boot_fail(self, count: int) -> dict[str, Any]:
        self._world.boots_that_fail = count
        return {"boot-fail": count}


def _json(status: int, value: Any) -> Answer:
    return status, [("Content-Type", "application/json")], json.dumps(value).encode()
