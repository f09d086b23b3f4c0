"""What a machine in a cloud does when it starts: serve its pool, and end.

The script is shown to whoever can read the machine's description, and to every process on
it. It holds no secret: the token in it is good for a few minutes and for joining only, and
the address of the archive for an hour and for reading only.
"""

from __future__ import annotations

import base64
import json
import math
import shlex
from pathlib import Path
from typing import Any

from jupyter_compute import relay
from jupyter_compute.errors import PoolError
from jupyter_compute.layers.base import Boot, Relay
from jupyter_compute.layers.bundle import zipped
from jupyter_compute.layers.stock import Archive
from jupyter_compute.model import Offer

__all__ = ["command", "relay_data", "user_data"]

_MOST_USER_DATA = 16384
_MOST_OVERRIDES = 8192
"""Bytes that EC2 takes for user-data, and characters that ECS takes for all overrides of a task."""

_OVERRIDES_BESIDES = 512

_MACHINE = """\
#!/bin/sh
# Whatever happens: the machine ends, and with that it is deleted.
trap 'shutdown -h now' EXIT
shutdown -h +{minutes}
{variables}
{install}jupyter-compute-node
"""

_CONTAINER = """\
{variables}
{install}exec timeout {seconds} jupyter-compute-node
"""

_RELAY = """\
#!/bin/sh
# Whatever happens: the relay ends, and with that it is deleted.
trap 'shutdown -h now' EXIT
shutdown -h +{minutes}
export JUPYTER_COMPUTE_RELAY={told}
place=$(mktemp -d "${{TMPDIR:-/var/tmp}}/jupyter-compute.XXXXXX")
python3 -c {unpack} "$place/relay.pyz" {program}
python3 "$place/relay.pyz"
"""

_UNPACK = "import base64, sys; open(sys.argv[1], 'wb').write(base64.b64decode(sys.argv[2]))"
_RELAY_MAIN = b"from relay.program import main\nraise SystemExit(main())\n"

_INSTALL = """\
if ! command -v jupyter-compute-node >/dev/null; then
  export HOME="${{HOME:-/root}}"
  place=$(mktemp -d "${{TMPDIR:-/var/tmp}}/jupyter-compute.XXXXXX")
  python3 -c {fetch} "$place/bundle.pyz" {url} {sha256} || exit 1
  python3 "$place/bundle.pyz" "$place" || exit 1
  export PATH="$place/env/bin:$PATH"
fi
"""

_FETCH = """\
import hashlib, sys, time, urllib.request
path, url, digest = sys.argv[1:]
for left in 3, 2, 1, 0:
    try:
        body = urllib.request.urlopen(url, timeout=60).read()
        break
    except OSError as error:
        print("jupyter-compute: the list of packages cannot be fetched:", error, flush=True)
        if not left:
            sys.exit(1)
        time.sleep(2)
if hashlib.sha256(body).hexdigest() != digest:
    sys.exit("jupyter-compute: the list of packages is not the one that was expected")
open(path, "wb").write(body)
"""


def user_data(boot: Boot, offer: Offer, archive: Archive | None = None, machine: str = "") -> str:
    """Return the script that a VM runs at its first start.

    Parameters
    ----------
    boot : Boot
    offer : Offer
    archive : Archive, optional
        What a machine installs that has no ``jupyter-compute-node``.
    machine : str
        Its id, if it has one before it is there; else it asks its cloud.

    Raises
    ------
    PoolError
        If it is longer than EC2 takes.
    """
    minutes = math.ceil(boot.lifetime_s / 60)
    text = _MACHINE.format(
        minutes=minutes, variables=_variables(boot, offer, machine), install=_install(archive)
    )
    return _short_enough(text)


def relay_data(boot: Relay) -> str:
    """Return the script that EC2 runs on a relay at its first start, its program included.

    Parameters
    ----------
    boot : Relay
    """
    told = {
        "authority": boot.authority,
        "token": boot.token,
        "pool": relay.POOL_PORT,
        "ports": {"door": relay.DOOR_PORT, "scheduler": relay.SCHEDULER_PORT},
        "beat_s": boot.beat_s,
        "lease_s": boot.lease_s,
    }
    files = {f"relay/{path.name}": path.read_bytes() for path in _relay_files()}
    program = zipped({"__main__.py": _RELAY_MAIN, **files})
    text = _RELAY.format(
        minutes=math.ceil(boot.lifetime_s / 60),
        told=shlex.quote(json.dumps(told)),
        unpack=shlex.quote(_UNPACK),
        program=base64.b64encode(program).decode(),
    )
    return _short_enough(text)


def _relay_files() -> list[Path]:
    return sorted(Path(relay.__file__).parent.glob("*.py"))


def _short_enough(text: str) -> str:
    if len(text.encode()) > _MOST_USER_DATA:
        raise PoolError(
            f"the start script of a machine has {len(text.encode())} bytes, "
            f"more than the {_MOST_USER_DATA} that EC2 takes"
        )
    return text


def command(boot: Boot, offer: Offer, archive: Archive | None = None) -> list[str]:
    """Return what a container runs.

    Parameters
    ----------
    boot : Boot
    offer : Offer
    archive : Archive, optional
        What a container installs that has no ``jupyter-compute-node``.

    Raises
    ------
    PoolError
        If it is longer than ECS takes.
    """
    seconds = math.ceil(boot.lifetime_s)
    text = _CONTAINER.format(
        seconds=seconds, variables=_variables(boot, offer), install=_install(archive)
    )
    if len(json.dumps(text)) + _OVERRIDES_BESIDES > _MOST_OVERRIDES:
        raise PoolError(
            f"the start command of a container has {len(text)} characters, "
            f"more than ECS takes with everything else ({_MOST_OVERRIDES})"
        )
    return ["/bin/sh", "-c", text]


def _variables(boot: Boot, offer: Offer, machine: str = "") -> str:
    told: dict[str, Any] = {
        "url": boot.url,
        "authority": boot.authority,
        "token": boot.token,
        "cpu": offer.cpu,
        "memory": offer.memory,
        "gpu": offer.gpu,
        "spot": offer.spot,
    }
    if machine:
        # Nobody but AWS tells that a machine will be taken away.
        told |= {"machine": machine, "spot": False}
    return f"export JUPYTER_COMPUTE_BOOT={shlex.quote(json.dumps(told))}"


def _install(archive: Archive | None) -> str:
    if archive is None:
        return ""
    fetch, url = shlex.quote(_FETCH), shlex.quote(archive.url)
    return _INSTALL.format(fetch=fetch, url=url, sha256=archive.sha256)
