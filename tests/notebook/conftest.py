"""Fixtures for what runs in the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from kernels import Kernel, ok

BEGIN = "%load_ext jupyter_compute\nfrom jupyter_compute import remote, runs"


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """A shell with the names that every notebook starts with."""
    own = InteractiveShell.instance()
    yield own
    InteractiveShell.clear_instance()


@pytest.fixture
def notebook(shared_kernel: Kernel) -> Kernel:
    """The shared kernel, with the names that maps need."""
    ok(shared_kernel.run(BEGIN))
    return shared_kernel


@pytest.fixture
def own(kernel: Kernel) -> Kernel:
    """A kernel of the test's own, with the names that maps need."""
    ok(kernel.run(BEGIN))
    return kernel
