"""The offers of EC2 and Fargate in a region, with the best prices that are known.

AWS is asked, and its answers are kept on disk: types and list prices for a day, spot prices for
ten minutes. Where it cannot be asked, the last answers serve, with their date; then what comes
with the package, for the region that it is of. What is then not known stays so.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jupyter_compute import places
from jupyter_compute.layers import prices
from jupyter_compute.layers.catalog import InstanceType, Pages, describe, shipped
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.layers.sizes import every_size
from jupyter_compute.model import Offer

__all__ = ["Market", "ec2_offers", "fargate_offers"]

logger = logging.getLogger(__name__)

_LIST_S = 86400.0
_SPOT_S = 600.0
"""For how long an answer is taken to be true."""

_OLD_SPOT_S = 86400.0
"""Spot prices that are older say nothing any more, if AWS cannot be asked."""

_AGAIN_S = 300.0
"""After this long AWS is asked again for what it did not answer."""

_NAMES = ("types", "on-demand", "fargate", "spot")
"""What AWS is asked for."""

_SYSTEM_MB = 300
"""Memory that the node itself takes, in 10**6 bytes."""

_EC2_SHARE = 0.93
"""What the system leaves of a machine's memory."""


class Account(Pages, Protocol):
    """Whose prices; see `jupyter_compute.layers.aws.Account`."""

    @property
    def profile(self) -> str:
        """The name of the profile in use."""

    @property
    def region(self) -> str:
        """The region."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What AWS said, and when, in UTC seconds."""

    at: float
    rows: Any


