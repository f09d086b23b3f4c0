"""``%compute chaos``: arm a failure for the next run of this notebook."""

from __future__ import annotations

from .. import settings
from ..policy.chaos import Chaos, check_layer, read
from . import session
from .client import Client
from .options import Options

__all__ = ["command"]


def command(rest: str) -> str:
    """Carry out ``%compute chaos REST``, and return what to tell the user.

    Raises
    ------
    AskError
        If the words mean nothing, or runs of this notebook go where nothing is rehearsed.
    """
    if rest == "off":
        session.arm(None)
        return "no failure is armed"
    if not rest:
        failure = session.armed()
        return "no failure is armed" if failure is None else _describe(failure)
    failure = read(rest)
    check_layer(failure, session.resolve(Options()).on or settings.get("layer"))
    session.arm(failure)
    return _describe(failure)


def _describe(failure: Chaos) -> str:
    lines = [f"armed for the next run, once: {failure.plan}"]
    if failure.kind == "lose-machine":
        lines += [f"running now: {run}" for run in _neighbours()]
    return "\n".join([*lines, "%compute chaos off takes it back"])


def _neighbours() -> list[str]:
    """Return the active runs on machines that may be lost."""
    quiet = Client(start=False)
    if not quiet.answers():
        return []
    runs = quiet.status()["runs"]
    return [f"{run['id']} {run['name']}" for run in runs if run["machine"]]
