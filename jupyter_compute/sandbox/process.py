"""The sandbox process: answers the API, boots machines, and ends with all of them."""

from __future__ import annotations

import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import files
from .signing import SECRET
from .world import IMAGE, Settings, World

__all__ = ["main"]

_LOCK_S = 15.0
_MOTO = {
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
    "MOTO_ENABLE_AMI_VALIDATION": "true",
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    "MOTO_DISABLE_GLOBAL_CORS": "true",
    "MOTO_ALLOW_NONEXISTENT_REGION": "false",
}


def main() -> int:
    """Run the sandbox with the settings of the only argument. Return 0 if there is one."""
    os.umask(0o077)
    settings = Settings(**json.loads(sys.argv[1]))
    lock = _only_one()
    if lock is None:
        return 0
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    root = Path(tempfile.mkdtemp(prefix="jcs-", dir="/tmp"))
    # Its end of the pipe is closed when this process ends, and by nothing else.
    subprocess.Popen(
        [sys.executable, "-m", "jupyter_compute.sandbox.warden", str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=[lock],
        start_new_session=True,
    )
    for name in [name for name in os.environ if name.startswith(("AWS_", "MOTO_"))]:
        del os.environ[name]
    os.environ.update(_MOTO)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    files.write_state(_start(World(settings, root)))
    ended.wait()
    files.write_state(None)
    os._exit(0)  # the warden ends everything else


def _only_one() -> int | None:
    """Take the lock, None if a sandbox runs. Wait for the end of one that is cleaned up."""
    deadline = time.monotonic() + _LOCK_S
    while (lock := files.take_lock()) is None:
        if files.read_state() is not None or time.monotonic() > deadline:
            return None
        time.sleep(0.02)
    return lock


def _start(world: World) -> dict[str, Any]:
    """Start answering and booting, and return what the sandbox says of itself."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
    )
    from werkzeug.serving import make_server

    from . import aws, shims
    from .booter import Booter
    from .control import Control
    from .front import Front
    from .namespaces import GATEWAY, Namespaces
    from .networks import Loopback
    from .prices import Prices
    from .pricing import Pricing

    inside = world.settings.net == "loopback"
    networks = Loopback(world.root) if inside else Namespaces(world.root)
    booter = Booter(world, networks)
    prices = Prices(world.settings.seed)
    shims.install(world.root)
    # Longer than what anybody on this computer could guess: it is all that keeps others out.
    world.key = f"sandbox{secrets.token_hex(16)}"
    front = Front(
        world,
        DomainDispatcherApplication(_backend),
        {
            "_sandbox": Control(world, booter, prices, networks).answer,
            "pricing": Pricing(prices).answer,
        },
    )
    host = "127.0.0.1" if inside else GATEWAY
    server = make_server(host, 0, front, threaded=True, request_handler=MotoRequestHandler)
    world.endpoint = f"http://{host}:{server.server_port}"
    aws.amend(world, booter, networks, prices)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=booter.run, daemon=True).start()
    return _state(world, guarded=networks.guarded)


def _backend(service: Any) -> Any:
    from moto.moto_server.werkzeug_app import create_backend_app

    app = create_backend_app(service)
    # What moto cannot do reaches the front door, which says what it was.
    app.config["PROPAGATE_EXCEPTIONS"] = True
    return app


def _state(world: World, *, guarded: bool) -> dict[str, Any]:
    settings = world.settings
    return {
        "pid": os.getpid(),
        "endpoint": world.endpoint,
        "key": world.key,
        "image": world.image,
        "container_image": IMAGE,
        "net": settings.net,
        "security_groups": guarded,
        "host": urlsplit(world.endpoint).hostname,
        "seed": settings.seed,
        "boot_delay_s": settings.boot_delay_s,
        "clock_rate": settings.clock_rate,
        "environment": {
            "AWS_ENDPOINT_URL": world.endpoint,
            "AWS_ACCESS_KEY_ID": world.key,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "DASK_JUPYTER_COMPUTE__LAYERS__AWS__CHECKIP": f"{world.endpoint}/_sandbox/checkip",
            "DASK_JUPYTER_COMPUTE__LAYERS__EC2__AMI": world.image,
            "DASK_JUPYTER_COMPUTE__LAYERS__FARGATE__IMAGE": IMAGE,
        },
    }
