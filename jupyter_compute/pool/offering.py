"""What the layers offer, as last heard. Asking a cloud takes seconds, so nobody here waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_compute.ask import Ask
from jupyter_compute.errors import AskError, PoolError
from jupyter_compute.layers.base import Layer, Pricing
from jupyter_compute.model import Clock, Offer
from jupyter_compute.policy.fit import DEFAULT_MEMORY
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.policy.offers import likely, undominated
from jupyter_compute.policy.where import GROUPS, where_of

__all__ = ["Offering"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Heard:
    offers: Sequence[Offer]
    why_not: str
    at: float
    partial: bool = False
    """Whether prices were on their way."""


class Offering:
    """The offers of all layers.

    Parameters
    ----------
    layers : mapping
        By name.
    clock : Clock
    """

    def __init__(self, layers: Mapping[str, Layer], clock: Clock) -> None:
        self._layers = layers
        self._clock = clock
        self._heard: dict[str, _Heard] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._priced: set[tuple[str, str]] = set()
        self._pricing: dict[tuple[str, tuple[str, ...]], asyncio.Task[None]] = {}
        """Layers and types that were asked for their prices."""

    def of(self, layer: str) -> Sequence[Offer]:
        """Return what the layer, or each layer of the group, offers, as far as it was heard."""
        return [o for name in GROUPS.get(layer, (layer,)) for o in self._known(name).offers]

    def why_not(self, layer: str) -> str:
        """Return why the layer cannot be used, or nothing if it can; of a group, if one can."""
        reasons = [self._known(name).why_not for name in GROUPS.get(layer, (layer,))]
        return "; ".join(reasons) if all(reasons) else ""

    def permitted(self, ask: Ask) -> list[Offer]:
        """Return the offers that the ask allows, whatever their size.

        Raises
        ------
        AskError
            If it allows none.
        """
        where, offers = where_of(ask), self.of(ask.layer)
        _check_types(ask, {offer.type for offer in offers})
        found = [offer for offer in offers if where.permits(offer)]
        if found:
            return found
        any_gpu = dataclasses.replace(where, gpu_name="")
        if others := [offer for offer in offers if any_gpu.permits(offer)]:
            _check_gpus(ask, {offer.gpu_name for offer in others} - {""})
            return others
        if any(dataclasses.replace(where, priced=False, free=False).permits(o) for o in offers):
            if where.free:
                why = f"--max-cost 0: nothing that {ask.layer} offers is free"
                raise AskError(why, hint="--on local costs nothing")
            why = f"there is a budget, and no price is known of what {ask.layer} offers"
            raise AskError(why, hint="no budget: %compute budget run|notebook|day off")
        kind = "other than spot machines" if ask.spot == "never" else "spot machines"
        named = f" among {', '.join(ask.instances)}" if ask.instances else ""
        why = f"--spot {ask.spot}: {ask.layer} offers no {kind}{named} now"
        raise AskError(why, hint="--spot auto takes either")

    async def hear(self, layer: str) -> None:
        """Ask the layer, or each layer of the group, unless that was done a moment ago.

        Raises
        ------
        AskError
            If there is no such layer, or it cannot be used as configured.
        """
        names = GROUPS.get(layer, (layer,))
        unknown = [name for name in names if name not in self._layers]
        if unknown:
            known = ", ".join([*self._layers, *(g for g in GROUPS if "ec2" in self._layers)])
            raise AskError(f"there is no layer {layer!r}", hint=f"known: {known}")
        await asyncio.gather(*(self._refresh(name) for name in names))
        while any(name not in self._heard and name != "local" for name in names):
            # The layers have become others meanwhile.
            await asyncio.gather(*(self._refresh(name) for name in names))
        if why_not := self.why_not(layer):
            raise AskError(f"{layer} cannot be used: {why_not}")

    def unpriced(self, ask: Ask) -> Mapping[str, Sequence[str]]:
        """Return the machine types, by layer, that the ask may have and whose prices are to come.

        Only the few are looked at that are likely to be the cheapest.
        """
        # What a budget forbids as long as its price is not known counts too.
        where = dataclasses.replace(where_of(ask), priced=False)
        if where.free:
            return {}
        found: dict[str, list[str]] = {}
        for name in where.layers:
            layer: object = self._layers.get(name)
            if not isinstance(layer, Pricing) or layer.prices is None:
                continue
            offers = [offer for offer in self._known(name).offers if where.permits(offer)]
            types = likely(offers, ask.cpu, ask.memory or DEFAULT_MEMORY, ask.gpu)
            if types := [kind for kind in types if (name, kind) not in self._priced]:
                found[name] = types
        return found

    async def price(self, ask: Ask) -> None:
        """Learn the prices that an ask lacks; what is not learnt soon stays unknown."""
        found = [self._begin_pricing(*one) for one in self.unpriced(ask).items()]
        await asyncio.gather(*map(asyncio.shield, found))

    def _begin_pricing(self, name: str, types: Sequence[str]) -> asyncio.Task[None]:
        """Return the task that learns these prices, which others may wait for already."""
        key = name, tuple(types)
        if key not in self._pricing:
            self._pricing[key] = asyncio.get_running_loop().create_task(self._price(name, types))
            self._pricing[key].add_done_callback(lambda _: self._pricing.pop(key, None))
        return self._pricing[key]

    async def _price(self, name: str, types: Sequence[str]) -> None:
        layer: object = self._layers[name]
        if not isinstance(layer, Pricing) or layer.prices is None:
            return
        try:
            asking = asyncio.to_thread(layer.prices.price, types)
            await asyncio.wait_for(asking, TIMERS.prices_s)
        except PoolError as error:
            logger.warning("the prices of %s: %s", name, error)
        except TimeoutError:
            logger.warning("the prices of %s have not come in time", name)
        finally:
            # What nobody knows now is not waited for again.
            self._priced.update((name, kind) for kind in types)
        await self._ask(name)

    def forget(self) -> None:
        """Drop what was heard: the layers are others now."""
        self._heard.clear()
        self._asking.clear()
        self._priced.clear()

    def renew(self, layer: str) -> None:
        """Ask the layer, or each of the group, in the background if that was long ago."""
        for name in GROUPS.get(layer, (layer,)):
            if name in self._layers:
                self._begin(name)

    async def _refresh(self, name: str) -> None:
        heard = self._heard.get(name)
        asking = self._begin(name)
        if asking is not None and (heard is None or heard.why_not):
            await asyncio.shield(asking)

    def _begin(self, name: str) -> asyncio.Task[None] | None:
        """Return who asks the layer now; None if nobody has to."""
        heard = self._heard.get(name)
        lasts = heard is not None and not heard.why_not and not heard.partial
        keep_s = TIMERS.offers_s if lasts else TIMERS.why_not_s
        if heard is not None and self._clock.monotonic() - heard.at < keep_s:
            return None
        if name not in self._asking:
            asking = asyncio.ensure_future(self._ask(name))
            self._asking[name] = asking
            asking.add_done_callback(lambda done: self._answered(name, done))
        return self._asking[name]

    def _answered(self, name: str, done: asyncio.Task[None]) -> None:
        if self._asking.get(name) is done:
            del self._asking[name]

    async def _ask(self, name: str) -> None:
        layer = self._layers[name]
        prices = layer.prices if isinstance(layer, Pricing) else None
        try:
            why_not = await asyncio.to_thread(layer.why_not)
            offers = () if why_not else await asyncio.to_thread(layer.offers)
        except PoolError as error:
            why_not, offers = str(error), ()
        except Exception as error:
            logger.exception("the layer %s cannot be asked", name)
            why_not, offers = f"{type(error).__name__} (see the log of the service)", ()
        if self._layers[name] is layer:
            partial = prices is not None and prices.asking
            self._heard[name] = _Heard(offers, why_not, self._clock.monotonic(), partial)

    async def to_wire(self) -> list[dict[str, Any]]:
        """Return every layer with its offers as clients see them, the cheapest first.

        Those are left out that no ask would be given, as another one has as much for less.
        """
        for name in self._layers:
            with contextlib.suppress(AskError):
                await self.hear(name)
        return [
            {
                "name": name,
                "configured": not self.why_not(name),
                "offers": [offer.to_wire() for offer in _worth_a_look(self.of(name))],
                "why_not": self.why_not(name),
            }
            for name in self._layers
        ]

    def _known(self, name: str) -> _Heard:
        if name in self._heard:
            return self._heard[name]
        if name == "local":
            # Known at once, and never changed.
            self._heard[name] = _Heard(self._layers[name].offers(), "", self._clock.monotonic())
            return self._heard[name]
        return _Heard((), "it was not asked yet", 0.0)


def _check_types(ask: Ask, types: set[str]) -> None:
    """Refuse machine types that the layer does not have."""
    for name in ask.instances:
        if name not in types:
            near = difflib.get_close_matches(name, types, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "see %compute layers"
            raise AskError(f"--instance: {ask.layer} has no {name!r} here", hint=hint)


def _check_gpus(ask: Ask, kinds: set[str]) -> None:
    """Refuse GPUs of a kind that the layer does not have, if it has others."""
    if kinds:
        known = ", ".join(sorted(kinds, key=str.lower))
        raise AskError(f"--gpu: {ask.layer} has no {ask.gpu_name!r} here", hint=f"it has {known}")


def _worth_a_look(offers: Sequence[Offer]) -> list[Offer]:
    return [offer for offer, _ in undominated(offers, [lambda offer: not offer.on_request])]
