"""Offers and prices: asked of AWS, kept on disk, and without AWS those that came with the package."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.catalog import InstanceType, shipped
from jupyter_compute.layers.market import Market
from jupyter_compute.model import Offer
from price_list import PriceList, product

NOW = 1_795_000_000.0
SNAPSHOT = 1784505600.0  # 2026-07-20

_EC2 = {
    "servicecode": "AmazonEC2",
    "regionCode": "eu-central-1",
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "operation": "RunInstances",
}
_ECS = {"servicecode": "AmazonECS", "regionCode": "eu-central-1"}
PRODUCTS = [
    product(_EC2 | {"instanceType": "r7i.2xlarge"}, "0.6384000000"),
    product(_EC2 | {"instanceType": "m7i.large"}, "0.1207500000"),
    product(_EC2 | {"instanceType": "t3.large"}, "0.0960000000"),
    product(_EC2 | {"instanceType": "m7i.large", "operatingSystem": "Windows"}, "9"),
    product(_EC2 | {"instanceType": "m7i.large", "regionCode": "us-east-1"}, "9"),
    product(_EC2 | {"instanceType": "m7i.large", "operation": "RunInstances:0002"}, "9"),
    product(_ECS | {"usagetype": "EUC1-Fargate-vCPU-Hours:perCPU"}, "0.0465600000", "hours"),
    product(_ECS | {"usagetype": "EUC1-Fargate-GB-Hours"}, "0.0051100000", "hours"),
    product(_ECS | {"usagetype": "EUC1-Fargate-ARM-vCPU-Hours:perCPU"}, "0.03725", "hours"),
    product(_ECS | {"usagetype": "EUC1-Fargate-ARM-GB-Hours"}, "0.00409", "hours"),
    product(_ECS | {"usagetype": "EUC1-Fargate-Windows-vCPU-Hours:perCPU"}, "9", "hours"),
    product(_ECS | {"usagetype": "EUC1-Fargate-EphemeralStorage-GB-Hours"}, "9", "GB-Hours"),
]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def price_list() -> Iterator[PriceList]:
    with PriceList(PRODUCTS) as served:
        yield served


@pytest.fixture(scope="module")
def environment(price_list: PriceList) -> Iterator[Mapping[str, str]]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ENDPOINT_URL_PRICING": price_list.url,
        "AWS_ACCESS_KEY_ID": "rehearsal",
        "AWS_SECRET_ACCESS_KEY": "rehearsal",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    server.stop()


@pytest.fixture
def rehearsal(
    environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture(scope="module")
def answers(environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything asked for once: more than a thousand types take their time."""
    directory = tmp_path_factory.mktemp("answers")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        Market(Account(), directory, Clock(), "x86_64").refresh()
    return directory


