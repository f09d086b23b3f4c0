"""Between the life of runs and what executes them: blobs to and from machines that are apart.

It stands between `Life` and `Maps` on one side and the engine on the other, and is for each what
the other was. What concerns machines that share this host's files passes through untouched.
An attempt on another one

- takes its small blobs along; the others are sent to a store from the moment of its submission,
- asks, through its machine, for the addresses of what it needs and of what it gives,
- and is heard of here only after the blobs that it speaks of have come.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from jupyter_compute import parts
from jupyter_compute.blobs import HASH, Blobs
from jupyter_compute.errors import ComputeError, TransferError
from jupyter_compute.layers.stores import Store, Upload
from jupyter_compute.model import Clock
from jupyter_compute.policy import cargo
from jupyter_compute.policy.where import Needs, Waiting
from jupyter_compute.pool.depot import Depot
from jupyter_compute.pool.executor import Executor, Listener
from jupyter_compute.pool.trip import FAILURES, Trip, ended, unreachable

__all__ = ["Transfers"]

logger = logging.getLogger(__name__)

_WAIT_S = 10.0
"""A machine that waits for an answer hears this often that it is being worked on."""

Event = Mapping[str, Any]
Entry = Mapping[str, Any]
Reply = Callable[[Mapping[str, Any]], None]


class Transfers:
    """What is on its way, for all attempts.

    Parameters
    ----------
    store_of : callable
        From a layer's name to its store; None for one whose machines share this host's files.
    blobs : Blobs
        Those of this host.
    kept : callable
        From the id of a kept value to what is known of it.
    listener : Listener
        Who learns what happens to attempts and machines.
    clock : Clock
    """

    def __init__(
        self,
        store_of: Callable[[str], Store | None],
        blobs: Blobs,
        kept: Callable[[str], Entry | None],
        listener: Listener,
        clock: Clock,
    ) -> None:
        self._store_of = store_of
        self._blobs = blobs
        self._kept = kept
        self._listener = listener
        self._clock = clock
        self._executor: Executor
        self._depots: dict[Store, Depot] = {}
        self._trips: dict[str, Trip] = {}
        self._held: dict[str, asyncio.Task[None]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def attach(self, executor: Executor) -> None:
        """Set where attempts go from here."""
        self._executor = executor

    def close(self) -> None:
        """Drop everything that is on its way."""
        for task in (*self._held.values(), *self._answering):
            task.cancel()
        for trip in self._trips.values():
            trip.close()
        for depot in self._depots.values():
            depot.close()

    # for the life of runs ---------------------------------------------------------

    def submit(self, attempt: str, spec: str, needs: Needs) -> None:
        """Queue the attempt; it waits for kept values that must come here first."""
        found = json.loads(spec)
        try:
            depot = self._depot(found["layer"])
            entries = [entry for kept in found["kept"] if (entry := self._kept(kept)) is not None]
            first = [entry for entry in entries if self._is_elsewhere(entry, depot)]
        except ComputeError as error:
            # Not from here: whoever submits does not expect an end yet.
            end = ended(f"there is no store for {found['layer']}: {error}", unreachable=False)
            asyncio.get_running_loop().call_soon(self._listener.happened, attempt, end)
            return

        def go() -> None:
            sent = spec
            if depot is not None:
                sent = self._pack(attempt, found, entries, depot)
            self._executor.submit(attempt, sent, needs)

        if first:
            self._held[attempt] = asyncio.ensure_future(self._hold(attempt, first, go))
        else:
            go()

    def withdraw(self, attempt: str) -> None:
        """Forget the attempt, and what is on its way for it."""
        self._executor.withdraw(attempt)
        self._forget(attempt)

    def control(self, attempt: str, action: str, message: Mapping[str, Any] | None = None) -> None:
        """Pass an action on, a message with the small blobs that it names."""
        trip = self._trips.get(attempt)
        if trip is not None and message is not None and (names := cargo.needed(message)):
            message = {**message, "inline": trip.load(names)}
        self._executor.control(attempt, action, message)
        if trip is not None and action in {"interrupt", "kill"}:
            trip.stop()

    def demand(self) -> Sequence[Waiting]:
        """Return what waits for a machine."""
        return self._executor.demand()

    def ahead(self, attempt: str) -> int | None:
        """Return how many wait before the attempt that need the same; None if it does not wait."""
        return self._executor.ahead(attempt)

    def why_waiting(self, attempt: str) -> str:
        """Return what the attempt waits for; empty if it does not wait."""
        return self._executor.why_waiting(attempt)

    def moving(self, attempt: str) -> str:
        """Return what of the attempt's values is on its way; empty if nothing is."""
        if attempt in self._held:
            return "bringing kept values"
        trip = self._trips.get(attempt)
        return "" if trip is None else trip.moving()

    async def bring_kept(self, entry: Entry) -> None:
        """Return once a kept value is on this host.

        Raises
        ------
        TransferError
        """
        try:
            await self._bring_kept(entry)
        except FAILURES as error:
            raise TransferError(
                f"{entry['id']} could not be brought: {error}",
                hint="run the cell that made it again",
                kept=entry["id"],
            ) from error

    async def tidy(
        self, gone: Mapping[str, Collection[str]], kept: Iterable[Entry], pinned: Collection[str]
    ) -> None:
        """Remove from the stores what has been dropped; see to it that the rest stays there."""
        needed: dict[str, set[str]] = {}
        for entry in kept:
            if entry.get("apart"):
                needed.setdefault(entry["apart"], set()).update(_blobs_of(entry))
        for layer in {*gone, *needed}:
            try:
                depot = self._depot(layer)
                if depot is None:
                    continue
                stays = needed.get(layer, set())
                await depot.delete(set(gone.get(layer, ())) - stays - set(pinned))
                await depot.keep(stays)
            except (ComputeError, *FAILURES) as error:
                logger.warning("the store of %s could not be tidied: %s", layer, error)

    # for what executes attempts ---------------------------------------------------

    def placed(self, attempt: str, machine: str) -> None:
        """Pass on that the attempt has been given to a machine."""
        if (trip := self._trips.get(attempt)) is not None:
            trip.machine = machine
        self._listener.placed(attempt, machine)

    def happened(self, attempt: str, events: Sequence[Event]) -> None:
        """Pass events on, after the blobs that they name."""
        trip = self._trips.get(attempt)
        if trip is None:
            self._listener.happened(attempt, events)
        else:
            trip.happened(events)

    def vanished(self, attempt: str, machine_lost: bool, message: str) -> None:
        """Pass on that the attempt is over, after everything that it has reported."""

        def over() -> None:
            self._forget(attempt)
            self._listener.vanished(attempt, machine_lost, message)

        trip = self._trips.get(attempt)
        if trip is None:
            over()
        else:
            trip.vanished(over)

    def sampled(self, machine: str, sample: Mapping[str, Any]) -> None:
        """Pass on what a machine and its attempts use."""
        self._listener.sampled(machine, sample)

    def noticed(self, machine: str, at: float) -> None:
        """Pass on that the machine will be taken away."""
        self._listener.noticed(machine, at)

    def joined(self, machine: str) -> None:
        """Pass on that a machine has registered."""
        self._listener.joined(machine)

    def left(self, machine: str) -> None:
        """Pass on that a machine's connection is gone."""
        self._listener.left(machine)

    def asked(self, machine: str, question: Mapping[str, Any], reply: Reply) -> None:
        """Answer a machine that needs the address of a blob."""
        task = asyncio.ensure_future(self._answer(machine, question, reply))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    # steps ------------------------------------------------------------------------

    def _depot(self, layer: str) -> Depot | None:
        store = self._store_of(layer)
        if store is None:
            return None
        if store not in self._depots:
            self._depots[store] = Depot(store, self._blobs, self._clock)
        return self._depots[store]

    def _is_elsewhere(self, entry: Entry, depot: Depot | None) -> bool:
        """Tell whether a kept value is neither here nor where it would be needed."""
        at = self._depot(entry["apart"]) if entry.get("apart") else None
        return at not in (None, depot) and not all(map(self._blobs.has, _blobs_of(entry)))

    def _pack(
        self, attempt: str, spec: dict[str, Any], entries: Sequence[Entry], depot: Depot
    ) -> str:
        """Return the spec of an attempt on another host, with its small blobs."""
        trip = Trip(
            attempt, spec["layer"], depot, self._blobs, self._listener.happened, self._stuck
        )
        self._trips[attempt] = trip
        spec["environment"] = self._environment(spec["environment"])
        names = [spec["environment"], spec["payload"], *spec["blobs"]]
        names += [spec["packages"]] if spec["packages"] else []
        names += [name for entry in entries for name in _blobs_of(entry)]
        spec["cargo"] = {"inline": trip.load(names), "names": names}
        return json.dumps(spec)

    def _environment(self, name: str) -> str:
        """Return the blob with what of an environment means something on another host."""
        found = json.loads(self._blobs.read(name))
        plain = set(found.get("plain", ()))
        return self._blobs.put(
            json.dumps(
                {
                    "python": found.get("python", ""),
                    "umask": found["umask"],
                    "variables": {n: v for n, v in found["variables"].items() if n in plain},
                },
                sort_keys=True,
            ).encode()
        )

    async def _hold(self, attempt: str, entries: Sequence[Entry], go: Callable[[], None]) -> None:
        try:
            for entry in entries:
                await self._bring_kept(entry)
        except FAILURES as error:
            message = f"a kept value could not be transferred: {error}"
            self._listener.happened(attempt, ended(message, unreachable=unreachable(error)))
        else:
            go()
        finally:
            self._held.pop(attempt, None)

    async def _bring_kept(self, entry: Entry) -> None:
        depot = self._depot(entry.get("apart", ""))
        for name in _blobs_of(entry):
            if depot is not None and not self._blobs.has(name):
                nbytes = await depot.call(lambda name=name: depot.store.size(name))  # type: ignore[misc]
                if nbytes is None:
                    raise parts.Refused(f"{entry['id']} is no longer in the store")
                await depot.bring(name, name, nbytes)

    def _stuck(self, attempt: str, error: BaseException) -> None:
        """End an attempt whose values do not get there, unless its machine is told so anyway."""
        trip = self._trips.get(attempt)
        if trip is not None and not trip.machine:
            self.withdraw(attempt)
            message = f"an input could not be transferred: {error}"
            self._listener.happened(attempt, ended(message, unreachable=unreachable(error)))

    def _forget(self, attempt: str) -> None:
        if (trip := self._trips.pop(attempt, None)) is not None:
            trip.close()
        if (held := self._held.pop(attempt, None)) is not None:
            held.cancel()

    async def _answer(self, machine: str, question: Mapping[str, Any], reply: Reply) -> None:
        trip = self._trips.get(question["attempt"])
        if trip is None or trip.machine != machine:
            reply({"refused": f"{question['attempt']} does not run there"})
            return
        finding = asyncio.ensure_future(_find(trip, question["verb"], question["about"]))
        try:
            while not (await asyncio.wait([finding], timeout=_WAIT_S))[0]:
                reply({"wait": True})
            reply(finding.result())
        except FAILURES as error:
            reply({"refused": str(error), "unreachable": unreachable(error)})
        except asyncio.CancelledError:
            reply({"refused": "it is not needed any more"})
            raise
        finally:
            finding.cancel()


