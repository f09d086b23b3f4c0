"""JupyterLab and Notebook as a user starts them: a server process in a home."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from homes import Home

__all__ = ["Server"]

TOKEN = "a-token-for-tests"
PATIENCE_S = 60.0

_APPLICATIONS = ("LabApp", "JupyterNotebookApp")
_QUIET = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": False,
    }
}
_ANSWERS = re.compile(
    r'^http_request_duration_seconds_count\{handler="jupyter_compute[^}]*\} (\S+)$', re.MULTILINE
)


class Server:
    """A server with JupyterLab and Notebook 7, as far as both are installed.

    Parameters
    ----------
    home : Home
    options : sequence of str
    """

    def __init__(self, home: Home, options: Sequence[str] = ()) -> None:
        self.home = home
        self._settings = home.path / "settings"
        self._settings.mkdir(exist_ok=True)
        (self._settings / "overrides.json").write_text(json.dumps(_QUIET))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = (home.path / "server.log").open("wb")
        # `-m` would put the working directory on the path of every kernel.
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
                *("--ip=127.0.0.1", f"--port={self.port}", "--ServerApp.port_retries=0"),
                *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={home.notebooks}"),
                *(f"--{app}.expose_app_in_browser=True" for app in _APPLICATIONS),
                *(f"--{app}.app_settings_dir={self._settings}" for app in _APPLICATIONS),
                *options,
            ],
            env=home.env | {"JUPYTER_PREFER_ENV_PATH": "1"},
            cwd=home.path,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                self.get("api/status")
                return
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.1)

    @property
    def log(self) -> str:
        """What the server has written."""
        return (self.home.path / "server.log").read_text(errors="replace")

    def get(self, path: str) -> Any:
        """Return the JSON at an address of the server."""
        return json.loads(self._read(path))

    def answered(self) -> int:
        """Return how many requests to the extension the server has answered, by its own count."""
        return sum(int(float(count)) for count in _ANSWERS.findall(self._read("metrics").decode()))

    def _read(self, path: str) -> bytes:
        request = urllib.request.Request(
            f"{self.url}/{path}", headers={"Authorization": f"token {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def close(self) -> None:
        """End the server and its kernels."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
