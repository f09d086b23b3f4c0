"""What decides whether a recorded result may stand for a run: its code, inputs, ask, environment.

Two runs have one key only if all of these are the same. Code counts as what it does: where it
stands in the notebook, its comments and its layout do not matter. Everything else counts by its
content; whenever two things only may be the same, they are not. What code does that is not
among these, such as random numbers, the time, or files it reads, is not looked at.

The local modules that a run really loads are found where it runs (`jupyter_compute.node.sources`)
and compared by the pool when the key is found.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from types import CodeType
from typing import Any

from .. import __version__, values
from ..blobs import hash_of
from ..inplace import InPlace, is_in_place
from . import session
from .code import parts_of_code
from .options import Options
from .remote import RemoteFunction

__all__ = ["environment_key", "key_of_run"]

_OF_THE_SESSION = (
    "COLUMNS",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "JPY_",
    "JUPYTERHUB_",
    "LINES",
    "LS_COLORS",
    "OLDPWD",
    "PWD",
    "SHLVL",
    "SSH_",
    "TERM",
    "TMUX",
    "VSCODE_",
    "WINDOWID",
    "XDG_SESSION_ID",
    "_",
)
"""Variables, and beginnings of those that end with ``_``, which tell sessions apart and nothing
else: with them no result would be found after a kernel's restart."""

_INSTALLED = ("site-packages", "dist-packages")


def key_of_run(
    options: Options,
    code: str,
    job: Mapping[str, Any],
    namespace: dict[str, Any],
    without: Collection[str],
    environment: Mapping[str, Any],
) -> str:
    """Return the key of a run, 32 hexadecimal digits.

    Parameters
    ----------
    options : Options
    code : str
        Key of the code.
    job : mapping
        What is sent: the inputs, and how results come back.
    namespace : dict
        Where the inputs live.
    without : collection of str
        Names that are not sent.
    environment : mapping
        Directory, variables and ``sys.path`` of this kernel.

    Raises
    ------
    Exception
        Whatever the objects raise when they cannot be pickled.
    """
    # The text of a cell is in `code`, however it is laid out.
    sent = {name: value for name, value in job.items() if name not in {"source", "filename"}}
    dumped = values.dump(sent, namespace, without=without, pickler=_ContentPickler)
    buffers = [hash_of(buffer) for buffer in dumped.buffers]
    ask = session.ask_of(options)
    parts = [
        code,
        hash_of(dumped.pickle),
        buffers,
        sorted(ask.items()),
        environment_key(environment),
    ]
    return hash_of(repr(parts).encode())


def environment_key(environment: Mapping[str, Any]) -> str:
    """Return the key of everything around the code: Python, packages, modules, variables.

    Parameters
    ----------
    environment : mapping
        ``cwd``, ``umask``, ``path`` and ``variables``.
    """
    variables = environment["variables"]
    path = [os.path.join(environment["cwd"], entry) for entry in environment["path"]]  # noqa: PTH118 - plain text
    parts = [
        __version__,
        sys.executable,
        sys.version,
        os.uname().machine,
        environment["cwd"],
        environment["umask"],
        path,
        sorted((name, value) for name, value in variables.items() if not _of_the_session(name)),
        [sorted(_found_in(directory)) for directory in dict.fromkeys(path)],
    ]
    return hash_of(repr(parts).encode("utf-8", "backslashreplace"))


class _ContentPickler(values.Pickler):
    """Pickles what objects mean, to be compared and never to be loaded."""

    def reducer_override(self, obj: object) -> Any:
        if type(obj) is CodeType:
            return tuple, (parts_of_code(obj),)
        if is_in_place(obj):
            kept: InPlace = obj  # type: ignore[assignment]
            return tuple, (("kept", kept.payload, kept.blobs),)
        if type(obj) is RemoteFunction:
            # Inside a run it is the plain function, whatever it asks for elsewhere.
            return list, ((obj.function,),)
        reduced = super().reducer_override(obj)
        return _without_tracker(reduced) if issubclass(type(obj), type) else reduced


def _without_tracker(reduced: Any) -> Any:
    """Take out what cloudpickle draws at random for every class that it meets."""
    if not isinstance(reduced, tuple):
        return reduced
    make, arguments, *state = reduced
    name = getattr(make, "__name__", "")
    place = {"_make_skeleton_class": 4, "_make_skeleton_enum": 5}.get(name)
    if place is None:
        return reduced
    if state and isinstance(state[0], tuple):
        members = {k: v for k, v in state[0][0].items() if k != "__firstlineno__"}
        state[0] = (members, *state[0][1:])
    return make, (*arguments[:place], "", *arguments[place + 1 :]), *state


def _of_the_session(name: str) -> bool:
    return any(
        name.startswith(known) if known.endswith("_") and known != "_" else name == known
        for known in _OF_THE_SESSION
    )


def _found_in(directory: str) -> Iterator[tuple[str, int]]:
    """Yield what one entry of ``sys.path`` offers: distributions, or modules of the user's own.

    A module's content counts only if the run loads it; that there is one counts always, as it
    may hide another.
    """
    installed = os.path.basename(directory) in _INSTALLED  # noqa: PTH119 - plain text
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return
    for entry in entries:
        stem, ending = os.path.splitext(entry.name)  # noqa: PTH122 - plain text
        if ending in {".dist-info", ".egg-info", ".egg-link", ".pth"}:
            # A version may be installed again and be another one, from a clone for example.
            yield entry.name, entry.stat().st_mtime_ns
        elif installed or ending in {".zip", ".pyc"}:
            continue
        elif ending in {".py", ".so"} or (
            stem.isidentifier() and os.path.exists(os.path.join(entry.path, "__init__.py"))  # noqa: PTH110, PTH118
        ):
            yield entry.name, 0
