"""Which packages are said to be installed, and which ones machines are known not to get."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_compute import packages
from jupyter_compute.policy.environments import refusal


class Site:
    """A directory in which packages are installed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True)

    def add(self, name: str, version: str = "1.0", **files: str) -> None:
        """Install something, as far as anybody reads it here."""
        info = self.directory / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        for file, text in ({"INSTALLER": "pip\n"} | files).items():
            (info / file.replace("_json", ".json")).write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    own = Site(tmp_path / "site-packages")
    monkeypatch.setattr(sys, "path", [str(own.directory)])
    return own


def described() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(packages.describe())
    return found


def origin(**fields: Any) -> str:
    return json.dumps({"url": "file:///home/me/secret-place", **fields})


def test_what_comes_from_an_index_is_listed_exactly(site: Site) -> None:
    site.add("Some.Thing", "2.1")
    site.add("another", "0.3rc1")
    site.add("jupyter_compute", direct_url_json=origin(dir_info={"editable": True}))
    found = described()
    assert found["packages"] == ["another==0.3rc1", "Some.Thing==2.1"]
    assert (found["local"], found["built"]) == ({}, {})
    assert found["python"] == f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_where_packages_come_from_is_told_without_the_place(site: Site) -> None:
    site.add("editable", direct_url_json=origin(dir_info={"editable": True}))
    site.add("directory", direct_url_json=origin(dir_info={}))
    site.add("file", direct_url_json=origin(archive_info={}))
    site.add("repository", direct_url_json=origin(vcs_info={"vcs": "git", "commit_id": "c"}))
    site.add("address", direct_url_json=json.dumps({"url": "https://x/y.whl", "archive_info": {}}))
    site.add("conda", INSTALLER="conda", direct_url_json=origin(dir_info={}))
    assert described()["local"] == {
        "address": "an address",
        "directory": "a local directory",
        "editable": "a local directory (editable)",
        "file": "a local file",
        "repository": "a git repository",
    }
    assert b"secret-place" not in packages.describe()


def test_what_no_public_index_can_have_is_told(site: Site) -> None:
    wheel = "Wheel-Version: 1.0\nTag: cp312-cp312-{}\n"
    site.add("compiled", WHEEL=wheel.format("linux_x86_64"))
    site.add("published", WHEEL=wheel.format("manylinux_2_28_x86_64"))
    site.add("elsewhere", "2.1+cu118", WHEEL=wheel.format("linux_x86_64"))
    site.add("conda", INSTALLER="conda", WHEEL=wheel.format("linux_x86_64"))
    assert described()["built"] == {
        "compiled": "1.0 was compiled on this computer",
        "elsewhere": "2.1+cu118 is a version of another index",
    }


def test_what_is_installed_later_is_seen(site: Site) -> None:
    site.add("first")
    before = packages.describe()
    assert packages.describe() is before
    site.add("second")
    # As any clock has it, however coarse.
    os.utime(site.directory, ns=(0, 0))
    assert b"second==1.0" in packages.describe()


@pytest.mark.parametrize("public", [True, False])
def test_a_refusal_names_everything_and_what_is_only_a_guess_is_none(*, public: bool) -> None:
    local = {f"mine{number}": "a local directory" for number in range(7)}
    text = refusal("ec2", {"local": local, "built": {}}, public=public)
    assert text.startswith("mine0 was installed from a local directory, mine1 ")
    assert "and 2 more are like this: machines of ec2 cannot install that" in text
    built = {"compiled": "1.0 was compiled on this computer"}
    said = refusal("ec2", {"local": {}, "built": built}, public=public)
    assert said.startswith("compiled 1.0 was compiled on this computer: ") == public
    assert bool(said) == public
    assert not refusal("ec2", {"local": {}, "built": {}}, public=public)
