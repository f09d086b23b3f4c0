"""``python apart_service.py``: the pool service, whose machine does not share this host's blobs.

The environment says where the machine's own blobs are (``FAR_BLOBS``), and in which bucket of
the store at ``AWS_ENDPOINT_URL`` they meet (``FAR_BUCKET``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from jupyter_compute.layers.bucket import Bucket
from jupyter_compute.layers.local import LocalLayer
from jupyter_compute.layers.stores import Store
from jupyter_compute.model import Offer
from jupyter_compute.pool import start

MIB = 2**20


class FarLayer(LocalLayer):
    """A machine that is a process here, and has nothing of what others here have."""

    def __init__(self) -> None:
        super().__init__(command=_node)
        self._bucket = Bucket(os.environ["FAR_BUCKET"], part_bytes=8 * MIB)

    def store(self) -> Store:
        return self._bucket


def _node(machine_id: str, offer: Offer) -> Sequence[str]:
    ours = [name for name in os.environ if name.startswith(("AWS_", "FAR_"))]
    return [
        "/usr/bin/env",
        *(f"--unset={name}" for name in ours),
        *(sys.executable, "-m", "jupyter_compute.node", "--apart"),
        *("--name", machine_id),
        *("--cpu", f"{offer.cpu:g}"),
        *("--memory", str(offer.memory)),
        *("--blobs", os.environ["FAR_BLOBS"]),
    ]


if __name__ == "__main__":
    start.LocalLayer = FarLayer  # type: ignore[misc]
    sys.exit(start.main())