class Market:
    """Offers and prices of an account in its region. May be used from any thread.

    Asking for offers never waits for AWS; `refresh` does.

    Parameters
    ----------
    account : Account
    directory : path, optional
        Where answers are kept.
    clock : callable
        UTC seconds.
    arch : str, optional
        The processors that runs need; those of this computer if not given. Types with others
        are used only by asks that name them.
    """

    def __init__(
        self,
        account: Account,
        directory: Path | None = None,
        clock: Callable[[], float] = time.time,
        arch: str = "",
    ) -> None:
        self._account = account
        self._directory = directory
        self._clock = clock
        self._arch = arch or ("arm64" if platform.machine() in {"aarch64", "arm64"} else "x86_64")
        self._answers: dict[str, Answer] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._made: dict[str, tuple[int, Sequence[Offer]]] = {}
        self._news = 0
        self._some: Answer | None = None
        """Spot prices of single types, until all are known."""
        self._lock = threading.Lock()
        self._asking = {name: threading.Lock() for name in _NAMES}

    def refresh(self) -> None:
        """Ask AWS for what is not known, or too old. What fails is logged, and asked again
        in five minutes.
        """
        self._renew("types", _LIST_S, lambda: [_row(t) for t in describe(self._account)])
        self._renew_on_demand()
        self._renew_fargate()
        self._renew("spot", _SPOT_S, self._ask_spot)

    def price_ec2(self, types: Sequence[str]) -> None:
        """Ask AWS for the prices of these types, as far as nothing is known of them: those that
        somebody waits for come sooner than those of a whole region.
        """
        if self._known("on-demand") is None and self._account.region != shipped().region:
            self._renew_on_demand()
        if self._spot() is not None or self._has_failed("spot"):
            return
        try:
            rows = self._ask_spot(types)
        except CallFailed as error:
            self._fail("spot", error)
            return
        with self._lock:
            before = self._some.rows if self._some else []
            self._some = Answer(self._clock(), [*before, *rows])
            self._news += 1

    def price_fargate(self, _types: Sequence[str]) -> None:
        """Ask AWS for the rates of Fargate, if they are not known."""
        self._renew_fargate()

    def ec2_offers(self) -> Sequence[Offer]:
        """Return the offers of EC2, as far as they are known now."""

        def make() -> Sequence[Offer]:
            region = self._account.region
            types, listed = self._known("types"), self._known("on-demand")
            table = shipped()
            if listed is None and region == table.region:
                listed = Answer(table.priced, table.usd_per_hour)
            spot = self._spot()
            return ec2_offers(
                region,
                [InstanceType(*row) for row in types.rows] if types else table.types,
                listed,
                _by_zone(spot or self._some),
                self._arch,
                complete=spot is not None,
            )

        return self._latest("ec2", make)

    def fargate_offers(self) -> Sequence[Offer]:
        """Return the offers of Fargate, as far as they are known now."""

        def make() -> Sequence[Offer]:
            region = self._account.region
            rates = self._known("fargate")
            if rates is None and region in prices.FARGATE_LIST:
                rates = Answer(prices.FARGATE_LIST_DATE, prices.FARGATE_LIST[region])
            return fargate_offers(region, rates, self._arch)

        return self._latest("fargate", make)

    def about(self) -> str:
        """Return where the prices are from, in one line for the user; empty before `refresh`
        if AWS answered earlier.
        """
        region, table = self._account.region, shipped()
        failed = "; ".join(dict.fromkeys(why for _, why in self._failed.values()))
        listed = self._known("on-demand")
        if listed is None and region != table.region:
            text = f"prices of {region} are not known"
        else:
            at = listed.at if listed else table.priced
            text = f"on-demand prices of {region} as of {_day(at)}"
            text += "" if listed else ", which came with jupyter-compute"
        return f"{text}; {failed}" if failed else text

    def _latest(self, name: str, make: Callable[[], Sequence[Offer]]) -> Sequence[Offer]:
        """Return offers, made anew if anything has been learnt since they were."""
        news = self._news  # what is learnt while they are made is not in them
        if name not in self._made or self._made[name][0] != news:
            self._made[name] = news, make()
        return self._made[name][1]

    def _spot(self) -> Answer | None:
        """Return the spot prices of the region, unless they are too old."""
        spot = self._known("spot")
        return None if spot is None or self._clock() - spot.at > _OLD_SPOT_S else spot

    def _ask_spot(self, types: Sequence[str] = ()) -> list[tuple[str, str, float]]:
        found = prices.spot(self._account, self._clock(), types)
        return [(name, zone, usd) for (name, zone), usd in found.items()]

    def _renew_on_demand(self) -> None:
        region = self._account.region
        self._renew("on-demand", _LIST_S, lambda: prices.on_demand(self._account, region))

    def _renew_fargate(self) -> None:
        region = self._account.region
        self._renew("fargate", _LIST_S, lambda: prices.fargate(self._account, region))

    def _renew(self, name: str, keep_s: float, ask: Callable[[], Any]) -> None:
        # Whoever comes second waits for the answer to the first.
        with self._asking[name]:
            known = self._known(name)
            if (known and self._clock() - known.at < keep_s) or self._has_failed(name):
                return
            now = self._clock()
            try:
                rows = ask()
            except CallFailed as error:
                self._fail(name, error)
                return
            self._failed.pop(name, None)
            self._answers[name] = Answer(now, rows)
            self._keep(name, self._answers[name])
            with self._lock:
                self._news += 1

    def _has_failed(self, name: str) -> bool:
        """Tell whether AWS has refused a moment ago to tell this."""
        return name in self._failed and self._clock() - self._failed[name][0] < _AGAIN_S

    def _fail(self, name: str, error: CallFailed) -> None:
        self._failed[name] = self._clock(), error.message
        with self._lock:
            self._news += 1  # what is known may have become too old meanwhile
        logger.warning("AWS does not tell %s: %s", name, error)

    def _known(self, name: str) -> Answer | None:
        """Return the last answer, also that of another process; None if there is none."""
        if name not in self._answers:
            try:
                kept = json.loads(self._file(name).read_text())
                self._answers[name] = Answer(float(kept["at"]), kept["rows"])
            except (OSError, ValueError, KeyError, TypeError):
                return None
        return self._answers[name]

    def _keep(self, name: str, answer: Answer) -> None:
        file = self._file(name)
        draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        draft.write_text(json.dumps({"at": answer.at, "rows": answer.rows}))
        draft.replace(file)

    def _file(self, name: str) -> Path:
        directory = self._directory or places.private_directory(places.data_dir() / "prices")
        # The zones of two accounts may have each other's names, and a rehearsal its own prices.
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
        mark = hashlib.sha256(f"{endpoint} {self._account.profile}".encode()).hexdigest()[:12]
        return directory / f"{name}-{self._account.region}-{mark}.json"


