"""Which packages an interpreter has, and where they were installed from.

A machine elsewhere installs the same from a package index. What came from a directory, a
repository or an address is told apart by what the installer wrote down (`direct_url.json`, see
the Python Packaging User Guide, "Recording the Direct URL Origin of installed distributions").
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["OURS", "describe", "key", "not_from_an_index"]

OURS = "jupyter-compute"
"""The package that a machine gets from its pool, however it was installed here."""


def describe() -> bytes:
    """Return what this interpreter has, as JSON that is the same until something is installed.

    It has ``python`` (the minor version), ``packages`` (exact requirements), ``local`` (names of
    packages that come from no index, with where each comes from), and ``built`` (those that
    no public index can have as they are here, with why).
    """
    return _described(tuple((entry, _changed(entry)) for entry in _path()))


def key(name: str) -> str:
    """Return the name by which an index knows a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def not_from_an_index(one: metadata.Distribution) -> str:
    """Return where a package was installed from, nothing if it was an index."""
    installer = (one.read_text("INSTALLER") or "").strip()
    if installer == "conda":  # what it writes down is where the package was built
        return ""
    text = one.read_text("direct_url.json")
    if text is None:
        apart = Path(str(one.locate_file(""))).name not in {"site-packages", "dist-packages"}
        return "a local directory" if apart and not installer else ""
    origin: dict[str, Any] = json.loads(text)
    if "dir_info" in origin:
        editable = origin["dir_info"].get("editable", False)
        return f"a local directory{' (editable)' if editable else ''}"
    if "vcs_info" in origin:
        return f"a {origin['vcs_info'].get('vcs', 'version control')} repository"
    return "a local file" if str(origin.get("url", "")).startswith("file:") else "an address"


@functools.lru_cache(maxsize=1)
def _described(state: tuple[tuple[str, int], ...]) -> bytes:
    """Return it for the places where packages are, and when each of these was last changed."""
    found = _found(metadata.distributions(path=[entry for entry, _ in state]))
    return json.dumps(found, sort_keys=True).encode()


def _found(distributions: Iterable[metadata.Distribution]) -> dict[str, Any]:
    packages: dict[str, str] = {}
    local: dict[str, str] = {}
    built: dict[str, str] = {}
    for one in distributions:
        name = one.metadata["Name"]
        if not name or key(name) == OURS or key(name) in packages:
            continue  # the first one on the path is what is imported
        packages[key(name)] = f"{name}=={one.version}"
        if where := not_from_an_index(one):
            local[name] = where
        elif why := _built(one):
            built[name] = why
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        "packages": [packages[name] for name in sorted(packages)],
        "local": local,
        "built": built,
    }


def _built(one: metadata.Distribution) -> str:
    """Return why no public index has a wheel of a package as it is here; nothing if one may."""
    if "+" in one.version:
        return f"{one.version} is a version of another index"
    if (one.read_text("INSTALLER") or "").strip() == "conda":
        return ""
    tags = re.findall(r"^Tag: (.*)$", one.read_text("WHEEL") or "", re.MULTILINE)
    # What can be published names the oldest system that it runs on, as in manylinux_2_28.
    if tags and all(tag.rpartition("-")[2].startswith("linux_") for tag in tags):
        return f"{one.version} was compiled on this computer"
    return ""


def _path() -> list[str]:
    """Return where packages are installed: not what merely lies where the notebook does."""
    try:
        here = str(Path.cwd())
    except FileNotFoundError:
        here = ""
    return list(dict.fromkeys(entry for entry in sys.path if entry not in {"", ".", here}))


def _changed(entry: str) -> int:
    try:
        return os.stat(entry).st_mtime_ns  # noqa: PTH116 - for each run, over all of the path
    except OSError:
        return 0
