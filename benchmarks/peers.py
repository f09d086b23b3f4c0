"""Measure the same works with other libraries, in one run: ``python benchmarks/peers.py``.

Each of distributed, ipyparallel, Ray, Parsl and loky gets an environment of its own, which this
program makes (below ``--environments``, by default in the user's cache; delete it to have newer
versions) and keeps for the next time. A library that cannot be installed is skipped, and said to
be. jupyter-compute is measured in the environment that runs this program. Needs Linux.

    python benchmarks/peers.py --only jupyter-compute,loky --work round-trip --repeat 1

Every library gets two workers and does a work in its plain way: a call, a map, its cancel. Where
it has another way of its own, such as chunks, that is a row too. Every row of every library is
measured in new processes, in a home that is removed at the end; a library that hangs is killed
and reported. Figures are medians with the smallest and largest beside them; "ratio" is the median
divided by jupyter-compute's for the same work. A busy computer makes all of them worse.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs
import psutil

import peer_environments
import peer_processes
from peer_table import OURS, PEERS, PLAIN, WORKS, Peer, Work, ways

PROGRAMS = Path(__file__).resolve().parent / "peer_programs"
DROPPED = ("DASK_", "IPYTHON", "JUPYTER_", "MPL", "PARSL_", "PYTEST_", "PYTHON", "RAY_", "XDG_")
SCALES = {"ms": 1e3, "MB": 1e-6}


def environ(home: Path, python: Path) -> dict[str, str]:
    """Return variables that keep a library away from the user's own files and services."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(DROPPED)}
    kept.pop("VIRTUAL_ENV", None)
    return kept | {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "run"),
        "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),
        "PEERS_TEMPORARY": str(home / "t"),
        "TMPDIR": str(home / "t"),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def measure(
    peer: Peer, python: Path, name: str, way: str, home: Path, repeat: int
) -> peer_processes.Ending:
    """Do a work ``repeat`` times in one way."""
    work = WORKS[name]
    each = 1 if work.alone or work.once else repeat
    command = [str(python), str(PROGRAMS / "driver.py"), "--program", peer.program]
    command += ["--work", name, "--way", way, "--repeat", str(each)]
    whole = peer_processes.Ending()
    # The first start of all reads files that no later one has to.
    for number in range(repeat + 1 if work.alone else 1):
        ending = peer_processes.drive(
            command, environ(home, python), home, 60 + work.patience_s * each
        )
        if number or not work.alone:
            whole.found += ending.found
        whole.problem, whole.killed = ending.problem, whole.killed + ending.killed
        if whole.problem:
            break
    return whole


def rows(
    name: str, work: str, way: str, label: str, ending: peer_processes.Ending
) -> Iterator[dict[str, Any]]:
    """Yield what a table shows of one way to do a work."""
    about: Work = WORKS[work]
    scale = SCALES[about.unit]
    for row, what in about.rows.items():
        values = [one["value"] * scale for one in ending.found if one["row"] == row]
        notes = [one["note"] for one in ending.found if "note" in one]
        notes += [PEERS[name].notes[work]] if work in PEERS[name].notes else []
        notes += [ending.problem] if ending.problem else []
        notes += [f"left running: {len(ending.killed)} processes"] if ending.killed else []
        yield {
            "work": work,
            "what": what,
            "peer": name,
            "way": way,
            "label": label,
            "unit": about.unit,
            "median": statistics.median(values) if values else None,
            "min": min(values, default=None),
            "max": max(values, default=None),
            "repetitions": len(values),
            "values": values,
            "note": "; ".join(notes),
        }


