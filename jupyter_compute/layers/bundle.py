"""The archive from which a stock image becomes a machine.

It is a program for any Python (a zip application): the exact packages that a node needs, our own
wheel, and `jupyter_compute.node.installer`, which installs them. Environments of notebooks are
installed later, by the node, when a run comes that needs one.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from jupyter_compute import __version__, packages, settings
from jupyter_compute.errors import EnvironmentMismatch

__all__ = ["Environment", "build", "environment", "zipped"]

_UV: Mapping[str, str] = {
    "version": "0.13.9",
    "aarch64": "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
    "x86_64": "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
}
"""The wheel of uv that is fetched, and its SHA-256 for each processor."""

_TOP = Path(__file__).parent.parent
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of everything in the archive, which is then the same whenever it is made."""

_NOT_THERE = frozenset({"ipywidgets", "jupyter-server"})
"""What only notebooks need."""

_MACHINE = {"os_name": "posix", "platform_system": "Linux", "sys_platform": "linux"}
"""What is known of every machine, when it is decided which packages it needs."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a node has.

    Parameters
    ----------
    python : str
        Its minor version, e.g. ``3.12``.
    packages : tuple of str
        Exact requirements, without jupyter-compute.
    """

    python: str
    packages: tuple[str, ...]


def environment() -> Environment:
    """Return what jupyter-compute needs on a machine, as this interpreter has it.

    Raises
    ------
    EnvironmentMismatch
        If some of it was not installed from a package index.
    """
    found: dict[str, metadata.Distribution] = {}
    wanted = _needs(metadata.distribution(packages.OURS))
    while wanted:
        name = packages.key(wanted.pop())
        if name not in found and name not in _NOT_THERE:
            with contextlib.suppress(metadata.PackageNotFoundError):
                found[name] = metadata.distribution(name)
                wanted += _needs(found[name])
    for name, one in found.items():
        if where := packages.not_from_an_index(one):
            raise EnvironmentMismatch(
                f"{name}, which machines need, was installed from {where}: they cannot install that",
                hint="install it from a package index, or name an image that has it "
                "(layers.ec2.ami, layers.fargate.image)",
            )
    python = ".".join(map(str, sys.version_info[:2]))
    return Environment(python, tuple(f"{name}=={found[name].version}" for name in sorted(found)))


def _needs(one: metadata.Distribution) -> list[str]:
    """Return what a package requires on a machine, without its extras."""
    wanted = [Requirement(text) for text in one.requires or ()]
    about = {**_MACHINE, "extra": ""}
    return [w.name for w in wanted if w.marker is None or w.marker.evaluate(about)]


def build(found: Environment, index: str = "", uv: Mapping[str, str] = _UV) -> bytes:
    """Return the archive.

    Parameters
    ----------
    found : Environment
    index : str
        Address of the package index as the machines see it; as configured, if not given.
    uv : mapping
        Version and SHA-256 by processor of the wheel of uv.

    Raises
    ------
    EnvironmentMismatch
        If the address of the index holds a password.
    """
    index = index or str(settings.get("layers.aws.index"))
    if urlsplit(index).username or urlsplit(index).password:
        raise EnvironmentMismatch(
            "layers.aws.index holds a password, which every process on a machine could read",
            hint="use an index that needs none, or an image (layers.ec2.ami, layers.fargate.image)",
        )
    wheel = f"jupyter_compute-{__version__}-py3-none-any.whl"
    plan = {
        "count": len(found.packages),
        "index": index,
        "python": found.python,
        "uv": dict(uv),
        "wheel": wheel,
    }
    return zipped(
        {
            "__main__.py": (_TOP / "node" / "installer.py").read_bytes(),
            "node.txt": "".join(f"{line}\n" for line in found.packages).encode(),
            "plan.json": json.dumps(plan, sort_keys=True).encode(),
            wheel: _own_wheel(),
        }
    )


@functools.cache
def _own_wheel() -> bytes:
    """Return this package as a wheel, whether it is installed from one or in place."""
    files = {
        str(path.relative_to(_TOP.parent)): path.read_bytes()
        for path in sorted(_TOP.rglob("*"))
        if path.is_file() and not {"__pycache__", "labextension"} & set(path.parts)
    }
    info = f"jupyter_compute-{__version__}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {packages.OURS}\nVersion: {__version__}\n".encode()
    )
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: jupyter-compute\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/entry_points.txt"] = (
        b"[console_scripts]\njupyter-compute-node = jupyter_compute.node.booted:main\n"
    )
    record = [f"{name},sha256={_digest(body)},{len(body)}" for name, body in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    return zipped(files)


def _digest(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).rstrip(b"=").decode()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of these files, the same whenever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), body, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
