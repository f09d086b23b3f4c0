"""Which image an EC2 machine starts from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_compute import settings
from jupyter_compute.layers.aws import Account, borrowed
from jupyter_compute.layers.refusals import CallFailed

__all__ = ["Image", "architecture", "find_image"]

_NEWEST = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}"


@dataclass(frozen=True, slots=True)
class Image:
    """An image to start from.

    Parameters
    ----------
    id : str
    architecture : {"x86_64", "arm64"}
    root : str
        The name of its root device.
    """

    id: str
    architecture: str
    root: str


def architecture(type_name: str) -> str:
    """Return the architecture of a machine type, which is in its name.

    A ``g`` after the generation means AWS's own ARM processors, as in ``m7g`` and ``c6gn``
    (Amazon EC2 instance type naming conventions); the first of them had no generation.
    """
    family = type_name.partition(".")[0]
    return "arm64" if re.match(r"a1$|[a-z]+\d+g|.*-gb\d", family) else "x86_64"


def find_image(account: Account, wanted: str) -> Image:
    """Return the image that is configured, else the newest Amazon Linux 2023.

    Parameters
    ----------
    account : Account
    wanted : {"x86_64", "arm64"}
        Which one, if none is configured.

    Raises
    ------
    CallFailed
        If it is not there.
    """
    chosen = settings.get("layers.ec2.ami") or borrowed("ec2.ami")
    try:
        image = _describe(account, str(chosen)) if chosen else _newest(account, wanted)
    except CallFailed as failure:
        if not failure.code.startswith("InvalidAMIID"):
            raise
        raise CallFailed(
            f"there is no image {chosen} in {account.region}",
            hint="images belong to a region: set layers.ec2.ami to one of this region, or to null",
            code=failure.code,
        ) from failure
    return Image(str(image["ImageId"]), str(image["Architecture"]), str(image["RootDeviceName"]))


def _newest(account: Account, wanted: str) -> Mapping[str, Any]:
    name = _NEWEST.format(wanted)
    try:
        found = account.call("ssm", "get_parameter", Name=name)["Parameter"]["Value"]
    except CallFailed as failure:
        # The policy of many accounts knows nothing of SSM.
        if failure.code != "ParameterNotFound" and failure.kind != "permission":
            raise
        return _newest_by_owner(account, wanted)
    return _describe(account, str(found))


def _newest_by_owner(account: Account, wanted: str) -> Mapping[str, Any]:
    filters = [
        {"Name": "name", "Values": ["al2023-ami-2023.*"]},
        {"Name": "architecture", "Values": [wanted]},
        {"Name": "state", "Values": ["available"]},
    ]
    answer = account.call("ec2", "describe_images", Owners=["amazon"], Filters=filters)
    if not answer["Images"]:
        raise CallFailed(
            f"there is no image of Amazon Linux 2023 for {wanted} in {account.region}",
            hint="set layers.ec2.ami",
        )
    newest: Mapping[str, Any] = max(answer["Images"], key=lambda image: str(image["CreationDate"]))
    return newest


def _describe(account: Account, image: str) -> Mapping[str, Any]:
    found = account.call("ec2", "describe_images", ImageIds=[image])["Images"]
    if not found:
        raise CallFailed(f"there is no image {image}", code="InvalidAMIID.NotFound")
    described: Mapping[str, Any] = found[0]
    return described
