"""Fixtures for what runs in the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """A shell with the names that every notebook starts with."""
    own = InteractiveShell.instance()
    yield own
    InteractiveShell.clear_instance()
