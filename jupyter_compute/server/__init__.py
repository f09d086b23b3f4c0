"""The Jupyter Server extension: what the panel in the browser asks about the pool.

It passes requests on to the pool service of this user, and never starts one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

__all__: list[str] = []


def _load_jupyter_server_extension(serverapp: ServerApp) -> None:
    """Add the handlers below ``{base_url}jupyter-compute/``."""
    from .handlers import routes

    application = serverapp.web_app
    handlers = routes(application.settings["base_url"])
    application.add_handlers(".*$", handlers)  # type: ignore[no-untyped-call]
