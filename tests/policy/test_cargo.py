"""Which blobs travel how."""

from __future__ import annotations

import random

from jupyter_compute.model import RetryRule
from jupyter_compute.policy import cargo
from jupyter_compute.policy.retry import Counts, Finish, Rerun, decide

KIB = 2**10


def test_small_blobs_travel_inside_until_the_message_is_full() -> None:
    assert cargo.inline({"a": 64 * KIB, "b": 64 * KIB + 1, "c": 0}) == ["c", "a"]
    many = {f"{n}": 60 * KIB for n in range(10)}
    assert len(cargo.inline(many)) == 4


def test_packed_is_unpacked() -> None:
    assert cargo.unpack(cargo.pack("ab", b"\0\xff")) == ("ab", b"\0\xff")


def test_events_name_what_comes_back_and_what_is_kept() -> None:
    kept = {"payload": "k", "blobs": ["x", "b"]}
    envelope = {"outcome": "ok", "payload": "p", "blobs": ["b"], "kept": [kept]}
    piece = {"kind": "piece", "payload": "q", "blobs": ["c"], "errors": ["e"]}
    events = [{"kind": "stdout", "text": "p"}, piece, {"kind": "ended", "envelope": envelope}]
    assert cargo.produced(events) == (["q", "c", "e", "p", "b"], ["k", "x"])
    assert cargo.produced([{"kind": "ended", "envelope": {"outcome": "died"}}]) == ([], [])


def test_without_its_blobs_an_event_says_why() -> None:
    piece = {"kind": "piece", "n": 1, "start": 0, "stop": 2, "over": True, "payload": "q"}
    text, ended = {"kind": "stdout", "text": "t"}, {"kind": "ended", "envelope": {"outcome": "ok"}}
    found = cargo.not_sent([text, piece, ended], "why", unreachable=True)
    assert found[0] == text
    assert found[1]["died"]["message"] == "why"
    assert found[1]["over"]
    assert "payload" not in found[1]
    assert found[2] == ended  # it names no blob


def test_a_store_out_of_reach_is_like_a_lost_machine() -> None:
    died = {"outcome": "died", "reason": "transfer", "unreachable": True}
    more = {"memory": 1, "memory_high": None, "rng": random.Random(1)}
    again = decide(died, RetryRule(), Counts(), **more)
    assert isinstance(again, Rerun)
    assert "the object store could not be reached: rerun 1 of 3" in again.why
    assert again.counts.lost == 1
    last = decide(died, RetryRule(), Counts(lost=3), **more)
    assert isinstance(last, Finish)
    assert last.state == "lost"
    refused = decide(died | {"unreachable": False}, RetryRule(), Counts(), **more)
    assert isinstance(refused, Finish)
    assert refused.state == "failed"
