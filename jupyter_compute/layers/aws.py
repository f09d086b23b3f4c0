"""An AWS account as configured: who asks, where, and what it says when it refuses.

Settings are ours (``layers.aws.*``) or those that users of dask-cloudprovider have already
(``cloudprovider.ec2.*`` and so on), and else those of boto3: profiles, environment, roles.
``AWS_ENDPOINT_URL`` points everything at another endpoint, as it does for boto3.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from jupyter_compute import hosts, places, settings
from jupyter_compute.layers.bucket import Bucket
from jupyter_compute.layers.refusals import CallFailed, translate
from jupyter_compute.layers.stores import Store

__all__ = [
    "LAUNCH_TAG",
    "NAME",
    "OWNER_TAG",
    "ROLE_TAG",
    "Account",
    "borrowed",
    "installation",
    "tags",
]

OWNER_TAG = "jupyter-compute:owner"
LAUNCH_TAG = "jupyter-compute:launch"
ROLE_TAG = "jupyter-compute:role"
NAME = "jupyter-compute"

_CONNECT_S = 5
_READ_S = 30
_TRIES = {"launch": 2, "other": 3}
"""A launch has other offers to go to: what is refused twice is not asked for again."""

_SERVED_FROM = {"pricing": "us-east-1"}
"""Services that few regions have, and that answer for all of them."""


def installation() -> str:
    """Return the id that tells what this installation launched from everything else.

    It is made once, and is the same for all pools that share a data directory.
    """
    file = places.data_dir() / "installation"
    with contextlib.suppress(FileNotFoundError):
        return file.read_text().strip()
    draft = file.with_name(f"installation.{secrets.token_hex(6)}")
    draft.write_text(f"{secrets.token_hex(6)}\n")
    # Whoever comes first decides: a link is never made over another.
    with contextlib.suppress(FileExistsError):
        os.link(draft, file)
    draft.unlink()
    return file.read_text().strip()


def tags(owner: str, launch: str = "") -> dict[str, str]:
    """Return the tags of what is launched or made once, by which it is found again."""
    marks = {OWNER_TAG: owner, "Name": NAME}
    return {**marks, LAUNCH_TAG: launch} if launch else marks


def borrowed(name: str) -> Any:
    """Return a setting of dask-cloudprovider, e.g. ``ec2.vpc``; None unless somebody set it."""
    import dask.config

    key = f"cloudprovider.{name}"
    value = dask.config.get(key, None)
    loaded = sys.modules.get("dask_cloudprovider.config")
    if loaded is not None and value == dask.config.get(
        name, None, config=loaded.defaults["cloudprovider"]
    ):
        # Loaded for another layer, it has brought its defaults along.
        value = dask.config.get(key, None, config=dask.config.collect(dask.config.paths))
    return None if value in ("", [], {}) else value


class Account:
    """An account and a region, reached with the credentials that are configured.

    Nothing is loaded or asked before the first use. May be used from any thread.

    Parameters
    ----------
    owner : str, optional
        The id of the installation.
    """

    def __init__(self, owner: str | None = None) -> None:
        self._owner = owner
        self._lock = threading.RLock()
        self._number = ""
        self._session: Any = None
        self._store: Store | None = None
        self._clients: dict[tuple[str, str], Any] = {}

    @property
    def owner(self) -> str:
        """The id of the installation."""
        if self._owner is None:
            self._owner = installation()
        return self._owner

    @property
    def profile(self) -> str:
        """The name of the profile in use, for messages; ``default`` if none was chosen."""
        chosen = settings.get("layers.aws.profile") or os.environ.get("AWS_PROFILE")
        return str(chosen or "default")

    @property
    def region(self) -> str:
        """The region, or nothing if none is configured.

        Raises
        ------
        CallFailed
            If the configuration of boto3 cannot be read.
        """
        chosen = settings.get("layers.aws.region") or borrowed("ec2.region")
        return str(chosen or self._boto().region_name or "")

    @property
    def rehearsed(self) -> bool:
        """Whether this is not AWS, but a sandbox on this computer."""
        return hosts.rehearsed()

    @property
    def number(self) -> str:
        """The account's number.

        Raises
        ------
        CallFailed
            If AWS does not say.
        """
        if not self._number:
            self._number = str(self.call("sts", "get_caller_identity")["Account"])
        return self._number

    @property
    def bucket(self) -> str:
        """The name of the bucket that ``setup aws`` makes, or the one that is configured.

        Raises
        ------
        CallFailed
            If AWS does not say which account this is.
        """
        chosen = settings.get("layers.aws.bucket")
        return str(chosen or f"{NAME}-{self.number}-{self.owner}-{self.region}")

    def call(
        self,
        service: str,
        operation: str,
        kind: Literal["launch", "other"] = "other",
        **request: Any,
    ) -> Mapping[str, Any]:
        """Carry out one call and return its answer.

        Parameters
        ----------
        service, operation : str
            As in boto3, e.g. ``ec2`` and ``run_instances``.
        kind : {"launch", "other"}
            A launch is tried twice only.
        **request
            What is asked.

        Raises
        ------
        CallFailed
            With what to do about it.
        """
        with self._translated(service, operation):
            answer: Mapping[str, Any] = getattr(self._client(service, kind), operation)(**request)
            return answer

    def pages(self, service: str, operation: str, key: str, **request: Any) -> Iterator[Any]:
        """Return the items of all pages of an answer.

        Raises
        ------
        CallFailed
            With what to do about it.
        """
        with self._translated(service, operation):
            for page in self._client(service, "other").get_paginator(operation).paginate(**request):
                yield from page.get(key, ())

    def store(self) -> Store:
        """Return the bucket through which inputs and results travel.

        Raises
        ------
        CallFailed
            If AWS does not say which account this is.
        """
        with self._lock:
            if self._store is None:
                self._store = Bucket(self.bucket, self.region, session=self._new_session)
            return self._store

    def missing_store(self) -> str:
        """Return why the bucket cannot be used, or nothing if it can."""
        try:
            self.call("s3", "head_bucket", Bucket=self.bucket)
        except CallFailed as failure:
            if failure.code in {"404", "NoSuchBucket", "NotFound"}:
                return f"there is no bucket '{self.bucket}' (run `jupyter compute setup aws`)"
            raise
        return ""

    def out_of_reach(self, machines: str = "machines of AWS") -> str:
        """Return why machines could not reach the pool, or nothing if they might.

        A machine that never joins is paid for, so this is said before one is started.

        Parameters
        ----------
        machines : str
            Which ones.
        """
        host = hosts.scheduler_host()
        if not hosts.is_ours(host):
            return f"scheduler-host: {host!r} is not an address of this computer"
        if hosts.placement() == "cloud" or self.rehearsed or not hosts.is_loopback(host):
            return ""
        return (
            f"{machines} cannot reach this computer at {host}: set scheduler-host to its "
            "address in their network, or scheduler to auto (docs/aws.md says where that works)"
        )

    def check_credentials(self) -> None:
        """Ensure that there are credentials, without asking AWS whether they are good.

        Raises
        ------
        CallFailed
            If there are none, or they cannot be read or renewed.
        """
        with self._translated("sts", "get_caller_identity"):
            from botocore.exceptions import NoCredentialsError

            found = self._boto().get_credentials()
            if found is None:
                raise NoCredentialsError
            found.get_frozen_credentials()

    def _boto(self) -> Any:
        with self._lock, self._translated("sts", "get_caller_identity"):
            if self._session is None:
                self._session = self._new_session()
            return self._session

    def _new_session(self) -> Any:
        import boto3

        return boto3.Session(profile_name=settings.get("layers.aws.profile"))

    def _client(self, service: str, kind: str) -> Any:
        # Sessions are not thread-safe, clients are.
        with self._lock:
            if (service, kind) not in self._clients:
                from botocore.config import Config

                config = Config(
                    connect_timeout=_CONNECT_S,
                    read_timeout=_READ_S,
                    retries={"mode": "standard", "total_max_attempts": _TRIES[kind]},
                    user_agent_extra="jupyter-compute",
                )
                self._clients[service, kind] = self._boto().client(
                    service,
                    region_name=_SERVED_FROM.get(service, self.region) or None,
                    config=config,
                )
            return self._clients[service, kind]

    @contextlib.contextmanager
    def _translated(self, service: str, operation: str) -> Iterator[None]:
        try:
            yield
        except CallFailed:
            raise
        except Exception as error:
            region = self.region if self._session is not None else ""
            failure = translate(error, service, operation, self.profile, region)
            if failure is None:
                raise
            raise failure from error
