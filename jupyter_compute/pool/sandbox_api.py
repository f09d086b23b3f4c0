"""The address ``/v1/sandbox``: whether the layers of AWS are a rehearsal."""

from __future__ import annotations

import json
from typing import Any

from jupyter_compute.errors import ComputeError
from jupyter_compute.pool.handler import Handler

__all__ = ["ROUTES"]


class _Sandbox(Handler):
    def get(self) -> None:
        self.finish(json.dumps({"endpoint": self.pool.rehearsal.endpoint}))

    async def post(self) -> None:
        environment = self.body().get("environment")
        if environment is None:
            await self.pool.rehearsal.end()
        elif isinstance(environment, dict):
            await self.pool.rehearsal.begin(environment)
        else:
            raise ComputeError("environment must be an object, or null")
        await self.finish(json.dumps({"endpoint": self.pool.rehearsal.endpoint}))


ROUTES: list[Any] = [(r"/v1/sandbox", _Sandbox)]
