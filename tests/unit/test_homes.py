from __future__ import annotations

import subprocess
import sys

import pytest

from homes import Home
from jupyter_compute import places


@pytest.fixture
def doomed(shared_home: Home) -> Home:
    return Home(shared_home.path.parent)


def test_a_process_that_is_left_behind_is_found_named_and_ended(doomed: Home) -> None:
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    with subprocess.Popen(command, env=doomed.env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert set(doomed.processes()) == {process.pid}
        with pytest.raises(AssertionError, match=rf"process {process.pid}: .*time\.sleep\(60\)"):
            doomed.close(patience_s=0)
        assert process.wait(5) < 0


def test_shared_memory_that_is_left_behind_is_found_and_removed(doomed: Home) -> None:
    with doomed.entered():
        shared = places.blob_dirs()[0]
    (shared / "blob").write_bytes(b"x")
    with pytest.raises(AssertionError, match=f"file {shared}"):
        doomed.close(patience_s=0)
    assert not shared.exists()


def test_a_home_without_remains_closes(doomed: Home) -> None:
    doomed.close(patience_s=0)
