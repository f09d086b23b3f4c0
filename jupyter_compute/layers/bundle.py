"""The archive from which a stock image becomes a machine with the notebook's environment.

It is a program for any Python (a zip application): the list of exact packages, our own wheel,
and `jupyter_compute.layers.installer`, which installs them. Packages come from the package
index; what is not there cannot be installed on a machine, and is refused by name.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from jupyter_compute import __version__, settings
from jupyter_compute.errors import EnvironmentMismatch

__all__ = ["Environment", "build", "environment", "zipped"]

_UV: Mapping[str, str] = {
    "version": "0.13.9",
    "aarch64": "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
    "x86_64": "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
}
"""The wheel of uv that is fetched, and its SHA-256 for each processor."""

_OURS = "jupyter-compute"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of everything in the archive, which is then the same whenever it is made."""

_LIST = """
import json, sys
from importlib import metadata
found = [
    (d.metadata["Name"], d.version, json.loads(d.read_text("direct_url.json") or "null"))
    for d in metadata.distributions()
]
version = ".".join(map(str, sys.version_info[:2]))
print(json.dumps([version, found]))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a notebook's interpreter has.

    Parameters
    ----------
    python : str
        Its minor version, e.g. ``3.12``.
    packages : tuple of str
        Exact requirements of what comes from an index, without jupyter-compute.
    local : tuple of str
        Packages that do not: installed from a directory, a repository or an address.
    """

    python: str
    packages: tuple[str, ...]
    local: tuple[str, ...]


def environment(python: str = sys.executable) -> Environment:
    """Look what an interpreter has.

    Parameters
    ----------
    python : str
        Its path.

    Raises
    ------
    EnvironmentMismatch
        If it does not say.
    """
    try:
        done = subprocess.run([python, "-c", _LIST], capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise EnvironmentMismatch(f"{python} does not tell its packages: {error}") from error
    version, found = json.loads(done.stdout)
    packages, local = {}, {}
    for name, exact, direct in found:
        key = str(name).lower().replace("_", "-").replace(".", "-")
        if key == _OURS or key in packages or key in local:
            continue
        if direct is None:
            packages[key] = f"{name}=={exact}"
        else:
            local[key] = str(name)
    return Environment(
        str(version), tuple(packages[k] for k in sorted(packages)), tuple(sorted(local.values()))
    )


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
        If a package comes from no index, or the address of the index holds a password.
    """
    if found.local:
        raise EnvironmentMismatch(
            f"{', '.join(found.local)}: not from a package index, so that machines cannot install it",
            hint="use an image that has it (layers.ec2.ami, layers.fargate.image)",
        )
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
            "__main__.py": Path(__file__).with_name("installer.py").read_bytes(),
            "plan.json": json.dumps(plan, sort_keys=True).encode(),
            "requirements.txt": "".join(f"{line}\n" for line in found.packages).encode(),
            wheel: _own_wheel(),
        }
    )


@functools.cache
def _own_wheel() -> bytes:
    """Return this package as a wheel, whether it is installed from one or in place."""
    top = Path(__file__).parent.parent
    files = {
        str(path.relative_to(top.parent)): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file() and not {"__pycache__", "labextension"} & set(path.parts)
    }
    info = f"jupyter_compute-{__version__}.dist-info"
    files[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {_OURS}\nVersion: {__version__}\n".encode()
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
