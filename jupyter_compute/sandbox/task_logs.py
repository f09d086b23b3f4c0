"""The log streams of tasks: what their containers print, as CloudWatch Logs has it."""

from __future__ import annotations

import time
from typing import Any

from moto.logs.models import LogGroup, LogsBackend

from .amending import replace
from .task_machine import TaskMachine
from .world import World

__all__ = ["amend"]

_READERS = ("describe_log_streams", "filter_log_events", "get_log_events")


def amend(world: World) -> None:
    """Let whoever reads logs find what the tasks have printed so far."""
    for name in _READERS:
        read = getattr(LogsBackend, name)

        def reader(backend: Any, *given: Any, _read: Any = read, **more: Any) -> Any:
            with world.lock:
                for machine in world.machines.values():
                    if isinstance(machine, TaskMachine):
                        _publish(backend, machine)
            return _read(backend, *given, **more)

        replace(LogsBackend, name, reader)


def _publish(backend: Any, machine: TaskMachine) -> None:
    """Put the lines that are new into the task's stream, if its definition asks for one."""
    log = machine.container.get("logConfiguration") or {}
    options = log.get("options") or {}
    group: LogGroup | None = backend.groups.get(options.get("awslogs-group"))
    if log.get("logDriver") != "awslogs" or group is None or machine.guest is None:
        return
    prefix = options.get("awslogs-stream-prefix", "ecs")
    stream = f"{prefix}/{machine.container['name']}/{machine.id}"
    lines = machine.guest.output().decode(errors="replace").splitlines()
    published = machine.data.setdefault("published", 0)
    if not published:
        backend.ensure_log_stream(group.name, stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in lines[published:]]
    if events:
        group.put_log_events(stream, events)
        machine.data["published"] = len(lines)
