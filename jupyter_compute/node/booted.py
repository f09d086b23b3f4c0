"""The program of a machine that nobody holds a pipe to: ``jupyter-compute-node``.

It joins the pool that it was booted for and serves it. It ends when the pool closes the
connection, when its lease runs out, or when it is told to; whoever booted it shuts the
machine down then. So a machine that its pool has lost does not go on costing money.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from ..policy.lifecycle import TIMERS
from . import boot, metadata
from .member import Member, Size, import_dask

__all__ = ["main"]

_ASK_AGAIN_S = 1.0


def main() -> int:
    """Serve the pool that this machine was booted for, until that is over."""
    try:
        order = boot.read_order()
        me = _who_am_i(order)
        invitation = boot.join(order, me.id, TIMERS.join_s)
    except (boot.Refused, OSError) as error:
        print(f"jupyter-compute-node: {error}", file=sys.stderr)
        return 1
    import_dask()
    with tempfile.TemporaryDirectory(prefix="jupyter-compute-") as directory:
        asyncio.run(_serve(order, me, invitation, directory))
    return 0


def _who_am_i(order: boot.Order) -> metadata.Self:
    """Return what the machine was told, or ask its cloud; either may have to wait for a network."""
    end = time.monotonic() + TIMERS.join_s
    while True:
        try:
            if order.machine:
                return metadata.Self(order.machine, boot.own_address(order))
            return metadata.who_am_i()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(_ASK_AGAIN_S)


async def _serve(
    order: boot.Order, me: metadata.Self, invitation: Mapping[str, str], directory: str
) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    member = Member(
        me.id, Size(order.cpu, order.memory, order.gpu), [directory], me.address, apart=True
    )
    member.leased_until = loop.time() + TIMERS.lease_s
    ends: list[asyncio.Task[Any]] = [
        loop.create_task(told.wait()),
        loop.create_task(member.serve(invitation)),
        loop.create_task(_lease_over(member)),
    ]
    watching = loop.create_task(_watch_for_notice(member)) if order.spot else None
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in [*ends, *([watching] if watching else [])]:
            task.cancel()
        await member.close()


async def _lease_over(member: Member) -> None:
    """Return when the pool has not renewed the lease in time."""
    loop = asyncio.get_running_loop()
    while True:
        left_s = member.leased_until - loop.time()
        if left_s <= 0:
            return
        await asyncio.sleep(min(left_s, TIMERS.lease_renew_s))


async def _watch_for_notice(member: Member) -> None:
    while True:
        await asyncio.sleep(TIMERS.notice_check_s)
        with contextlib.suppress(OSError):  # asked again in a moment
            at = await asyncio.to_thread(metadata.notice)
            if at is not None:
                member.give_notice(at)
                return


if __name__ == "__main__":
    sys.exit(main())
