"""What a machine is told of itself: EC2's IMDSv2 and ECS's task metadata, version 4."""

from __future__ import annotations

import json
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from .instances import Ec2Machine, user_data
from .machines import Machine
from .task_machine import TaskMachine
from .world import World

__all__ = ["Metadata"]

Answer = tuple[int, list[tuple[str, str]], bytes]


class Metadata:
    """Answers below ``/_sandbox/metadata/MACHINE``, the address that only the machine knows.

    Parameters
    ----------
    world : World
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._tokens: dict[str, tuple[str, float]] = {}

    def answer(self, name: str, path: str, environ: dict[str, Any]) -> Answer:
        """Answer a request of the machine with this id."""
        machine = self._world.machines.get(name)
        if machine is None or machine.state in {"terminated", "stopped"}:
            return _text(404, "")
        if isinstance(machine, Ec2Machine):
            return self._instance(machine, path, environ)
        found = machine.told(path) if isinstance(machine, TaskMachine) else None
        return _text(404, "") if found is None else _text(200, json.dumps(found))

    def _instance(self, machine: Ec2Machine, path: str, environ: dict[str, Any]) -> Answer:
        if path == "latest/api/token":
            seconds = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN_TTL_SECONDS", "")
            if environ["REQUEST_METHOD"] != "PUT" or not seconds.isdigit():
                return _text(400, "")
            token = secrets.token_urlsafe(24)
            self._tokens[token] = (machine.id, time.time() + int(seconds))
            return _text(200, token)
        given = environ.get("HTTP_X_AWS_EC2_METADATA_TOKEN")
        owner, until = self._tokens.get(given or "", ("", 0.0))
        if given is None and machine.instance.metadata_options.http_tokens == "required":
            return _text(401, "")
        if given is not None and (owner != machine.id or until < time.time()):
            return _text(401, "")
        if path == "latest/user-data":
            return 200, [("Content-Type", "application/octet-stream")], user_data(machine.instance)
        text = _items(machine).get(path.removeprefix("latest/meta-data/").rstrip("/"))
        return _text(404, "") if text is None else _text(200, text)


def _items(machine: Machine) -> dict[str, str]:
    address = machine.address
    items = {
        "ami-id": machine.image,
        "instance-id": machine.id,
        "instance-life-cycle": "spot" if machine.spot else "on-demand",
        "instance-type": machine.type,
        "local-ipv4": address.private,
        "placement/availability-zone": machine.zone,
        "placement/region": machine.region,
    }
    if address.public:
        items["public-ipv4"] = address.public
    if machine.notice is not None:
        when = datetime.fromtimestamp(machine.notice, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        items["spot/instance-action"] = json.dumps({"action": "terminate", "time": when})
        items["spot/termination-time"] = when
    return items


def _text(status: int, text: str) -> Answer:
    return status, [("Content-Type", "text/plain")], text.encode()
