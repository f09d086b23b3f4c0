"""Where machines that come from elsewhere join the pool: HTTPS, with a token, once each.

A machine finds address, authority and token in what it was booted with. Others can read
that, too, so the token is worthless soon: it is exchanged for a certificate, by each
machine of its launch once, within minutes. The key of the certificate is the machine's
own and never travels.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

from jupyter_compute.pool.authority import Authority

__all__ = ["Door"]

_MOST_BYTES = 16 * 2**10


class Door:
    """Lets machines in.

    Parameters
    ----------
    authority : Authority
    admit : callable
        From token and machine id to the seconds for which the machine is certified; raises
        `PermissionError` if the token is not, or no longer, good for this machine.
    scheduler : callable
        Returns the address of the scheduler that machines are to join.
    """

    def __init__(
        self,
        authority: Authority,
        admit: Callable[[str, str], float],
        scheduler: Callable[[], str],
    ) -> None:
        self._authority = authority
        self._server: HTTPServer | None = None
        self.port = 0
        """Where it listens."""
        self._application = Application(
            [(r"/v1/join", _Join, {"authority": authority, "admit": admit, "address": scheduler})],
            log_function=lambda _: None,
        )

    def open(self, host: str, name: str = "") -> str:
        """Listen at an address of this host, and return the URL of the door.

        Parameters
        ----------
        host : str
        name : str, optional
            The address at which machines find it, if that is another one.
        """
        context = self._authority.credentials("door", [name or host]).server()
        self._server = HTTPServer(self._application, ssl_options=context, max_body_size=_MOST_BYTES)
        sockets = bind_sockets(0, host)
        self._server.add_sockets(sockets)
        self.port = sockets[0].getsockname()[1]
        return f"https://{host}:{self.port}/v1/join"

    async def close(self) -> None:
        """Let nobody in any more."""
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()


class _Join(RequestHandler):
    def initialize(
        self,
        authority: Authority,
        admit: Callable[[str, str], float],
        address: Callable[[], str],
    ) -> None:
        self._authority = authority
        self._admit = admit
        self._address = address

    def post(self) -> None:
        """Certify the key of a machine that has a token."""
        try:
            body = json.loads(self.request.body)
            token, machine, request = (str(body[name]) for name in ("token", "machine", "request"))
            valid_s = self._admit(token, machine)
            certificate = self._authority.sign(request, machine, valid_s)
        except PermissionError as error:
            raise HTTPError(403, reason="Forbidden") from error
        except (KeyError, TypeError, ValueError) as error:
            raise HTTPError(400, reason="Bad Request") from error
        self.finish({"certificate": certificate, "scheduler": self._address()})

    def write_error(self, status_code: int, **_kwargs: Any) -> None:
        """Say no more than the status."""
        self.finish({"status": status_code})
