"""Makes a machine of a stock image, and environments of notebooks on it.

It runs by itself, with the Python of the image (3.9 or newer) and nothing else, as the main
program of the archive that `jupyter_compute.layers.bundle` makes: ``bundle.pyz PLACE`` installs
below the place what the node needs. Later, when a run comes whose environment is not there yet,
the node calls it again: ``installer.py PLACE NAME PYTHON`` installs what ``NAME.txt`` lists.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

__all__ = ["main"]

_TRIES = 4


def main() -> None:
    """Install what the arguments say; programs are in ``NAME/bin``, the node's in ``node/bin``."""
    place = Path(sys.argv[1])
    if len(sys.argv) > 2:
        install(place, sys.argv[2], sys.argv[3])
        return
    place.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with zipfile.ZipFile(sys.argv[0]) as bundle:
        plan = json.loads(bundle.read("plan.json"))
        for name in ("node.txt", "plan.json", plan["wheel"]):
            bundle.extract(name, place)
    say(f"Python {plan['python']} with {plan['count']} packages")
    fetch_uv(plan["index"], plan["uv"], place)
    install(place, "node", plan["python"])
    say(f"ready after {time.monotonic() - began:.0f} s")


def say(text: str) -> None:
    """Tell it on the console of the machine."""
    print(f"jupyter-compute: {text}", flush=True)  # noqa: T201 - the console is for that


def install(place: Path, name: str, python: str) -> None:
    """Make an environment with exactly what is listed, and this package."""
    plan = json.loads((place / "plan.json").read_text())
    target = place / name
    # What an installation that was killed has left.
    shutil.rmtree(str(target), ignore_errors=True)
    run(place, plan, ["venv", "--python", python, str(target)])
    listed, interpreter = str(place / f"{name}.txt"), str(target / "bin" / "python")
    wanted = ["--no-deps", "-r", listed, str(place / plan["wheel"])]
    run(place, plan, ["pip", "install", "--python", interpreter, *wanted])


def fetch_uv(index: str, pinned: dict[str, str], place: Path) -> None:
    """Put `uv` there, from the index; it is the one that was pinned, or none."""
    machine = platform.machine()
    if machine not in pinned:
        raise SystemExit(f"jupyter-compute: there is no uv for {machine}")
    page = urllib.parse.urljoin(index.rstrip("/") + "/", "uv/")
    wanted = rf"""href=["']([^"']*/?uv-{re.escape(pinned["version"])}-py3-none-[^"']*{machine}[^"']*)["']"""
    why = f"{page} has no uv {pinned['version']} for {machine}"
    for link in re.findall(wanted, fetch(page).decode()):
        address = urllib.parse.urljoin(page, link).partition("#")[0]
        if "manylinux" not in address or not address.endswith(".whl"):
            continue
        wheel = place / "uv.whl"
        wheel.write_bytes(fetch(address))
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != pinned[machine]:
            why = f"{address} is not the uv that was expected"
            continue  # there may be one for another age of systems
        with zipfile.ZipFile(wheel) as packed:
            name = f"uv-{pinned['version']}.data/scripts/uv"
            Path(packed.extract(name, place)).replace(place / "uv")
        (place / "uv").chmod(0o755)
        return
    raise SystemExit(f"jupyter-compute: {why}")


def fetch(address: str) -> bytes:
    """Return what is at the address, tried several times."""
    for left in reversed(range(_TRIES)):
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - as configured
                body: bytes = answer.read()
                return body
        except OSError as error:
            say(f"{address}: {error}")
            if left:
                time.sleep(2.0)
    raise SystemExit(f"jupyter-compute: {address} cannot be fetched")


def run(place: Path, plan: dict[str, Any], arguments: list[str]) -> None:
    """Run uv, with everything it keeps below the place, but a cache that the image may name."""
    keep = {
        "HOME": str(place),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(place / "cache")),
        "UV_DEFAULT_INDEX": plan["index"],
        "UV_LINK_MODE": "hardlink",
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_INSTALL_DIR": str(place / "python"),
        # Whom the image trusts, as whoever fetched uv did.
        "UV_SYSTEM_CERTS": "1",
    }
    done = subprocess.run([str(place / "uv"), *arguments], env={**os.environ, **keep}, check=False)
    if done.returncode:
        raise SystemExit(
            f"jupyter-compute: `uv {' '.join(arguments[:2])}` failed ({done.returncode})"
        )


if __name__ == "__main__":
    main()
