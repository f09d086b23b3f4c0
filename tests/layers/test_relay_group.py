"""Who may call a relay: nobody but machines, and the pool from its own address."""

from __future__ import annotations

from collections.abc import Iterator

import dask.config
import pytest

from jupyter_compute import hosts
from jupyter_compute.errors import AskError
from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.network import find_vpc, make_group
from jupyter_compute.layers.refusals import CallFailed
from jupyter_compute.layers.relay_group import clients, let_in, make_relay_group
from jupyter_compute.relay import DOOR_PORT, POOL_PORT, SCHEDULER_PORT
from sandboxes import Sandbox

pytestmark = pytest.mark.slow


def configured(**said):
    return dask.config.set(
        {f"jupyter-compute.{name.replace('_', '-')}": value for name, value in said.items()}
    )


@pytest.fixture
def group(sandbox: Sandbox) -> Iterator[str]:
    """The relays' group of a region in which there is nothing else."""
    with dask.config.set({"jupyter-compute.layers.aws.region": "eu-north-1"}):
        account = Account()
        vpc = str(find_vpc(account)["VpcId"])
        made = make_relay_group(account, vpc, [make_group(account, vpc)])
        yield made
        account.call("ec2", "delete_security_group", GroupId=made)


def let_in_to(group: str) -> dict[tuple[int, int], set[str]]:
    (found,) = Account().call("ec2", "describe_security_groups", GroupIds=[group])["SecurityGroups"]
    return {
        (rule["FromPort"], rule["ToPort"]): {one["CidrIp"] for one in rule["IpRanges"]}
        for rule in found["IpPermissions"]
    }


def test_it_lets_in_one_address_at_a_time_and_leaves_those_of_others(group: str) -> None:
    other, account = Account("0123456789ab"), Account()
    let_in(other, group, "192.0.2.9/32")
    for address in ("192.0.2.1/32", "192.0.2.2/32", "192.0.2.2/32"):
        let_in(account, group, address)
    machines = (DOOR_PORT, SCHEDULER_PORT)
    assert let_in_to(group) == {
        machines: set(),
        (POOL_PORT, POOL_PORT): {"192.0.2.2/32", "192.0.2.9/32"},
    }


@pytest.mark.parametrize("cidr", ["0.0.0.0/0", "192.0.0.0/8", "here", "::/0"])
def test_it_is_never_opened_to_the_world(group: str, cidr: str) -> None:
    with configured(scheduler_clients=cidr), pytest.raises(CallFailed):
        let_in(Account(), group, clients())
    with pytest.raises(CallFailed):
        let_in(Account(), group, "0.0.0.0/0")
    assert (POOL_PORT, POOL_PORT) not in let_in_to(group)


def test_one_that_somebody_has_opened_is_refused(group: str) -> None:
    account = Account()
    ranges = {
        "IpProtocol": "tcp",
        "FromPort": 1,
        "ToPort": 2,
        "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
    }
    account.call("ec2", "authorize_security_group_ingress", GroupId=group, IpPermissions=[ranges])
    vpc = str(find_vpc(account)["VpcId"])
    with pytest.raises(CallFailed, match="lets in everybody"):
        make_relay_group(account, vpc, [make_group(account, vpc)])


def test_from_where_one_is_seen_is_asked_or_configured(sandbox: Sandbox) -> None:
    with dask.config.set({"jupyter-compute.layers.aws.checkip": sandbox.environment[CHECKIP]}):
        assert clients() == "127.0.0.1/32"
        with configured(scheduler_clients="203.0.113.0/24"):
            assert clients() == "203.0.113.0/24"
    nobody = {"jupyter-compute.layers.aws.checkip": "http://127.0.0.1:1/"}
    with dask.config.set(nobody), pytest.raises(CallFailed, match="does not say from which"):
        clients()


CHECKIP = "DASK_JUPYTER_COMPUTE__LAYERS__AWS__CHECKIP"


@pytest.mark.parametrize(
    ("scheduler", "host", "endpoint", "found"),
    [
        ("auto", "127.0.0.1", "", "cloud"),
        ("auto", "127.0.0.1", "http://127.0.0.1:5000", "here"),
        ("auto", "192.0.2.1", "", "here"),
        ("cloud", "192.0.2.1", "http://127.0.0.1:5000", "cloud"),
        ("here", "127.0.0.1", "", "here"),
    ],
)
def test_where_machines_call(monkeypatch, scheduler, host, endpoint, found) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with configured(scheduler=scheduler, scheduler_host=host):
        assert hosts.placement() == found


def test_where_machines_call_is_one_of_three_words() -> None:
    with configured(scheduler="there"), pytest.raises(AskError, match="not auto, here or cloud"):
        hosts.placement()
