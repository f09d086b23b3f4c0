"""The life of maps: each is one run, carried out by several attempts side by side, its lanes.

::

    begin ─► lanes open ─► ready ─► slices of chunks ─► leave when idle, or when others wait
                              ▲             │
       exchange with the notebook: chunks come, results go

The notebook cuts the chunks, retries items and puts results in order; what is here is
needed only as long as the notebook lives. So a map is never replayed: a service that has
been killed begins it anew, and the notebook sends once more what it still misses.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jupyter_compute import settings
from jupyter_compute.model import Clock, Offer, RunState
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.pool.accounts import Accounts
from jupyter_compute.pool.executor import Executor
from jupyter_compute.pool.journal import Journal, persist
from jupyter_compute.pool.lanes import Crew, Lane, Leftovers
from jupyter_compute.pool.record import Run, died, outcome_of, sample_event, state_event
from jupyter_compute.pool.showing import show
from jupyter_compute.pool.turns import Turns

__all__ = ["Maps"]

logger = logging.getLogger(__name__)

_MOST_FAILURES = 3
"""So many lanes in a row that end before they have done anything end the map."""

_MUTE_S = 5.0
"""A machine that has not ended a cancelled lane this long after it should have never will."""

Event = Mapping[str, Any]
Finish = Callable[[Run, dict[str, Any], RunState], None]


class Maps:
    """The maps that have not ended.

    Parameters
    ----------
    journal : Journal
    clock : Clock
    finish : callable
        Ends a run: takes it, its envelope and its state.
    rehearse : callable
        Called when the first lane of a run executes.
    """

    def __init__(
        self, journal: Journal, clock: Clock, finish: Finish, rehearse: Callable[[Run], None]
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._finish = finish
        self._rehearse = rehearse
        self._crews: dict[str, Crew] = {}
        self.left = Leftovers()
        self._executor: Executor
        self._accounts: Accounts
        self.turns: Turns

    def attach(self, executor: Executor, accounts: Accounts) -> None:
        """Set where lanes go, and who pays."""
        self._executor, self._accounts = executor, accounts
        self.turns = Turns(self._crews, executor)

    def owns(self, attempt: str) -> bool:
        """Tell whether the attempt is, or was, a lane of one of these maps."""
        return attempt.rpartition(".")[0] in self._crews

    # asked ------------------------------------------------------------------------

    def begin(self, run: Run, opened: int = 0) -> None:
        """Take on a map, which has had so many lanes before. They open when items come."""
        run.crew = self._crews[run.id] = Crew(run, run.most_lanes, opened, _limit(run))
        run.lane_s = 0.0

    def granted(self, run: Run) -> None:
        """Open lanes for a map that was taken on before it was known what it is granted."""
        crew = self._crews[run.id]
        crew.allow(run.most_lanes, _limit(run))
        self._serve(crew)

    async def exchange(self, run: Run, order: Mapping[str, Any]) -> dict[str, Any]:
        """Take chunks in, and return results as soon as there are any.

        Parameters
        ----------
        run : Run
        order : mapping
            ``chunks`` that are new, ``open`` the numbers of those whose results are not all
            there yet, ``since`` the number of the last piece taken, ``wait_s`` how long to
            wait for more.
        """
        crew = self._crews[run.id]
        crew.take(order["chunks"])
        missing = crew.forget(order["since"], order["open"])
        self._serve(crew)
        if not crew.pieces() and not missing and not run.over:
            crew.news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(crew.news.wait(), order["wait_s"])
        return {
            "state": run.state,
            "pieces": crew.pieces(),
            "missing": missing,
            "lanes": sum(lane.ready for lane in crew.lanes.values()),
            "most": crew.most,
            "memory": run.memory,
            "memory_high": run.memory_high,
            "envelope": run.envelope,
        }

    def conclude(self, run: Run, envelope: dict[str, Any]) -> None:
        """End a map as the notebook says: everything is done, or an item has failed for good."""
        crew = self._crews[run.id]
        for lane in list(crew.lanes.values()):
            if not lane.machine_id:
                self._withdraw(crew, lane)
            elif envelope["outcome"] == "ok":
                self.turns.dismiss(lane)
            else:
                self._executor.control(lane.id, "kill")
        crew.items = envelope.pop("items")
        crew.conclusion = envelope
        self._end_if_empty(crew)
        self._give_up_later(run, _MUTE_S)

    def cancel(self, run: Run, action: str) -> None:
        """End every lane, politely or at once."""
        self.stop(run, died("killed", "cancelled"), action)

    def withdraw(self, run: Run) -> None:
        """Ask for no machine for a map that has none."""
        crew = self._crews[run.id]
        for lane in list(crew.lanes.values()):
            self._withdraw(crew, lane)

    def serve(self, run: Run) -> None:
        """Ask for machines for a map that was held back."""
        self._serve(self._crews[run.id])

    def stop(self, run: Run, envelope: dict[str, Any], action: str) -> None:
        """End every lane, and then the map, with this envelope."""
        crew = self._crews[run.id]
        crew.conclusion = envelope
        for lane in list(crew.lanes.values()):
            if lane.machine_id:
                self._executor.control(lane.id, action)
            else:
                self._withdraw(crew, lane)
        self._end_if_empty(crew)
        ladder = TIMERS.interrupt_s + TIMERS.terminate_s if action == "interrupt" else 0.0
        self._give_up_later(run, ladder + _MUTE_S)

    def fail(self, run: Run, envelope: dict[str, Any]) -> None:
        """End the map, as no lane of it can be started."""
        crew = self._crews[run.id]
        for lane in crew.lanes.values():
            self._executor.control(lane.id, "kill")
            self._executor.withdraw(lane.id)
        crew.lanes.clear()
        self._end(crew, envelope, "lost" if envelope.get("reason") == "lost" else "failed")

    def why_waiting(self, run: Run) -> str:
        """Return what a map without a machine waits for."""
        lanes = self._crews[run.id].lanes
        if not lanes:
            return "waiting for its notebook to send items"
        return next(filter(None, map(self._executor.why_waiting, lanes)), "")

    def replace(self, machine_id: str) -> None:
        """Open other lanes for those on a machine that will be taken away."""
        for crew in self._crews.values():
            if crew.forgo(machine_id):
                self._serve(crew)

    # reported by the executor -----------------------------------------------------

    def placed(self, attempt: str, machine_id: str, machine: str, offer: Offer | None) -> None:
        """The lane has a machine."""
        crew, lane = self._find(attempt)
        if lane is None:
            return
        run = crew.run
        self._accounts.placed(attempt, machine_id, offer, run.cpu, lane.memory, run.spec.gpu)
        persist(self._journal.placed, run.id, lane.n, machine_id, self._clock.now())
        lane.machine_id, lane.machine = machine_id, machine
        run.machine_id, run.machine = run.machine_id or machine_id, machine
        if run.state == "queued":
            run.state, run.reason = "starting", f"on {machine}"
            run.log.append([state_event(run)])

    def happened(self, attempt: str, events: Sequence[Event]) -> None:
        """The machine reports what the lane does."""
        crew, lane = self._find(attempt)
        if lane is None:
            return
        shown: list[Event] = []
        for event in events:
            match event["kind"]:
                case "started":
                    self._started(crew, lane, shown)
                case "ready":
                    lane.ready = True
                case "piece":
                    crew.report(lane, event)
                case "ended":
                    crew.run.log.append(shown)
                    self._lane_over(crew, lane, dict(event["envelope"]))
                    return
                case _:
                    shown.append(event)
        if shown:
            crew.run.log.append(shown)
        self._serve(crew)

    def vanished(self, attempt: str, machine_lost: bool, message: str) -> None:
        """The lane will not report its end any more."""
        crew, lane = self._find(attempt)
        if lane is None:
            return
        if machine_lost:
            envelope = died("lost", f"the machine {lane.machine} was lost")
        else:
            envelope = died("start", message or "the machine did not report how it ended")
        self._lane_over(crew, lane, envelope)

    def sampled(self, attempt: str, used: Mapping[str, Any]) -> None:
        """Add up what the lanes use now, and show it."""
        crew, lane = self._find(attempt)
        if lane is None:
            return
        lane.used = used
        run, lanes = crew.run, [lane for lane in crew.lanes.values() if lane.used]
        run.cpu_used = sum(lane.used["cpu_used"] for lane in lanes)
        run.memory_used = sum(lane.used["memory_used"] for lane in lanes)
        run.memory_peak = max(run.memory_peak or 0, used["memory_peak"] or 0) or None
        run.cpu_peak = max(run.cpu_peak or 0.0, used["cpu_used"] or 0.0)
        total = {
            "cpu_used": run.cpu_used,
            "memory_used": run.memory_used,
            "memory_peak": run.memory_peak,
        }
        run.log.show(sample_event(run, total, self._clock.now()))

    def tick(self) -> None:
        """Send lanes home that have nothing to do, or that others have waited for long enough."""
        now = self._clock.monotonic()
        self.turns.tick(now)
        for crew in list(self._crews.values()):
            self._show_moving(crew)
            if crew.grow(now):
                self._serve(crew)

    def make_room(self) -> None:
        """Have lanes that stay without work go soon, if a newcomer turns out to wait for them."""
        self.turns.make_room()

    def close(self) -> None:
        """Let the notebooks go that wait for results."""
        for crew in self._crews.values():
            if crew.run.timer is not None:
                crew.run.timer.cancel()
            crew.news.set()
        self._crews.clear()

    # steps ------------------------------------------------------------------------

    def _find(self, attempt: str) -> tuple[Crew, Lane | None]:
        crew = self._crews[attempt.rpartition(".")[0]]
        return crew, crew.lanes.get(attempt)

    def _serve(self, crew: Crew) -> None:
        """Tell lanes what to do, and open those that are missing."""
        if crew.conclusion is not None or not crew.run.granted:
            return
        for lane, part in crew.assignments():
            self._executor.control(lane.id, "tell", part.message())
        if not crew.run.held:
            for memory in crew.wanted():
                self._open(crew, memory)

    def _open(self, crew: Crew, memory: int) -> None:
        run = crew.run
        crew.opened += 1
        crew.largest = max(crew.largest, memory)
        lane = Lane(f"{run.id}.{crew.opened}", crew.opened, memory)
        persist(self._journal.opens, run.id, lane.n, self._clock.now())
        crew.lanes[lane.id] = lane
        run.attempt = crew.opened
        spec = run.attempt_spec() | {"attempt": lane.id, "memory": memory}
        self._executor.submit(lane.id, json.dumps(spec), run.needs(memory))
        self.make_room()

    def _started(self, crew: Crew, lane: Lane, shown: list[Event]) -> None:
        run, now = crew.run, self._clock.now()
        lane.started = now
        run.started = run.started or now
        run.attempt_started = run.attempt_started or now
        if run.state != "running":
            run.state, run.reason = "running", f"on {lane.machine}"
            shown.append(state_event(run))
        if crew.conclusion is not None:
            # The machine may not have known the lane yet when it was told.
            self._executor.control(lane.id, run.cancelled or "kill")
        elif lane.n == 1:
            self._rehearse(run)

    def _lane_over(self, crew: Crew, lane: Lane, envelope: dict[str, Any]) -> None:
        run, now = crew.run, self._clock.now()
        usage = dict(envelope.get("usage") or {})
        run_s = usage.get("run_s")
        if run_s is None:
            run_s = max(0.0, now - lane.started) if lane.started else 0.0
        run.lane_s = (run.lane_s or 0.0) + run_s
        run.cpu_s = (run.cpu_s or 0.0) + (usage.get("cpu_s") or 0.0)
        run.memory_peak = max(run.memory_peak or 0, usage.get("memory_peak") or 0) or None
        usage |= {"run_s": run_s, "usd": self._accounts.over(lane.id)}
        persist(self._journal.closes, run.id, lane.n, outcome_of(envelope), usage, now)
        if envelope.get("reason") in ("interrupted", "killed") and crew.conclusion is None:
            # Nobody here asked for it: the machine is going away, and says so last.
            envelope |= {"reason": "lost", "message": f"the machine {lane.machine} ended"}
        crew.lose(lane, envelope, told=run.verdict is None)
        if crew.conclusion is not None:
            self._end_if_empty(crew)
            return
        hopeless = envelope.get("reason") in ("start", "transfer") and not lane.ready
        if hopeless or crew.failures > _MOST_FAILURES:
            self.fail(run, envelope)
            return
        self._serve(crew)

    def _show_moving(self, crew: Crew) -> None:
        """Say what of a map's values is on its way to its machines, or back."""
        run, lanes = crew.run, crew.lanes
        moving = next(filter(None, map(self._executor.moving, lanes)), "")
        where = f"on {run.machine}" if run.machine_id else ""
        reason = "; ".join(filter(None, (where, moving)))
        if run.machine_id:
            show(run, reason)

    def _withdraw(self, crew: Crew, lane: Lane) -> None:
        """Forget a lane that has no machine."""
        self._executor.withdraw(lane.id)
        del crew.lanes[lane.id]

    def _end_if_empty(self, crew: Crew) -> None:
        if crew.lanes or crew.conclusion is None:
            return
        state: RunState = "done" if crew.conclusion["outcome"] == "ok" else "failed"
        self._end(crew, crew.conclusion, "cancelled" if crew.run.cancelled else state)

    def _give_up_later(self, run: Run, delay_s: float) -> None:
        if run.over:
            return
        if run.timer is not None:
            run.timer.cancel()
        run.timer = asyncio.get_running_loop().call_later(delay_s, self._give_up, run)

    def _give_up(self, run: Run) -> None:
        """End a map whose machines do not answer."""
        crew = self._crews.get(run.id)
        if crew is not None:
            for attempt in crew.lanes:
                self._executor.withdraw(attempt)
            crew.lanes.clear()
            self._end_if_empty(crew)

    def _end(self, crew: Crew, envelope: dict[str, Any], state: RunState) -> None:
        run = crew.run
        del self._crews[run.id]
        if envelope.get("reason") == "budget":
            self.left.put(run.id, crew.pieces())
        run.items = crew.items
        run.memory = max(run.memory, crew.largest)
        busy_s = max(0.0, self._clock.now() - run.started) if run.started else 0.0
        run.attempt_started = None
        envelope = envelope | {"usage": {"run_s": busy_s, "cpu_s": None, "memory_peak": None}}
        self._finish(run, envelope, state)
        crew.news.set()


def _limit(run: Run) -> int:
    """Return how many lanes there may ever be: elsewhere there may be more machines of the kind."""
    machines = 1 if run.spec.layer == "local" else max(1, int(settings.get("max-machines")))
    return run.most_lanes * machines
