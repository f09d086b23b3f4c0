"""A real Jupyter server as a process, and browsers of several kinds that ask it things."""

from __future__ import annotations

import contextlib
import http.client
import http.cookies
import json
import signal
import socket
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_config_path

import services
from homes import Home

TOKEN = "a-token-of-tests"
PATIENCE_S = 60.0


def only_ours() -> list[str]:
    """Return the arguments that load no extension but ours, whatever is installed too."""
    files = (Path(path).glob("jupyter_server_config.d/*.json") for path in jupyter_config_path())
    found = [json.loads(file.read_text()) for folder in files for file in folder]
    names = {name for one in found for name in one["ServerApp"]["jpserver_extensions"]}
    wanted = {**dict.fromkeys(sorted(names), False), "jupyter_compute": True}
    return [f"--ServerApp.jpserver_extensions={name}={on}" for name, on in wanted.items()]


class JupyterServer:
    """A server with nothing but this extension, in a home.

    Parameters
    ----------
    home : Home
    *arguments : str
        More for its command line.
    base_url : str
    """

    def __init__(self, home: Home, *arguments: str, base_url: str = "/") -> None:
        self.log = home.path / "jupyter-server.log"
        self._runtime = Path(home.env["JUPYTER_RUNTIME_DIR"])
        command = [
            *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
            *("--ServerApp.port=0", f"--IdentityProvider.token={TOKEN}"),
            *only_ours(),
            "--ServerApp.reraise_server_extension_failures=True",
            *("--ServerApp.allow_unauthenticated_access=False", f"--ServerApp.base_url={base_url}"),
            *arguments,
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home.notebooks
            )
        self.host, self.port, self.base = "127.0.0.1", 0, base_url
        services.wait_until(self._is_up, PATIENCE_S)

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        for info in self._runtime.glob(f"jpserver-{self.process.pid}.json"):
            with contextlib.suppress(ValueError):  # it is being written
                self.port = json.loads(info.read_text())["port"]
        with socket.socket() as probe:
            return self.port > 0 and probe.connect_ex((self.host, self.port)) == 0

    def close(self) -> None:
        """End it."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE_S) is not None


class Reply:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.cookies = [value for name, value in response.getheaders() if name == "Set-Cookie"]
        self.text = response.read()

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        assert self.headers["content-type"].startswith("application/json"), self.text
        return json.loads(self.text)


class Stranger:
    """Who is not logged in."""

    def __init__(self, server: JupyterServer) -> None:
        self.server = server

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send a request to an address below the extension's."""
        sent = {**self.headers(), **(headers or {})}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        return self.send(method, f"{self.server.base}jupyter-compute/{path}", data, sent)

    def send(self, method: str, url: str, data: bytes | None, headers: dict[str, str]) -> Reply:
        """Send a request."""
        connection = http.client.HTTPConnection(
            self.server.host, self.server.port, timeout=PATIENCE_S
        )
        try:
            connection.request(method, url, body=data, headers=headers)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def headers(self) -> dict[str, str]:
        """Return what it sends with every request."""
        return {}


class Program(Stranger):
    """Who has the token."""

    def headers(self) -> dict[str, str]:
        """Return the token."""
        return {"Authorization": f"token {TOKEN}"}


class Browser(Stranger):
    """Who is logged in by a cookie, as the pages of JupyterLab are."""

    def __init__(self, server: JupyterServer) -> None:
        super().__init__(server)
        self._jar = http.cookies.SimpleCookie()
        page = self.send("GET", f"{server.base}login", None, {})
        self._keep(page)
        form = urllib.parse.urlencode({"password": TOKEN, "_xsrf": self.xsrf}).encode()
        sent = {"Cookie": self._cookie(), "Content-Type": "application/x-www-form-urlencoded"}
        entered = self.send("POST", f"{server.base}login", form, sent)
        assert entered.status == 302, entered.text
        self._keep(entered)

    @property
    def xsrf(self) -> str:
        """What a page of the server knows, and one of another origin does not."""
        return self._jar["_xsrf"].value

    def headers(self) -> dict[str, str]:
        """Return cookie and XSRF token."""
        return {"Cookie": self._cookie(), "X-XSRFToken": self.xsrf}

    def _cookie(self) -> str:
        return "; ".join(f"{name}={morsel.value}" for name, morsel in self._jar.items())

    def _keep(self, reply: Reply) -> None:
        for cookie in reply.cookies:
            self._jar.load(cookie)
