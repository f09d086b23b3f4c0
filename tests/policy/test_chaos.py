"""What can be rehearsed, in the words of `%compute chaos`."""

from __future__ import annotations

import pytest

from jupyter_compute.errors import AskError
from jupyter_compute.policy.chaos import KINDS, Chaos, check_layer, read


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read(kind):
    assert read(str(Chaos(kind))) == Chaos(kind)
    assert kind in Chaos(kind).blame
    assert Chaos(kind).confession.startswith("chaos: ")
    assert "on purpose" in Chaos(kind).confession


@pytest.mark.parametrize(
    ("text", "pause_s"),
    [("slow", 10.0), ("slow 30s", 30.0), ("slow 1m30s", 90.0), ("slow 0.5", 0.5)],
)
def test_slow_may_say_how_long(text, pause_s):
    chaos = read(text)
    assert chaos == Chaos("slow", pause_s)
    assert read(str(chaos)) == chaos


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kil", "'kil' cannot be rehearsed (did you mean kill?)"),
        ("lose_machine", "did you mean lose-machine?"),
        ("of", "did you mean off?"),
        ("fire", "it has kill, oom, slow, lose-machine, and off"),
        ("", "it has kill"),
        ("kill now", "kill takes nothing more, but 'now' follows"),
        ("slow 1 parsec", "1 parsec"),
        ("slow -1s", "-1s"),
        ("slow 2h", "is more than 10 min, e.g. slow 30s"),
    ],
)
def test_other_words_are_refused_with_what_would_do(text, message):
    with pytest.raises(AskError) as refusal:
        read(text)
    assert message in str(refusal.value)
    assert "%compute chaos" in str(refusal.value)


def test_only_where_it_costs_nothing():
    check_layer(Chaos("kill"), "local")
    check_layer(Chaos("kill"), "sandbox")
    with pytest.raises(AskError, match="on local or sandbox, not on ec2"):
        check_layer(Chaos("kill"), "ec2")
