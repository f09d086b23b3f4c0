"""A Fargate task: one container as a machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moto.core.utils import utcnow
from moto.ecs.models import Task

from .machines import Machine

__all__ = ["TaskMachine"]

_STATUS = {"pending": "PROVISIONING", "running": "RUNNING", "shutting-down": "DEPROVISIONING"}


@dataclass(slots=True, kw_only=True)
class TaskMachine(Machine):
    """A task with one container.

    Parameters
    ----------
    task : Task
        Moto's own, which the API answers from.
    container : mapping
        The definition of its container.
    override : mapping
        What RunTask has changed of it.
    metadata : str
        The address of its metadata.
    security_groups : list
        Moto's own.
    """

    task: Task
    container: Mapping[str, Any]
    override: Mapping[str, Any]
    metadata: str
    security_groups: list[Any]

    @property
    def ends_with_its_program(self) -> bool:
        """A task ends with its essential container."""
        return True

    def command(self) -> tuple[list[str], dict[str, str], bytes | None]:
        """Return the container's command and variables."""
        given = [
            *(self.container.get("environment") or []),
            *(self.override.get("environment") or []),
        ]
        variables = {each["name"]: each["value"] for each in given}
        command = self.override.get("command") or self.container.get("command") or []
        arguments = [*(self.container.get("entryPoint") or []), *command]
        return (
            arguments or ["true"],
            variables
            | {
                "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
                "AWS_REGION": self.region,
                "ECS_CONTAINER_METADATA_URI_V4": self.metadata,
            },
            None,
        )

    def groups(self) -> list[Any]:
        """Return its security groups."""
        return self.security_groups

    def show(self) -> None:
        """Make the API tell the task's state, and why it ended."""
        task, container = self.task, self.task.containers[0]
        task.last_status = _STATUS.get(self.state, "STOPPED")
        container.last_status = task.last_status if self.state == "running" else "PENDING"
        if self.state == "running":
            task.started_at = utcnow()  # type: ignore[attr-defined]
        if self.state in {"pending", "running"}:
            return
        task.desired_status = container.last_status = "STOPPED"
        task.stopped_reason = self.why
        task.stop_code = self.data.get("stop_code", "UserInitiated")  # type: ignore[attr-defined]
        if self.state == "terminated":
            task.stopped_at = utcnow()  # type: ignore[attr-defined]
            container.exitCode = self.data.get("exit_code")  # type: ignore[assignment]

    def told(self, path: str) -> Any:
        """Return what the metadata endpoint tells at this path, None if nothing."""
        container = {
            "DockerId": self.task.id.replace("-", ""),
            "Name": self.container.get("name"),
            "Image": self.container.get("image"),
            "KnownStatus": "RUNNING",
            "DesiredStatus": self.task.desired_status,
            "Type": "NORMAL",
            "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": [self.address.private]}],
        }
        if path == "v4":
            return container
        if path != "v4/task":
            return None
        family, _, revision = self.task.task_definition_arn.rpartition("/")[2].partition(":")
        return {
            "Cluster": self.task.cluster_arn,
            "TaskARN": self.task.task_arn,
            "Family": family,
            "Revision": revision,
            "DesiredStatus": self.task.desired_status,
            "KnownStatus": self.task.last_status,
            "AvailabilityZone": self.zone,
            "LaunchType": "FARGATE",
            "Limits": {"CPU": self.cpu, "Memory": self.memory_mib},
            "Containers": [container],
        }
