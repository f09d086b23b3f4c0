"""Failures that can be rehearsed: what `%compute chaos` does to the next run. Pure, no I/O."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from jupyter_compute.ask import format_time, parse_time, show
from jupyter_compute.errors import AskError

__all__ = ["HIT_S", "KINDS", "LAYERS", "Chaos", "check_layer", "read"]

KINDS = ("kill", "oom", "slow", "lose-machine")
"""What can be rehearsed."""

LAYERS = ("local", "sandbox")
"""Where: a rehearsal must not cost money, nor harm what somebody pays for."""

HIT_S = 0.5
"""An attempt is hit this long after it has begun: late enough to see it work before."""

_MOST_PAUSE_S = 600.0


@dataclass(frozen=True, slots=True)
class Chaos:
    """One failure, for the first attempt of one run.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    pause_s : float
        How long ``slow`` holds the attempt up.
    """

    kind: str
    pause_s: float = 10.0

    def __str__(self) -> str:
        return f"slow {self.pause_s:g}s" if self.kind == "slow" else self.kind

    @property
    def plan(self) -> str:
        """What is going to happen, as a sentence for the user."""
        return {
            "kill": "the process of its first attempt will be killed",
            "oom": "its first attempt will be ended as if it had outgrown its memory",
            "slow": f"its first attempt will be held up for {format_time(self.pause_s)}",
            "lose-machine": "the machine of its first attempt will be killed; "
            "every other run on that machine is rerun too",
        }[self.kind]

    @property
    def confession(self) -> str:
        """What has been done, for the notes of the run."""
        done = {
            "kill": "the process was killed on purpose",
            "oom": "the attempt was ended on purpose, as if it had outgrown its memory",
            "slow": f"the attempt is held up for {format_time(self.pause_s)} on purpose",
            "lose-machine": "the machine was killed on purpose",
        }
        return f"chaos: {done[self.kind]}"

    @property
    def blame(self) -> str:
        """What the error says that comes of it."""
        return f"on purpose: %compute chaos {self}"


def read(text: str) -> Chaos:
    """Return what the words after `%compute chaos` mean.

    Raises
    ------
    AskError
        If they mean nothing.
    """
    kind, *rest = text.split() or [""]
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, (*KINDS, "off"), n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(KINDS)}, and off"
        raise AskError(f"%compute chaos: {show(kind)} cannot be rehearsed ({hint})")
    if kind != "slow" or not rest:
        if rest:
            raise AskError(f"%compute chaos {kind} takes nothing more, but {show(rest[0])} follows")
        return Chaos(kind)
    pause_s = parse_time(" ".join(rest), "%compute chaos slow")
    if pause_s > _MOST_PAUSE_S:
        most = format_time(_MOST_PAUSE_S)
        raise AskError(f"%compute chaos slow: {show(rest[0])} is more than {most}, e.g. slow 30s")
    return Chaos(kind, pause_s)


def check_layer(chaos: Chaos, layer: str) -> None:
    """Raise `AskError` unless failures may be rehearsed on the layer."""
    if layer not in LAYERS:
        raise AskError(
            f"%compute chaos {chaos} is for runs on {' or '.join(LAYERS)}, not on {layer}",
            hint="run with --on local, or disarm it: %compute chaos off",
        )
