"""What machines may say to the scheduler.

Dask trusts whoever is connected: any member can have the scheduler run a function, and much of
what a worker sends is unpickled sooner or later. A machine of this pool runs users' code, so it
may do no more than what it is there for: join, beat, and tell about its tasks. Everything else is
left to the one client, which is in this process and needs no connection.
"""

from __future__ import annotations

import contextvars
import logging
import pickle
from collections.abc import Callable, Container, Mapping
from types import SimpleNamespace
from typing import Any

from distributed import Scheduler
from distributed.comm.core import Comm
from distributed.protocol import core

__all__ = ["Guarded", "refuse_pickles"]

logger = logging.getLogger(__name__)

_REQUESTS = frozenset({"heartbeat_worker", "register-worker"})
_MESSAGES = frozenset(
    {
        "keep-alive",
        "release-worker-data",
        "reschedule",
        "task-erred",
        "task-finished",
        "worker-status-change",
    }
)
_CHATTER = "log-event"
"""Every worker sends it when it ends, and nobody here listens; it can hold a pickle."""

_OURS = "jupyter-compute-"
_HERE = "inproc://"

_speaker: contextvars.ContextVar[str] = contextvars.ContextVar("speaker", default="")
"""The machine whose words are being handled; empty for those of this process."""


class _Refused(Container[object]):
    """The requests that machines may not make: all but a few."""

    def __contains__(self, op: object) -> bool:
        speaker = _speaker.get()
        if not speaker or op in _REQUESTS:
            return False
        logger.warning("%s asked for %r, which machines may not, and was refused", speaker, op)
        return True


class _Messages(dict[str, Callable[..., Any]]):
    """What is done at each message; nothing at those that machines may not send."""

    def __getitem__(self, op: str) -> Callable[..., Any]:
        speaker = _speaker.get()
        if not speaker or op in _MESSAGES or op.startswith(_OURS):
            return super().__getitem__(op)
        if op != _CHATTER:
            logger.warning("%s sent %r, which machines may not, and was ignored", speaker, op)
        return lambda **_: None


class Guarded(Scheduler):
    """A scheduler that does what any client in its own process asks, and little for others.

    A machine whose certificate names another one than it says it is cannot join.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocked_handlers = _Refused()  # type: ignore[assignment]
        self.stream_handlers = _Messages(self.stream_handlers)

    def handle_comm(self, comm: Comm) -> Any:
        """Serve a new connection, in a task that remembers whose it is."""
        token = _speaker.set("" if comm.local_address.startswith(_HERE) else _name(comm))
        try:
            return super().handle_comm(comm)
        finally:
            _speaker.reset(token)

    async def add_worker(self, comm: Comm, *, name: str, **about: Any) -> None:
        """Let a machine join under its own name."""
        certified = _certified(comm)
        if certified and certified != name:
            logger.warning("%s wanted to join as %s, and was refused", certified, name)
            await comm.write({"status": "error", "message": "this is not your name", "time": 0.0})
            return
        await super().add_worker(comm, name=name, **about)

    def handle_task_finished(self, key: Any, worker: str, stimulus_id: str, **msg: Any) -> None:
        """Learn that a task has ended; of what type its result is would be a pickle."""
        super().handle_task_finished(key, worker, stimulus_id, **{**msg, "type": b""})

    def handle_task_erred(self, key: Any, stimulus_id: str, **msg: Any) -> None:
        """Learn that a task has failed; its exception becomes one that was made here."""
        error = pickle.dumps(RuntimeError(str(msg.get("exception_text"))))
        said = {**msg, "exception": error, "traceback": None}
        super().handle_task_erred(key, stimulus_id, **said)


def refuse_pickles() -> None:
    """Have this process read no pickle from any of Dask's connections, from now on for good."""

    def loads(*_: object, **__: object) -> None:
        raise ValueError("a message with a pickle was refused")

    # `vars`, as it is a module that another one has imported.
    vars(core)["pickle"] = SimpleNamespace(dumps=vars(core)["pickle"].dumps, loads=loads)


def _certified(comm: Comm) -> str:
    """Return the name in the certificate at the other end, if there is one."""
    found: Mapping[str, Any] = comm.extra_info.get("peercert") or {}
    names = [pair for group in found.get("subject", ()) for pair in group]
    return next((text for kind, text in names if kind == "commonName"), "")


def _name(comm: Comm) -> str:
    return f"{_certified(comm) or 'somebody'} at {comm.peer_address}"
