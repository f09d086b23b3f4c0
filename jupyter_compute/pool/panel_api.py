"""The addresses that panels use, all of them small: nothing here waits or streams.

Looking does not keep the pool alive: it ends when idle, whoever has a panel open.
"""

from __future__ import annotations

import json
from typing import Any

from jupyter_compute.errors import ComputeError
from jupyter_compute.pool.bodies import RUN_ID
from jupyter_compute.pool.excerpt import excerpt
from jupyter_compute.pool.handler import Handler
from jupyter_compute.pool.picture import CURSOR

__all__ = ["ROUTES"]


class _State(Handler):
    keeps_alive = False

    def get(self) -> None:
        since = self.get_query_argument("since", "0")
        if not CURSOR.fullmatch(since):
            raise ComputeError(f"since must be 0 or a cursor, not {since[:80]!r}")
        self.finish(self.pool.state.answer(since))


class _Output(Handler):
    keeps_alive = False

    async def get(self, run_id: str) -> None:
        run_id, since = self.run_id(run_id), self.number("since", 0)
        state = self.pool.runs.wire(run_id)["state"]
        found = await excerpt(self.pool.runs.look(run_id, since), since)
        await self.finish(json.dumps({"id": run_id, "state": state, **found}, ensure_ascii=False))


class _StopMachine(Handler):
    def post(self, machine_id: str) -> None:
        if not RUN_ID.fullmatch(machine_id):
            raise ComputeError(f"{machine_id[:80]!r} is not the id of a machine")
        force = self.body().get("force", False)
        if not isinstance(force, bool):
            raise ComputeError("force must be true or false")
        self.finish(json.dumps(self.pool.machines.stop(machine_id, force)))


ROUTES: list[Any] = [
    (r"/v1/state", _State),
    (r"/v1/runs/([^/]*)/output", _Output),
    (r"/v1/machines/([^/]*)/stop", _StopMachine),
]
