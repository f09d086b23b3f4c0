"""The archive for stock images, put where machines can fetch it."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jupyter_compute import parts
from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.bundle import build, environment
from jupyter_compute.layers.memory import Memory
from jupyter_compute.layers.refusals import CallFailed

__all__ = ["Archive", "Stock"]

_LOOK_S = 600.0
_UPLOAD_S = 60.0


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
    """The archive with what nodes need, in the account's bucket.

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
            If the bucket cannot be used.
        """
        try:
            digest: str = self._memory.get("digest", self._put, _LOOK_S)
            return Archive(self._account.store().get_url(digest), digest)
        except (parts.Broken, parts.Refused, parts.Unreachable) as error:
            raise CallFailed(
                f"what machines install cannot be put into the bucket: {error}",
                hint="run `jupyter compute setup aws`, or set an image of your own",
            ) from error

    def _put(self) -> str:
        body = self._make()
        digest = hashlib.sha256(body).hexdigest()
        store = self._account.store()
        if store.size(digest) is None:
            with tempfile.TemporaryDirectory(prefix="jupyter-compute-") as directory:
                path = Path(directory, "bundle.pyz")
                path.write_bytes(body)
                store.upload(digest, path, parts.Patience(_UPLOAD_S))
        return digest