async def _find(trip: Trip, verb: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a machine's question."""
    depot, store = trip.depot, trip.depot.store
    if verb == "get":
        digest, nbytes = await trip.sent(about["name"])
        url = await depot.call(lambda: store.get_url(digest))
        return {"url": url, "hash": digest, "nbytes": nbytes}
    digest = about["hash"]
    if not HASH.fullmatch(digest):
        raise parts.Refused(f"{digest!r} is not the hash of a blob")
    if verb == "put":
        upload = await depot.put(digest, about["nbytes"])
        return {"there": True} if upload is None else _wire(upload)
    if verb == "renew":
        again = (digest, about["nbytes"], about["upload"])
        if about["upload"]:
            return _wire(await depot.call(lambda: store.renew(*again)))
        return _wire(await depot.call(lambda: store.put_urls(*again[:2])))
    if verb == "complete":
        await depot.complete(digest, about["upload"], about["tags"])
    elif verb == "abort":
        await depot.call(lambda: store.abort(digest, about["upload"]))
    elif verb == "damaged" and trip.knows(digest):
        await depot.delete([digest])
    return {}


def _wire(upload: Upload) -> dict[str, Any]:
    return {
        "urls": list(upload.urls),
        "headers": dict(upload.headers),
        "part_bytes": upload.part_bytes,
        "upload": upload.id,
    }


def _blobs_of(entry: Entry) -> list[str]:
    return [entry["payload"], *entry["blobs"]]
