"""A store for blobs in a bucket of S3.

Who holds credentials is this process alone: machines get addresses that are signed here.
"""

from __future__ import annotations

import contextlib
import functools
import io
import ipaddress
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jupyter_compute import parts
from jupyter_compute.layers.stores import Upload
from jupyter_compute.parts import Broken, Patience, Refused

__all__ = ["Bucket"]

_PREFIX = "blobs/"
_URL_S = 3600
_OLD_S = 86400.0
"""An object that has been there for this long is touched when it is used again."""

_LARGEST_COPY = 5 * 2**30
_TRIES = 5
_TEMPORARY = frozenset({"RequestTimeout", "SlowDown", "Throttling", "InternalError", "503", "500"})
_ENCRYPTED = {"ServerSideEncryption": "AES256"}


class Bucket:
    """One bucket, which exists.

    Parameters
    ----------
    name : str
    region : str, optional
        Where it is; what the user's AWS configuration says if not given.
    part_bytes : int
        What one request sends at most: 5 MiB or more.
    session : callable, optional
        Returns the session of boto3 whose credentials are used; the default one if not given.
    """

    def __init__(
        self,
        name: str,
        region: str | None = None,
        part_bytes: int = parts.PART,
        session: Callable[[], Any] | None = None,
    ) -> None:
        self.name = name
        self._session = session
        self._region = region
        self._part_bytes = part_bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bucket) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def size(self, name: str) -> int | None:
        """Return the bytes of an object, None if there is none. One that is old is touched."""
        with _translated():
            try:
                found = self._client.head_object(**self._at(name))
            except self._client.exceptions.ClientError as error:
                if _status(error) == 404:
                    return None
                raise
            nbytes = int(found["ContentLength"])
            if time.time() - found["LastModified"].timestamp() > _OLD_S:
                self._touch(name, nbytes)
        return nbytes

    def upload(self, name: str, path: Path, patience: Patience) -> None:
        """Put a file there, in parts if it is large."""
        nbytes = path.stat().st_size
        if nbytes <= self._part_bytes:
            patience.insist(lambda: self._put(name, path, nbytes, patience))
            return
        begun = patience.insist(lambda: self._begin(name))
        try:
            steps = [
                functools.partial(self._put_part, name, begun, number, path, span, patience)
                for number, span in enumerate(parts.spans(nbytes, self._part_bytes), 1)
            ]
            insisting = [functools.partial(patience.insist, step) for step in steps]
            tags = parts.all_of(insisting, patience)
            patience.insist(lambda: self.complete(name, begun, tags))
        except BaseException:
            patience.dropped.set()
            with contextlib.suppress(Broken, Refused):
                self.abort(name, begun)
            raise

    def download(self, name: str, path: Path, nbytes: int, patience: Patience) -> None:
        """Write an object to a new file, and make sure that it is what its name says."""
        if parts.receive(path, nbytes, functools.partial(self._open, name), patience) != name:
            path.unlink()
            raise parts.Damaged(f"the object {name} of the store has another content")

    def get_url(self, name: str) -> str:
        """Return where anybody can read the object for an hour, or less."""
        return self._sign("get_object", **self._at(name))

    def put_urls(self, name: str, nbytes: int) -> Upload:
        """Return where anybody can put the object for an hour, or less."""
        if nbytes > self._part_bytes:
            return self.renew(name, nbytes, self._begin(name))
        url = self._sign("put_object", **self._at(name), **_ENCRYPTED)
        return Upload((url,), {"x-amz-server-side-encryption": "AES256"}, max(nbytes, 1))

    def renew(self, name: str, nbytes: int, upload_id: str) -> Upload:
        """Return addresses for an upload in parts whose addresses have expired."""
        spans = parts.spans(nbytes, self._part_bytes)
        urls = [
            self._sign("upload_part", **self._at(name), UploadId=upload_id, PartNumber=number)
            for number, _ in enumerate(spans, 1)
        ]
        return Upload(tuple(urls), {}, spans[0][1], upload_id)

    def complete(self, name: str, upload_id: str, tags: Sequence[str]) -> None:
        """Make an object of its parts; `tags` is what the store answered to each."""
        listed = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        with _translated():
            self._client.complete_multipart_upload(
                **self._at(name), UploadId=upload_id, MultipartUpload={"Parts": listed}
            )

    def abort(self, name: str, upload_id: str) -> None:
        """Drop the parts that have come."""
        with _translated():
            self._client.abort_multipart_upload(**self._at(name), UploadId=upload_id)

    def delete(self, names: Collection[str]) -> None:
        """Remove objects, if they are there."""
        found = sorted(names)
        for start in range(0, len(found), 1000):
            keys = [{"Key": _PREFIX + name} for name in found[start : start + 1000]]
            with _translated():
                self._client.delete_objects(
                    Bucket=self.name, Delete={"Objects": keys, "Quiet": True}
                )

    # steps ------------------------------------------------------------------------

    @functools.cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
        config = Config(
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            signature_version="s3v4",
            max_pool_connections=32,
            # Whoever uses a signed address would have to compute them too; ours is better.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"} if _is_loopback(endpoint) else {},
        )
        session = boto3.session.Session() if self._session is None else self._session()
        return session.client("s3", region_name=self._region, config=config)

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.name, "Key": _PREFIX + name}

    def _sign(self, action: str, **parameters: Any) -> str:
        with _translated():
            url: str = self._client.generate_presigned_url(
                action, Params=parameters, ExpiresIn=_URL_S
            )
        return url

    def _begin(self, name: str) -> str:
        with _translated():
            begun = self._client.create_multipart_upload(**self._at(name), **_ENCRYPTED)
        if not begun.get("UploadId"):  # an answer that was cut off reads as one that says nothing
            raise Broken("the store's answer was cut off")
        return str(begun["UploadId"])

    def _put(self, name: str, path: Path, nbytes: int, patience: Patience) -> None:
        with _translated(), _Window(path, (0, nbytes), patience) as body:
            self._client.put_object(**self._at(name), Body=body, **_ENCRYPTED)
        body.settle()

    def _put_part(
        self,
        name: str,
        upload_id: str,
        number: int,
        path: Path,
        span: tuple[int, int],
        patience: Patience,
    ) -> str:
        with _translated(), _Window(path, span, patience) as body:
            answer = self._client.upload_part(
                **self._at(name), UploadId=upload_id, PartNumber=number, Body=body
            )
        body.settle()
        return str(answer["ETag"])

    @contextlib.contextmanager
    def _open(self, name: str, start: int, stop: int) -> Iterator[parts.Readable]:
        with _translated():
            answer = self._client.get_object(**self._at(name), Range=f"bytes={start}-{stop - 1}")
            with contextlib.closing(answer["Body"]) as body:
                yield body

    def _touch(self, name: str, nbytes: int) -> None:
        """Have the object count as new: it is copied onto itself."""
        at, source = self._at(name), {"Bucket": self.name, "Key": _PREFIX + name}
        if nbytes <= _LARGEST_COPY:
            self._client.copy_object(
                **at, CopySource=source, MetadataDirective="REPLACE", **_ENCRYPTED
            )
            return
        begun = self._begin(name)
        copied = [
            self._client.upload_part_copy(
                **at,
                CopySource=source,
                UploadId=begun,
                PartNumber=number,
                CopySourceRange=f"bytes={start}-{stop - 1}",
            )
            for number, (start, stop) in enumerate(parts.spans(nbytes, _LARGEST_COPY // 5), 1)
        ]
        self.complete(name, begun, [part["CopyPartResult"]["ETag"] for part in copied])


class _Window(io.RawIOBase):
    """A part of a file as a file, so that no part is ever in memory as a whole."""

    def __init__(self, path: Path, span: tuple[int, int], patience: Patience) -> None:
        self._file = path.open("rb")
        self._start, self._stop = span
        self._patience = patience
        self._furthest = 0
        self._file.seek(self._start)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._stop - self._start}
        self._file.seek(self._start + base[whence] + offset)
        return self.tell()

    def read(self, size: int = -1) -> bytes:
        left = self._stop - self._file.tell()
        data = self._file.read(left if size < 0 else min(size, left))
        self._patience.alive()
        return data

    def settle(self) -> None:
        """Count it as moved: what is read may still be read again."""
        self._patience.moved(self._stop - self._start)

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Say in our words what went wrong, and nothing of addresses and signatures."""
    try:
        yield
    except (OSError, parts.Dropped):
        raise
    except Exception as error:
        for link in _links(error):
            if isinstance(link, parts.Dropped):
                raise link from None
        module = type(error).__module__.partition(".")[0]
        if module not in {"botocore", "boto3", "urllib3"}:
            raise
        raise _in_our_words(error) from None


def _links(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__context__


def _in_our_words(error: Exception) -> Exception:
    from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        text = f"the store answered {code or _status(error)}"
        return Broken(text) if code in _TEMPORARY or _status(error) >= 500 else Refused(text)
    broken = isinstance(error, HTTPClientError | IncompleteReadError)
    if broken or type(error).__module__.startswith("urllib3"):
        return Broken(f"the store cannot be reached: {type(error).__name__}")
    return Refused(f"the store cannot be used: {type(error).__name__}: {error}")


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
