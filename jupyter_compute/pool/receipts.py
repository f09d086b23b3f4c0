"""What runs used and cost: one receipt at the end of each, and the sums of them."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from jupyter_compute.ask import refuse
from jupyter_compute.errors import PoolError
from jupyter_compute.model import Clock, Offer, Receipt
from jupyter_compute.policy.advice import HISTORY, Advice, Asked, Use, advise
from jupyter_compute.policy.cost import Total, add, split, sum_up
from jupyter_compute.policy.estimate import Estimate, estimate
from jupyter_compute.pool.books import idle_by, idle_sum
from jupyter_compute.pool.journal import Journal
from jupyter_compute.pool.record import Run
from jupyter_compute.pool.schema import day_of

__all__ = ["Receipts"]

logger = logging.getLogger(__name__)


class Receipts:
    """Makes receipts, and sums them up.

    Parameters
    ----------
    journal : Journal
    clock : Clock
    offers : callable
        From a layer's name to what it offers.
    """

    def __init__(
        self, journal: Journal, clock: Clock, offers: Callable[[str], Sequence[Offer]]
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._offers = offers

    def make(self, run: Run) -> Receipt:
        """Return what a run that has just ended used, and what to ask for next time."""
        receipt = run.make_receipt()
        advice = self._advice(run, receipt)
        if advice is None:
            return receipt
        return dataclasses.replace(receipt, advice=advice.text, advised=dict(advice.ask))

    def estimate(self, code: str, layer: str, usd_per_hour: float | None) -> Estimate | None:
        """Return what earlier runs of this code on this layer took, and what that costs now."""
        history = self._journal.history(code, layer, HISTORY) if code else []
        return estimate(history, usd_per_hour)

    def _advice(self, run: Run, receipt: Receipt) -> Advice | None:
        asked = _asked(run, receipt)
        if not run.spec.code or run.spec.chaos:
            return None  # a rehearsal says nothing about the code
        if not (run.state == "done" or asked.out_of_memory):
            return None
        try:
            history = self._journal.history(run.spec.code, receipt.layer, HISTORY - 1)
        except PoolError:
            logger.exception("a receipt goes without advice")
            return None
        peaks = (receipt.cpu_peak, receipt.memory_peak)
        use = Use(run.state == "done", receipt.run_s, *peaks)
        return advise(use, asked, history, self._offers(receipt.layer))

    def costs(self, since: float, by: str, active: Sequence[Run]) -> dict[str, Any]:
        """Return the sums of the receipts since the beginning of a day, as JSON.

        Parameters
        ----------
        since : float
            A moment of that day, in UTC seconds. Days are those of this computer's time zone.
        by : {"notebook", "layer", "day"}
        active : sequence of Run
            Those that have no receipt yet.

        Raises
        ------
        AskError
            If that day is yet to come.
        """
        if since > self._clock.now():
            refuse("since", since, "is in the future")
        day = day_of(since)
        paid, rehearsed = split(self._journal.spending(day))
        groups, total = sum_up(paid, by)
        _, besides = sum_up(rehearsed, by)
        idle = self._journal.books.idle(day)
        waste = [one for one in idle if not one.rehearsed]
        of_groups = idle_by(waste, by)
        groups |= {name: Total() for name in of_groups if name not in groups}
        nothing = None if by == "notebook" else idle_sum(())
        return {
            "since": time.mktime(time.strptime(day, "%Y-%m-%d")),
            "since_day": day,
            "time_zone": time.strftime("%z", time.localtime(since)),
            "by": by,
            "groups": [
                {by: name, **sums.to_wire(), "idle": of_groups.get(name, nothing)}
                for name, sums in sorted(groups.items())
            ],
            "total": {**total.to_wire(), "idle": idle_sum(waste)},
            "rehearsed": {
                **besides.to_wire(),
                "idle": idle_sum(one for one in idle if one.rehearsed),
            },
            "active": {"runs": len(active), "usd": add(run.usd for run in active)},
        }


def _asked(run: Run, receipt: Receipt) -> Asked:
    spec, envelope = run.spec, run.envelope or {}
    given = set(spec.given) - ({"memory"} if spec.memory is None else set())
    return Asked(
        cpu=receipt.cpu,
        memory=receipt.memory,
        memory_high=spec.memory_high,
        gpu=spec.gpu,
        layer=receipt.layer,
        given=given,
        sent=spec.sent,
        steps=run.counts.memory_steps,
        out_of_memory=run.state == "failed" and envelope.get("reason") == "memory",
    )
