"""The EC2 instances of this installation: run, found again, described, terminated.

What EC2 says of an instance may be late: one that has just been launched may be unknown to
every other call for a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jupyter_compute.layers.aws import LAUNCH_TAG, OWNER_TAG, Account
from jupyter_compute.layers.base import Address, Machine
from jupyter_compute.layers.launching import Fresh
from jupyter_compute.layers.refusals import CallFailed, not_listed_yet
from jupyter_compute.model import Offer

__all__ = ["Instances"]

_GONE = {"shutting-down", "terminated"}
_UNKNOWN = {"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"}
_MISMATCH = "IdempotentParameterMismatch"
_USED = {_MISMATCH, "IdempotentInstanceTerminated"}

_ENDINGS = {
    "Client.InstanceInitiatedShutdown": "it shut itself down",
    "Client.UserInitiatedShutdown": "it was terminated",
    "Server.SpotInstanceShutdown": "AWS took the spot machine back",
    "Server.SpotInstanceTermination": "AWS took the spot machine back",
}


class Instances:
    """Instances that carry the owner tag of an account's installation.

    Parameters
    ----------
    account : Account
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, account: Account, clock: Callable[[], float]) -> None:
        self._account = account
        self._fresh = Fresh(clock)

    def run(self, request: Mapping[str, Any], offer: Offer, launch_id: str) -> Sequence[Machine]:
        """Run instances, or return those that the request's client token stands for.

        Raises
        ------
        CallFailed
            If none was started.
        """
        try:
            answer = self._account.call("ec2", "run_instances", "launch", **request)
        except CallFailed as failure:
            if failure.code not in _USED:
                raise
            # A launch of the same name, from a pool before us, when something else was newest.
            found = [
                one
                for one in self._described({f"tag:{LAUNCH_TAG}": launch_id})
                if one.get("ClientToken") == request["ClientToken"]
            ]
            if not found and failure.code == _MISMATCH:
                raise not_listed_yet(failure) from failure
            return [_machine(one, [offer]) for one in found]
        machines = [_machine(one, [offer], launch_id) for one in answer["Instances"]]
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
        return self._fresh.completed([_machine(one, known) for one in self._described({})])

    def launched_by(
        self, launch_id: str, offers: Callable[[], Sequence[Offer]]
    ) -> Sequence[Machine]:
        """Return those of one launch.

        Raises
        ------
        CallFailed
            If AWS cannot be asked.
        """
        found = self._described({f"tag:{LAUNCH_TAG}": launch_id})
        known = offers()
        return [_machine(one, known) for one in found]

    def terminate(self, machine_id: str) -> bool:
        """Terminate one, and return whether it is gone.

        Raises
        ------
        CallFailed
            If AWS cannot be asked.
        """
        ours = machine_id in self._fresh.ids()
        found = self._own(machine_id)
        state = None if found is None else str(found["State"]["Name"])
        if state is None and not ours:
            return True
        if state in {None, "pending", "running", "stopping", "stopped"}:
            self._end(machine_id)
        return state == "terminated"

    def where(self, machine_id: str) -> Address | None:
        """Return the addresses of one; None as long as AWS does not tell all of them."""
        one = self._own(machine_id) or {}
        if one.get("PrivateIpAddress") and one.get("PublicIpAddress"):
            return Address(str(one["PrivateIpAddress"]), str(one["PublicIpAddress"]))
        return None

    def console(self, machine_id: str, lines: int) -> str:
        """Return the last lines of the console, or nothing if there are none yet."""
        try:
            answer = self._account.call("ec2", "get_console_output", InstanceId=machine_id)
        except CallFailed:
            return ""
        text = str(answer.get("Output", ""))
        return "\n".join(text.rstrip().splitlines()[-lines:])

    def _end(self, machine_id: str) -> None:
        try:
            self._account.call("ec2", "terminate_instances", InstanceIds=[machine_id])
        except CallFailed as failure:
            if failure.code not in _UNKNOWN:
                raise

    def _own(self, machine_id: str) -> Mapping[str, Any] | None:
        """Return what AWS says of an instance of ours, None if there is no such one."""
        try:
            answer = self._account.call("ec2", "describe_instances", InstanceIds=[machine_id])
        except CallFailed as failure:
            if failure.code in _UNKNOWN:
                return None
            raise
        for reservation in answer["Reservations"]:
            for one in reservation["Instances"]:
                if _tags(one).get(OWNER_TAG) == self._account.owner:
                    return dict(one)
        return None

    def _described(self, wanted: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        filters = {f"tag:{OWNER_TAG}": self._account.owner, **wanted}
        pages = self._account.pages(
            "ec2",
            "describe_instances",
            "Reservations",
            Filters=[{"Name": name, "Values": [text]} for name, text in filters.items()],
        )
        return [one for reservation in pages for one in reservation["Instances"]]


def _tags(instance: Mapping[str, Any]) -> Mapping[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}


def _machine(instance: Mapping[str, Any], offers: Sequence[Offer], launch_id: str = "") -> Machine:
    reason = instance.get("StateReason", {})
    gone = instance["State"]["Name"] in _GONE
    why = _ENDINGS.get(reason.get("Code", ""), str(reason.get("Message", "")).rstrip("."))
    return Machine(
        id=str(instance["InstanceId"]),
        launch=launch_id or _tags(instance).get(LAUNCH_TAG, ""),
        offer=_offer(instance, offers),
        state="gone" if gone else "alive",
        started=instance["LaunchTime"].timestamp() if "LaunchTime" in instance else time.time(),
        why=(why or "it was terminated") if gone else "",
    )


def _offer(instance: Mapping[str, Any], offers: Sequence[Offer]) -> Offer:
    """Return the offer that an instance was launched as, as far as it is still offered."""
    kind = str(instance["InstanceType"])
    spot = instance.get("InstanceLifecycle") == "spot"
    zone = str(instance.get("Placement", {}).get("AvailabilityZone", ""))
    like = [offer for offer in offers if offer.type == kind and offer.spot == spot]
    for offer in sorted(like, key=lambda offer: offer.zone != zone):
        if offer.zone in {"", zone}:
            return replace(offer, zone=zone)
    cores = instance.get("CpuOptions", {})
    cpu = cores.get("CoreCount", 1) * cores.get("ThreadsPerCore", 1)
    return Offer("ec2", kind, cpu=float(cpu), memory=0, spot=spot, region=zone[:-1], zone=zone)
