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
    lanes_grow_s : float
        A map elsewhere that has more to do than its lanes have done after this long may have twice
        as many, again and again. A few doublings take less time than a machine needs to start.
    lane_idle_s : float
        A lane that has had no items for this long gives its machine back. The notebook may
        take a moment to look at the results before it asks for more.
    offers_s : float
        What a layer offers is asked again after this. Prices of spot machines change a few
        times an hour.
    why_not_s : float
        Whether a layer that cannot be used can be used now is asked again after this.
    prices_s : float
        For so long a run waits for the prices of machines that it may have. They come in a few
        seconds, and a machine of a wrong type costs more than that; longer, they do not come.
    list_s : float
        Pause between two questions to a cloud for its machines: answers lag by seconds anyway,
        and calls are rationed.
    launch_close_s : float
        For how long a service that ends waits for the answers to its launches.
    end_s : float
        For how long it waits for the end of its machines.
    launch_retry_s : float
        Pause before a launch of which no answer came is asked for again.
    launch_deadline_s : float
        From the launch of a machine until it has joined; then the launch has failed. A
        local one joins in two seconds, on a busy one-core container in twenty.
    join_s : float
        For how long a machine that has booted looks for its pool. One that comes later than
        the pool waits for it has been replaced, and would only cost money.
    notice_check_s : float
        Pause between two questions whether a spot machine will be taken away: AWS tells two
        minutes before, and recommends to ask every five seconds.
    ec2_launch_deadline_s, fargate_launch_deadline_s : float
        The same for machines of these layers, the first for VMs of other clouds too. A stock image boots and installs in one to two
        minutes, a task pulls its image in less; what takes longer hangs, and is paid for.
    launch_call_s : float
        A call that launches machines has answered by then, or is taken for lost and repeated.
    unavailable_s : float
        An offer that there was no capacity for, or a class of offers whose quota is reached,
        is left alone for this long; so is a layer that is not allowed to launch. It rarely
        changes sooner, and asking again at once would only be throttled.
    throttle_first_s, throttle_most_s : float
        A layer that is throttled is asked again after the first pause, which doubles up to
        the second. The limits are refilled within seconds, and others use them too.
    breaker_s : tuple of float
        After three machines of a layer in a row that failed to boot nothing is launched there
        for the first pause, after further ones for the next: each costs money and tells nothing
        new, but what was wrong may be mended outside.
    sweep_first_s, sweep_s : float
        Pause between two searches for machines that no record knows; the first one for the
        first 20 searches, as strays come from the crash that made us start.
    stray_s : float
        A machine that no record knows is a stray once it is this old. Younger ones may be on
        their way into the records.
    lease_renew_s, lease_s : float
        The lease of a machine is renewed so often, and expires so long after the last time:
        then it ends itself. A restarted service must have time to take its machines up again.
    lifetime_s : float
        A machine ends itself after this, whatever happens. Nobody watches a forgotten one.
    least_charged_s : float
        A machine elsewhere costs at least so long: AWS charges by the second, and at least a
        minute.
    halt_s : float
        From the look that finds a budget spent until all that it stops has ended: an attempt that
        does not answer is given up after five seconds, and a call that ends a machine takes one.
    batch_idle_s, batch_most_s : float
        Machines are planned when no further run was asked for during the first, and after the
        second at the latest: runs that come together share machines.
    lost_machine_s : float
        A machine that has been silent this long is lost. One that dies is noticed at once
        by its closed connection; this is for one that is frozen, and longer than any
        pause by swapping or a suspended container that is worth surviving.
    relay_beat_s : float
        Pause between two beats on a connection to the relay; three that do not come are a lost
        connection. Routers at home forget one on which nothing was said for a minute or more.
    relay_connect_s, relay_retry_s : float
        For how long the relay may take to answer a call, and the pause before the next one.
    relay_silent_s : float
        After this long without a connection to the relay the pool finds out from which address
        it calls now, and lets that one in: a laptop may have come to another network.
    relay_lost_s : float
        After this long without a connection the relay is given up, and another one started if
        one is wanted. All machines have lost their connections much earlier.
    relay_failed_s : float
        Pause before another relay is launched when there was no capacity, no answer, or the last
        one did not come up.
    store_s : float
        A transfer of which nothing has moved for this long is given up, and the attempt
        begins again elsewhere. Longer than a broken network takes to mend itself, and than
        an object store is ever unavailable without a notice of it in the news.
    machine_idle_s : float
        A machine with no run for this long ends. Thinking between two cells takes
        minutes, and a new machine costs the next cell its start.
    machine_spare_s : float
        The same for a machine beside another idle one that has at least as much of everything:
        one is enough for the next cell. AWS charges a minute in any case, and runs that follow
        each other closely find it still there. On a simulated day (benchmarks/day.py) that costs
        a tenth less, and nobody waits longer.
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
    lanes_grow_s: float = 3.0
    lane_idle_s: float = 2.0
    offers_s: float = 300.0
    why_not_s: float = 2.0
    prices_s: float = 20.0
    list_s: float = 5.0
    launch_close_s: float = 30.0
    end_s: float = 10.0
    launch_retry_s: float = 2.0
    launch_deadline_s: float = 60.0
    join_s: float = 300.0
    notice_check_s: float = 5.0
    ec2_launch_deadline_s: float = 300.0
    fargate_launch_deadline_s: float = 240.0
    launch_call_s: float = 60.0
    unavailable_s: float = 180.0
    throttle_first_s: float = 1.0
    throttle_most_s: float = 60.0
    breaker_s: tuple[float, ...] = (60.0, 300.0, 900.0)
    sweep_first_s: float = 10.0
    sweep_s: float = 120.0
    stray_s: float = 30.0
    lease_renew_s: float = 30.0
    lease_s: float = 600.0
    lifetime_s: float = 86400.0
    least_charged_s: float = 60.0
    halt_s: float = 8.0
    batch_idle_s: float = 0.3
    batch_most_s: float = 3.0
    lost_machine_s: float = 60.0
    relay_beat_s: float = 20.0
    relay_connect_s: float = 10.0
    relay_retry_s: float = 1.0
    relay_silent_s: float = 15.0
    relay_lost_s: float = 120.0
    relay_failed_s: float = 20.0
    store_s: float = 120.0
    machine_idle_s: float = 300.0
    machine_spare_s: float = 60.0
    service_idle_s: float = 600.0
    abandoned_s: float = 120.0
    interrupt_s: float = 5.0
    terminate_s: float = 2.0

    def launch_limit_s(self, layer: str) -> float:
        """Return for how long a machine of the layer may take to join."""
        limits = {"local": self.launch_deadline_s, "fargate": self.fargate_launch_deadline_s}
        return limits.get(layer, self.ec2_launch_deadline_s)


TIMERS = Timers()
"""The table as it ships."""
