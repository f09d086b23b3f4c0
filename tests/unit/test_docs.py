"""The pages in ``docs`` are true: what they show is run, and gives what they say."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from kernels import Kernel, ok

_PAGES = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))
_EXAMPLE = re.compile(r"^```python\n(.+?)^```\n(?:```text\n(.+?)^```\n)?", re.DOTALL | re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_give_what_it_says(page: Path, shared_kernel: Kernel) -> None:
    examples = _EXAMPLE.findall(page.read_text())
    assert len(examples) == page.read_text().count("```python")
    for code, expected in examples:
        reply = ok(shared_kernel.run(code))
        assert expected in {"", f"{reply.result}\n"}, code


def test_the_page_on_functions_names_every_option_and_way_to_call(root: Path) -> None:
    from jupyter_compute.notebook.option_table import OPTIONS
    from jupyter_compute.notebook.parameters import BATCH_ONLY, MEANINGLESS
    from jupyter_compute.notebook.remote import RemoteFunction

    page = (root / "docs" / "functions.md").read_text()
    listed = page.partition("## Options\n")[2].partition("\n\n```")[0]
    options = {option.keyword for option in OPTIONS if option.keyword}
    ways = [f"scale.{name}(" for name in ("submit", "local", "options", "plan")]
    ours = [f"{name}=" for name in (*BATCH_ONLY, *MEANINGLESS) if not name.startswith("tmpfs_")]
    assert options - set(re.findall(r"`(\w+)`", listed)) == set()
    assert [name for name in (*ways, *ours) if name not in page] == []
    assert all(hasattr(RemoteFunction, way[6:-1]) for way in ways)


def test_the_page_on_aws_names_the_settings_options_and_files_that_there_are(root: Path) -> None:
    from jupyter_compute import settings
    from jupyter_compute.cli import main
    from jupyter_compute.notebook.option_table import OPTIONS

    page = (root / "docs" / "aws.md").read_text()
    named = set(
        re.findall(r"^\| `([a-z0-9.-]+)` \|", page.partition("## Settings")[2], re.MULTILINE)
    )
    default = {name: settings.get(name) for name in named}  # of none that there is not
    clouds = ("aws", "ec2", "fargate")
    there = {f"layers.{one}.{key}" for one in clouds for key in settings.get(f"layers.{one}")}
    assert there - named == set()
    for name, text in re.findall(r"^\| `([a-z0-9.-]+)` \| `([^`]+)` \|", page, re.MULTILINE):
        assert default[name] in {None, text} or str(default[name]) == text
    with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as shown:
        main(["setup", "--help"])
    known = {f"--{option.name}" for option in OPTIONS} | set(
        re.findall(r"--\w[\w-]+", shown.getvalue())
    )
    ours = re.sub(r"^    aws .*", "", page, flags=re.MULTILINE)
    assert set(re.findall(r"(?<![\w-])--\w[\w-]*", ours)) - known == set()
    links = re.findall(r"\]\(([^#)]+)\)", page)
    assert links
    assert [link for link in links if not (root / "docs" / link).exists()] == []


def test_the_examples_of_the_page_on_other_clouds_can_be_configured(root: Path) -> None:
    import dask.config
    import yaml

    from jupyter_compute import settings
    from jupyter_compute.layers import vmsettings

    page = (root / "docs" / "cloudprovider.md").read_text()
    (example,) = re.findall(r"^```yaml\n(.+?)^```\n", page, re.DOTALL | re.MULTILINE)
    settings.get("layer")
    with dask.config.set(yaml.safe_load(example)):
        names = [*vmsettings.configured({"local", "aws", "ec2", "fargate"})]
        read = {name: vmsettings.read(name) for name in names}
    assert [*read] == ["gcp", "hetzner"]
    spot = read["gcp"].kinds["preemptible-8"]
    assert (spot.offer.spot, spot.offer.usd_per_hour) == (True, None)
    assert spot.options["machine_type"] in read["gcp"].kinds
    settings_named = set(re.findall(r"`(?:types\.\*\.)?([a-z-]+)`", page))
    assert settings_named >= vmsettings.KEYS | vmsettings.TYPE_KEYS
