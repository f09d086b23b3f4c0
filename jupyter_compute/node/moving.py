"""Bytes between files of this machine and signed addresses. Everything here blocks."""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .. import parts
from ..parts import Broken, Patience, Refused

__all__ = ["fetch", "publish"]

_SILENT_S = 30.0
_BLOCK = 2**18
_LONGEST_ANSWER = 2000

Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""Asks the pool, with what and about what, and returns its answer."""


def fetch(
    ask: Ask, found: Mapping[str, Any], about: dict[str, Any], path: Path, p: Patience
) -> str:
    """Write an object to a new file, and return the hash of what has come.

    Parameters
    ----------
    ask : callable
    found : mapping
        What the pool knows of the object: ``url`` and ``nbytes``.
    about : dict
        What to ask about when the address has expired.
    path : Path
    p : Patience
    """
    address = _Address(found["url"], lambda: str(ask("get", about)["url"]))

    @contextlib.contextmanager
    def opened(start: int, stop: int) -> Iterator[parts.Readable]:
        head = {"Range": f"bytes={start}-{stop - 1}"}
        with _asked("GET", address, head, None) as answer:
            yield _Body(answer)

    return parts.receive(path, found["nbytes"], opened, p)


def publish(ask: Ask, path: Path, name: str, nbytes: int, patience: Patience) -> None:
    """Put a file into the store, unless it is there, in the way that the pool tells."""
    found = ask("put", {"hash": name, "nbytes": nbytes})
    if found.get("there"):
        patience.moved(nbytes)
        return
    whole = {"hash": name, "nbytes": nbytes, "upload": found["upload"]}
    addresses = _Addresses(found["urls"], lambda: list(ask("renew", whole)["urls"]))
    steps = [
        functools.partial(_put, addresses, number, found["headers"], path, span, patience)
        for number, span in enumerate(parts.spans(nbytes, found["part_bytes"]) or [(0, 0)])
    ]
    try:
        tags = parts.all_of([functools.partial(patience.insist, step) for step in steps], patience)
        if found["upload"]:
            ask("complete", whole | {"tags": tags})
    except BaseException:
        patience.dropped.set()
        if found["upload"]:
            ask("abort", whole)
        raise


def _put(
    addresses: _Addresses,
    number: int,
    headers: Mapping[str, str],
    path: Path,
    span: tuple[int, int],
    patience: Patience,
) -> str:
    start, stop = span
    with path.open("rb") as file:
        body = _Window(file, span, patience)
        head = {**headers, "Content-Length": str(stop - start)}
        with _asked("PUT", addresses.part(number), head, body) as answer:
            _Body(answer).read(_LONGEST_ANSWER)
            tag = answer.headers.get("ETag", "")
    patience.moved(stop - start)
    return tag


class _Address:
    """A signed address, and where to get another one when it has expired."""

    def __init__(self, url: str, renew: Callable[[], str]) -> None:
        self.url = url
        self._renew = renew

    def renew(self) -> None:
        self.url = self._renew()


class _Addresses:
    """Those of all parts of an object."""

    def __init__(self, urls: list[str], renew: Callable[[], list[str]]) -> None:
        self._urls = urls
        self._renew = renew

    def part(self, number: int) -> _Address:
        def renew() -> str:
            self._urls = self._renew()
            return self._urls[number]

        return _Address(self._urls[number], renew)


class _Window(io.RawIOBase):
    """A part of an open file, for `http.client`, which reads it block by block."""

    def __init__(self, file: io.BufferedReader, span: tuple[int, int], patience: Patience) -> None:
        start, stop = span
        self._file = file
        self._left = stop - start
        self._patience = patience
        file.seek(start)

    def read(self, size: int = -1) -> bytes:
        self._patience.alive()
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class _Body:
    """An answer's body; a connection that breaks is said in our words."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer

    def read(self, amount: int, /) -> bytes:
        with _translated():
            return self._answer.read(amount)


@contextlib.contextmanager
def _asked(
    method: str, address: _Address, headers: Mapping[str, str], body: Any
) -> Iterator[http.client.HTTPResponse]:
    """Yield the answer to one request.

    Raises
    ------
    Broken
        If it may be tried again; also after the address had expired and was renewed.
    Refused
    """
    parted = urlsplit(address.url)
    text = code = ""
    connection = _connection(parted.scheme, parted.netloc)
    with contextlib.closing(connection):
        with _translated():
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                # Who refuses early may not read the rest; the answer says why.
                connection.request(method, f"{parted.path}?{parted.query}", body, dict(headers))
            answer = connection.getresponse()
            if answer.status >= 300:
                text = answer.read(_LONGEST_ANSWER).decode(errors="replace")
                code = text.partition("<Code>")[2].partition("</Code>")[0]
        if answer.status in (400, 403) and ("Expired" in text or "expired" in text):
            address.renew()
            raise Broken("the address had expired")
        if answer.status in (408, 429) or answer.status >= 500 or code == "RequestTimeout":
            raise Broken(f"the store answered {answer.status} {code}".rstrip())
        if answer.status >= 300:
            raise Refused(f"the store answered {answer.status} {code}".rstrip())
        yield answer


def _connection(scheme: str, netloc: str) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(
            netloc, timeout=_SILENT_S, blocksize=_BLOCK, context=ssl.create_default_context()
        )
    return http.client.HTTPConnection(netloc, timeout=_SILENT_S, blocksize=_BLOCK)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"the store cannot be reached: {type(error).__name__}: {error}") from error
