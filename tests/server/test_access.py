"""Who may ask the extension what: every address, with every verb."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from homes import Home
from jupyter_compute.server.handlers import MAX_BODY
from jupyter_servers import Browser, JupyterServer, Program, Stranger, only_ours

pytestmark = pytest.mark.slow

_GETS = ["state", "state?since=0", "layers", "runs/r-x/output", "nothing/here"]
_POSTS = ["runs/r-x/cancel", "machines/local-1-1/stop", "pool/stop", "nothing/here"]
_ADDRESSES = sorted({*_GETS, *_POSTS})
_VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
_ALL = [(verb, path) for path in _ADDRESSES for verb in _VERBS]
_ELSEWHERE = {"Origin": "https://evil.example"}


@pytest.fixture(scope="module")
def browser(server: JupyterServer) -> Browser:
    """Somebody who is logged in."""
    return Browser(server)


@pytest.mark.parametrize(("verb", "path"), _ALL)
def test_without_a_token_nothing_is_answered(server: JupyterServer, verb: str, path: str) -> None:
    reply = Stranger(server).ask(verb, path, {} if verb in {"POST", "PUT", "PATCH"} else None)
    known = verb in {"GET", "POST"}
    assert reply.status == (403 if known else 405)
    if verb != "HEAD":
        assert reply.json["code"] == ("forbidden" if known else "no-such-verb")
    assert b"pool is running" not in reply.text


@pytest.mark.parametrize("path", _POSTS)
@pytest.mark.parametrize("token", [None, "", "wrong"])
def test_a_cookie_without_the_xsrf_token_changes_nothing(
    server: JupyterServer, browser: Browser, path: str, token: str | None
) -> None:
    headers = browser.headers()
    del headers["X-XSRFToken"]
    if token is not None:
        headers["X-XSRFToken"] = token
    reply = Stranger(server).ask("POST", path, {}, headers)
    assert (reply.status, reply.json["code"]) == (403, "forbidden")


@pytest.mark.parametrize(("verb", "path"), [(v, p) for v, p in _ALL if v in {"GET", "POST"}])
def test_a_page_of_another_origin_gets_nothing(browser: Browser, verb: str, path: str) -> None:
    body = {} if verb == "POST" else None
    reply = browser.ask(verb, path, body, _ELSEWHERE)
    assert reply.status in {403, 404}
    assert reply.json["code"] in {"forbidden", "not-found"}
    assert b"pool is running" not in reply.text
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("path", ["state", "layers"])
def test_who_is_logged_in_is_answered(server: JupyterServer, browser: Browser, path: str) -> None:
    for somebody in (browser, Program(server)):
        reply = somebody.ask("GET", path)
        assert (reply.status, reply.json["pool"]) == (200, "none")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        *[(verb, path) for path in ("state", "layers", "runs/r-x/output") for verb in ("POST",)],
        *[("GET", path) for path in ("runs/r-x/cancel", "machines/m/stop", "pool/stop")],
        ("PUT", "state"),
        ("DELETE", "runs/r-x/cancel"),
        ("OPTIONS", "state"),
    ],
)
def test_a_verb_that_an_address_does_not_have(browser: Browser, verb: str, path: str) -> None:
    reply = browser.ask(verb, path, {} if verb in {"POST", "PUT"} else None)
    assert (reply.status, reply.json["code"]) == (405, "no-such-verb")


_BAD_IDS = [
    "R-X",
    "r_x",
    "r.x",
    "a" * 65,
    "",
    "..",
    "%2e%2e%2fx",
    "r-x%2f..",
    "r%00",
    "r-x%0a",
    "é",
]


@pytest.mark.parametrize("name", _BAD_IDS)
def test_what_cannot_be_an_id_is_refused(browser: Browser, name: str) -> None:
    quoted = "%C3%A9" if name == "é" else name
    for verb, path in [
        ("GET", f"runs/{quoted}/output"),
        ("POST", f"runs/{quoted}/cancel"),
        ("POST", f"machines/{quoted}/stop"),
    ]:
        reply = browser.ask(verb, path, {} if verb == "POST" else None)
        assert (reply.status, reply.json["code"]) == (400, "bad-request")
        assert "is not the id of a" in reply.json["message"]


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("GET", "state?since=A", None, 400),
        ("GET", f"state?since={'a' * 65}", None, 400),
        ("GET", "state?since=1%26x", None, 400),
        ("GET", "runs/r-x/output?since=-1", None, 400),
        ("GET", "runs/r-x/output?since=1e3", None, 400),
        ("GET", f"runs/r-x/output?since={'9' * 16}", None, 400),
        ("POST", "runs/r-x/cancel", b"{", 400),
        ("POST", "runs/r-x/cancel", b"[]", 400),
        ("POST", "runs/r-x/cancel", b"\xff", 400),
        ("POST", "runs/r-x/cancel", b"[" * 10_000, 400),
        ("POST", "runs/r-x/cancel", {"action": 1}, 400),
        ("POST", "runs/r-x/cancel", {"force": True}, 400),
        ("POST", "machines/m/stop", {"force": 1}, 400),
        ("POST", "machines/m/stop", {"force": "yes"}, 400),
        ("POST", "pool/stop", {"force": None}, 400),
        ("POST", "pool/stop", {"url": "http://elsewhere"}, 400),
        ("POST", "pool/stop", b" " * (MAX_BODY + 1), 413),
        ("POST", "pool/stop", b" " * 10**7, 413),
    ],
)
def test_what_makes_no_sense_is_refused(
    browser: Browser, verb: str, path: str, body: Any, status: int
) -> None:
    reply = browser.ask(verb, path, body)
    assert reply.status == status
    assert set(reply.json) == {"code", "message", "hint"}
    assert b"Traceback" not in reply.text


def test_a_form_is_no_json(browser: Browser) -> None:
    form = {"Content-Type": "text/plain"}
    reply = browser.ask("POST", "pool/stop", {"force": True}, form)
    assert (reply.status, reply.json["code"]) == (415, "not-json")


def test_an_authorizer_is_asked_about_every_address(home: Home) -> None:
    config = home.path / "config"
    config.mkdir()
    (config / "jupyter_server_config.py").write_text(
        "from jupyter_server.auth import Authorizer\n"
        "class Reader(Authorizer):\n"
        "    def is_authorized(self, handler, user, action, resource):\n"
        "        return (action, resource) == ('read', 'jupyter-compute')\n"
        "c.ServerApp.authorizer_class = Reader\n"
    )
    server = JupyterServer(home)
    try:
        program = Program(server)
        assert program.ask("GET", "state").status == 200
        assert program.ask("GET", "layers").status == 200
        for path in _POSTS:
            reply = program.ask("POST", path, {})
            assert (reply.status, reply.json["code"]) == (403, "forbidden")
    finally:
        server.close()


_CHECK = """
import sys, warnings
from jupyter_server.serverapp import ServerApp, JupyterServerAuthWarning
tampered, *arguments = sys.argv[1:]
app = ServerApp()
app.allow_unauthenticated_access = False
app.allow_root = True
app.reraise_server_extension_failures = True
warnings.simplefilter("error", JupyterServerAuthWarning)
if tampered == "True":
    import jupyter_compute.server.handlers as handlers
    handlers._State.get = handlers._State.get.__wrapped__.__wrapped__
