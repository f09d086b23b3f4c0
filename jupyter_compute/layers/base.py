"""What every compute layer promises to the pool.

A layer knows nothing of runs: it starts machines, each a `jupyter_compute.node` process
somewhere, and ends them. The pool decides when. It journals a `Launch` before it asks
for it, so that whatever comes of it can be found by the launch's id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jupyter_compute.layers.stores import Store
from jupyter_compute.model import Offer

__all__ = [
    "Address",
    "Apart",
    "Boot",
    "Explaining",
    "Installing",
    "Introducing",
    "Launch",
    "Launched",
    "Layer",
    "Machine",
    "Prices",
    "Pricing",
    "Refusal",
    "Rehearsing",
    "Relay",
    "Relaying",
]


@dataclass(frozen=True, slots=True)
class Boot:
    """What a machine needs to find its pool. It holds nothing that stays secret.

    Parameters
    ----------
    url : str
        Where machines join, ``https://HOST:PORT``.
    authority : str
        Certificate of the pool's authority (PEM): whoever answers at the address must show
        one that it has signed.
    token : str
        Exchanged for a certificate once per machine, and worthless after a few minutes.
    lifetime_s : float
        The machine ends itself after this, whatever happens.
    """

    url: str
    authority: str
    token: str
    lifetime_s: float = 86400.0


@dataclass(frozen=True, slots=True)
class Relay:
    """What a relay is started with. It holds nothing that stays secret.

    Parameters
    ----------
    authority : str
        Certificate of the pool's authority (PEM): who calls must show one that it has signed.
    token : str
        Shows the pool that this is the relay which it has started.
    beat_s, lease_s : float
        See `policy.lifecycle.Timers`; it ends itself when no pool was there for `lease_s`.
    lifetime_s : float
        It ends itself after this, whatever happens.
    """

    authority: str
    token: str
    beat_s: float
    lease_s: float
    lifetime_s: float = 86400.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a machine is reached.

    Parameters
    ----------
    private : str
        By other machines.
    public : str
        By everybody who is let in; empty if it has none.
    """

    private: str
    public: str


@dataclass(frozen=True, slots=True)
class Launch:
    """Machines to be started together, for the same purpose.

    Parameters
    ----------
    id : str
        Names this launch for ever: ``[a-z0-9-]``, at most 40 characters.
    offers : tuple of Offer
        What will do, the best first; all of one layer.
    count : int
        How many machines.
    boot : Boot, Relay or None
        A `Relay` for what is no machine but a relay; None for a layer that introduces its
        machines itself (`Introducing`).
    """

    id: str
    offers: tuple[Offer, ...]
    count: int = 1
    boot: Boot | Relay | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as its layer sees it.

    Parameters
    ----------
    id : str
        The layer's own, which never means another machine.
    launch : str
        The id of the launch that it came from.
    offer : Offer
        What it was launched as.
    state : {"alive", "gone"}
        A machine that is gone uses nothing any more and never comes back.
    started : float
        When it was launched, in UTC seconds.
    why : str
        For one that is gone: how it ended, as far as the layer can tell.
    """

    id: str
    launch: str
    offer: Offer
    state: Literal["alive", "gone"]
    started: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an offer was not launched.

    Parameters
    ----------
    offer : Offer or None
        None if it was not about one offer.
    kind : {"capacity", "quota", "throttled", "permission", "credentials", "invalid"}
        ``capacity``: there is none now, another offer may do. ``quota``: the account may have
        no more of such machines. ``throttled``: too many calls, later. The others do not
        pass by themselves: the layer is not allowed to, does not know who asks, or its
        configuration is wrong.
    message : str
        One sentence for the user, with what to do about it.
    limit : int or None
        The CPUs of such machines that the account may have, if it is that, and known.
    """

    offer: Offer | None
    kind: Literal["capacity", "quota", "throttled", "permission", "credentials", "invalid"]
    message: str
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Launched:
    """What came of a launch: fewer machines than asked for, possibly none, and why.

    Parameters
    ----------
    machines : tuple of Machine
    refused : tuple of Refusal
        In the order in which the offers were tried.
    """

    machines: tuple[Machine, ...]
    refused: tuple[Refusal, ...] = ()


