"""An attempt on a machine that does not share the files of its pool's host.

What it needs comes before it starts, what it gives goes before anybody is told of it, and in
between it has a directory of its own instead of the notebook's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import platform
import shutil
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..policy import cargo
from ..sharing import InOrder
from .attempt import Attempt
from .environments import Environments, NotInstalled
from .transfer import Failed, Transfer

__all__ = ["Guest", "own_variables"]

_OURS = ("AWS_", "ECS_", "JUPYTER_COMPUTE_BOOT")
"""Beginnings of variables that are meant for this program, and for no code that it runs."""

_MOST_TOLD = 4
"""A lane has at most two slices at a time; what earlier ones read may go."""

_PACKAGE = str(Path(__file__).parents[2])

Events = list[dict[str, Any]]


def own_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return what code may see of the variables that this machine's program was started with."""
    return {name: text for name, text in variables.items() if not name.startswith(_OURS)}


class Guest:
    """One attempt, between the pool and this machine.

    Parameters
    ----------
    attempt : str
    transfer : Transfer
    variables : mapping of str to str
        This machine's own.
    send : callable
        Takes a list of events, to the pool.
    environments : Environments, optional
        Those of a machine that can install some; without, its own is that of all code.
    """

    def __init__(
        self,
        attempt: str,
        transfer: Transfer,
        variables: Mapping[str, str],
        send: Callable[[Events], None],
        environments: Environments | None = None,
    ) -> None:
        self._name = attempt
        self._transfer = transfer
        self._variables = variables
        self._pass_on = send
        self._environments = environments
        self._used: Counter[str] = Counter()
        self._told: deque[Counter[str]] = deque()
        self._attempt: Attempt
        self._arriving: asyncio.Future[bool] | None = None
        self._outgoing: InOrder[Events] = InOrder(self._publish)
        self._incoming: InOrder[dict[str, Any]] = InOrder(self._take)
        self._stopped = False
        self._private = ""
        self._scratch: Path | None = None

    async def arrive(self, attempt: Attempt) -> bool:
        """Fetch what the attempt needs, and tell whether it can start. If not, it has ended."""
        self._attempt = attempt
        if self._stopped:
            attempt.start_failed("stopped before it started")
            return False
        self._arriving = asyncio.ensure_future(self._prepare(attempt.spec))
        try:
            return await self._arriving
        except NotInstalled as error:
            attempt.start_failed(
                f"the machine cannot install the notebook's packages: {error}",
                "a machine installs from layers.aws.index; an image that has everything needs no "
                "index (layers.ec2.ami, layers.fargate.image)",
            )
        except Failed as error:
            attempt.start_failed(str(error), reason="transfer", unreachable=error.unreachable)
        except OSError as error:
            attempt.start_failed(f"the machine has no room: {error}", reason="transfer")
        except asyncio.CancelledError:
            if not self._arriving.cancelled():
                raise
            attempt.start_failed("stopped before it started")
        finally:
            self._arriving = None
        return False

    def send(self, events: Events) -> None:
        """Pass events on, after the blobs that they name."""
        if self._outgoing.idle and not any(cargo.produced(events)):
            self._pass_on(events)
        else:
            self._outgoing.add(events)

    def tell(self, message: dict[str, Any]) -> None:
        """Pass a message on to the attempt once the blobs that it names are here."""
        self._incoming.add(message)

    def stop(self) -> None:
        """Wait for no blob any more: the attempt was told to end."""
        self._stopped = True
        if self._arriving is not None:
            self._arriving.cancel()
        for events in self._outgoing.cancel():
            self._pass_on(cargo.not_sent(events, "stopped", unreachable=False, reason="killed"))

    async def leave(self) -> None:
        """Return once everything that was to be told has been, and nothing is left here."""
        self._incoming.cancel()
        await self._outgoing.empty()
        for used in (self._used, *self._told):
            self._transfer.free(used)
        if self._private:
            self._transfer.blobs.discard(self._private)
        if self._scratch is not None:
            await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)

    # steps ------------------------------------------------------------------------

    async def _prepare(self, spec: dict[str, Any]) -> bool:
        """Have here what the attempt needs: blobs, and an environment. Tell whether it can start."""
        cargo_of = spec.get("cargo") or {}
        names = [*cargo_of.get("names", ()), *cargo_of.get("inline", ())]
        inline = cargo_of.get("inline", {})
        await self._transfer.fetch(self._name, names, inline, self._used)
        sent = json.loads(self._transfer.blobs.read(spec["environment"]))
        if self._environments is not None and spec.get("packages"):
            package, variables = await self._install(self._environments, spec)
        else:
            package, variables = _PACKAGE, self._variables
            wanted, here = sent["python"], platform.python_version()
            if wanted.split(".")[:2] != here.split(".")[:2]:
                self._attempt.start_failed(
                    f"the notebook has Python {wanted}, and the machine has Python {here}",
                    "values and code travel only between the same minor versions of Python",
                )
                return False
            spec["interpreter"] = sys.executable
        about = {"umask": sent["umask"], "package": package}
        self._settle(spec, about | {"variables": {**sent["variables"], **variables}})
        return True

    async def _install(
        self, environments: Environments, spec: dict[str, Any]
    ) -> tuple[str, Mapping[str, str]]:
        """Have the notebook's environment here; return where this package is, and variables."""
        name = spec["packages"]
        listed = json.loads(self._transfer.blobs.read(name))
        if not environments.has(name):
            count = len(listed["packages"])
            self._pass_on([{"kind": "doing", "text": f"installing {count} packages"}])
        environment = await environments.get(name, listed)
        self._pass_on([{"kind": "doing", "text": ""}])
        spec["interpreter"] = environment.interpreter
        own = self._variables
        return environment.packages, {**own, **environment.variables(own.get("PATH", ""))}

    def _settle(self, spec: dict[str, Any], about: Mapping[str, Any]) -> None:
        """Give the attempt a directory, and the rest of an environment, on this machine."""
        blobs = self._transfer.blobs
        place = Path(f"{blobs.directories[-1]}-work")
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(prefix=f"{self._name}-", dir=place))
        environment = {**about, "cwd": str(self._scratch), "path": None}
        self._private = blobs.put_private(
            f"{self._name}/environment", json.dumps(environment).encode()
        )
        own = Counter([self._private])
        self._used.update(own)
        self._transfer.use(own)
        spec["environment"] = self._private

    async def _take(self, message: dict[str, Any]) -> None:
        names, inline = cargo.needed(message), message.pop("inline", {})
        used: Counter[str] = Counter()
        self._told.append(used)
        try:
            await self._transfer.fetch(self._name, names, inline, used)
        except Failed as error:
            self._attempt.give_up(str(error), unreachable=error.unreachable)
        else:
            self._attempt.tell(message)
        if len(self._told) > _MOST_TOLD:
            self._transfer.free(self._told.popleft())

    async def _publish(self, events: Events) -> None:
        found, kept = cargo.produced(events)
        try:
            published = await self._transfer.publish(self._name, [*found, *kept])
        except Failed as error:
            self._pass_on(cargo.not_sent(events, str(error), unreachable=error.unreachable))
            return
        head: Events = [{"kind": "blobs", "blobs": published}] if published else []
        self._pass_on(head + events)
        with contextlib.suppress(OSError):
            self._transfer.discard(published)
