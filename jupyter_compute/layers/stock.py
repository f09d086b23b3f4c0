"""The archive for stock images, put where machines can fetch it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.bundle import build, environment
from jupyter_compute.layers.memory import Memory
from jupyter_compute.layers.refusals import CallFailed

__all__ = ["Archive", "Stock"]

_SIGNED_S = 3600
_LOOK_S = 600.0
_NOT_THERE = {"404", "NoSuchKey", "NotFound"}


@dataclass(frozen=True, slots=True)
class Archive:
    """What a machine fetches and runs.

    Parameters
    ----------
    url : str
        Good for an hour, and for nothing else.
    sha256 : str
    """

    url: str
    sha256: str


class Stock:
    """The archive of this interpreter's environment, in the account's bucket.

    Parameters
    ----------
    account : Account
    make : callable, optional
        Returns the archive.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        account: Account,
        make: Callable[[], bytes] = lambda: build(environment()),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._make = make
        self._memory = Memory(clock)

    def archive(self) -> Archive:
        """Return where the archive is, put there if it is not.

        Raises
        ------
        EnvironmentMismatch
            If a package cannot be installed on machines.
        CallFailed
            If the bucket is not there, or may not be written.
        """
        digest: str = self._memory.get("digest", self._put, _LOOK_S)
        url = self._account.presigner().generate_presigned_url(
            "get_object",
            Params={"Bucket": self._account.bucket, "Key": _key(digest)},
            ExpiresIn=_SIGNED_S,
        )
        return Archive(str(url), digest)

    def _put(self) -> str:
        body = self._make()
        digest = hashlib.sha256(body).hexdigest()
        bucket = self._account.bucket
        try:
            self._account.call("s3", "head_object", Bucket=bucket, Key=_key(digest))
        except CallFailed as failure:
            if failure.code not in _NOT_THERE:
                raise
            self._upload(bucket, digest, body)
        return digest

    def _upload(self, bucket: str, digest: str, body: bytes) -> None:
        try:
            self._account.call("s3", "put_object", Bucket=bucket, Key=_key(digest), Body=body)
        except CallFailed as failure:
            if failure.code != "NoSuchBucket":
                raise
            raise CallFailed(
                f"there is no bucket {bucket} from which machines could install packages",
                hint="run `jupyter compute setup aws`, or set layers.ec2.ami to a prepared image",
                code=failure.code,
            ) from failure


def _key(digest: str) -> str:
    return f"bundles/{digest}.pyz"
