"""The first ask of a layer that nobody has asked anything yet, which takes it seconds to answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

import services
from clouds import Cloud
from kernels import Kernel, ok

pytestmark = pytest.mark.slow


@pytest.fixture
def unheard(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud with a pool that knows nothing of it, and no prices of an earlier one."""
    with shared_cloud.home.entered():
        shared_cloud.stop()
        shared_cloud.begin({"tick_s": 0.3}, heard=False)
        yield shared_cloud
        shared_cloud.stop()


def reasons(stream: services.Stream) -> list[str]:
    """Return the reasons that a run has given, each once."""
    return list(dict.fromkeys(event["reason"] for event in stream.events if event.get("reason")))


def test_it_is_taken_on_at_once_and_waits_for_the_prices_of_spot_machines(unheard: Cloud) -> None:
    before = len(unheard.sandbox.calls("DescribeSpotPriceHistory"))
    stream = unheard.submit("6 * 7", cpu=2)
    stream.until(state="starting")
    said = reasons(stream)
    assert said[:2] == ["asking ec2 what it offers", "asking ec2 for prices"]
    assert any(reason.startswith("starting ") and " spot (sandbox), " in reason for reason in said)
    assert stream.until(kind="end")["state"] == "done"
    (machine,) = unheard.alive()
    assert machine["spot"]
    first = unheard.sandbox.calls("DescribeSpotPriceHistory")[before]
    assert "InstanceType.1" in first["params"], "what is waited for is asked first"


def test_it_need_not_wait_for_prices_of_spot_machines_that_it_does_not_want(unheard: Cloud) -> None:
    stream = unheard.submit("1", cpu=2, spot="never")
    stream.until(state="starting")
    assert "asking ec2 for prices" not in reasons(stream)
    assert not unheard.alive()[0]["spot"]


def test_what_the_layer_does_not_have_is_refused_in_one_line(unheard: Cloud) -> None:
    with contextlib.closing(Kernel(unheard.home)) as kernel:
        ok(kernel.run("%load_ext jupyter_compute"))
        reply = kernel.run("%%remote --on ec2 --instance r7i.2xlage --catch error\n1")
    said = reply.stderr + reply.evalue
    assert reply.status == "error"
    assert "UsageError: --instance: ec2 has no 'r7i.2xlage' here; did you mean r7i.2xlarge" in said
    assert "Traceback" not in said
    assert any("asking ec2 what it offers" in line for line in reply.status_lines)
    assert unheard.alive() == []