def ec2_offers(
    region: str,
    types: Sequence[InstanceType],
    listed: Answer | None,
    spot: Answer | None,
    arch: str,
    *,
    complete: bool = True,
) -> Sequence[Offer]:
    """Return what EC2 offers: each type on demand in any zone, and as spot in each zone.

    Burstable types, those without the Nitro system and those with other processors are only
    for asks that name them. A type whose spot prices are not known is offered as spot in any
    zone at an unknown price.

    Parameters
    ----------
    region : str
    types : sequence of InstanceType
    listed : Answer or None
        Dollars per hour by type.
    spot : Answer or None
        Dollars per hour by type and zone.
    arch : str
    complete : bool
        Whether a type that has no spot price cannot be had as spot.
    """
    zones: dict[str, list[tuple[str, float | None]]] = {}
    for (name, zone), usd in (spot.rows if spot else {}).items():
        zones.setdefault(name, []).append((zone, usd))
    offers = []
    for one in types:
        usd = listed.rows.get(one.name) if listed else None
        offers.append(_offer(region, one, arch, usd, listed))
        if one.spot:
            unpriced = [] if spot and complete else [("", None)]
            for zone, price in zones.get(one.name) or unpriced:
                offers.append(_offer(region, one, arch, price, spot, zone, spot=True))
    return tuple(offers)


def _offer(
    region: str,
    one: InstanceType,
    arch: str,
    usd: float | None,
    source: Answer | None,
    zone: str = "",
    *,
    spot: bool = False,
) -> Offer:
    return Offer(
        layer="ec2",
        type=one.name,
        cpu=float(one.cpu),
        memory=max(int(one.memory * 2**20 * _EC2_SHARE) - _SYSTEM_MB * 10**6, 0),
        gpu=one.gpu,
        usd_per_hour=usd,
        spot=spot,
        region=region,
        zone=zone,
        priced=source.at if source and usd is not None else None,
        gpu_name=one.gpu_name,
        arch=one.arch,
        on_request=not one.plain or one.arch != arch,
    )


def fargate_offers(region: str, rates: Answer | None, arch: str) -> Sequence[Offer]:
    """Return what Fargate offers: every size that a task may have, as spot and not.

    Parameters
    ----------
    region : str
    rates : Answer or None
        `jupyter_compute.layers.prices.Rates`.
    arch : str
    """
    known: Mapping[str, Sequence[float]] = rates.rows if rates else {}
    return tuple(_tasks(region, rates, known.get(arch), arch, spot=False)) + tuple(
        _tasks(region, rates, known.get(f"spot-{arch}"), arch, spot=True)
    )


def _tasks(
    region: str, source: Answer | None, rate: Sequence[float] | None, arch: str, *, spot: bool
) -> Iterator[Offer]:
    for size in every_size():
        cpu = size.cpu / 1024
        usd = None if rate is None else rate[0] * cpu + rate[1] * size.memory / 1024
        yield Offer(
            layer="fargate",
            type=str(size),
            cpu=cpu,
            memory=size.memory * 2**20 - _SYSTEM_MB * 10**6,
            usd_per_hour=None if usd is None else round(usd, 8),
            spot=spot,
            region=region,
            priced=source.at if source and usd is not None else None,
            arch=arch,
        )


def _by_zone(spot: Answer | None) -> Answer | None:
    return spot and Answer(spot.at, {(name, zone): usd for name, zone, usd in spot.rows})


def _row(one: InstanceType) -> list[Any]:
    return [one.name, one.cpu, one.memory, one.gpu, one.gpu_name, one.arch, one.spot, one.plain]


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
