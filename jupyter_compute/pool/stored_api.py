"""The addresses below ``/v1/kept`` and ``/v1/cache``."""

from __future__ import annotations

import json
import re
from typing import Any

from jupyter_compute.errors import ComputeError
from jupyter_compute.pool.bodies import RUN_ID
from jupyter_compute.pool.handler import Handler

__all__ = ["ROUTES"]

_HOLDER = re.compile(r"[0-9]{1,10}-[0-9a-f]{1,32}")
_CHANGES = ("hold", "release", "let_go")


class _KeptValues(Handler):
    def get(self) -> None:
        self.finish(json.dumps({"kept": self.pool.stored.kept()}))


class _KeptValue(Handler):
    def get(self, kept_id: str) -> None:
        self.finish(json.dumps(self.pool.stored.kept_value(kept_id[:80])))


class _Bring(Handler):
    async def post(self, kept_id: str) -> None:
        entry = self.pool.stored.kept_value(kept_id[:80])
        await self.pool.transfers.bring_kept(entry)
        await self.finish(json.dumps(entry))


class _Drop(Handler):
    def post(self) -> None:
        ids = self.body().get("ids")
        listed = isinstance(ids, list) and all(isinstance(one, str) for one in ids)
        if not (ids is None or listed):
            raise ComputeError("ids must be a list of ids, or null for all")
        self.finish(json.dumps(self.pool.stored.drop(ids)))


class _Holds(Handler):
    def post(self) -> None:
        body = self.body()
        holder, changes = body.get("holder"), body.get("changes")
        if not (isinstance(holder, str) and _HOLDER.fullmatch(holder)):
            raise ComputeError("holder must be a process id and more digits")
        if not (isinstance(changes, dict) and all(map(_is_change, changes.items()))):
            raise ComputeError(f"changes must be by id, and one of {', '.join(_CHANGES)}")
        self.pool.stored.hold(holder, changes)
        self.finish(json.dumps({}))


class _Cached(Handler):
    def get(self) -> None:
        self.finish(json.dumps(self.pool.stored.cache.to_wire()))


class _ClearCache(Handler):
    def post(self) -> None:
        self.finish(json.dumps(self.pool.stored.cache.clear()))


def _is_change(item: tuple[str, Any]) -> bool:
    return RUN_ID.fullmatch(item[0]) is not None and item[1] in _CHANGES


ROUTES: tuple[tuple[str, type[Handler]], ...] = (
    (r"/v1/kept", _KeptValues),
    (r"/v1/kept/drop", _Drop),
    (r"/v1/kept/holds", _Holds),
    (r"/v1/kept/([^/]*)", _KeptValue),
    (r"/v1/kept/([^/]*)/bring", _Bring),
    (r"/v1/cache", _Cached),
    (r"/v1/cache/clear", _ClearCache),
)
