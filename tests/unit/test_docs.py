"""The pages in ``docs`` are true: what they show is run, and gives what they say."""

from __future__ import annotations

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
