"""A pool whose layers of AWS talk to a sandbox on this computer instead."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import dask.config

from jupyter_compute import places
from jupyter_compute.errors import AskError, ComputeError, PoolError
from jupyter_compute.layers import known, setup
from jupyter_compute.layers.base import Layer

__all__ = ["Rehearsal"]

_ENDPOINT = "AWS_ENDPOINT_URL"
_SETTING = "DASK_JUPYTER_COMPUTE__"
_MOST = 50
_ANSWER_S = 2.0

logger = logging.getLogger(__name__)


class Rehearsal:
    """Points the layers of AWS at a sandbox, and back.

    Parameters
    ----------
    layers : dict
        By name; those of AWS are made anew each time.
    in_use : callable
        Returns why the layers must stay as they are now, or nothing. It is told whether runs
        that only wait count.
    forget : callable
        Called when what the layers offer is not true any more.
    hear : callable
        Called with the layer whose offers will soon be asked for.
    """

    def __init__(
        self,
        layers: dict[str, Layer],
        in_use: Callable[[bool], str],
        forget: Callable[[], None],
        hear: Callable[[str], None],
    ) -> None:
        self._layers = layers
        self._in_use = in_use
        self._forget = forget
        self._hear = hear
        self._before: dict[str, str | None] = {}
        self._settings: Any = None
        self._changing = asyncio.Lock()

    @property
    def endpoint(self) -> str:
        """Where the sandbox is; empty if the pool does not use one."""
        return os.environ.get(_ENDPOINT, "") if self._before else ""

    async def begin(self, environment: Mapping[str, str]) -> None:
        """Use the sandbox that these variables describe, and make there what layers need.

        Raises
        ------
        ComputeError
            If they describe none on this computer.
        PoolError
            If there are machines elsewhere, or the sandbox does not answer.
        """
        async with self._changing:
            if environment.get(_ENDPOINT) == self.endpoint:
                return
            _check(environment)
            # Runs may wait for a sandbox that an earlier service used.
            self._ensure_free(waiting_too=bool(self._before))
            self._restore()
            self._take(environment)
            try:
                await asyncio.to_thread(setup.run, yes=True, quiet=True)
            except (AskError, PoolError) as error:
                self._restore()
                raise PoolError(f"the sandbox cannot be used: {error}") from error
            self._write_down(environment)
            self._hear("aws")

    def resume(self) -> None:
        """Use the sandbox again that a service used which has died, if it is still there.

        What was to be rehearsed would be paid for otherwise.
        """
        try:
            environment = json.loads(places.rehearsal().read_text())
            _check(environment)
            address = urlsplit(environment[_ENDPOINT])
            socket.create_connection((address.hostname, address.port), _ANSWER_S).close()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ComputeError):
            self.forget()
            return
        self._take(environment)
        logger.warning("the sandbox at %s is used again", self.endpoint)
        self._hear("aws")

    def forget(self) -> None:
        """Do not use the sandbox after the end of this service."""
        places.rehearsal().unlink(missing_ok=True)

    def _write_down(self, environment: Mapping[str, str]) -> None:
        draft = places.rehearsal().with_suffix(".new")
        with open(draft, "w", opener=_private) as file:
            json.dump(dict(environment), file)
        draft.replace(places.rehearsal())

    async def end(self) -> None:
        """Use AWS again, as it is configured.

        Raises
        ------
        PoolError
            If there are machines elsewhere.
        """
        async with self._changing:
            if self._before:
                # Else what was to be rehearsed would be paid for.
                self._ensure_free(waiting_too=True)
                self._restore()
                self.forget()

    def _ensure_free(self, *, waiting_too: bool) -> None:
        if why := self._in_use(waiting_too):
            raise PoolError(why, hint="%compute stop ends the pool, and all of it", status=409)

    def _take(self, environment: Mapping[str, str]) -> None:
        self._before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        # Dask has read the variables when it was imported.
        ours = {name: text for name, text in environment.items() if name.startswith(_SETTING)}
        self._settings = dask.config.set({_key(name): text for name, text in ours.items()})
        self._renew()

    def _restore(self) -> None:
        for name, text in self._before.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text
        self._before = {}
        if self._settings is not None:
            self._settings.__exit__(None, None, None)
            self._settings = None
        self._renew()

    def _renew(self) -> None:
        self._layers.update(known.others())
        self._forget()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _key(variable: str) -> str:
    """Return the setting that a variable of Dask's configuration sets."""
    name = variable.removeprefix("DASK_").lower()
    return name.replace("__", ".").replace("_", "-")


def _check(environment: Mapping[str, str]) -> None:
    """Ensure that nothing but AWS's variables and our settings are set, and nothing leaves here."""
    names_ok = all(name.startswith(("AWS_", _SETTING)) for name in environment)
    texts_ok = all(isinstance(text, str) for text in environment.values())
    if not (names_ok and texts_ok and len(environment) <= _MOST):
        raise ComputeError("environment must hold variables of AWS and settings only")
    host = urlsplit(environment.get(_ENDPOINT, "")).hostname or ""
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if not here:
        raise ComputeError(f"{_ENDPOINT} is not an address of this computer")
