"""What is left alone for a while because it failed: offers, quotas, whole layers. Pure, no I/O.

The state is a value. Whoever launches tells it what came of that, and keeps the new one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jupyter_compute.model import Offer
from jupyter_compute.policy.lifecycle import TIMERS, Timers

__all__ = ["FINAL", "MOST_FAILED_BOOTS", "Block", "Failures", "Kind", "Scope"]

Kind = Literal["capacity", "quota", "throttled", "permission", "credentials", "invalid"]
"""Why a launch was refused, as in `jupyter_compute.layers.base.Refusal`."""

FINAL: frozenset[Kind] = frozenset({"permission", "credentials", "invalid"})
"""Refusals that do not pass by themselves."""

Scope = tuple[str, str, str, bool | None]
"""What is blocked: layer, type, zone and whether spot. An empty type stands for all of them,
None for spot and others.
"""

MOST_FAILED_BOOTS = 3
"""Machines of a layer that may fail to boot in a row before launching pauses."""


@dataclass(frozen=True, slots=True)
class Block:
    """Something that is not launched until a time.

    Parameters
    ----------
    kind : str
        As of the refusal, or ``"boot"``, or ``"reclaimed"``.
    until : float
        Monotonic seconds.
    why : str
        One sentence for the user.
    """

    kind: Literal["boot", "reclaimed"] | Kind
    until: float
    why: str


@dataclass(frozen=True, slots=True)
class _Streak:
    """What happened to a layer several times in a row."""

    boots: int = 0
    pauses: int = 0
    paused: float = float("-inf")
    throttled: int = 0


@dataclass(frozen=True, slots=True)
class Failures:
    """What failed so far. Methods return the state that follows.

    Times are monotonic seconds.
    """

    timers: Timers = TIMERS
    untried: frozenset[str] = frozenset()
    """Layers of which no machine has joined so far."""
    blocks: Mapping[Scope, Block] = field(default_factory=dict)
    streaks: Mapping[str, _Streak] = field(default_factory=dict)

    def refused(
        self, layer: str, offer: Offer | None, kind: Kind, message: str, now: float, jitter: float
    ) -> Failures:
        """Note that a launch was refused.

        Parameters
        ----------
        layer : str
        offer : Offer or None
            None if it was not about one offer.
        kind, message : str
            Those of the refusal.
        now : float
        jitter : float
            A random number from 0 to 1, so that several pools do not retry in step.
        """
        if kind == "throttled":
            streak = self._streak(layer)
            pause = min(
                self.timers.throttle_first_s * 2**streak.throttled, self.timers.throttle_most_s
            )
            streak = dataclasses.replace(streak, throttled=min(streak.throttled + 1, 30))
            block = Block(kind, now + pause * (0.5 + jitter / 2), message)
            return self._with((layer, "", "", None), block, streak)
        block = Block(kind, now + self.timers.unavailable_s, message)
        if kind == "capacity" and offer is not None:
            return self._with((layer, offer.type, offer.zone, offer.spot), block)
        if kind == "quota" and offer is not None:
            return self._with((layer, "", "", offer.spot), block)
        return self._with((layer, "", "", None), block)

    def reclaimed(self, offer: Offer, now: float) -> Failures:
        """Note that a spot machine is taken back: there is too little of it now."""
        block = Block("reclaimed", now + self.timers.unavailable_s, f"{offer.type} was reclaimed")
        return self._with((offer.layer, offer.type, offer.zone, offer.spot), block)

    def launched(self, layer: str) -> Failures:
        """Note that a launch was accepted: the layer is not throttled any more."""
        if not self._streak(layer).throttled:
            return self
        return self._after(layer, dataclasses.replace(self._streak(layer), throttled=0))

    def boot_failed(self, layer: str, why: str, launched: float, now: float) -> Failures:
        """Note that a machine was launched and never joined, or ended before.

        After three in a row launching there pauses, after further ones for longer. Machines
        that were launched before a pause began do not prolong it.

        Parameters
        ----------
        layer : str
        why : str
            How it ended.
        launched, now : float
        """
        streak = self._streak(layer)
        if launched <= streak.paused:
            return self
        streak = dataclasses.replace(streak, boots=streak.boots + 1)
        if streak.boots < MOST_FAILED_BOOTS:
            return self._after(layer, streak)
        pauses = self.timers.breaker_s
        until = now + pauses[min(streak.pauses, len(pauses) - 1)]
        message = f"{streak.boots} machines of {layer} in a row failed to start; the last: {why}"
        streak = dataclasses.replace(streak, pauses=streak.pauses + 1, paused=now)
        return self._with((layer, "", "", None), Block("boot", until, message), streak)

    def joined(self, layer: str) -> Failures:
        """Note that a machine of the layer has joined: what was wrong with it is over."""
        if layer in self.untried:
            return dataclasses.replace(self, untried=self.untried - {layer}).joined(layer)
        if not self._streak(layer).boots:
            return self
        blocks = {s: b for s, b in self.blocks.items() if s[0] != layer or b.kind != "boot"}
        streak = _Streak(throttled=self._streak(layer).throttled)
        return dataclasses.replace(self._after(layer, streak), blocks=blocks)

    def forgotten(self, layer: str) -> Failures:
        """Forget everything of a layer: its configuration has changed, or somebody resumes it."""
        blocks = {scope: block for scope, block in self.blocks.items() if scope[0] != layer}
        streaks = {name: streak for name, streak in self.streaks.items() if name != layer}
        return dataclasses.replace(self, blocks=blocks, streaks=streaks)

    def at(self, now: float) -> Failures:
        """Return the state without what has passed."""
        blocks = {scope: block for scope, block in self.blocks.items() if block.until > now}
        return self if len(blocks) == len(self.blocks) else dataclasses.replace(self, blocks=blocks)

    def block(self, offer: Offer, now: float) -> Block | None:
        """Return what keeps an offer from being launched now; None if nothing does."""
        if not self.blocks:
            return None
        layer = offer.layer
        scopes: tuple[Scope, ...] = (
            (layer, "", "", None),
            (layer, "", "", offer.spot),
            (layer, offer.type, offer.zone, offer.spot),
        )
        found = [self.blocks[scope] for scope in scopes if scope in self.blocks]
        found = [block for block in found if block.until > now]
        return max(found, key=lambda block: block.until, default=None)

    def starting_at_most(self, layer: str) -> int | None:
        """Return how many machines of the layer may start at a time until one has joined.

        None if any number: one has joined, and none has failed since. Otherwise all that start
        may have the same fault, so they are not more than may fail.
        """
        boots = self._streak(layer).boots
        if not boots and layer not in self.untried:
            return None
        return max(1, MOST_FAILED_BOOTS - boots)

    def _streak(self, layer: str) -> _Streak:
        return self.streaks.get(layer, _Streak())

    def _with(self, scope: Scope, block: Block, streak: _Streak | None = None) -> Failures:
        state = self if streak is None else self._after(scope[0], streak)
        return dataclasses.replace(state, blocks={**self.blocks, scope: block})

    def _after(self, layer: str, streak: _Streak) -> Failures:
        return dataclasses.replace(self, streaks={**self.streaks, layer: streak})
