"""A machine that the user stops while a notebook's work is on it."""

from __future__ import annotations

from pathlib import Path

import pytest

import services
from kernels import Kernel, ok
from panels import Panel

pytestmark = pytest.mark.slow

_MAP = """
@remote(cpu=0.5)
def slow(x):
    import os, time
    with open(marks, "a") as file:
        file.write(f"{x}\\n")
    time.sleep(0.05)
    return -x
list(slow.map(range(150), chunk=2)) == [-x for x in range(150)]
"""


@pytest.mark.parametrize("force", [False, True])
def test_a_map_goes_on_elsewhere(kernel: Kernel, tmp_path: Path, force: bool) -> None:
    marks = tmp_path / "marks"
    ok(kernel.run("%load_ext jupyter_compute\nfrom jupyter_compute import remote"))
    ok(kernel.run(f"marks = {str(marks)!r}\nremote(abs)(-1)"))
    panel = Panel()
    panel.apply(services.ask("GET", "/v1/state").text)
    (first,) = panel.machines
    reply = kernel.start(_MAP)
    services.wait_until(lambda: marks.exists() and len(marks.read_text().split()) > 20)
    answer = services.ask("POST", f"/v1/machines/{first}/stop", {"force": force})
    assert answer.json["state"] == ("ending" if force else "draining")
    kernel.wait_for(lambda: reply.ended)
    assert (reply.status, reply.result) == ("ok", "True"), reply
    panel.apply(services.ask("GET", f"/v1/state?since={panel.cursor}").text)
    assert first not in panel.machines
    done = marks.read_text().split()
    assert set(done) == {str(x) for x in range(150)}
    if not force:
        assert len(done) == 150
