"""What is made once in an AWS account, so that cells need no rights to make anything."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from jupyter_compute.errors import AskError, PoolError
from jupyter_compute.layers.aws import Account
from jupyter_compute.layers.instances import Instances
from jupyter_compute.layers.network import find_vpc
from jupyter_compute.layers.pieces import Piece, pieces
from jupyter_compute.layers.tasks import Tasks

__all__ = ["Plan", "Step", "plan", "run"]

_SIGNS = {"make": "+", "change": "~", "keep": "=", "remove": "-"}
_COST = "nothing of this costs anything while it is not used, except what is stored in the bucket"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that will be made, changed, kept or removed.

    Parameters
    ----------
    piece : Piece
    action : {"make", "change", "keep", "remove"}
    why : str
        For one that is kept: why.
    """

    piece: Piece
    action: Literal["make", "change", "keep", "remove"]
    why: str = ""

    def line(self) -> str:
        """Return it as one line of text."""
        why = f" ({self.why})" if self.why else ""
        return f"  {_SIGNS[self.action]} {self.piece.title}: {self.piece.what}{why}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, and where.

    Parameters
    ----------
    account, region, profile, owner : str
    steps : sequence of Step
    """

    account: str
    region: str
    profile: str
    owner: str
    steps: Sequence[Step] = field(default_factory=tuple)

    @property
    def open(self) -> Sequence[Step]:
        """The steps that change something."""
        return [step for step in self.steps if step.action != "keep"]

    def text(self) -> str:
        """Return it as lines of text."""
        where = f"AWS account {self.account}, {self.region}, profile '{self.profile}'"
        return "\n".join([f"{where}, installation {self.owner}", *(s.line() for s in self.steps)])

    def to_wire(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "account": self.account,
            "region": self.region,
            "profile": self.profile,
            "installation": self.owner,
            "steps": [
                {"action": step.action, "title": step.piece.title, "why": step.why}
                for step in self.steps
            ],
        }


def plan(account: Account, *, remove: bool = False) -> Plan:
    """Look what is there, and return what is to be done. Changes nothing.

    Raises
    ------
    PoolError
        If AWS does not say what is there; or if something is to be removed, and machines
        still use it.
    """
    if not account.region:
        raise PoolError(
            "no AWS region is configured", hint="set layers.aws.region or AWS_DEFAULT_REGION"
        )
    vpc = str(find_vpc(account)["VpcId"])
    found = pieces(account, vpc)
    if remove:
        _refuse_in_use(account)
        steps = [_removal(piece, account.owner) for piece in reversed(found)]
    else:
        steps = [_making(piece) for piece in found]
    return Plan(account.number, account.region, account.profile, account.owner, steps)


def run(
    account: Account | None = None,
    *,
    dry: bool = False,
    yes: bool = False,
    remove: bool = False,
    quiet: bool = False,
) -> Plan:
    """Print what is to be done, ask, and do it.

    Parameters
    ----------
    account : Account, optional
        As configured, if not given.
    dry : bool
        Only print.
    yes : bool
        Do not ask.
    remove : bool
        Remove what is ours, instead of making it.
    quiet : bool
        Print nothing.

    Raises
    ------
    AskError
        If somebody must be asked, and nobody is there.
    PoolError
        If AWS refuses a step. Those before it have been done; a repetition goes on there.
    """
    todo = plan(account or Account(), remove=remove)
    say = (lambda _: None) if quiet else print
    say(todo.text())
    if dry:
        return todo
    if not todo.open:
        say("nothing to do")
        return todo
    if not yes and not _agreed(remove, quiet):
        say("nothing has been done")
        return Plan(todo.account, todo.region, todo.profile, todo.owner)
    for step in todo.open:
        if step.action == "remove":
            step.piece.remove()
        else:
            step.piece.make()
        say(f"{'removed' if remove else 'done'}: {step.piece.title}")
    return todo


def _agreed(remove: bool, quiet: bool) -> bool:
    if quiet or not sys.stdin.isatty():
        raise AskError("nobody is there to be asked", hint="say --yes, or --dry-run to look only")
    question = "Remove this?" if remove else f"Make this ({_COST})?"
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def _making(piece: Piece) -> Step:
    match piece.state():
        case "missing":
            return Step(piece, "make")
        case "other":
            return Step(piece, "change", "it is there, but differs")
        case _:
            return Step(piece, "keep", "it is there")


def _removal(piece: Piece, owner: str) -> Step:
    if piece.state() == "missing":
        return Step(piece, "keep", "it is not there")
    if piece.owner() != owner:
        return Step(piece, "keep", "another installation made it")
    return Step(piece, "remove")


def _refuse_in_use(account: Account) -> None:
    found = [
        *Instances(account, time.monotonic).list(tuple),
        *Tasks(account, time.monotonic).list(tuple),
    ]
    alive = [machine.id for machine in found if machine.state == "alive"]
    if alive:
        raise PoolError(
            f"{len(alive)} machines of this installation are still there: {', '.join(alive)}",
            hint="`jupyter compute stop --all` and `jupyter compute gc` end them",
        )
