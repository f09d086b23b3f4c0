"""The bucket through which inputs and results travel when machines are elsewhere."""

from __future__ import annotations

from typing import Any, Literal

from jupyter_compute.layers.aws import OWNER_TAG, Account, tags
from jupyter_compute.layers.refusals import CallFailed

__all__ = ["Bucket"]

_DAYS = 7
_NOT_THERE = {"404", "NoSuchBucket", "NotFound"}


class Bucket:
    """A bucket that is closed to the public, encrypted, and forgets after a week.

    Parameters
    ----------
    account : Account
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._name = account.bucket
        self.title = f"bucket {self._name}"
        self.what = (
            f"inputs and results on their way, encrypted, not public, gone after {_DAYS} days"
        )

    def state(self) -> Literal["missing", "other", "there"]:
        """Return whether it is there with all its settings."""
        try:
            self._call("head_bucket")
            rules = self._call("get_bucket_lifecycle_configuration")["Rules"]
            block = self._call("get_public_access_block")["PublicAccessBlockConfiguration"]
        except CallFailed as failure:
            if failure.code in _NOT_THERE:
                return "missing"
            if failure.code in {
                "NoSuchLifecycleConfiguration",
                "NoSuchPublicAccessBlockConfiguration",
            }:
                return "other"
            raise
        complete = all(block.values()) and any(rule["Status"] == "Enabled" for rule in rules)
        return "there" if complete else "other"

    def owner(self) -> str:
        """Return the installation that made it."""
        try:
            marks = self._call("get_bucket_tagging")["TagSet"]
        except CallFailed as failure:
            if failure.code != "NoSuchTagSet":
                raise
            return ""
        return str({mark["Key"]: mark["Value"] for mark in marks}.get(OWNER_TAG, ""))

    def make(self) -> None:
        """Make it, or give it the settings that it lacks."""
        if self.state() == "missing":
            self._create()
        marks = [{"Key": k, "Value": v} for k, v in tags(self._account.owner).items()]
        self._call("put_bucket_tagging", Tagging={"TagSet": marks})
        closed = (
            "BlockPublicAcls",
            "BlockPublicPolicy",
            "IgnorePublicAcls",
            "RestrictPublicBuckets",
        )
        self._call(
            "put_public_access_block",
            PublicAccessBlockConfiguration=dict.fromkeys(closed, True),
        )
        by_default = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        self._call(
            "put_bucket_encryption", ServerSideEncryptionConfiguration={"Rules": [by_default]}
        )
        rule = {
            "ID": "gone after days",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "Expiration": {"Days": _DAYS},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }
        self._call("put_bucket_lifecycle_configuration", LifecycleConfiguration={"Rules": [rule]})

    def remove(self) -> None:
        """Remove it and everything in it."""
        pages = self._account.pages
        for upload in pages("s3", "list_multipart_uploads", "Uploads", Bucket=self._name):
            self._call("abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"])
        keys = [
            {"Key": one["Key"]}
            for one in pages("s3", "list_objects_v2", "Contents", Bucket=self._name)
        ]
        for first in range(0, len(keys), 1000):
            some = keys[first : first + 1000]
            self._call("delete_objects", Delete={"Objects": some, "Quiet": True})
        self._call("delete_bucket")

    def _create(self) -> None:
        region = self._account.region
        # The first region has no name there.
        where = {} if region == "us-east-1" else {"LocationConstraint": region}
        request = {"CreateBucketConfiguration": where} if where else {}
        self._call("create_bucket", **request)

    def _call(self, operation: str, **request: Any) -> Any:
        return self._account.call("s3", operation, Bucket=self._name, **request)