def with_ratios(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows, each with its median divided by ours."""
    ours = {one["what"]: one["median"] for one in found if one["peer"] == OURS}
    return [
        one
        | {
            "ratio": one["median"] / ours[one["what"]]
            if one["median"] is not None and ours.get(one["what"])
            else None
        }
        for one in found
    ]


def table(found: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, work by work."""
    lines = ["| | median | min-max | n | ratio | |", "|---|---:|---:|---:|---:|---|"]
    for what in (what for work in WORKS.values() for what in work.rows.values()):
        chosen = [one for one in found if one["what"] == what]
        lines += [f"| **{what}** | | | | | |"] if chosen else []
        for one in chosen:
            name = one["peer"] + (f", {one['label']}" if one["label"] else "")
            median = "n/a" if one["median"] is None else f"{one['median']:.1f} {one['unit']}"
            spread = "" if one["median"] is None else f"{one['min']:.1f}-{one['max']:.1f}"
            ratio = "" if one["ratio"] is None else f"{one['ratio']:.2f}"
            count = one["repetitions"] or ""
            lines.append(f"| {name} | {median} | {spread} | {count} | {ratio} | {one['note']} |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
    }


def compare(options: argparse.Namespace, base: Path, result: dict[str, Any]) -> None:
    """Measure everything that was asked for; what is there so far is in ``result``."""
    pythons = {}
    for name in options.only:
        try:
            python = peer_environments.prepare(name, PEERS[name], options.environments)
            result["versions"][name] = peer_environments.versions(python, PEERS[name])
        except peer_environments.NotInstalledError as reason:
            result["skipped"][name] = str(reason)
            continue
        pythons[name] = python
        (base / name / "t").mkdir(parents=True)
    # Work by work: what is compared is measured at nearly the same time.
    for work, (name, python) in itertools.product(options.work, pythons.items()):
        peer = PEERS[name]
        if work in peer.unable:
            unable = peer_processes.Ending(problem=peer.unable[work])
            result["rows"] += rows(name, work, PLAIN, "", unable)
        for way, label in ways(peer, work).items():
            print(f"{work}: {name} {label}".strip(), file=sys.stderr, flush=True)
            ending = measure(peer, python, work, way, base / name, options.repeat)
            result["rows"] += rows(name, work, way, label, ending)


def remove(base: Path) -> None:
    """Remove the homes, and what a killed pool has left in shared memory."""
    home = base / OURS
    if home.exists():
        code = (
            "import shutil; from jupyter_compute import places\n"
            "for path in places.blob_dirs(): shutil.rmtree(path)"
        )
        variables = environ(home, Path(sys.executable))
        subprocess.run([sys.executable, "-c", code], check=False, env=variables, cwd=home)
    shutil.rmtree(base, ignore_errors=True)


def parse() -> argparse.Namespace:
    """Read the command line."""

    def names(known: dict[str, Any]) -> Any:
        def read(text: str) -> list[str]:
            chosen = text.split(",")
            if unknown := [name for name in chosen if name not in known]:
                raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
            return [name for name in known if name in chosen]

        return read

    cache = platformdirs.user_cache_path("jupyter-compute-benchmarks")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", type=names(PEERS), default=list(PEERS), metavar="A,B")
    parser.add_argument("--work", type=names(WORKS), default=list(WORKS), metavar="X,Y")
    parser.add_argument("--environments", type=Path, default=cache, metavar="DIR")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    if options.repeat < 1:
        parser.error("--repeat must be 1 or more")
    options.environments = options.environments.absolute()
    return options


def main() -> int:
    """Compare, print, and leave nothing behind."""
    options = parse()
    if sys.platform != "linux":
        sys.exit("this benchmark reads /proc and adopts daemons, which needs Linux")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as an interrupt does
    signal.signal(signal.SIGINT, signal.default_int_handler)
    peer_processes.adopt_orphans()
    base = Path(tempfile.mkdtemp(prefix="jc-peers-", dir="/tmp"))  # short, for sockets below it
    result: dict[str, Any] = {"machine": machine(), "versions": {}, "skipped": {}, "rows": []}
    try:
        compare(options, base, result)
    except KeyboardInterrupt:
        print("interrupted: what follows is incomplete", file=sys.stderr)
        result["interrupted"] = True
    finally:
        peer_processes.end_all(0)
        remove(base)
    result["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    result["rows"] = with_ratios(result["rows"])
    left = [peer_processes.named(process) for process in peer_processes.descendants()]
    result["left_running"] = left
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    return 130 if "interrupted" in result else bool(left)


def show(result: dict[str, Any]) -> None:
    """Print what was found."""
    print(json.dumps(result["machine"]))
    for name, installed in result["versions"].items():
        print(f"{name}: {' '.join(installed)}")
    for name, reason in result["skipped"].items():
        print(f"{name}: skipped, {reason}")
    print("\n" + table(result["rows"]))
    print("\nleft running: " + ("; ".join(result["left_running"]) or "nothing"))


if __name__ == "__main__":
    sys.exit(main())
