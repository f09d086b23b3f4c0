"""From a stock image to a cell that runs in the packages of its notebook, on the sandbox.

Nothing is prepared here but the sandbox: machines fetch uv, Python's packages and ours as they
would on AWS, from the package index that this computer is set up with.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_compute
import services
from clouds import Cloud
from jupyter_compute.layers import bundle
from stocks import configured_index

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE_S = 240.0

PREPARED = (
    "DASK_JUPYTER_COMPUTE__LAYERS__EC2__AMI",
    "DASK_JUPYTER_COMPUTE__LAYERS__FARGATE__IMAGE",
)

PROGRAM = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "jupyter_compute")
for source in sys.argv[1:]:
    shell.run_cell(source).raise_error()
"""

CELL = """%%remote --on {layer} --cpu 1 --memory 1G
import json, sys, tabulate
from importlib import metadata
found = {{one.metadata["Name"]: one.version for one in metadata.distributions()}}
about = json.dumps([sys.prefix, sys.version_info[:2], sys.path, found])
"""

SAY = "print('about:' + about)"

INSTALL = """
import shutil
import subprocess
uv = [{uv!r}, "-m", "uv", "pip", "install", "--quiet", "--python", {python!r}, "--no-deps"]
subprocess.run([*uv, "tabulate==0.9.0"], check=True)
"""

WRONG = """
from pathlib import Path
info = Path({packages!r}, "humanize-0.0.77.dist-info")
info.mkdir()
(info / "METADATA").write_text("Metadata-Version: 2.1\\nName: humanize\\nVersion: 0.0.77\\n")
"""


def needed(requirement: str) -> bool:
    """Tell whether a notebook needs it that has configured nothing."""
    others = ("cffi", "cryptography", "dask", "distributed", "fsspec", "pycparser", "tornado")
    return not requirement.startswith(others)


