"""Advice rests on what was seen: it holds every run of the history, and says how many there are."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_compute.ask import (
    LARGEST_CPU,
    LARGEST_MEMORY,
    LEAST_CPU,
    LEAST_MEMORY,
    parse_cpu,
    parse_memory_range,
)
from jupyter_compute.model import Offer
from jupyter_compute.policy.advice import Advice, Asked, Use, advise

GB = 10**9
HERE = [Offer("local", "local", cpu=16, memory=64 * GB, usd_per_hour=0.0)]
CLOUD = [
    Offer("ec2", "r7i.large", cpu=2, memory=16 * GB, usd_per_hour=0.05),
    Offer("ec2", "r7i.xlarge", cpu=4, memory=32 * GB, usd_per_hour=0.1),
    Offer("ec2", "r7i.2xlarge", cpu=8, memory=64 * GB, usd_per_hour=0.2),
]


def _use(memory: float | None = None, cpu: float | None = None, **more: object) -> Use:
    peak = None if memory is None else int(memory * GB)
    return Use(**{"done": True, "run_s": 41.0, "cpu_peak": cpu, "memory_peak": peak} | more)  # type: ignore[arg-type]


def _asked(cpu: float = 1, memory: float = 4, **more: object) -> Asked:
    plain = {"cpu": cpu, "memory": int(memory * GB), "given": ("cpu", "memory")}
    return Asked(**plain | more)  # type: ignore[arg-type]


def _text(use: Use, asked: Asked, *history: Use, offers: list[Offer] = HERE) -> str:
    advice = advise(use, asked, history, offers)
    return "" if advice is None else advice.text


LOST = _use(1, 8, done=False)


@pytest.mark.parametrize(
    ("use", "asked", "history", "text"),
    [
        # too much memory
        (_use(9.8), _asked(8, 32), [], "--memory 12G would do (as in this run)"),
        (_use(9.8), _asked(8, 32), [_use(5)] * 2, "--memory 12G would do (as in 3 runs)"),
        (_use(5), _asked(8, 32), [_use(9.8)], "--memory 12G would do (as in 2 runs)"),
        (_use(1.2), _asked(1, 16), [], "--memory 1.5G would do (as in this run)"),
        (_use(0.01), _asked(1, 4), [], "--memory 250M would do (as in this run)"),
        (_use(0.3), _asked(1, 1), [], "--memory 400M would do (as in this run)"),
        (_use(0.3), _asked(1, 0.8), [], ""),
        (_use(9.8), _asked(8, 20), [], ""),
        (
            _use(1),
            _asked(1, 8, memory_high=64 * GB),
            [],
            "--memory 1.2G..64G would do (as in this run)",
        ),
        (_use(1), _asked(1, 32, sent=6 * GB), [], "--memory 8G would do (as in this run)"),
        (_use(1), _asked(1, 8, sent=6 * GB), [], ""),
        # what others used counts, also of those that failed; but only those that held are counted
        (_use(1), _asked(8, 32), [_use(20, done=False)], ""),
        (_use(1), _asked(8, 32), [_use(9, done=False)], "--memory 12G would do (as in this run)"),
        (_use(9.8), _asked(8, 32), [_use()], "--memory 12G would do (as in this run)"),
        # nobody asked, or it is not known
        (_use(1, 1), _asked(8, 32, given=()), [], ""),
        (_use(1, 1), _asked(8, 32, given=("cpu",)), [], "--cpu 1 would do (as in this run)"),
        (_use(), _asked(8, 32), [_use(1)], ""),
        (_use(1, 1, done=False), _asked(8, 32), [_use(1)], ""),
        # too many CPUs: what was used for a second was used
        (_use(None, 1.04), _asked(8, 4), [], "--cpu 1 would do (as in this run)"),
        (_use(None, 1.2), _asked(8, 4), [], "--cpu 2 would do (as in this run)"),
        (_use(None, 1.2), _asked(8, 4), [_use(None, 3.1)], "--cpu 3 would do (as in 2 runs)"),
        (_use(None, 1.2), _asked(8, 4), [_use(None, 7.9)], ""),
        (_use(None, 1.2), _asked(8, 4), [LOST], ""),
        (_use(None, 1.0), _asked(1, 4), [], ""),
        (_use(None, 7.9), _asked(8, 4), [], ""),
        (_use(None, 1.0, run_s=4.0), _asked(8, 4), [], ""),
        (_use(None, None), _asked(8, 4), [_use(None, 1.0)], ""),
        # both: as many runs as there are for the weaker half
        (_use(9.8, 2), _asked(8, 32), [_use(1)], "--cpu 2 --memory 12G would do (as in this run)"),
        (_use(9.8, 2), _asked(8, 32), [_use(1, 2)], "--cpu 2 --memory 12G would do (as in 2 runs)"),
        # too little memory
        (_use(6.1), _asked(1, 8, steps=1), [], "--memory 8G avoids the rerun (as in this run)"),
        (_use(6.1), _asked(1, 16, steps=2), [], "--memory 8G avoids the 2 reruns (as in this run)"),
        (_use(7.5), _asked(1, 8, steps=1), [], "--memory 8G avoids the rerun (as in this run)"),
        (
            _use(7.5),
            _asked(1, 8, steps=1),
            [_use(9)],
            "--memory 12G avoids the rerun (as in 2 runs)",
        ),
        (
            _use(6.1),
            _asked(1, 8, steps=1, memory_high=32 * GB, given=()),
            [],
            "--memory 8G..32G avoids the rerun (as in this run)",
        ),
        (_use(3.7), _asked(1, 4, given=()), [], "--memory 5G leaves more room (as in this run)"),
        (_use(3.5), _asked(1, 4), [], ""),
        (_use(63), _asked(1, 64), [], ""),
        # it failed where others needed more
        (
            _use(4.1, done=False),
            _asked(1, 4, out_of_memory=True),
            [_use(5), _use(6), LOST],
            "--memory 8G: 2 earlier runs needed up to 6 GB",
        ),
        (
            _use(4.1, done=False),
            _asked(1, 4, out_of_memory=True),
            [_use(5)],
            "--memory 6G: an earlier run needed up to 5 GB",
        ),
        (_use(4.1, done=False), _asked(1, 4, out_of_memory=True), [_use(3)], ""),
        (_use(4.1, done=False), _asked(1, 4, out_of_memory=True), [], ""),
        (_use(4.1, done=False), _asked(1, 4), [_use(5)], ""),
    ],
)
def test_what_is_worth_saying(use: Use, asked: Asked, history: list[Use], text: str) -> None:
    assert _text(use, asked, *history) == text


@pytest.mark.parametrize(
    ("cpu", "memory", "text"),
    [
        (8, 64, "--memory 12G would do (as in this run)"),
        (1, 64, "--memory 12G would do (as in this run, saves 81 %, $0.0019 a run)"),
        (1, 32, "--memory 12G would do (as in this run, saves 62 %, $0.00071 a run)"),
    ],
)
def test_savings_are_those_of_a_run_on_the_machines_that_the_layer_has(
    cpu: float, memory: float, text: str
) -> None:
    asked = _asked(cpu, memory, layer="ec2")
    assert _text(_use(9.8), asked, offers=CLOUD) == text
    unpriced = [replace(offer, usd_per_hour=None) for offer in CLOUD]
    free = [replace(offer, usd_per_hour=0.0) for offer in CLOUD]
    for offers in (unpriced, free, []):
        assert _text(_use(9.8), asked, offers=offers) == text.partition(",")[0].rstrip(")") + ")"


def test_cpu_saves_too() -> None:
    asked = _asked(8, 4, layer="ec2")
    text = _text(_use(None, 1.0), asked, offers=CLOUD)
    assert text.endswith("(as in this run, saves 88 %, $0.0020 a run)")


def test_what_is_next_to_nothing_is_a_share_and_no_number() -> None:
    asked = _asked(8, 4, layer="ec2")
    text = _text(
        _use(None, 1.0, run_s=5.0),
        asked,
        offers=[replace(o, usd_per_hour=o.cpu / 1e6) for o in CLOUD],
    )
    assert text.endswith("(as in this run, saves 88 %)")


_uses = st.builds(
    Use,
    done=st.booleans(),
    run_s=st.floats(0, 100),
    cpu_peak=st.none() | st.floats(0, 2) | st.floats(0, LARGEST_CPU),
    memory_peak=st.none() | st.integers(0, 4 * GB) | st.integers(0, LARGEST_MEMORY),
)
_askeds = st.builds(
    Asked,
    cpu=st.floats(LEAST_CPU, LARGEST_CPU),
    memory=st.integers(LEAST_MEMORY, LARGEST_MEMORY),
    memory_high=st.none() | st.integers(LEAST_MEMORY, LARGEST_MEMORY),
    given=st.sets(st.sampled_from(["cpu", "memory"])),
    sent=st.just(0) | st.integers(0, LARGEST_MEMORY),
    steps=st.sampled_from([0, 0, 1, 3]),
    out_of_memory=st.booleans(),
)
_histories = st.lists(_uses, max_size=5)


def _written(advice: Advice) -> dict[str, float]:
    """Return what a user who types the advice asks for, read by the parsers of the options."""
    read: dict[str, float] = {}
    if cpu := re.match(r"--cpu (\S+)", advice.text):
        read["cpu"] = parse_cpu(cpu[1])
    if memory := re.search(r"--memory ([^\s:]+)", advice.text):
        low, high = parse_memory_range(memory[1])
        read |= {"memory": low} | ({} if high is None else {"memory_high": high})
    return read


@given(_uses, _askeds, _histories, st.sampled_from([HERE, CLOUD, []]))
def test_advice_holds_every_run_and_claims_no_more_than_there_are(
    use: Use, asked: Asked, history: list[Use], offers: list[Offer]
) -> None:
    advice = advise(use, asked, history, offers)
    assert advise(use, asked, list(history), list(offers)) == advice
    if advice is None:
        return
    assert _written(advice) == advice.ask
    runs = [use, *history]
    if "memory" in advice.ask:
        assert all(advice.ask["memory"] >= (run.memory_peak or 0) for run in runs)
        assert advice.ask["memory"] >= asked.sent
    if "cpu" in advice.ask:
        # A thread that is always busy reads as a little more than one CPU.
        assert all(advice.ask["cpu"] >= (run.cpu_peak or 0) - 0.1 for run in runs)
    claimed = re.search(r"(\d+) (?:earlier )?runs", advice.text)
    held = [run for run in runs if run.done]
    assert len(held) >= (int(claimed[1]) if claimed else 1)
    if "would do" in advice.text:
        assert use.done
        assert advice.ask.keys() & {"cpu", "memory"} <= asked.given
        assert advice.ask.get("cpu", 0) <= asked.cpu
        assert advice.ask.get("memory", 0) <= asked.memory
    elif not use.done:
        assert advice.ask["memory"] > asked.memory
