"""Every timer of the pool and its machines, in one table, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TIMERS", "Timers"]


@dataclass(frozen=True, slots=True)
class Timers:
    """How long things take at most, in seconds. Configuration and tests replace single ones.

    Parameters
    ----------
    tick_s : float
        Pause between two looks at machines and runs. A user notices no shorter one, and a
        look costs milliseconds.
    sample_s : float
        Pause between two samples of use. Status lines and charts show no finer step.
    output_batch_s : float
        How long output is gathered before it is sent. Below what the eye tells from
        "at once", and 100 000 lines become a few messages.
    memory_check_s : float
        Pause between two looks at the memory of an attempt. A process that fills memory
        as fast as it can takes a few hundred MB in this time, which the reserve absorbs.
    ageing_s : float
        A run that waited this long has a machine kept free for it. Smaller runs that come
        later may overtake it until then, so that machines do not stand idle.
    lane_turn_s : float
        A lane of a map that other runs wait for gives way after this long, and waits for
        its next turn behind them. Its successor loads the function's globals anew.
    lane_idle_s : float
        A lane that has had no items for this long gives its machine back. The notebook may
        take a moment to look at the results before it asks for more.
    launch_deadline_s : float
        From the launch of a machine until it has joined; then the launch has failed. A
        local one joins in two seconds, on a busy one-core container in twenty.
    lost_machine_s : float
        A machine that has been silent this long is lost. One that dies is noticed at once
        by its closed connection; this is for one that is frozen, and longer than any
        pause by swapping or a suspended container that is worth surviving.
    store_s : float
        A transfer of which nothing has moved for this long is given up, and the attempt
        begins again elsewhere. Longer than a broken network takes to mend itself, and than
        an object store is ever unavailable without a notice of it in the news.
    machine_idle_s : float
        A machine with no run for this long ends. Thinking between two cells takes
        minutes, and a new machine costs the next cell its start.
    service_idle_s : float
        A pool service without runs and clients for this long ends. Its start costs two
        seconds; its memory is wanted by others.
    abandoned_s : float
        A run whose kernel is gone, and that was not detached, is cancelled after this.
        Long enough for a dropped connection to be taken up again.
    interrupt_s, terminate_s : float
        The ladder of an interrupt: SIGINT, after `interrupt_s` SIGTERM, after another
        `terminate_s` SIGKILL. The first lets code clean up and save, the second only exit.
    """

    tick_s: float = 1.0
    sample_s: float = 1.0
    output_batch_s: float = 0.05
    memory_check_s: float = 0.1
    ageing_s: float = 10.0
    lane_turn_s: float = 10.0
    lane_idle_s: float = 2.0
    launch_deadline_s: float = 60.0
    lost_machine_s: float = 60.0
    store_s: float = 120.0
    machine_idle_s: float = 300.0
    service_idle_s: float = 600.0
    abandoned_s: float = 120.0
    interrupt_s: float = 5.0
    terminate_s: float = 2.0


TIMERS = Timers()
"""The table as it ships."""
