"""Which names of the notebook a compiled piece of code reads, assigns and deletes.

The compiler has settled every question of scope already, so its code objects are
asked instead of the syntax tree. The opcodes are the same in Python 3.11 to 3.14,
except that class bodies and annotation scopes read globals with
``LOAD_FROM_DICT_OR_GLOBALS`` since 3.12.
"""

from __future__ import annotations

import dis
from dataclasses import dataclass, field
from types import CodeType

__all__ = ["Names", "lines_reading", "names_of"]

_READS = frozenset({"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"})
_WRITES = frozenset({"STORE_NAME", "STORE_GLOBAL"})
_DELETES = frozenset({"DELETE_NAME", "DELETE_GLOBAL"})
_LOCAL_IN_CLASSES = frozenset({"STORE_NAME", "DELETE_NAME"})

_TOUCHING = {dis.opmap[name]: name for name in _READS | _WRITES | _DELETES if name in dis.opmap}
_EXTENDED_ARG = dis.opmap["EXTENDED_ARG"]

_COMPILER_OWN = frozenset(
    {
        "__annotate__",
        "__annotations__",
        "__classdict__",
        "__conditional_annotations__",
        "__doc__",
        "__module__",
        "__name__",
        "__qualname__",
    }
)
"""Names that the compiler itself reads or assigns in modules and class bodies."""


@dataclass(frozen=True, slots=True)
class Names:
    """The notebook's names that a piece of code may touch.

    Parameters
    ----------
    reads, writes, deletes : set of str
        A name is in each set that some path through the code puts it in.
    """

    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    deletes: set[str] = field(default_factory=set)


def names_of(code: CodeType) -> Names:
    """Return the names that module-level `code` and everything defined in it may touch."""
    found = Names()
    for part in _parts(code):
        for opname, name in _touched(part):
            if part is not code and opname in _LOCAL_IN_CLASSES:
                continue
            if opname in _READS:
                found.reads.add(name)
            elif opname in _WRITES:
                found.writes.add(name)
            else:
                found.deletes.add(name)
    for names in (found.reads, found.writes, found.deletes):
        names.difference_update(_COMPILER_OWN)
    return found


def lines_reading(code: CodeType, name: str) -> set[int]:
    """Return the lines where `code`, or a part of it, reads the notebook's (not a local) `name`."""
    return {
        instruction.positions.lineno
        for part in _parts(code)
        for instruction in dis.get_instructions(part)
        if instruction.opname in _READS
        and instruction.argval == name
        and instruction.positions
        and instruction.positions.lineno
    }


def _parts(code: CodeType) -> list[CodeType]:
    parts = [code]
    for part in parts:
        parts += [const for const in part.co_consts if isinstance(const, CodeType)]
    return parts


def _touched(code: CodeType) -> list[tuple[str, str]]:
    """Return (opcode, name) of each instruction that touches a name; `dis` is 10 times slower."""
    found = []
    names, raw = code.co_names, code.co_code
    extended = 0
    for offset in range(0, len(raw), 2):
        opcode, argument = raw[offset], raw[offset + 1] | extended
        extended = argument << 8 if opcode == _EXTENDED_ARG else 0
        opname = _TOUCHING.get(opcode)
        if opname is not None:
            # The lowest bit of LOAD_GLOBAL tells that a call follows.
            found.append((opname, names[argument >> 1 if opname == "LOAD_GLOBAL" else argument]))
    return found
