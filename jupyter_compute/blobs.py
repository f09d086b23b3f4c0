"""Values between kernel, pool and machines, stored by the hash of their content.

A blob is a file named by its hash. Whoever writes one checks first whether it is
there, so equal bytes are stored, and travel, once. On one host kernel and children
share the directories: a value moves by memory map, never through a socket.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import xxhash

from jupyter_compute.ask import format_memory

__all__ = ["HASH", "Blobs", "hash_of"]

HASH = re.compile(r"[0-9a-f]{32}")
"""What a hash looks like."""

_RESERVE = 64 * 2**20
_CHUNK = 64 * 2**20


def hash_of(data: bytes | memoryview) -> str:
    """Return the XXH3 128-bit hash of the bytes, as 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(data)


class Blobs:
    """A content-addressed store in one or more directories of this host.

    Parameters
    ----------
    directories : sequence of path
        Where blobs are. New ones go into the first directory with room for twice
        their size, so that a small /dev/shm falls back to disk.
    """

    def __init__(self, directories: Sequence[Path | str]) -> None:
        self.directories = [Path(d) for d in directories]

    def path(self, name: str) -> Path:
        """Return where the blob is.

        Raises
        ------
        FileNotFoundError
            If no directory holds it.
        """
        found = self._find(name)
        if found is None:
            raise FileNotFoundError(f"no blob {name} in {', '.join(map(str, self.directories))}")
        return found

    def has(self, name: str) -> bool:
        """Tell whether the blob is there, and keep it from being collected for a while."""
        found = self._find(name)
        if found is None:
            return False
        try:
            os.utime(found)
        except FileNotFoundError:
            return False
        return True

    def put(self, data: bytes | memoryview) -> str:
        """Store the bytes unless they are there already, and return their hash.

        Raises
        ------
        OSError
            If no directory takes them. It says how much had no room, and where; nothing is
            left behind.
        """
        name = hash_of(data)
        if not self.has(name):
            self._write(name, memoryview(data).cast("B"))
        return name

    def put_private(self, owner: str, data: bytes | memoryview) -> str:
        """Store the bytes under a name that nobody but the owner uses, and return that.

        So the owner may discard them as soon as they are not needed.

        Raises
        ------
        OSError
            If no directory has room (``errno.ENOSPC``); nothing is left behind.
        """
        name = hash_of(owner.encode())
        self._write(name, memoryview(data).cast("B"))
        return name

    def expect(self, name: str, nbytes: int) -> Path:
        """Return where the content of a blob that comes from elsewhere is to be written first.

        `arrived` then makes it a blob.

        Raises
        ------
        OSError
            If no directory has room (``errno.ENOSPC``).
        """
        for directory in self.directories:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            last = directory is self.directories[-1]
            wanted = nbytes + _RESERVE if last else 2 * nbytes + _RESERVE
            if shutil.disk_usage(directory).free >= wanted:
                return directory / f"{name}.{secrets.token_hex(4)}"
        raise _unstored(OSError(errno.ENOSPC, ""), self.directories[-1], nbytes)

    def arrived(self, name: str, partial: Path) -> None:
        """Make a blob of the file that `expect` named."""
        partial.rename(partial.with_name(name))

    def open(self, name: str) -> memoryview:
        """Return the blob's bytes as a private, writable map: changes stay in this process."""
        with self._file(name) as file:
            if os.fstat(file.fileno()).st_size == 0:
                return memoryview(bytearray())
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))

    def read(self, name: str) -> bytes:
        """Return a copy of the blob's bytes."""
        with self._file(name) as file:
            return file.read()

    def discard(self, name: str) -> None:
        """Remove the blob if it is there. Maps of it stay valid."""
        for directory in self.directories:
            (directory / name).unlink(missing_ok=True)

    def release(self, names: Collection[str], older_than_s: float) -> set[str]:
        """Remove these blobs; return those that stay as they were used more recently than this."""
        left = set()
        for name in names:
            found = self._find(name)
            if found is not None and not _remove_unless_used(found, time.time() - older_than_s):
                left.add(name)
        return left

    def settle(self, names: Collection[str], older_than_s: float) -> None:
        """Move these blobs to the last directory, the largest, unless they are in use.

        Raises
        ------
        OSError
            If there is no room; the blob stays where it is then.
        """
        *memory, disk = self.directories
        for path in (directory / name for directory in memory for name in names):
            if path.exists() and time.time() - path.stat().st_mtime > older_than_s:
                partial = disk / f"{path.name}.{secrets.token_hex(4)}"
                try:
                    shutil.copy2(path, partial)
                    partial.rename(disk / path.name)
                finally:
                    partial.unlink(missing_ok=True)
                path.unlink()

    def collect(self, keep: Collection[str], older_than_s: float, max_bytes: int) -> int:
        """Remove blobs that nobody keeps, oldest first, until the rest fits.

        Parameters
        ----------
        keep : collection of str
            Hashes that must stay.
        older_than_s : float
            Blobs used more recently than this stay too.
        max_bytes : int
            What may remain of the blobs that nobody keeps.

        Returns
        -------
        int
            The bytes freed.
        """
        now = time.time()
        found = sorted(self._files(), key=lambda item: item[1], reverse=True)
        freed = kept = 0
        for path, used, size in found:
            if path.name in keep:
                continue
            if now - used < older_than_s or kept + size <= max_bytes:
                kept += size
                continue
            if _remove_unless_used(path, now - older_than_s):
                freed += size
        return freed

    def _file(self, name: str) -> BinaryIO:
        try:
            return self.path(name).open("rb")
        except FileNotFoundError:
            # It may have moved from one directory to another between the two steps.
            return self.path(name).open("rb")

    def _find(self, name: str) -> Path | None:
        if not HASH.fullmatch(name):
            raise ValueError(f"{name!r} is not the hash of a blob")
        for directory in self.directories:
            path = directory / name
            if path.exists():
                return path
        return None

    def _write(self, name: str, data: memoryview) -> None:
        last = len(self.directories) - 1
        for number, directory in enumerate(self.directories):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            roomy = shutil.disk_usage(directory).free >= 2 * data.nbytes + _RESERVE
            if not roomy and number < last:
                continue
            try:
                _write_file(directory, name, data)
            except OSError as error:
                if number == last:
                    raise _unstored(error, directory, data.nbytes) from error
            else:
                return

    def _files(self) -> Iterator[tuple[Path, float, int]]:
        for directory in self.directories:
            if not directory.is_dir():
                continue
            for path in directory.iterdir():
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                yield path, status.st_mtime, status.st_size


def _unstored(error: OSError, directory: Path, size: int) -> OSError:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error
    free = format_memory(shutil.disk_usage(directory).free)
    return OSError(error.errno, f"no room for {format_memory(size)}, {free} are free", directory)


def _remove_unless_used(path: Path, since: float) -> bool:
    """Remove a blob that has not been used since then; tell whether it is gone.

    Under another name nobody can begin to use it between the last look and its end.
    """
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(aside)
        if aside.stat().st_mtime >= since:
            aside.rename(path)
            return False
        aside.unlink()
    except FileNotFoundError:
        return False
    return True


def _write_file(directory: Path, name: str, data: memoryview) -> None:
    """Write under another name first, so that nobody sees half a blob."""
    partial = directory / f"{name}.{secrets.token_hex(4)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(partial, flags, 0o600)
    try:
        with io.FileIO(descriptor, "wb") as file:
            for start in range(0, data.nbytes, _CHUNK):
                rest = data[start : start + _CHUNK]
                while rest.nbytes:
                    rest = rest[file.write(rest) :]
        partial.rename(directory / name)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
