"""What machines cost from their launch to their end, and who pays. Pure, no I/O.

What of a machine is reserved is paid by who holds it, the rest is idle: its start, its pauses, its
end, and the room beside. Shares and idle together are the price of the machine, at any time.

AWS charges by the second, and at least a minute, for EC2 under Linux
(https://aws.amazon.com/ec2/pricing/on-demand/, "per-second billing") as for Fargate
(https://aws.amazon.com/fargate/pricing/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jupyter_compute.policy.cost import add, spent

__all__ = ["Charges", "Idle", "Ledger"]


@dataclass(frozen=True, slots=True)
class Idle:
    """What nobody held of a machine: seconds of a whole machine, and dollars or None."""

    seconds: float
    usd: float | None


@dataclass(frozen=True, slots=True)
class Charges:
    """What has come up since it was last asked for.

    Parameters
    ----------
    held : mapping
        By holder, dollars; None if the price is not known.
    idle : mapping
        By machine.
    """

    held: Mapping[str, float | None]
    idle: Mapping[str, Idle]


@dataclass(slots=True)
class _Account:
    """One machine: what it costs, the seconds that are charged, and who holds which part."""

    usd_per_hour: float | None
    least_s: float
    seen: float
    charged_s: float
    weights: dict[str, float] = field(default_factory=dict)


class Ledger:
    """The accounts of machines that cost something. All times are seconds of one clock."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._on: dict[str, str] = {}
        self._held: dict[str, float | None] = {}
        self._idle: dict[str, Idle] = {}

    def __contains__(self, machine: str) -> bool:
        return machine in self._accounts

    def open(
        self,
        machine: str,
        usd_per_hour: float | None,
        now: float,
        *,
        age_s: float = 0.0,
        charged_s: float = 0.0,
        least_s: float = 0.0,
    ) -> None:
        """Charge for a machine from its launch on.

        Parameters
        ----------
        machine : str
        usd_per_hour : float or None
            None if unknown.
        now : float
        age_s : float
            How long ago it was launched.
        charged_s : float
            How much of that has been charged before.
        least_s : float
            It costs at least so many seconds.
        """
        if machine in self._accounts:
            return
        age_s, charged_s = max(0.0, age_s), max(0.0, charged_s)
        self._accounts[machine] = _Account(usd_per_hour, least_s, now, charged_s)
        self._charge(machine, max(0.0, age_s - charged_s))

    def take(self, machine: str, holder: str, weight: float, now: float) -> None:
        """Have a part of a machine paid by its holder from now on; 1 is all of it."""
        account = self._accounts.get(machine)
        if account is not None:
            self._advance(machine, now)
            account.weights[holder] = min(1.0, max(0.0, weight))
            self._on[holder] = machine

    def release(self, holder: str, now: float) -> None:
        """Have what somebody held paid by nobody from now on."""
        machine = self._on.pop(holder, None)
        if machine is not None and machine in self._accounts:
            self._advance(machine, now)
            del self._accounts[machine].weights[holder]

    def close(self, machine: str, now: float) -> float:
        """Charge for a machine up to now, and no more, and return for how many seconds in all.

        Who held it is released.
        """
        account = self._accounts[machine]
        self._advance(machine, now)
        for holder in account.weights:
            self._on.pop(holder, None)
        account.weights.clear()
        self._charge(machine, max(0.0, account.least_s - account.charged_s))
        del self._accounts[machine]
        return account.charged_s

    def collect(self, now: float) -> Charges:
        """Return what has come up until now, once."""
        for machine in self._accounts:
            self._advance(machine, now)
        charges = Charges(self._held, self._idle)
        self._held, self._idle = {}, {}
        return charges

    def holders(self) -> list[str]:
        """Return who holds a part of a machine."""
        return list(self._on)

    def charged(self) -> Mapping[str, float]:
        """Return how many seconds of each machine have been charged."""
        return {name: account.charged_s for name, account in self._accounts.items()}

    def committed(self, machine: str) -> float:
        """Return the dollars that come up for a machine even if it ends now."""
        account = self._accounts[machine]
        left_s = max(0.0, account.least_s - account.charged_s)
        return spent(account.usd_per_hour, left_s) or 0.0

    def _advance(self, machine: str, now: float) -> None:
        account = self._accounts[machine]
        # A clock that goes back charges nothing, and nothing twice when it comes forward again.
        elapsed, account.seen = max(0.0, now - account.seen), max(now, account.seen)
        self._charge(machine, elapsed)

    def _charge(self, machine: str, seconds: float) -> None:
        account = self._accounts[machine]
        account.charged_s += seconds
        if seconds <= 0:
            return
        # Each holder's share is that of what it has most of, so together they may be too much.
        total = max(1.0, sum(account.weights.values()))
        rest_s = seconds
        for holder, weight in account.weights.items():
            part_s = seconds * weight / total
            rest_s -= part_s
            usd = spent(account.usd_per_hour, part_s)
            self._held[holder] = add((self._held.get(holder, 0.0), usd))
        rest_s = max(0.0, rest_s)
        before = self._idle.get(machine, Idle(0.0, 0.0))
        usd = add((before.usd, spent(account.usd_per_hour, rest_s)))
        self._idle[machine] = Idle(before.seconds + rest_s, usd)