@pytest.fixture
def kept(answers: Path, rehearsal: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What was answered, in a directory of the test's own."""
    return Path(shutil.copytree(answers, tmp_path / "prices"))


@pytest.fixture
def offline(rehearsal: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nobody listens there, and nobody is asked twice."""
    rehearsal.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    rehearsal.setenv("AWS_ENDPOINT_URL_PRICING", "http://127.0.0.1:9")
    return rehearsal


def of(offers: object, name: str) -> list[Offer]:
    assert isinstance(offers, tuple)
    return [offer for offer in offers if offer.type == name]


@pytest.mark.slow
class TestAWS:
    def test_offers_are_what_aws_has_at_the_prices_that_it_names(self, kept: Path) -> None:
        market = Market(Account(), kept, Clock(), "x86_64")
        plain, *spot = of(market.ec2_offers(), "r7i.2xlarge")
        assert plain == Offer(
            layer="ec2",
            type="r7i.2xlarge",
            cpu=8,
            memory=int(64 * 2**30 * 0.93) - 300 * 10**6,
            usd_per_hour=0.6384,
            region="eu-central-1",
            priced=NOW,
            arch="x86_64",
        )
        assert {o.zone for o in spot} == {"eu-central-1a", "eu-central-1b", "eu-central-1c"}
        assert all(o.spot and o.usd_per_hour and o.priced == NOW for o in spot)
        (linux,) = (o for o in of(market.ec2_offers(), "m7i.large") if not o.spot)
        assert linux.usd_per_hour == 0.12075
        unpriced = of(market.ec2_offers(), "c7i.large")[0]
        assert (unpriced.usd_per_hour, unpriced.priced) == (None, None)
        assert market.about() == "on-demand prices of eu-central-1 as of 2026-11-18"

    def test_only_what_is_old_is_asked_for_again(self, kept: Path, price_list: PriceList) -> None:
        asked = len(price_list.asked)
        assert asked > 3, "several pages"
        clock = Clock()
        market = Market(Account(), kept, clock, "x86_64")
        _, *spot = of(market.ec2_offers(), "r7i.2xlarge")
        assert {o.priced for o in spot} == {NOW}
        clock.now += 601
        market.refresh()
        assert len(price_list.asked) == asked, "list prices are good for a day"
        plain, *spot = of(market.ec2_offers(), "r7i.2xlarge")
        assert plain.priced == NOW
        assert {o.priced for o in spot} == {NOW + 601}

    def test_old_prices_serve_with_their_date_while_there_are_no_new_ones(
        self, kept: Path, price_list: PriceList, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(price_list, "denied", True)
        market = Market(Account(), kept, Clock(), "x86_64")
        file = market._file("on-demand")
        file.write_text(json.dumps(json.loads(file.read_text()) | {"at": NOW - 86401}))
        market.refresh()
        assert "pricing:GetProducts" in market.about()
        denied = len(price_list.asked)
        market.refresh()
        assert len(price_list.asked) == denied, "not again at once"
        plain, *_ = of(market.ec2_offers(), "r7i.2xlarge")
        assert (plain.usd_per_hour, plain.priced) == (0.6384, NOW - 86401)

    def test_spot_prices_of_yesterday_say_nothing(
        self, kept: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        clock.now += 86401
        _, spot = of(Market(Account(), kept, clock, "x86_64").ec2_offers(), "r7i.2xlarge")
        assert (spot.spot, spot.zone, spot.usd_per_hour) == (True, "", None)

    def test_prices_of_a_rehearsal_are_not_taken_for_real_ones(
        self, kept: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        plain, *_ = of(Market(Account(), kept).ec2_offers(), "r7i.2xlarge")
        assert plain.usd_per_hour is None

    def test_types_are_read_as_the_table_has_them(self, kept: Path) -> None:
        rows = json.loads(Market(Account(), kept)._file("types").read_text())["rows"]
        known = {one.name: one for one in shipped().types}
        asked = {one.name: one for one in (InstanceType(*row) for row in rows)}
        both = set(known) & set(asked)
        assert len(both) > 1000
        assert {name for name in both if known[name] != asked[name]} == set()
        assert not any("metal" in name or name.startswith("mac") for name in asked)

    def test_fargate_sizes_at_the_rates_of_the_region(self, kept: Path) -> None:
        market = Market(Account(), kept, Clock(), "x86_64")
        plain, spot = of(market.fargate_offers(), "2 vCPU 8 GB")
        assert plain.usd_per_hour == pytest.approx(2 * 0.04656 + 8 * 0.00511)
        assert (plain.cpu, plain.memory) == (2, 8 * 2**30 - 300 * 10**6)
        assert (spot.spot, spot.usd_per_hour, spot.priced) == (True, None, None)
        arm = Market(Account(), kept, Clock(), "arm64")
        assert of(arm.fargate_offers(), "2 vCPU 8 GB")[0].usd_per_hour == pytest.approx(
            2 * 0.03725 + 8 * 0.00409
        )


class TestWithoutAWS:
    def test_the_table_of_the_package_serves_its_own_region(
        self, offline: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        offline.setenv("AWS_DEFAULT_REGION", "us-east-1")
        market = Market(Account(), tmp_path, Clock(), "x86_64")
        plain, spot = of(market.ec2_offers(), "r7i.2xlarge")
        assert (plain.usd_per_hour, plain.priced, plain.region) == (0.5292, SNAPSHOT, "us-east-1")
        assert (spot.spot, spot.zone, spot.usd_per_hour) == (True, "", None)
        fargate, *_ = of(market.fargate_offers(), "4 vCPU 8 GB")
        assert fargate.usd_per_hour == pytest.approx(4 * 0.04048 + 8 * 0.004445)
        assert market.about() == (
            "on-demand prices of us-east-1 as of 2026-07-20, which came with jupyter-compute"
        )

    def test_nothing_is_known_of_what_another_region_costs(
        self, offline: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        market = Market(Account(), tmp_path, Clock(), "x86_64")
        assert market.ec2_offers()
        for offer in (*market.ec2_offers(), *market.fargate_offers()):
            assert (offer.usd_per_hour, offer.priced) == (None, None)
            assert offer.region == "eu-central-1"
        assert market.about() == "prices of eu-central-1 are not known"

    @pytest.mark.slow
    def test_one_who_cannot_be_asked_is_named_and_waited_for_by_nobody(
        self, offline: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        market = Market(Account(), tmp_path, Clock(), "x86_64")
        market.refresh()
        assert market.ec2_offers()
        assert market.about().startswith("prices of eu-central-1 are not known; ")
        begun = time.monotonic()
        market.refresh()
        assert time.monotonic() - begun < 0.2

    def test_a_spoilt_file_is_no_file(self, offline: pytest.MonkeyPatch, tmp_path: Path) -> None:
        offline.setenv("AWS_DEFAULT_REGION", "us-east-1")
        market = Market(Account(), tmp_path, Clock(), "x86_64")
        for text in ("", "{", "[]", json.dumps({"at": "x", "rows": {}})):
            for name in ("types", "on-demand", "spot", "fargate"):
                market._file(name).write_text(text)
            fresh = Market(Account(), tmp_path, Clock(), "x86_64")
            assert of(fresh.ec2_offers(), "r7i.2xlarge")[0].usd_per_hour == 0.5292

    def test_what_must_be_asked_for_by_name(
        self, offline: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        market = Market(Account(), tmp_path, Clock(), "x86_64")
        wanted = {o.type: o.on_request for o in market.ec2_offers()}
        assert not wanted["m7i.large"]
        assert not wanted["g5.xlarge"]
        assert wanted["t3.large"], "burstable"
        assert wanted["m4.large"], "old"
        assert wanted["m7g.large"], "other processors"
        (gpu, *_) = of(market.ec2_offers(), "p5.48xlarge")
        assert (gpu.gpu, gpu.gpu_name) == (8, "H100")
        assert all(o.memory >= 0 for o in market.ec2_offers())
        (arm, *_) = of(Market(Account(), tmp_path, Clock(), "arm64").ec2_offers(), "m7g.large")
        assert not arm.on_request
