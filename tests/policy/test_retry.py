"""What follows a failed attempt, for every way to fail."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_compute.model import ENDED, RetryRule
from jupyter_compute.policy.retry import MAX_DELAY_S, MAX_LOST, Counts, Finish, Rerun, decide

GB = 10**9


def raised(error):
    classes = type(error).__mro__
    return {
        "outcome": "error",
        "type": classes[0].__name__,
        "mro": [n for c in classes for n in (c.__name__, f"{c.__module__}.{c.__qualname__}")],
    }


def died(reason):
    return {"outcome": "died", "reason": reason}


def after(
    envelope, *, retries=0, on=("Exception",), delay_s=1.0, high=None, suspect=False, **counts
):
    return decide(
        envelope,
        RetryRule(retries, on, delay_s),
        Counts(**counts),
        memory=2 * GB,
        memory_high=high,
        rng=random.Random(0),
        suspect=suspect,
    )


class Sensor(LookupError):
    pass


OwnNameError = type("NameError", (Exception,), {})


def test_an_exception_is_rerun_as_often_as_asked_and_then_fails():
    first = after(raised(ValueError()), retries=2)
    assert isinstance(first, Rerun)
    assert first.counts == Counts(reruns=1)
    assert first.memory == 2 * GB
    assert first.why == f"ended with ValueError: rerun 1 of 2 in {first.delay_s:.1f} s"
    assert isinstance(after(raised(ValueError()), retries=2, reruns=1), Rerun)
    assert after(raised(ValueError()), retries=2, reruns=2) == Finish(
        "failed", "ended with ValueError; all retries (2) are used up"
    )


def test_without_retries_an_exception_fails():
    assert after(raised(ValueError())) == Finish(
        "failed", "ended with ValueError; no retries were asked for"
    )


@pytest.mark.parametrize(
    "name", ["Sensor", f"{Sensor.__module__}.Sensor", "LookupError", "builtins.LookupError"]
)
def test_retry_on_means_a_type_and_its_subclasses_by_plain_or_dotted_name(name):
    assert isinstance(after(raised(Sensor()), retries=1, on=(name,)), Rerun)


@pytest.mark.parametrize("name", ["KeyError", "other.Sensor", "sensor", ""])
def test_other_names_do_not_match(name):
    decision = after(raised(Sensor()), retries=1, on=(name, "OSError"))
    assert decision == Finish("failed", f"ended with Sensor, which is not among {name}, OSError")


@pytest.mark.parametrize(
    "error", [SyntaxError(), IndentationError(), NameError(), UnboundLocalError()]
)
@pytest.mark.parametrize("on", [("Exception",), ("NameError", "SyntaxError", "UnboundLocalError")])
def test_what_a_rerun_cannot_mend_is_never_rerun(error, on):
    decision = after(raised(error), retries=9, on=on)
    assert decision == Finish(
        "failed", f"ended with {type(error).__name__}, which a rerun cannot mend"
    )


def test_an_own_exception_may_be_called_like_one_that_is_never_rerun():
    assert isinstance(after(raised(OwnNameError()), retries=1), Rerun)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_leaving_is_rerun_only_if_named(error):
    name = type(error).__name__
    for on in (("Exception",), ("BaseException",), ("builtins.BaseException", "object")):
        assert after(raised(error), retries=9, on=on) == Finish(
            "failed", f"ended with {name}, which is only rerun if retry_on names it"
        )
    for on in ((name,), (f"builtins.{name}",)):
        assert isinstance(after(raised(error), retries=9, on=on), Rerun)


@pytest.mark.parametrize(("reason", "name"), [("timeout", "TimedOut"), ("crash", "Crashed")])
def test_timeouts_and_crashes_count_as_errors_of_ours(reason, name):
    dotted = f"jupyter_compute.errors.{name}"
    for on in (name, dotted, "AttemptError", "ComputeError", "Exception"):
        decision = after(died(reason), retries=1, on=(on,))
        assert isinstance(decision, Rerun)
        assert decision.counts == Counts(reruns=1)
    assert isinstance(after(died(reason), retries=1, on=("ValueError",)), Finish)
    assert isinstance(after(died(reason), retries=1, on=("MachineLost",)), Finish)
    assert isinstance(after(died(reason), retries=1, reruns=1), Finish)
    assert isinstance(after(died(reason)), Finish)


def test_the_memory_ladder_is_climbed_at_once_and_not_counted():
    step = after(died("memory"), high=8 * GB, reruns=1, memory_steps=1)
    assert step == Rerun(
        0.0,
        4 * GB,
        "out of memory with 2 GB: rerun at once with 4 GB",
        Counts(reruns=1, memory_steps=2),
    )
    assert after(died("memory"), high=3 * GB).memory == 3 * GB


def test_the_top_of_the_ladder_is_the_end():
    decision = after(died("memory"), high=2 * GB, retries=5)
    assert decision == Finish("failed", "out of memory with 2 GB, the most it may have")


def test_without_ladder_only_the_very_name_reruns_an_attempt_out_of_memory():
    for on in ("Exception", "AttemptError", "MemoryError"):
        assert after(died("memory"), retries=5, on=(on,)) == Finish(
            "failed", "out of memory with 2 GB; it would do so again"
        )
    for on in ("OutOfMemory", "jupyter_compute.errors.OutOfMemory"):
        decision = after(died("memory"), retries=5, on=(on,))
        assert (decision.memory, decision.counts) == (2 * GB, Counts(reruns=1))
        assert isinstance(after(died("memory"), retries=5, reruns=5, on=(on,)), Finish)


def test_a_lost_machine_is_survived_three_times_without_counting():
    for lost in range(3):
        decision = after(died("lost"), lost=lost, reruns=1)
        assert (decision.delay_s, decision.counts) == (0.0, Counts(reruns=1, lost=lost + 1))
        assert decision.why.startswith("the machine was lost: rerun ")
    assert after(died("lost"), lost=3, retries=9) == Finish(
        "lost", "the machine was lost, for the 4th time"
    )


def test_two_machines_in_a_row_that_died_at_once_are_enough():
    first = after(died("lost"), suspect=True)
    assert first.counts == Counts(lost=1, suspicions=1)
    second = after(died("lost"), suspect=True, lost=1, suspicions=1)
    assert second.state == "lost"
    assert second.why.startswith("this cell seems to kill its machine: 2 in a row died within 30 s")
    assert second.hint


@pytest.mark.parametrize("envelope", [died("lost"), died("crash"), died("memory")])
def test_an_attempt_whose_machine_lived_on_ends_the_suspicion(envelope):
    decision = after(envelope, retries=1, high=4 * GB, lost=1, suspicions=1)
    assert decision.counts.suspicions == 0


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("interrupted", "cancelled"),
        ("killed", "cancelled"),
        ("transfer", "failed"),
        ("start", "failed"),
        ("of the future", "failed"),
        (None, "failed"),
    ],
)
def test_some_ends_are_never_rerun(reason, state):
    decision = after(died(reason), retries=9, on=("Exception", "BaseException"), high=9 * GB)
    assert isinstance(decision, Finish)
    assert decision.state == state


def test_success_is_success():
    assert after({"outcome": "ok"}, retries=9).state == "done"


def test_pauses_double_up_to_a_minute_with_jitter():
    class Most(random.Random):
        def random(self):
            return 1.0

    def pauses(rng, delay_s):
        rule = RetryRule(100, ("Exception",), delay_s)
        envelope = raised(ValueError())
        return [
            decide(envelope, rule, Counts(n), memory=GB, memory_high=None, rng=rng).delay_s
            for n in range(9)
        ]

    assert pauses(Most(), 1.0) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pauses(Most(), 0.0) == [0] * 9
    assert after(raised(ValueError()), retries=5000, reruns=4999).delay_s <= 60
    spread = [pauses(random.Random(seed), 1.0) for seed in range(50)]
    for number, longest in enumerate((1, 2, 4, 8, 16, 32, 60, 60, 60)):
        found = [pause[number] for pause in spread]
        assert longest / 2 <= min(found) < 0.6 * longest
        assert 0.9 * longest < max(found) <= longest


@pytest.mark.parametrize("pause_s", [0.0, 7.0, 120.0])
def test_a_steady_pause_is_the_same_before_every_rerun(pause_s):
    rule = RetryRule(9, ("Exception",), pause_s, steady=True)
    decisions = [
        decide(
            raised(ValueError()), rule, Counts(n), memory=GB, memory_high=None, rng=random.Random(n)
        )
        for n in range(9)
    ]
    assert [decision.delay_s for decision in decisions] == [pause_s] * 9
    when = {0.0: "at once", 7.0: "in 7 s", 120.0: "in 2 min"}[pause_s]
    assert decisions[1].why == f"ended with ValueError: rerun 2 of 9 {when}"


ERRORS = [ValueError(), KeyError(), NameError(), SyntaxError(), SystemExit(), Sensor()]
REASONS = ["memory", "timeout", "crash", "interrupted", "killed", "lost", "transfer", "start", "?"]
ENDS = st.sampled_from([raised(error) for error in ERRORS] + [died(reason) for reason in REASONS])
NAMES = ["Exception", "BaseException", "KeyError", "OutOfMemory", "TimedOut", "SystemExit", "x"]
RULES = st.builds(
    RetryRule,
    st.integers(0, 100),
    st.lists(st.sampled_from(NAMES), max_size=3).map(tuple),
    st.floats(0, 1e9),
)


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(ENDS, min_size=1, max_size=6),
    RULES,
    st.integers(1, 1000),
    st.none() | st.integers(1, 10**6),
    st.randoms(use_true_random=False),
)
def test_every_run_ends_within_its_bounds(ends, rule, memory, high, rng):
    counts, asked = Counts(), memory
    for envelope in itertools.islice(itertools.cycle(ends), 500):
        decision = decide(envelope, rule, counts, memory=asked, memory_high=high, rng=rng)
        assert decision.why
        assert "\n" not in decision.why
        if isinstance(decision, Finish):
            assert decision.state in ENDED - {"done"}
            break
        before = (counts.reruns, counts.lost, counts.memory_steps)
        counts = decision.counts
        grown = (counts.reruns, counts.lost, counts.memory_steps)
        assert sum(grown) == sum(before) + 1
        assert counts.reruns <= rule.retries
        assert counts.lost <= MAX_LOST
        assert 0 <= decision.delay_s <= MAX_DELAY_S
        assert asked <= decision.memory <= max(memory, high or 0)
        assert (decision.memory > asked) == (counts.memory_steps > before[2])
        asked = decision.memory
    else:
        pytest.fail("it was rerun 500 times")


@pytest.mark.slow
@settings(deadline=None)
@given(ENDS, RULES, st.integers(0, 2**31), st.integers(0, 2000))
def test_a_decision_depends_on_its_arguments_only(envelope, rule, seed, reruns):
    made = [
        decide(envelope, rule, Counts(reruns), memory=GB, memory_high=None, rng=random.Random(seed))
        for _ in range(2)
    ]
    assert made[0] == made[1]
