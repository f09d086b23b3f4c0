"""What the cloud tells a machine about itself: its id, its address, and its coming end.

EC2's instance metadata service (version 2) and the task metadata endpoint (version 4) of
ECS, both as AWS documents them.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

__all__ = ["TASK_NOTICE_S", "Self", "notice", "who_am_i"]

TASK_NOTICE_S = 120.0
"""From the SIGTERM until a task is killed, see ``stopTimeout`` of the task definition."""

_ANSWER_S = 2.0
_TOKEN_S = 21600


@dataclass(frozen=True, slots=True)
class Self:
    """This machine.

    Parameters
    ----------
    id : str
        Of the instance or the task.
    address : str
        Its private IPv4 address.
    is_task : bool
        Whether it is a task of ECS, to which a SIGTERM is all the notice there is.
    """

    id: str
    address: str
    is_task: bool = False


def who_am_i() -> Self:
    """Ask the cloud which machine this is.

    Raises
    ------
    OSError
        If nobody answers.
    """
    task = os.environ.get("ECS_CONTAINER_METADATA_URI_V4")
    if task:
        found = json.loads(_get(f"{task}/task"))
        networks = found["Containers"][0]["Networks"]
        return Self(found["TaskARN"].rpartition("/")[2], networks[0]["IPv4Addresses"][0], True)
    return Self(_instance("instance-id"), _instance("local-ipv4"))


def notice() -> float | None:
    """Return when this instance will be taken away, in UTC seconds; None if it will not.

    Raises
    ------
    OSError
        If nobody answers.
    """
    try:
        found: dict[str, Any] = json.loads(_instance("spot/instance-action"))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    return dt.datetime.fromisoformat(found["time"]).timestamp()


def _instance(path: str) -> str:
    service = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
    service = service.rstrip("/")
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_S)}
    token = _get(f"{service}/latest/api/token", "PUT", lifetime)
    return _get(f"{service}/latest/meta-data/{path}", "GET", {"X-aws-ec2-metadata-token": token})


def _get(url: str, method: str = "GET", headers: dict[str, str] | None = None) -> str:
    request = urllib.request.Request(url, headers=headers or {}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_ANSWER_S) as answer:
        text: str = answer.read().decode()
        return text
