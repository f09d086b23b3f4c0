"""The ECS tasks of this installation: run, found again, described, stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jupyter_compute import settings
from jupyter_compute.layers.aws import LAUNCH_TAG, NAME, OWNER_TAG, Account, borrowed
from jupyter_compute.layers.base import Machine
from jupyter_compute.layers.launching import Fresh
from jupyter_compute.layers.refusals import CallFailed, Kind, not_listed_yet
from jupyter_compute.layers.sizes import Size
from jupyter_compute.model import Offer

__all__ = ["LOG_GROUP", "STREAM", "Tasks"]

LOG_GROUP = "/jupyter-compute"
STREAM = "machine"

_DESCRIBED_AT_ONCE = 100

_SAYINGS: Mapping[str, Kind] = {
    "capacity is unavailable": "capacity",
    "resource:": "capacity",
    "reached the limit": "quota",
    "throttl": "throttled",
}
"""What ECS says in words only, in the reason of a failure or of a ClientException."""

_ENDINGS = {
    "EssentialContainerExited": "its process ended",
    "SpotInterruption": "AWS took the spot machine back",
    "UserInitiated": "it was stopped",
}


class Tasks:
    """Tasks that carry the owner tag of an account's installation.

    Parameters
    ----------
    account : Account
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, account: Account, clock: Callable[[], float]) -> None:
        self._account = account
        self._fresh = Fresh(clock)

    @property
    def cluster(self) -> str:
        """The cluster that they run in."""
        theirs = borrowed("ecs.cluster_arn")
        return str(settings.get("layers.fargate.cluster") or theirs or NAME)

    def run(self, request: Mapping[str, Any], offer: Offer, launch_id: str) -> Sequence[Machine]:
        """Run tasks, or return those that the request's client token stands for.

        Raises
        ------
        CallFailed
            If none was started.
        """
        try:
            answer = self._account.call("ecs", "run_task", "launch", **request)
        except CallFailed as failure:
            if failure.code == "ConflictException":
                # A launch of the same name, from a pool before us, when something else was set.
                found = self.launched_by(launch_id, lambda: [offer])
                if not found:
                    raise not_listed_yet(failure) from failure
                return found
            raise _understood(failure) from failure
        if not answer["tasks"]:
            raise _understood(_failed(answer.get("failures", ()), self._account.region))
        machines = [_machine(task, [offer], launch_id) for task in answer["tasks"]]
        self._fresh.add(machines)
        return machines

    def list(self, offers: Callable[[], Sequence[Offer]]) -> Sequence[Machine]:
        """Return those that are alive or just gone.

        Raises
        ------
        CallFailed
            If AWS cannot be asked.
        """
        known = offers()
        return self._fresh.completed([_machine(task, known) for task in self._described()])

    def launched_by(
        self, launch_id: str, offers: Callable[[], Sequence[Offer]]
    ) -> Sequence[Machine]:
        """Return those of one launch.

        Raises
        ------
        CallFailed
            If AWS cannot be asked.
        """
        return [machine for machine in self.list(offers) if machine.launch == launch_id]

    def stop(self, machine_id: str) -> bool:
        """Stop one, and return whether it is gone.

        Raises
        ------
        CallFailed
            If AWS cannot be asked.
        """
        found = list(self._ours([machine_id]))
        if not found and machine_id not in self._fresh.ids():
            return True
        if found and found[0]["lastStatus"] == "STOPPED":
            return True
        if not found or found[0].get("desiredStatus") != "STOPPED":
            self._end(machine_id)
        return False

    def console(self, machine_id: str, lines: int) -> str:
        """Return the last lines of the log, or nothing if there are none."""
        try:
            answer = self._account.call(
                "logs",
                "get_log_events",
                logGroupName=LOG_GROUP,
                logStreamName=f"{STREAM}/{STREAM}/{machine_id}",
                limit=lines,
            )
        except CallFailed:
            return ""
        return "\n".join(str(event["message"]).rstrip() for event in answer["events"][-lines:])

    def _end(self, machine_id: str) -> None:
        try:
            self._account.call(
                "ecs",
                "stop_task",
                cluster=self.cluster,
                task=machine_id,
                reason="no longer needed by its pool",
            )
        except CallFailed as failure:
            if "not found" not in str(failure):
                raise

    def _described(self) -> Iterator[Mapping[str, Any]]:
        try:
            arns = [
                arn
                for state in ("RUNNING", "STOPPED")
                for arn in self._account.pages(
                    "ecs", "list_tasks", "taskArns", cluster=self.cluster, desiredStatus=state
                )
            ]
        except CallFailed as failure:
            if failure.code == "ClusterNotFoundException":
                return  # without `setup aws` there is nothing
            raise
        for first in range(0, len(arns), _DESCRIBED_AT_ONCE):
            yield from self._ours(arns[first : first + _DESCRIBED_AT_ONCE])

    def _ours(self, ids: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        try:
            answer = self._account.call(
                "ecs", "describe_tasks", cluster=self.cluster, tasks=list(ids), include=["TAGS"]
            )
        except CallFailed as failure:
            if failure.code in {"ClusterNotFoundException", "InvalidParameterException"}:
                return
            raise
        for task in answer["tasks"]:
            if _tags(task).get(OWNER_TAG) == self._account.owner:
                yield task


def _failed(failures: Sequence[Mapping[str, Any]], region: str) -> CallFailed:
    reasons = sorted(
        {f"{one.get('reason', '')} {one.get('detail', '')}".strip() for one in failures}
    )
    return CallFailed(f"ecs:RunTask in {region}: {'; '.join(reasons) or 'no task was started'}")


def _understood(failure: CallFailed) -> CallFailed:
    """Return the failure with the kind that its words tell, as ECS has few codes."""
    if failure.kind != "invalid":
        return failure
    text = failure.message.lower()
    for saying, kind in _SAYINGS.items():
        if saying in text:
            return CallFailed(failure.message, hint=failure.hint, **{**failure.facts, "kind": kind})
    return failure


def _tags(task: Mapping[str, Any]) -> Mapping[str, str]:
    return {tag["key"]: tag["value"] for tag in task.get("tags", ())}


def _machine(task: Mapping[str, Any], offers: Sequence[Offer], launch_id: str = "") -> Machine:
    gone = task["lastStatus"] == "STOPPED"
    return Machine(
        id=str(task["taskArn"]).rpartition("/")[2],
        launch=launch_id or _tags(task).get(LAUNCH_TAG, ""),
        offer=_offer(task, offers),
        state="gone" if gone else "alive",
        started=_started(task),
        why=_why(task) if gone else "",
    )


def _started(task: Mapping[str, Any]) -> float:
    for name in ("createdAt", "startedAt"):
        if name in task:
            return float(task[name].timestamp())
    return time.time()


def _why(task: Mapping[str, Any]) -> str:
    for container in task.get("containers", ()):
        if container.get("exitCode"):
            return f"its process ended with exit code {container['exitCode']}"
    said = str(task.get("stoppedReason", "")).rstrip(".")
    return _ENDINGS.get(str(task.get("stopCode", ""))) or said or "it was stopped"


def _offer(task: Mapping[str, Any], offers: Sequence[Offer]) -> Offer:
    """Return the offer that a task was launched as, as far as it is still offered."""
    own = task.get("overrides", {})
    size = Size(int(own.get("cpu") or task["cpu"]), int(own.get("memory") or task["memory"]))
    spot = task.get("capacityProviderName") == "FARGATE_SPOT"
    zone = str(task.get("availabilityZone", ""))
    for offer in offers:
        if offer.spot == spot and offer.zone in {"", zone} and Size.parse(offer.type) == size:
            return replace(offer, zone=zone)
    memory = size.memory * 2**20
    return Offer("fargate", str(size), size.cpu / 1024, memory, spot=spot, zone=zone)
