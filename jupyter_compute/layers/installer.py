"""What makes a stock image a machine: it installs the notebook's Python and packages.

It runs by itself, with the Python of the image (3.9 or newer) and nothing else, as the main
program of the archive that `jupyter_compute.layers.bundle` makes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

__all__ = ["main"]

_TRIES = 4


def main() -> None:
    """Install what the archive says below the directory given: programs are in ``env/bin``."""
    home = Path(sys.argv[1])
    home.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with zipfile.ZipFile(sys.argv[0]) as bundle:
        plan = json.loads(bundle.read("plan.json"))
        for name in ("requirements.txt", plan["wheel"]):
            bundle.extract(name, home)
    say(f"Python {plan['python']} with {plan['count']} packages")
    uv = fetch_uv(plan["index"], plan["uv"], home)
    python = str(home / "env" / "bin" / "python")
    run(home, plan["index"], [uv, "venv", "--python", plan["python"], str(home / "env")])
    install = [uv, "pip", "install", "--python", python, "--no-deps"]
    run(home, plan["index"], [*install, "-r", str(home / "requirements.txt")])
    run(home, plan["index"], [*install, str(home / plan["wheel"])])
    say(f"ready after {time.monotonic() - began:.0f} s")


def say(text: str) -> None:
    """Tell it on the console of the machine."""
    print(f"jupyter-compute: {text}", flush=True)  # noqa: T201 - the console is for that


def fetch_uv(index: str, pinned: dict[str, str], home: Path) -> str:
    """Return the path of `uv`, from the index; it is the one that was pinned, or none."""
    machine = platform.machine()
    digest = pinned[machine]
    page = urllib.parse.urljoin(index.rstrip("/") + "/", "uv/")
    wanted = rf"""href=["']([^"']*/?uv-{re.escape(pinned["version"])}-py3-none-[^"']*{machine}[^"']*)["']"""
    for link in re.findall(wanted, fetch(page).decode()):
        address = urllib.parse.urljoin(page, link).partition("#")[0]
        if "manylinux" not in address or not address.endswith(".whl"):
            continue
        wheel = home / "uv.whl"
        wheel.write_bytes(fetch(address))
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != digest:
            raise SystemExit(f"jupyter-compute: {address} is not the uv that was expected")
        with zipfile.ZipFile(wheel) as packed:
            name = f"uv-{pinned['version']}.data/scripts/uv"
            path = Path(packed.extract(name, home))
        path.chmod(0o755)
        return str(path)
    raise SystemExit(f"jupyter-compute: {page} has no uv {pinned['version']} for {machine}")


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


def run(home: Path, index: str, command: list[str]) -> None:
    """Run uv, with everything it keeps below the directory."""
    keep = {
        "HOME": str(home),
        "UV_CACHE_DIR": str(home / "cache"),
        "UV_DEFAULT_INDEX": index,
        "UV_LINK_MODE": "hardlink",
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_INSTALL_DIR": str(home / "python"),
    }
    done = subprocess.run(command, env={**os.environ, **keep}, check=False)
    if done.returncode:
        raise SystemExit(f"jupyter-compute: `{' '.join(command[:3])}` failed ({done.returncode})")


if __name__ == "__main__":
    main()
