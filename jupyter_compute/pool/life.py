"""The life of active runs. Every step is journalled before it has an effect.

::

    begin ─► queued ─► starting ─► running ─► done | failed | cancelled | lost
                ▲                     │
                └── another attempt ◄─┘   (policy.retry decides)
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jupyter_compute.errors import ComputeError
from jupyter_compute.model import Clock, Offer, RunState
from jupyter_compute.policy import chaos
from jupyter_compute.policy.fit import Grant
from jupyter_compute.policy.lifecycle import TIMERS
from jupyter_compute.policy.retry import SUSPICIOUS_S, Rerun, decide
from jupyter_compute.policy.where import where_of
from jupyter_compute.pool.accounts import Accounts
from jupyter_compute.pool.executor import Executor
from jupyter_compute.pool.journal import Journal, persist
from jupyter_compute.pool.losses import Losses
from jupyter_compute.pool.maps import Maps
from jupyter_compute.pool.receipts import Receipts
from jupyter_compute.pool.record import (
    Run,
    died,
    end_event,
    notes_of,
    outcome_of,
    sample_event,
    state_event,
)
from jupyter_compute.pool.showing import Showing, show
from jupyter_compute.pool.suspects import Suspects

__all__ = ["Life"]

logger = logging.getLogger(__name__)

Event = Mapping[str, Any]

_MUTE_S = 5.0
"""A machine that has not ended a cancelled attempt this long after it should have never will."""

_REASON_S = 5.0
"""The scheduler is asked why a run waits at most this often."""


class Life:
    """The runs that have not ended.

    Parameters
    ----------
    journal : Journal
    clock : Clock
    abandoned_s : float
        How long an attached run goes on without a follower.
    ended : callable
        Called after a run has ended.
    receipts : Receipts
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        abandoned_s: float,
        ended: Callable[[Run], None],
        receipts: Receipts,
    ) -> None:
        self.active: dict[str, Run] = {}
        self._journal = journal
        self._clock = clock
        self._abandoned_s = abandoned_s
        self._ended = ended
        self._receipts = receipts
        self._rng = random.Random()
        self._executor: Executor
        self._showing: Showing
        self._accounts: Accounts
        self.may_not: Callable[[Run], str] = lambda _: ""
        self.losses: Losses
        self.suspects = Suspects(self.queue, clock)
        self.maps = Maps(journal, clock, self.finish, self._rehearse)

    def attach(self, executor: Executor, lose: Callable[[str], None], accounts: Accounts) -> None:
        """Set where attempts go, what kills a machine to rehearse its loss, and who pays."""
        self._executor, self._accounts = executor, accounts
        self._showing, self.losses = Showing(executor), Losses(self.active, lose)
        self.maps.attach(executor, accounts)

    # asked ------------------------------------------------------------------------

    def begin(self, run: Run, notes: Sequence[str] = ()) -> None:
        """Take on a run and queue it.

        Raises
        ------
        PoolError
            If the journal cannot be written; nothing has happened then.
        """
        self._journal.begin(run.id, run.spec.to_wire(), run.to_record())
        self._admit(run)
        run.reason = self.may_not(run)
        run.log.append([*notes_of(notes), state_event(run)])
        if run.granted:
            self.queue(run)
        elif run.spec.map:
            self.maps.begin(run)

    def grant(self, run: Run, grant: Grant) -> None:
        """Let a run go on that was taken on before it was known what it is granted."""
        run.take(grant)
        run.reason = ""
        persist(self._journal.granted, run.id, run.to_record())
        run.log.append([*notes_of(grant.notes), state_event(run)])
        if run.crew is not None:
            self._hold(run)
            self.maps.granted(run)
        else:
            self.queue(run)

    def refuse(self, run: Run, error: ComputeError) -> None:
        """End a run that nothing can be granted to."""
        envelope = died("refused", str(error)) | {"error": error.to_wire()}
        if run.crew is not None:
            self.maps.fail(run, envelope)
        else:
            self.finish(run, envelope, "failed", str(error))

    def cancel(self, run: Run, action: str) -> None:
        """Make the run end. One that has no machine yet ends at once."""
        run.cancelled = action
        if run.spec.map:
            self.maps.cancel(run, action)
            return
        if run.machine_id is None:
            self._executor.withdraw(run.attempt_id)
            self.finish(run, died("killed", "cancelled before it started"), "cancelled")
            return
        self._executor.control(run.attempt_id, action)
        ladder = TIMERS.interrupt_s + TIMERS.terminate_s if action == "interrupt" else 0.0
        self.give_up_later(run, ladder)

    # reported by the executor -----------------------------------------------------

    def placed(self, attempt: str, machine_id: str, machine: str, offer: Offer | None) -> None:
        """The attempt has a machine, and may run from now on."""
        run = self._current(attempt)
        if run is None:
            return
        self._accounts.placed(attempt, machine_id, offer, run.cpu, run.memory, run.spec.gpu)
        persist(self._journal.placed, run.id, run.attempt, machine_id, self._clock.now())
        run.machine_id, run.machine = machine_id, machine
        run.state, run.reason = "starting", f"on {machine}"
        run.log.append([state_event(run)])

    def happened(self, attempt: str, events: Sequence[Event]) -> None:
        """The machine reports what the attempt does. What comes late is dropped."""
        run = self._current(attempt)
        if run is None:
            return
        passed: list[Event] = []
        for event in events:
            if event["kind"] == "ended":
                run.log.append(passed)
                self._attempt_over(run, dict(event["envelope"]))
                return
            passed.append(event)
            if event["kind"] == "started":
                self._started(run)
                passed.append(state_event(run))
        run.log.append(passed)

    def vanished(self, attempt: str, machine_lost: bool, message: str) -> None:
        """The attempt will not report its end any more, if it has not done so."""
        run = self._current(attempt)
        if run is None:
            return
        if machine_lost:
            how = self.losses.how(run) or ""
            envelope = died("lost", run.loss(self._clock.now(), how))
        else:
            envelope = died("start", message or "the machine did not report how it ended")
        young = self._clock.now() - (run.attempt_started or float("inf")) < SUSPICIOUS_S
        suspect = machine_lost and young and self.losses.how(run) is None
        self._attempt_over(run, envelope, suspect=suspect)

    def sampled(self, attempt: str, used: Mapping[str, Any]) -> None:
        """Take note of what an attempt uses now, and show it to its followers."""
        run = self._current(attempt)
        if run is None:
            return
        run.use(used)
        run.log.show(sample_event(run, used, self._clock.now()))

    # once a second, and at both ends of the service -------------------------------

    def tick(self, no_machine: Callable[[Run], str]) -> None:
        """Say why runs wait and what they cost, and cancel those that nobody follows any more.

        Parameters
        ----------
        no_machine : callable
            Returns what keeps the run's layer from having a machine at all, or nothing.
        """
        now = self._clock.monotonic()
        self.suspects.look()
        for run in list(self.active.values()):
            since = run.unfollowed_since
            abandoned = since is not None and now - since > self._abandoned_s
            if abandoned and not (run.spec.detached or run.cancelled):
                run.log.append([{"kind": "note", "text": "cancelled: its notebook is gone"}])
                self.cancel(run, "kill")
            elif run in self.suspects or run.held:
                continue
            elif run.waits and ((why := no_machine(run)) or now - run.explained >= _REASON_S):
                run.explained = now
                lanes = self.maps.why_waiting(run) if run.spec.map else ""
                self._showing.waiting(run, why or lanes)
            elif run.machine_id is not None and not run.spec.map:
                self._showing.moving(run)
        self.maps.tick()

    def fail_waiting(self, layers: Sequence[str], message: str) -> None:
        """End every run that waits for a machine of these layers only, as none can be started."""
        for run in list(self.active.values()):
            mine = run.waits and set(where_of(run.spec).layers) <= set(layers)
            if mine and run.spec.map:
                self.maps.fail(run, died("launch", message))
            elif mine:
                self._executor.withdraw(run.attempt_id)
                self._attempt_over(run, died("launch", message))

    def resume(self, run: Run, placed: bool) -> None:
        """Take on a run that an earlier service left unfinished.

        If its last attempt was `placed` it may have run, and counts as lost with its machine.
        """
        self._admit(run)
        if run.cancelled:
            self.finish(run, died("killed", "cancelled"), "cancelled")
        elif not run.granted:
            run.log.append([state_event(run)])
            if run.spec.map:
                self.maps.begin(run, run.attempt)
        elif run.spec.map:
            note = "the compute service was started again: what was being worked on is rerun"
            run.log.append([{"kind": "note", "text": note}, state_event(run)])
            self.maps.begin(run, run.attempt)
        elif placed:
            self._attempt_over(run, died("lost", "the compute service ended while it ran"))
        else:
            run.log.append([state_event(run)])
            self.queue(run)

    def close(self) -> None:
        """Let followers go. The runs stay in the journal, for the next service."""
        self.maps.close()
        for run in self.active.values():
            if run.timer is not None:
                run.timer.cancel()
            run.log.close()
        self.active.clear()  # what machines report while they are ended is not the runs' end

    # steps ------------------------------------------------------------------------

    def _current(self, attempt: str) -> Run | None:
        run = self.active.get(attempt.rpartition(".")[0])
        return run if run is not None and run.attempt_id == attempt else None

    def _admit(self, run: Run) -> None:
        self.active[run.id] = run
        run.unfollowed_since = self._clock.monotonic()

    def queue(self, run: Run) -> None:
        """Queue the run's attempt, or hold it back."""
        run.timer = None
        self._hold(run)
        if run.spec.map:
            self.maps.begin(run)
        if run.spec.map or run.held:
            return
        self._executor.submit(run.attempt_id, json.dumps(run.attempt_spec()), run.needs(run.memory))
        self.maps.make_room()

    def _hold(self, run: Run) -> None:
        if why := self.may_not(run):
            run.held = True
            show(run, why)

    def _started(self, run: Run) -> None:
        now = self._clock.now()
        run.attempt_started = now
        run.started = run.started or now
        run.state, run.reason = "running", f"on {run.machine}"
        if run.cancelled:
            # The machine may not have known the attempt yet when it was told.
            self._executor.control(run.attempt_id, run.cancelled)
        elif run.attempt == 1:
            self._rehearse(run)

    def _rehearse(self, run: Run) -> None:
        """The first attempt of the run executes: what is to befall its machine is due soon."""
        if run.spec.chaos == "lose-machine":
            self._later(run, chaos.HIT_S, self.losses.sacrifice)

    def _attempt_over(self, run: Run, envelope: dict[str, Any], *, suspect: bool = False) -> None:
        if run.cancelled:
            self.finish(run, envelope, "cancelled")
            return
        if run.verdict is not None and envelope.get("outcome") != "ok":
            verdict = run.verdict | {"usage": envelope.get("usage")}
            self.finish(run, verdict, "failed", run.verdict["message"])
            return
        if envelope.get("reason") in ("interrupted", "killed"):
            # Nobody here asked for it: the machine is going away, and says so last.
            how = self.losses.how(run) or "ended"
            envelope |= {"reason": "lost", "message": run.loss(self._clock.now(), how)}
        decision = decide(
            envelope,
            run.spec.retry,
            run.counts,
            memory=run.memory,
            memory_high=run.memory_high,
            rng=self._rng,
            suspect=suspect,
        )
        if isinstance(decision, Rerun):
            self._rerun(run, envelope, decision)
        else:
            if decision.state == "lost":
                envelope |= {"message": decision.why, "hint": decision.hint}
            self.finish(run, envelope, decision.state, decision.why)

    def _rerun(self, run: Run, envelope: dict[str, Any], decision: Rerun) -> None:
        now, outcome = self._clock.now(), outcome_of(envelope)
        usage = self._used(run, envelope, now)
        failed: Event = {
            "kind": "attempt",
            "n": run.attempt,
            "outcome": outcome,
            "message": str(envelope.get("message", "")),
            "next": decision.why,
        }
        run.attempt += 1
        run.memory, run.counts = decision.memory, decision.counts
        run.machine_id = run.attempt_started = run.cpu_used = run.memory_used = None
        run.state, run.reason = "queued", decision.why
        persist(self._journal.intend, run.id, run.to_record(), outcome, usage, now)
        run.log.append([failed, state_event(run)])
        queue = self.suspects.take if decision.counts.suspicions else self.queue
        self._later(run, decision.delay_s, queue)

    def finish(self, run: Run, envelope: dict[str, Any], state: RunState, why: str = "") -> None:
        """End a run."""
        run.finished = self._clock.now()
        usage = self._used(run, envelope, run.finished)
        self._accounts.run_over(run.id)
        if run.timer is not None:
            run.timer.cancel()
            run.timer = None
        run.state, run.reason, run.envelope = state, why, envelope
        run.error = "" if state == "done" else str(envelope.get("message", ""))
        run.cpu_used = run.memory_used = None
        run.receipt = self._receipts.make(run)
        del self.active[run.id]
        code = "" if run.spec.chaos else run.spec.code
        persist(self._journal.ended, run.id, run.to_record(), outcome_of(envelope), usage, code)
        run.log.append([end_event(run.to_wire())])
        self._ended(run)

    def _used(self, run: Run, envelope: Event, now: float) -> dict[str, Any]:
        """Add what the attempt that has just ended used, which pays no more, and return it."""
        usage = run.add_usage(envelope, now)
        usage["usd"] = self._accounts.over(run.attempt_id)
        run.attempts_usd.append(usage["usd"])
        return usage

    def give_up_later(self, run: Run, ladder_s: float) -> None:
        """End a run if its machine has not ended it some time after it should have."""
        self._later(run, ladder_s + _MUTE_S, self._give_up)

    def _give_up(self, run: Run) -> None:
        """End a cancelled run whose machine does not answer."""
        self._executor.withdraw(run.attempt_id)
        self._attempt_over(run, died("killed", f"{run.machine} did not answer"))

    def _later(self, run: Run, delay_s: float, step: Callable[[Run], None]) -> None:
        if run.timer is not None:
            run.timer.cancel()
        run.timer = asyncio.get_running_loop().call_later(delay_s, step, run)
