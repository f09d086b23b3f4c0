"""Let a pool live through everything at once: ``python benchmarks/soak.py --minutes 10 --seed 1``.

Two kernels run cells, calls and maps on this computer and on the machines of a sandbox. Meanwhile
cells are interrupted, runs cancelled, kernels, services and machines killed, machines frozen and
given notice, and calls of AWS fail. Each second a checker compares what the pool says with the
sandbox's own records, by the invariants:

- I1 no orphan: no machine of ours is there that the pool does not know;
- I2 machines of others are not touched;
- I3 nothing is lost silently: each accepted run ends once, and its result is there and right;
- I4 a name in a notebook is written at most once per run, and never after an interrupt;
- I5 launches are bounded, by ``max-machines`` and, at the end, by what asked for them;
- I6 money is bounded: at the end all of the bill is accounted for, runs were charged no more than
  the machines cost, and a day's budget that runs out is exceeded by no more than its machines
  cost in a look and while they end;
- I7 every wait has a reason;
- I8 a secret of the kernels' environment is in no file and in no answer.

The order of the actions follows from the seed; how they meet does not, quite. Timers are shorter
than the product's. The exit status is 1 if anything was violated.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "tests"))


def main() -> int:
    """Run it, and print a report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the report goes, too")
    parser.add_argument("--keep", action="store_true", help="leave the home, to look at it")
    parser.add_argument("--plan", action="store_true", help="print the actions, and do nothing")
    options = parser.parse_args()
    from soak_actions import drawn
    from soak_stage import soak

    actions = drawn(options.seed, options.minutes * 60)
    if options.plan:
        for action in actions:
            print(action)
        return 0
    found = soak(actions, options.minutes * 60, keep=options.keep)
    found = {"seed": options.seed, "minutes": options.minutes, **found}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    for name, value in found.items():
        if name != "violations":
            print(f"{name:22} {value}")
    print(f"{'violations':22} {len(found['violations'])}")
    for line in found["violations"]:
        print("  " + line)
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
