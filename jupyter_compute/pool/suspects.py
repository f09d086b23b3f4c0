"""Runs whose machine died as soon as they had started: one of them may have killed it.

They are rerun one after the other. So when another machine dies it is known whose doing
it was, and the others are not blamed for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from jupyter_compute.model import Clock
from jupyter_compute.policy.retry import SUSPICIOUS_S
from jupyter_compute.pool.record import Run, state_event

__all__ = ["Suspects"]


class Suspects:
    """The line of suspects, of which one at a time gets its next attempt.

    Parameters
    ----------
    queue : callable
        Queues the attempt.
    clock : Clock
    """

    def __init__(self, queue: Callable[[Run], None], clock: Clock) -> None:
        self._queue = queue
        self._clock = clock
        self._tried: Run | None = None
        self._line: deque[Run] = deque()

    def __contains__(self, run: object) -> bool:
        return any(other is run for other in self._line)

    def take(self, run: Run) -> None:
        """Queue the run's attempt, once no other suspect may kill its machine."""
        run.timer = None
        self._line.append(run)
        self.look()

    def look(self) -> None:
        """Let the next one go if the last has ended, or has not killed its machine."""
        if self._tried is not None and not self._on_trial(self._tried):
            self._tried = None
        while self._tried is None and self._line:
            run = self._line.popleft()
            if not run.over:
                self._tried = run
                self._queue(run)
        for run in self._line:
            self._explain(run)

    def _on_trial(self, run: Run) -> bool:
        started = run.attempt_started
        young = started is None or self._clock.now() - started < SUSPICIOUS_S
        return young and run.counts.suspicions > 0 and not run.over

    def _explain(self, run: Run) -> None:
        assert self._tried is not None
        reason = f"waits until {self._tried.id} has shown that it does not kill its machine"
        if run.reason != reason and not run.over:
            run.reason = reason
            run.log.append([state_event(run)])
