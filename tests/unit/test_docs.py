"""The pages in ``docs`` are true: what they show is run, and gives what they say."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from pathlib import Path

import pytest

from kernels import Kernel, ok

_PAGES = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))
_EXAMPLE = re.compile(r"^```python\n(.+?)^```\n(?:```text\n(.+?)^```\n)?", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)")

_JOINT = re.compile(r" \(|\)|[,;:] | · |…")
"""What joins sentences that have places of their own in the code."""


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


def test_links_between_pages_lead_somewhere(root: Path) -> None:
    broken = []
    for page in _PAGES:
        for file, anchor in _LINK.findall(page.read_text()):
            target = page.parent / file if file else page
            if not target.is_relative_to(root) or not target.exists():
                broken.append((page.name, file))
            elif anchor and anchor not in _anchors(target.read_text()):
                broken.append((page.name, f"{file}#{anchor}"))
    assert broken == []


@pytest.mark.slow
def test_what_the_page_on_faults_quotes_is_what_the_product_says(root: Path) -> None:
    page = (root / "docs" / "faults.md").read_text()
    quotes = re.findall(r"^> (.+)$", page, re.MULTILINE)
    quotes += re.findall(r"^[^>\n].*\(\*([^*]+ [^*]+)\*\)", page, re.MULTILINE)
    assert len(quotes) > 25
    said = _said_by_the_product(root / "jupyter_compute")
    texts = [re.sub(r"\*[^*]+\*", "\0", quote) for quote in quotes]
    parts = [_closed_up(part).strip(" \0") for text in texts for part in _JOINT.split(text)]
    assert [part for part in parts if part not in said] == []


@pytest.mark.slow
def test_the_page_on_faults_has_the_numbers_and_names_of_the_product(root: Path) -> None:
    import jupyter_compute.errors
    from jupyter_compute import settings
    from jupyter_compute.cli import main
    from jupyter_compute.notebook.control import _HELP
    from jupyter_compute.notebook.option_table import OPTIONS
    from jupyter_compute.policy import budget, failures, retry
    from jupyter_compute.policy.lifecycle import TIMERS

    page = " ".join((root / "docs" / "faults.md").read_text().split())
    says = {
        "a minute without a sign of life": TIMERS.lost_machine_s == 60,
        "when it hears nothing for so long": TIMERS.lease_s == 600,
        "left alone for three minutes": TIMERS.unavailable_s == 180,
        "one minute, five after the next failure, then fifteen": TIMERS.breaker_s == (60, 300, 900),
        "grow from a second to a minute": (TIMERS.throttle_first_s, TIMERS.throttle_most_s)
        == (1, 60),
        "After the fourth loss": retry.MAX_LOST == 3,
        "After the second such death": retry.MAX_SUSPICIONS == 2,
        "After three in a row": failures.MOST_FAILED_BOOTS == 3,
        "two minutes (`abandoned-timeout`)": settings.default("abandoned-timeout") == "2m",
        "The warning comes at 80 %": budget.worth_a_warning([budget.Level("day", 5, 4)]) != [],
    }
    assert [text for text, true in says.items() if not (true and text in page)] == []
    assert all(
        hasattr(jupyter_compute.errors, name)
        for name in re.findall(r"`([A-Z][a-z]+[A-Z]\w+|Crashed)`", page)
    )
    options = {f"--{option.name}" for option in OPTIONS}
    assert set(re.findall(r"(?<![\w-])--\w[\w-]*", page)) - options == set()
    assert all(f"%compute {word}" in _HELP for word in re.findall(r"%compute (\w+)", page))
    for command in re.findall(r"`jupyter compute (\w+)", page):
        with pytest.raises(SystemExit, match="0"), contextlib.redirect_stdout(io.StringIO()):
            main([command, "--help"])


def _said_by_the_product(package: Path) -> str:
    """Return all texts in the code but what explains it, in their order, with a mark where a value is put in."""
    found: list[str] = []

    def take(node: ast.AST) -> None:
        if isinstance(node, ast.Constant):
            found.append(str(node.value) if isinstance(node.value, str) else "")
        elif isinstance(node, ast.FormattedValue):
            found.append("\0")
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            for child in ast.iter_child_nodes(node):
                take(child)

    for file in sorted(package.rglob("*.py")):
        take(ast.parse(file.read_text()))
    return _closed_up("".join(found))


def _closed_up(text: str) -> str:
    """Make one of marks that follow each other, and take away the spaces around."""
    return re.sub(r" ?(\0 ?)+", "\0", text)


def _anchors(page: str) -> set[str]:
    """Return the names by which GitHub knows the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