class Layer(Protocol):
    """A source of machines. Calls may block for seconds, and may come from any thread."""

    @property
    def name(self) -> str:
        """The layer's name in asks and in the configuration."""

    def why_not(self) -> str:
        """Return why the layer cannot be used as configured, or nothing if it can."""

    def offers(self) -> Sequence[Offer]:
        """Return every machine type that can be launched, with its price.

        One type may be offered several times: in several zones, as spot or not. The list
        comes from a cache, which is renewed when prices may have changed.
        """

    def launch(self, launch: Launch) -> Launched:
        """Start machines.

        Calling it again with the same launch never starts more than its count: it returns
        what has been started. When it returns, the machines are listed; each may still fail
        to boot, which shows as ``gone``.

        Raises
        ------
        PoolError
            If it is not known what came of it, as no answer came. Call again.
        """

    def terminate(self, machine_id: str) -> bool:
        """Make the machine end, and return whether it is gone.

        The caller repeats the call until it is. A machine that the layer does not know is
        gone. Whatever ran on it has ended with it. Machines that are not of this
        installation are never touched.

        Raises
        ------
        PoolError
            If the layer cannot be asked now.
        """

    def list(self) -> Sequence[Machine]:
        """Return the machines of this installation that are alive, and those just gone.

        They are found by what was written on them when they were launched, so also those
        of which nobody here has a record.

        Raises
        ------
        PoolError
            If the layer cannot be asked now. That says nothing about the machines.
        """


@runtime_checkable
class Introducing(Protocol):
    """A layer that hands the invitation to its machines itself, through a pipe."""

    def introduce(self, machine_id: str, invite: Callable[[str], str]) -> None:
        """Hand a launched machine the line that lets it join the scheduler.

        Does nothing for a machine that is gone, or that has it already.

        Parameters
        ----------
        machine_id : str
        invite : callable
            From the machine's id to its invitation, which holds a key: it must reach nobody
            but the machine.
        """


@runtime_checkable
class Explaining(Protocol):
    """A layer that can be asked what a machine said before it failed."""

    def console(self, machine_id: str, lines: int = 5) -> str:
        """Return the last lines that the machine wrote; nothing if they cannot be had."""


class Prices(Protocol):
    """Prices that are learnt in the background, and sooner if somebody waits for some of them."""

    @property
    def asking(self) -> bool:
        """Whether others will be known soon, so that the offers are worth another look."""

    def price(self, types: Sequence[str]) -> None:
        """Learn the prices of these machine types, as far as nothing is known of them."""


@runtime_checkable
class Pricing(Protocol):
    """A layer whose prices may come later than its offers."""

    prices: Prices | None


@runtime_checkable
class Installing(Protocol):
    """A layer whose machines may start from an image that has nothing of the notebook's."""

    def installs(self) -> str:
        """Return the setting that would name an image with the notebook's packages.

        Nothing if it does name one; otherwise machines install them from a package index.
        """


@runtime_checkable
class Rehearsing(Protocol):
    """A layer on which the loss of a machine can be rehearsed."""

    def lose(self, machine_id: str) -> None:
        """Kill a machine at once and without notice. One that is gone stays so."""


@runtime_checkable
class Apart(Protocol):
    """A layer whose machines do not share this host's files: blobs go through a store."""

    def store(self) -> Store:
        """Return the store. It is equal each time, and nothing is asked of it yet."""


@runtime_checkable
class Relaying(Protocol):
    """A layer that can start a relay, for machines that cannot reach their pool."""

    def relay_offers(self) -> Sequence[Offer]:
        """Return on what a relay may run, the cheapest first."""

    def let_in(self) -> str:
        """Let this computer call relays, from where it is seen now and not from where it was
        before; return that.

        Raises
        ------
        PoolError
            If that is not possible, or would let in everybody.
        """

    def where(self, machine_id: str) -> Address | None:
        """Return where a machine is reached; None if it is not known yet.

        Raises
        ------
        PoolError
            If the layer cannot be asked now.
        """
