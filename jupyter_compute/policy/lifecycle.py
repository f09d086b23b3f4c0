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
    offers_s : float
        What a layer offers is asked again after this. Prices of spot machines change a few
        times an hour.
    why_not_s : float
        Whether a layer that cannot be used can be used now is asked again after this.
    list_s : float
        Pause between two questions to a cloud for its machines: answers lag by seconds anyway,
        and calls are rationed.
    remote_deadline_s : float
        As `launch_deadline_s`, of a machine elsewhere: it has to boot, and its image to load.
    sweep_s : float
        Pause between two looks for machines of ours that nobody here knows, once a layer has
        been used.
    batch_s : float
        A run waits this long before a machine is ordered for it: others that come with it may
        share one.
    unavailable_s : float
        An offer that could not be had is left alone for so long.
    lifetime_s : float
        A machine elsewhere ends itself after this, whatever happens.
    launch_close_s : float
        For how long a service that ends waits for the answers to its launches.
    end_s : float
        For how long it waits for the end of its machines.
    most_machines : int
        So many machines may there be at a time.
    launch_retry_s : float
        Pause before a launch of which no answer came is asked for again.
    launch_deadline_s : float
        From the launch of a machine until it has joined; then the launch has failed. A
        local one joins in two seconds, on a busy one-core container in twenty.
    join_s : float
        For how long a machine that has booted looks for its pool. One that comes later than
        the pool waits for it has been replaced, and would only cost money.
    lease_s, lease_renewal_s : float
        A machine elsewhere ends itself when its lease was not renewed for so long, and it is
        renewed so often. Long enough to survive a network that is down for minutes, short
        enough for what a forgotten machine costs.
    notice_check_s : float
        Pause between two questions whether a spot machine will be taken away: AWS tells two
        minutes before, and recommends to ask every five seconds.
    lost_machine_s : float
        A machine that has been silent this long is lost. One that dies is noticed at once
        by its closed connection; this is for one that is frozen, and longer than any
        pause by swapping or a suspended container that is worth surviving.
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
    offers_s: float = 300.0
    why_not_s: float = 2.0
    list_s: float = 5.0
    remote_deadline_s: float = 300.0
    sweep_s: float = 120.0
    batch_s: float = 0.3
    unavailable_s: float = 180.0
    lifetime_s: float = 86400.0
    launch_close_s: float = 30.0
    end_s: float = 10.0
    most_machines: int = 20
    launch_retry_s: float = 2.0
    launch_deadline_s: float = 60.0
    join_s: float = 300.0
    lease_s: float = 600.0
    lease_renewal_s: float = 30.0
    notice_check_s: float = 5.0
    lost_machine_s: float = 60.0
    machine_idle_s: float = 300.0
    service_idle_s: float = 600.0
    abandoned_s: float = 120.0
    interrupt_s: float = 5.0
    terminate_s: float = 2.0


TIMERS = Timers()
"""The table as it ships."""
