"""What a run is granted: at once where it is known what its layer offers, else when that is heard.

A layer that is asked for the first time takes seconds to answer. The run is taken on meanwhile,
and says what it waits for.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Protocol

from jupyter_compute import settings
from jupyter_compute.ask import Ask
from jupyter_compute.errors import ComputeError, PoolError
from jupyter_compute.policy.fit import Grant, Oversize, fit
from jupyter_compute.pool.bodies import spec_ask
from jupyter_compute.pool.offering import Offering
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.showing import show

__all__ = ["Granting"]

logger = logging.getLogger(__name__)

_MOMENT_S = 0.5
"""An ask that is answered within this needs no line that says what it waits for."""


class Askers(Protocol):
    """The runs that have asked."""

    def grant(self, run: Run, grant: Grant) -> None:
        """Let a run go on with what it is granted."""

    def refuse(self, run: Run, error: ComputeError) -> None:
        """End a run that nothing can be granted to."""


class Granting:
    """Answers asks by what layers offer.

    Parameters
    ----------
    offering : Offering
    askers : Askers
    """

    def __init__(self, offering: Offering, askers: Askers) -> None:
        self._offering = offering
        self._askers = askers
        self._tasks: set[asyncio.Task[None]] = set()

    def grant(self, ask: Ask) -> Grant:
        """Return what an ask is granted, by what is known now.

        Raises
        ------
        AskError
            If no offer satisfies it.
        """
        oversize: Oversize = "refuse"
        if ask.layer == "local":
            oversize = settings.get("layers.local.oversize")
        return fit(ask, self._offering.permitted(ask), oversize)

    async def soon(self, ask: Ask) -> Grant | None:
        """Return what an ask is granted; None if that takes longer than a moment to find out.

        Raises
        ------
        AskError
            If there is no such layer, it cannot be used, or it has nothing that satisfies the ask.
        """
        try:
            await asyncio.wait_for(self._offering.hear(ask.layer), _MOMENT_S)
        except TimeoutError:
            return None
        return None if self._lacks_prices(ask) else self.grant(ask)

    async def hear(self, ask: Ask) -> None:
        """Learn what an ask's layer offers, and the prices of what would do.

        Raises
        ------
        AskError
            As `soon`.
        """
        await self._offering.hear(ask.layer)
        if self._lacks_prices(ask):
            await self._offering.price(ask)

    def later(self, run: Run) -> None:
        """Find out in the background what a run is granted, and let it know."""
        task = asyncio.get_running_loop().create_task(self._settle(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Stop finding out."""
        for task in self._tasks:
            task.cancel()

    async def _settle(self, run: Run) -> None:
        layer = run.spec.layer
        try:
            ask = spec_ask(run.spec)
            show(run, f"asking {layer} what it offers")
            await self._offering.hear(layer)
            if self._lacks_prices(ask):
                show(run, f"asking {layer} for prices")
                await self._offering.price(ask)
            grant = self.grant(ask)
        except ComputeError as error:
            self._refuse(run, error)
        except Exception as error:
            logger.exception("what %s is granted", run.id)
            why = f"{type(error).__name__} (see the log of the service)"
            self._refuse(run, PoolError(why))
        else:
            if not run.over:
                self._askers.grant(run, grant)

    def _lacks_prices(self, ask: Ask) -> bool:
        """Tell whether prices are to come of what would do.

        Raises
        ------
        AskError
            If nothing would do, whatever it costs.
        """
        self.grant(
            ask if ask.max_cost == 0 else dataclasses.replace(ask, priced=False, max_cost=None)
        )
        return bool(self._offering.unpriced(ask))

    def _refuse(self, run: Run, error: ComputeError) -> None:
        if not run.over:
            self._askers.refuse(run, error)
