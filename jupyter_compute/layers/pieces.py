"""The things that ``jupyter compute setup aws`` makes in an account, each with its opposite."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from jupyter_compute import settings
from jupyter_compute.layers.aws import NAME, OWNER_TAG, Account, tags
from jupyter_compute.layers.bucket_setup import Bucket
from jupyter_compute.layers.fargate import CONTAINER
from jupyter_compute.layers.network import find_group, make_group
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.layers.relay_group import RELAY_GROUP, complete, make_relay_group
from jupyter_compute.layers.tasks import LOG_GROUP, STREAM

__all__ = ["Piece", "pieces"]

_LOG_DAYS = 7
_PROCESSOR = "ARM64" if platform.machine() in {"aarch64", "arm64"} else "X86_64"
"""That of this computer, for which the packages of its environment are."""

_STOP_S = 120
"""The longest that AWS lets a task take to end; a spot task is told two minutes before."""


class Piece(Protocol):
    """One thing in an account."""

    @property
    def title(self) -> str:
        """What it is and its name."""

    @property
    def what(self) -> str:
        """What it is for, in half a sentence."""

    def state(self) -> Literal["missing", "other", "there"]:
        """Return whether it is there, and as it should be."""

    def owner(self) -> str:
        """Return the installation that made it, or nothing if that is not known."""

    def make(self) -> None:
        """Make it, or change it to what it should be."""

    def remove(self) -> None:
        """Remove it with all that is in it."""


def pieces(account: Account, vpc: str) -> Sequence[Piece]:
    """Return all of them, in the order in which they are made.

    Parameters
    ----------
    account : Account
    vpc : str
        The network of the machines.
    """
    role = _Role(account)
    found: list[Piece] = [
        _Group(account, vpc),
        _RelayGroup(account, vpc),
        _Logs(account),
        role,
        _Cluster(account),
        _Definition(account, role),
    ]
    # A bucket that is configured is the user's own.
    return found if settings.get("layers.aws.bucket") else [*found, Bucket(account)]


class _Group:
    def __init__(self, account: Account, vpc: str, name: str = NAME) -> None:
        self._account = account
        self._vpc = vpc
        self._name = name
        self.title = f"security group {name} in {vpc}"
        self.what = "lets nothing in"

    def state(self) -> Literal["missing", "other", "there"]:
        return "there" if self._found() else "missing"

    def owner(self) -> str:
        answer = self._account.call("ec2", "describe_security_groups", GroupIds=[self._found()])
        return _owner(answer["SecurityGroups"][0].get("Tags", ()))

    def make(self) -> None:
        make_group(self._account, self._vpc)

    def remove(self) -> None:
        self._account.call("ec2", "delete_security_group", GroupId=self._found())

    def _found(self) -> str:
        return find_group(self._account, self._vpc, self._name)


class _RelayGroup(_Group):
    def __init__(self, account: Account, vpc: str) -> None:
        super().__init__(account, vpc, RELAY_GROUP)
        self.what = "lets in machines, and a pool from its own address while it has a relay"

    def state(self) -> Literal["missing", "other", "there"]:
        if not self._found():
            return "missing"
        machines = find_group(self._account, self._vpc)
        there = machines and complete(self._account, self._vpc, [machines])
        return "there" if there else "other"

    def make(self) -> None:
        machines = make_group(self._account, self._vpc)
        make_relay_group(self._account, self._vpc, [machines])


class _Logs:
    def __init__(self, account: Account) -> None:
        self._account = account
        self.title = f"log group {LOG_GROUP}"
        self.what = f"what Fargate machines write, for {_LOG_DAYS} days"

    def state(self) -> Literal["missing", "other", "there"]:
        found = self._found()
        if found is None:
            return "missing"
        return "there" if found.get("retentionInDays") == _LOG_DAYS else "other"

    def owner(self) -> str:
        arn = str((self._found() or {})["arn"]).removesuffix(":*")
        answer = self._account.call("logs", "list_tags_for_resource", resourceArn=arn)
        return str(answer["tags"].get(OWNER_TAG, ""))

    def make(self) -> None:
        call, marks = self._account.call, tags(self._account.owner)
        if self.state() == "missing":
            call("logs", "create_log_group", logGroupName=LOG_GROUP, tags=marks)
        call("logs", "put_retention_policy", logGroupName=LOG_GROUP, retentionInDays=_LOG_DAYS)

    def remove(self) -> None:
        self._account.call("logs", "delete_log_group", logGroupName=LOG_GROUP)

    def _found(self) -> Mapping[str, Any] | None:
        answer = self._account.call("logs", "describe_log_groups", logGroupNamePrefix=LOG_GROUP)
        for group in answer["logGroups"]:
            if group["logGroupName"] == LOG_GROUP:
                found: Mapping[str, Any] = group
                return found
        return None


class _Role:
    """With which AWS itself starts tasks. Nothing that runs in a task has it."""

    def __init__(self, account: Account) -> None:
        self._account = account
        # Roles belong to no region, and what is removed in one must not be missed in another.
        self.name = f"{NAME}-tasks-{account.region}"
        self.title = f"role {self.name}"
        self.what = "with which AWS fetches the image and writes the log; machines do not have it"

    @property
    def arn(self) -> str:
        return str(self._found()["Arn"])

    def state(self) -> Literal["missing", "other", "there"]:
        try:
            self._found()
            self._account.call("iam", "get_role_policy", RoleName=self.name, PolicyName=NAME)
        except CallFailed as failure:
            if failure.code != "NoSuchEntity":
                raise
            return "missing"
        return "there"

    def owner(self) -> str:
        return _owner(self._found().get("Tags", ()))

    def make(self) -> None:
        trust = _statement("sts:AssumeRole", Principal={"Service": "ecs-tasks.amazonaws.com"})
        marks = [{"Key": name, "Value": text} for name, text in tags(self._account.owner).items()]
        try:
            self._account.call(
                "iam",
                "create_role",
                RoleName=self.name,
                AssumeRolePolicyDocument=_policy(trust),
                Description="AWS starts machines of jupyter-compute with it",
                Tags=marks,
            )
        except CallFailed as failure:
            if failure.code != "EntityAlreadyExists":
                raise
        document = _policy(
            _statement(
                "logs:CreateLogStream",
                "logs:PutLogEvents",
                Resource=f"arn:*:logs:*:*:log-group:{LOG_GROUP}:*",
            ),
            _statement(
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:GetAuthorizationToken",
                "ecr:GetDownloadUrlForLayer",
                Resource="*",
            ),
        )
        self._account.call(
            "iam", "put_role_policy", RoleName=self.name, PolicyName=NAME, PolicyDocument=document
        )

    def remove(self) -> None:
        call = self._account.call
        call("iam", "delete_role_policy", RoleName=self.name, PolicyName=NAME)
        call("iam", "delete_role", RoleName=self.name)

    def _found(self) -> Mapping[str, Any]:
        role: Mapping[str, Any] = self._account.call("iam", "get_role", RoleName=self.name)["Role"]
        return role


class _Cluster:
    def __init__(self, account: Account) -> None:
        self._account = account
        self.title = f"ECS cluster {NAME}"
        self.what = "where Fargate machines run"

    def state(self) -> Literal["missing", "other", "there"]:
        return "there" if self._found() else "missing"

    def owner(self) -> str:
        return _owner((self._found() or {}).get("tags", ()))

    def make(self) -> None:
        marks = tags(self._account.owner)
        self._account.call(
            "ecs",
            "create_cluster",
            clusterName=NAME,
            capacityProviders=["FARGATE", "FARGATE_SPOT"],
            tags=[{"key": name, "value": text} for name, text in marks.items()],
        )

    def remove(self) -> None:
        self._account.call("ecs", "delete_cluster", cluster=NAME)

    def _found(self) -> Mapping[str, Any] | None:
        answer = self._account.call("ecs", "describe_clusters", clusters=[NAME], include=["TAGS"])
        for cluster in answer["clusters"]:
            if cluster["status"] == "ACTIVE":
                found: Mapping[str, Any] = cluster
                return found
        return None


class _Definition:
    def __init__(self, account: Account, role: _Role) -> None:
        self._account = account
        self._role = role
        stock = f"public.ecr.aws/docker/library/python:{sys.version_info[0]}.{sys.version_info[1]}"
        self._image = str(settings.get("layers.fargate.image") or f"{stock}-slim")
        self.title = f"task definition {NAME}"
        self.what = f"starts {self._image}"

    def state(self) -> Literal["missing", "other", "there"]:
        found = self._found()
        if found is None:
            return "missing"
        image = found["taskDefinition"]["containerDefinitions"][0]["image"]
        return "there" if image == self._image else "other"

    def owner(self) -> str:
        return _owner((self._found() or {}).get("tags", ()))

    def make(self) -> None:
        marks, region = tags(self._account.owner), self._account.region
        log = {
            "awslogs-group": LOG_GROUP,
            "awslogs-region": region,
            "awslogs-stream-prefix": STREAM,
        }
        container = {
            "name": CONTAINER,
            "image": self._image,
            "essential": True,
            # No limit: the container may use all that the task has.
            "memoryReservation": 512,
            "stopTimeout": _STOP_S,
            "linuxParameters": {"initProcessEnabled": True},
            "logConfiguration": {"logDriver": "awslogs", "options": log},
        }
        self._account.call(
            "ecs",
            "register_task_definition",
            family=NAME,
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            runtimePlatform={"cpuArchitecture": _PROCESSOR, "operatingSystemFamily": "LINUX"},
            # The least that there is; each task says what it needs.
            cpu="256",
            memory="512",
            executionRoleArn=self._role.arn,
            containerDefinitions=[container],
            tags=[{"key": name, "value": text} for name, text in marks.items()],
        )

    def remove(self) -> None:
        known = list(
            self._account.pages(
                "ecs", "list_task_definitions", "taskDefinitionArns", familyPrefix=NAME
            )
        )
        for arn in known:
            self._account.call("ecs", "deregister_task_definition", taskDefinition=arn)
        for first in range(0, len(known), 10):
            self._account.call(
                "ecs", "delete_task_definitions", taskDefinitions=known[first : first + 10]
            )

    def _found(self) -> Mapping[str, Any] | None:
        try:
            return self._account.call(
                "ecs", "describe_task_definition", taskDefinition=NAME, include=["TAGS"]
            )
        except CallFailed as failure:
            if failure.code != "ClientException":
                raise
            return None


def _owner(marks: Sequence[Mapping[str, str]]) -> str:
    plain = {
        str(mark.get("Key", mark.get("key"))): mark.get("Value", mark.get("value"))
        for mark in marks
    }
    return str(plain.get(OWNER_TAG) or "")


def _statement(*actions: str, **rest: Any) -> Mapping[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), **rest}


def _policy(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
