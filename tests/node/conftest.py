"""A runner that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bench import Bench


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    own = Bench(tmp_path_factory.mktemp("blobs"))
    yield own
    own.close()


@pytest.fixture
def bench(shared_bench: Bench) -> Bench:
    """The shared runner, with an empty namespace."""
    shared_bench.namespace.clear()
    shared_bench.namespace["__name__"] = "__main__"
    return shared_bench
