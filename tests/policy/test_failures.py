"""What is left alone after a failure, and for how long."""

from __future__ import annotations

import pytest

from jupyter_compute.model import Offer
from jupyter_compute.policy.failures import Failures

SPOT = Offer("ec2", "r7i.large", 2, 10**9, usd_per_hour=0.1, spot=True, zone="us-east-1a")
OTHER_ZONE = Offer("ec2", "r7i.large", 2, 10**9, usd_per_hour=0.1, spot=True, zone="us-east-1b")
PLAIN = Offer("ec2", "r7i.large", 2, 10**9, usd_per_hour=0.3)
TASK = Offer("fargate", "1x2", 1, 10**9, usd_per_hour=0.05)
ALL = (SPOT, OTHER_ZONE, PLAIN, TASK)


def blocked(failures: Failures, now: float) -> list[Offer]:
    return [offer for offer in ALL if failures.block(offer, now)]


@pytest.mark.parametrize(
    ("kind", "of", "expected"),
    [
        ("capacity", SPOT, [SPOT]),
        ("capacity", PLAIN, [PLAIN]),
        ("quota", SPOT, [SPOT, OTHER_ZONE]),
        ("quota", PLAIN, [PLAIN]),
        ("permission", None, [SPOT, OTHER_ZONE, PLAIN]),
        ("credentials", SPOT, [SPOT, OTHER_ZONE, PLAIN]),
        ("invalid", TASK, [TASK]),
    ],
)
def test_a_refusal_keeps_what_it_is_about_away_for_three_minutes(kind, of, expected) -> None:
    layer = of.layer if of else "ec2"
    failures = Failures().refused(layer, of, kind, "because", 100.0, 0.5)
    assert blocked(failures, 279.9) == expected
    assert blocked(failures, 280.0) == []
    assert failures.at(280.0) == Failures()
    block = failures.block(expected[0], 101.0)
    assert block is not None
    assert (block.kind, block.why) == (kind, "because")
    assert blocked(failures.forgotten(layer), 101.0) == []
    assert blocked(failures.forgotten("other"), 101.0) == expected


def test_throttling_backs_off_twice_as_long_each_time_and_not_in_step() -> None:
    failures, pauses = Failures(), []
    for number in range(9):
        failures = failures.refused("ec2", None, "throttled", "slow", 0.0, jitter=number % 2)
        block = failures.block(SPOT, 0.0)
        assert block is not None
        pauses.append(block.until)
    assert pauses == [0.5, 2, 2, 8, 8, 32, 30, 60, 30]
    again = failures.launched("ec2").refused("ec2", None, "throttled", "slow", 0.0, jitter=1.0)
    assert again.block(SPOT, 0.9)
    assert not again.block(SPOT, 1.0)


class TestBoots:
    def fail(self, failures: Failures, times: int, launched: float, now: float) -> Failures:
        for _ in range(times):
            failures = failures.boot_failed("ec2", "exit code 3", launched, now)
        return failures

    def test_three_in_a_row_pause_the_layer(self) -> None:
        two = self.fail(Failures(), 2, 0.0, 10.0)
        assert blocked(two, 10.0) == []
        three = self.fail(two, 1, 0.0, 10.0)
        assert blocked(three, 10.0) == [SPOT, OTHER_ZONE, PLAIN]
        block = three.block(SPOT, 10.0)
        assert block is not None
        assert block.why == "3 machines of ec2 in a row failed to start; the last: exit code 3"
        assert blocked(three, 70.0) == []

    def test_one_that_joins_in_between_counts_anew(self) -> None:
        failures = self.fail(self.fail(Failures(), 2, 0.0, 1.0).joined("ec2"), 2, 2.0, 3.0)
        assert blocked(failures, 3.0) == []
        assert blocked(self.fail(failures, 1, 3.0, 4.0), 4.0)

    def test_pauses_grow_and_end_when_one_joins(self) -> None:
        failures, now, pauses = Failures(), 0.0, []
        for number in range(5):
            failures = self.fail(failures, 1 if number else 3, now, now + 1)
            assert failures.starting_at_most("ec2") == 1
            block = failures.block(PLAIN, now + 1)
            assert block is not None
            pauses.append(block.until - now - 1)
            now = block.until
        assert pauses == [60, 300, 900, 900, 900]
        joined = failures.joined("ec2")
        assert blocked(joined, 0.0) == []
        assert joined.starting_at_most("ec2") is None

    def test_those_launched_before_the_pause_do_not_prolong_it(self) -> None:
        failures = self.fail(Failures(), 10, launched=0.0, now=10.0)
        block = failures.block(SPOT, 10.0)
        assert block is not None
        assert block.until == 70.0
