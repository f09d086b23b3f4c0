"""What clouds say through dask-cloudprovider: why they refuse, and which machines there are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_compute.layers.aws import LAUNCH_TAG, OWNER_TAG
from jupyter_compute.layers.refusals import CallFailed, Kind, translate

__all__ = ["Seen", "failure", "is_unknown", "seen"]

_WORDS: tuple[tuple[Kind, str], ...] = (
    ("throttled", r"rate.?limit|too many requests|throttl"),
    ("quota", r"quota|limit ?exceeded|limit_exceeded|droplet limit|resource_limit"),
    ("capacity", r"resource_pool_exhausted|stockout|resource_unavailable|no valid host"),
    ("capacity", r"AllocationFailed|SkuNotAvailable|insufficient.{0,20}capacity"),
    ("credentials", r"unauthori[sz]ed|invalid.{0,20}token|credentials"),
    ("permission", r"forbidden|permission|not authori[sz]ed|AuthorizationFailed"),
)
"""By what is told apart what a cloud says, as each has classes of exceptions of its own."""

_UNKNOWN = r"\bnot ?found\b|not_found|does not exist|\b404\b"
_GONE = {"shutting-down", "terminated"}


@dataclass(frozen=True, slots=True)
class Seen:
    """A machine as AWS lists it.

    Parameters
    ----------
    launch : str
    type : str
    over : bool
        It is gone, and not only going.
    going : bool
    why : str
        How it ended.
    started : float
        In UTC seconds.
    identity : mapping
        As `vmclass.identity` returns it.
    """

    launch: str
    type: str
    over: bool
    going: bool
    why: str
    started: float
    identity: Mapping[str, Any]


def failure(error: BaseException, layer: str, action: str) -> CallFailed:
    """Return an error of a cloud's own library in our words.

    Parameters
    ----------
    error : BaseException
    layer : str
    action : str
        What was tried, e.g. ``launch``.
    """
    if isinstance(error, CallFailed):
        return error
    if type(error).__module__.startswith("botocore") and isinstance(error, Exception):
        found = translate(error, "ec2", action, "default", "")
        if found is not None:
            return CallFailed(f"{layer}: {found.message}", hint=found.hint, **found.facts)
    text = " ".join(str(error).split())[:500] or type(error).__name__
    if isinstance(error, (OSError, TimeoutError)):
        return CallFailed(f"{layer} gave no answer to {action}: {text}", kind="unanswered")
    kinds = (kind for kind, words in _WORDS if re.search(words, text, re.IGNORECASE))
    return CallFailed(f"{layer} refused to {action}: {text}", kind=next(kinds, "invalid"))


def is_unknown(error: BaseException) -> bool:
    """Tell whether a cloud says that there is no such machine."""
    return re.search(_UNKNOWN, f"{type(error).__name__} {error}", re.IGNORECASE) is not None


async def seen(cluster: Any, owner: str) -> list[tuple[str, Seen]]:
    """Return the machines with the owner's tag, each by its name.

    Two may have the same name: a launch whose answer was lost may have been carried out twice.

    Parameters
    ----------
    cluster : EC2Cluster
    owner : str
    """
    found = []
    filters = [{"Name": f"tag:{OWNER_TAG}", "Values": [owner]}]
    async with cluster.boto_session.create_client("ec2", region_name=cluster.region) as client:
        pages = client.get_paginator("describe_instances").paginate(Filters=filters)
        async for page in pages:
            for reservation in page["Reservations"]:
                found += [_seen(instance) for instance in reservation["Instances"]]
    return found


def _seen(instance: Mapping[str, Any]) -> tuple[str, Seen]:
    tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}
    state = instance["State"]["Name"]
    why = str(instance.get("StateReason", {}).get("Message", "")).rstrip(".")
    return tags.get("Name", ""), Seen(
        launch=tags.get(LAUNCH_TAG, ""),
        type=str(instance["InstanceType"]),
        over=state == "terminated",
        going=state in _GONE,
        why=(why or "it was terminated") if state in _GONE else "",
        started=instance["LaunchTime"].timestamp(),
        identity={"instance": {"mapping": {"InstanceId": instance["InstanceId"]}}},
    )