class Notebook:
    """An environment of a notebook, as small as it can be.

    Parameters
    ----------
    directory : Path
    cache : str
        Of uv.
    index : str
    """

    def __init__(self, directory: Path, cache: str, index: str) -> None:
        self.python = str(directory / "venv" / "bin" / "python")
        self._env = {"UV_CACHE_DIR": cache, "UV_DEFAULT_INDEX": index}
        self.uv("venv", "--python", sys.executable, str(directory / "venv"))
        there = [line for line in bundle.environment().packages if needed(line)]
        self.install(*there, "tabulate==0.8.10")
        # As an editable installation has it.
        ours = str(Path(jupyter_compute.__file__).parent.parent)
        (site,) = directory.glob("venv/lib/python*/site-packages")
        (site / "ours.pth").write_text(ours)
        self.packages = str(site)

    def uv(self, *arguments: str) -> None:
        env = {**os.environ, **self._env, "UV_NO_CONFIG": "1", "UV_SYSTEM_CERTS": "1"}
        subprocess.run([sys.executable, "-m", "uv", *arguments], env=env, check=True)

    def install(self, *packages: str) -> None:
        self.uv("pip", "install", "--quiet", "--python", self.python, "--no-deps", *packages)

    def run(self, *cells: str) -> subprocess.CompletedProcess[str]:
        """Run cells in a shell of this environment, up to the first that fails."""
        # No configuration, for which Dask would be needed; and modules are compiled once.
        others = ("DASK_", "PYTHONDONTWRITEBYTECODE")
        env = {name: text for name, text in os.environ.items() if not name.startswith(others)}
        return subprocess.run(
            [self.python, "-c", PROGRAM, *cells],
            env={**env, **self._env, "UV_NO_CONFIG": "1", "UV_SYSTEM_CERTS": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def versions(self) -> dict[str, str]:
        """Return what is installed."""
        code = "import json; from importlib import metadata as m; print(json.dumps({d.metadata['Name']: d.version for d in m.distributions()}))"
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True)
        found: dict[str, str] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def notebook(shared_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Notebook:
    directory, cache = tmp_path_factory.mktemp("stock"), shared_cloud.home.env["UV_CACHE_DIR"]
    return Notebook(directory, cache, configured_index())


@pytest.fixture(scope="module")
def module_cloud(shared_cloud: Cloud) -> Iterator[Cloud]:
    """The cloud behind `stock_cloud`."""
    environment = {k: v for k, v in shared_cloud.sandbox.environment.items() if k not in PREPARED}
    environment["DASK_JUPYTER_COMPUTE__LAYERS__AWS__INDEX"] = configured_index()
    with shared_cloud.home.entered():
        shared_cloud.stop()
        shared_cloud.service = services.start(DASK_JUPYTER_COMPUTE__MACHINE_IDLE_TIMEOUT="60s")
        services.ask("POST", "/v1/sandbox", {"environment": environment})
        yield shared_cloud
        shared_cloud.stop()


@pytest.fixture
def stock_cloud(module_cloud: Cloud) -> Iterator[Cloud]:
    """The shared cloud, with a pool whose machines start from stock images, and no machines."""
    yield module_cloud
    module_cloud.clear()


def console(cloud: Cloud) -> str:
    """Return what all machines have written."""
    return "\n".join(Path(each["console"]).read_text() for each in cloud.sandbox.machines())


def about(cloud: Cloud, done: subprocess.CompletedProcess[str]) -> list[list[Any]]:
    """Return what the cells have found out about their machine."""
    assert "about:" in done.stdout, done.stdout + done.stderr + console(cloud)
    lines = done.stdout.splitlines()
    return [json.loads(line.removeprefix("about:")) for line in lines if line.startswith("about:")]


def check(cloud: Cloud, notebook: Notebook, told: list[Any]) -> None:
    """Check that a cell has run on a stock image, in the packages of its notebook and no others."""
    prefix, version, path, found = told
    (machine,) = cloud.alive()
    assert machine["image"] not in [cloud.sandbox.environment[name] for name in PREPARED]
    assert version == list(sys.version_info[:2])
    # Below the machine's own directory, and from there only.
    own = str(Path(machine["console"]).parent)
    assert prefix.startswith(own)
    assert not [entry for entry in path if "site-packages" in entry and not entry.startswith(own)]
    ours = found.pop("jupyter-compute")
    assert (found, ours) == (notebook.versions(), jupyter_compute.__version__)


def test_a_cell_runs_in_a_stock_container_with_the_packages_of_its_notebook(
    stock_cloud: Cloud, notebook: Notebook
) -> None:
    done = notebook.run(CELL.format(layer="fargate"), SAY)
    (told,) = about(stock_cloud, done)
    assert done.returncode == 0
    check(stock_cloud, notebook, told)


def test_a_stock_machine_of_ec2_follows_the_packages_of_its_notebook(
    stock_cloud: Cloud, notebook: Notebook
) -> None:
    cell = CELL.format(layer="ec2")
    wrong = WRONG.format(packages=notebook.packages)
    newer = INSTALL.format(uv=sys.executable, python=notebook.python)
    done = notebook.run(cell, SAY, newer, cell, SAY, wrong, cell)
    first, second = about(stock_cloud, done)
    shutil.rmtree(Path(notebook.packages, "humanize-0.0.77.dist-info"))
    assert first[3]["tabulate"] == "0.8.10"
    check(stock_cloud, notebook, second)
    # The last one asked for what the index does not have.
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "EnvironmentMismatch: the machine cannot install the notebook's packages" in said
    assert "humanize==0.0.77" in said
    assert len(stock_cloud.launches()) == len(stock_cloud.alive())


def test_packages_that_no_index_has_are_refused_by_name(
    stock_cloud: Cloud, notebook: Notebook, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").touch()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "1"\n')
    before = stock_cloud.launches()
    notebook.install("--editable", str(tmp_path))
    done = notebook.run("%%remote --on ec2 --cpu 1 --memory 1G\n1 + 1")
    notebook.uv("pip", "uninstall", "--quiet", "--python", notebook.python, "mine")
    assert done.returncode != 0
    said = (
        "mine was installed from a local directory (editable): machines of ec2 cannot install that"
    )
    assert said in done.stderr + done.stdout
    assert "layers.ec2.ami" in done.stderr + done.stdout
    assert stock_cloud.launches() == before