app.initialize(argv=arguments, new_httpserver=False)
hosts = [host.target.rules for host in app.web_app.default_router.rules]
paths = [rule.matcher.regex.pattern for rules in hosts for rule in rules]
assert any("compute/state" in path for path in paths), paths
"""


@pytest.mark.parametrize("tampered", [False, True])
def test_no_address_is_open_to_everybody(home: Home, tampered: bool) -> None:
    command = [sys.executable, "-c", _CHECK, str(tampered), *only_ours()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=home.path)
    assert (done.returncode == 0) is not tampered, done.stderr
    assert ("JupyterServerAuthWarning" in done.stderr) is tampered


def test_the_server_finds_the_extension_by_itself() -> None:
    """As installed: nobody has to enable it."""
    command = [sys.executable, "-m", "jupyter", "server", "extension", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    text = done.stdout + done.stderr
    assert "jupyter_compute" in text, text
    after = text[text.index("jupyter_compute ") :].split("Validating", 2)[1]
    assert "OK" in after


def test_the_configuration_that_enables_it_is_what_jupyter_reads(root: Any) -> None:
    (file,) = (root / "jupyter-config" / "jupyter_server_config.d").glob("*.json")
    found = json.loads(file.read_text())
    assert found == {"ServerApp": {"jpserver_extensions": {"jupyter_compute": True}}}
