"""``%%remote``, ``%remote`` and ``%compute``, as IPython sees them.

Nothing else is imported before one of them is used: this is all that a notebook pays
for ``%load_ext``.
"""

from __future__ import annotations

from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import output_can_be_silenced

__all__ = ["register", "unregister"]

_MISPLACED = (
    "%%remote must be the first line of its cell; the lines above it have run here. "
    "Move it to the top of a cell (%%remote --help shows its options)"
)


def register(ipython: Any) -> None:
    """Add the magics to a shell; again does no harm."""
    if _with_body not in ipython.input_transformers_cleanup:
        ipython.input_transformers_cleanup.append(_with_body)
    ipython.register_magic_function(_remote_cell, "cell", "remote")
    ipython.register_magic_function(_remote_line, "line", "remote")
    ipython.register_magic_function(_misplaced, "line", "%remote")
    ipython.register_magic_function(_compute_line, "line", "compute")


def unregister(ipython: Any) -> None:
    """Take the magics away from a shell."""
    if _with_body in ipython.input_transformers_cleanup:
        ipython.input_transformers_cleanup.remove(_with_body)
    magics = ipython.magics_manager.magics
    magics["cell"].pop("remote", None)
    for name in ("remote", "%remote", "compute"):
        magics["line"].pop(name, None)


def _with_body(lines: list[str]) -> list[str]:
    """Give a lone ``%%remote --help`` a body: IPython calls no cell magic without one."""
    if len(lines) == 1 and lines[0].split(maxsplit=1)[:1] == ["%%remote"]:
        return [lines[0].rstrip("\n") + "\n", "\n"]
    return lines


@output_can_be_silenced
def _remote_cell(line: str, cell: str) -> object:
    """Run this cell where there is room. `%%remote --help` shows the options."""
    __tracebackhide__ = True
    from . import cellrun

    return _carry_out(cellrun.run_cell, line, cell)


def _remote_line(line: str) -> None:
    """Show how %%remote is used, and what the pool is doing."""
    __tracebackhide__ = True
    from . import control

    if line.strip() not in {"", "--help", "-h"}:
        raise UsageError(
            "%remote works on whole cells only: write %%remote, with two %, as the cell's first line"
        )
    _carry_out(control.introduce, line)


def _misplaced(line: str) -> None:  # noqa: ARG001 - what follows it does not matter
    """Explain why %%remote does not work below the first line of a cell."""
    raise UsageError(_MISPLACED)


def _compute_line(line: str) -> object:
    """Look after the pool: `%compute` shows machines and runs, `%compute --help` the rest."""
    __tracebackhide__ = True
    from . import control

    return _carry_out(control.compute, line)


def _carry_out(call: Any, *arguments: str) -> object:
    """Call, and let IPython show what is raised briefly: a refused ask is a `UsageError`."""
    __tracebackhide__ = True
    from ..errors import AskError, ComputeError
    from .frames import shown

    try:
        return call(*arguments)
    except AskError as refusal:
        problem: BaseException = UsageError(str(refusal))
    except (ComputeError, KeyboardInterrupt) as error:
        problem = shown(error)
    except SyntaxError as error:
        # Without the frames of the analysis, which IPython does not hide here.
        problem = error.with_traceback(None)
    raise problem
