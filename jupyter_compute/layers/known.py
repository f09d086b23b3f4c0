"""The layers besides this computer. A layer of yours is one more line here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from jupyter_compute.layers import vmsettings
from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.base import Layer
from jupyter_compute.layers.cloudprovider import CloudproviderLayer
from jupyter_compute.layers.ec2 import EC2Layer
from jupyter_compute.layers.fargate import FargateLayer
from jupyter_compute.layers.market import Market
from jupyter_compute.model import Offer
from jupyter_compute.policy.where import GROUPS

__all__ = ["others"]

_PATIENCE_S = 0.7
"""For so long an ask waits for prices of today; then it is answered with those that are known."""

_FIRST_PATIENCE_S = 4.0
"""The first ask of all would know no spot prices otherwise, and pay three times as much."""


def others() -> dict[str, Layer]:
    """Return every layer but `local`, by its name. Nothing is asked of anybody until one is used."""
    account = Account()
    market = Market(account)
    found: dict[str, Layer] = {
        "ec2": EC2Layer(account, _Fresh(account, market, market.ec2_offers)),
        "fargate": FargateLayer(account, _Fresh(account, market, market.fargate_offers)),
    }
    for name in vmsettings.configured({"local", *GROUPS, *found}):
        found[name] = CloudproviderLayer(name, account)
    return found


class _Fresh:
    """Offers that are brought up to date in the background."""

    def __init__(
        self, account: Account, market: Market, offers: Callable[[], Sequence[Offer]]
    ) -> None:
        self._account = account
        self._market = market
        self._offers = offers
        self._thread: threading.Thread | None = None

    def __call__(self) -> Sequence[Offer]:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._market.refresh, daemon=True)
            self._thread.start()
        known = self._market.known
        self._thread.join(_PATIENCE_S if known else _FIRST_PATIENCE_S)
        rehearsed = self._account.rehearsed
        return (
            [replace(offer, sandbox=True) for offer in self._offers()]
            if rehearsed
            else self._offers()
        )
