"""Fixtures for what uses a store of blobs."""

from __future__ import annotations

import pytest

from buckets import reach, serve
from far import begin, lend

server = pytest.fixture(scope="module")(serve)
line = pytest.fixture(reach)
session_far = pytest.fixture(scope="module")(begin)
far = pytest.fixture(lend)
