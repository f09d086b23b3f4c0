"""The tests of this folder harm neither the kernel nor its pool, and so share them."""

from __future__ import annotations

import pytest

from kernels import Kernel


@pytest.fixture
def kernel(shared_kernel: Kernel) -> Kernel:
    """The shared kernel, with the extension loaded and no names."""
    return shared_kernel
