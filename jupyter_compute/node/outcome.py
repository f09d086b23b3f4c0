"""The envelope: how an attempt ended, and what comes back from it."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NoReturn

from .. import values
from ..blobs import Blobs
from ..culprits import Culprit, find_culprits, summary
from ..redaction import redacted
from ..values import Dumped
from .changes import Inputs
from .keeping import Keeping

__all__ = [
    "Written",
    "describe",
    "dump_items",
    "end_copy",
    "failed",
    "finished",
    "not_loaded",
    "returned",
]

_MESSAGE = 2_000
_TRACEBACK = 200_000
_OURS = ("jupyter_compute", "IPython", "asyncio")
"""Packages whose frames below the user's code say nothing to the user."""

_RETURNED = "the returned value"


@dataclass(slots=True)
class Written:
    """What a cell assigned, changed in place or deleted.

    Parameters
    ----------
    values : dict
    deleted : list of str
    references : dict
        The notebook's objects that are still what was sent, by ``id``.
    required : frozenset of str
        The names that ``--out`` asks for.
    notes : list of str
    known : frozenset of str
        Names that the notebook has: functions that come back find them there.
    kept : dict
        What stays here, by name.
    """

    values: dict[str, Any]
    deleted: list[str]
    references: dict[int, str]
    required: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)
    known: frozenset[str] = frozenset()
    kept: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def since(
        cls,
        before: Mapping[str, Any],
        namespace: Mapping[str, Any],
        inputs: Inputs,
        out: Collection[str] | None,
        keep: Collection[str] = (),
    ) -> Written:
        """Compare a namespace with what it was before the cell ran."""
        changed = inputs.changed()
        nothing = object()
        written = {
            name: value
            for name, value in namespace.items()
            if _visible(name) and (before.get(name, nothing) is not value or name in changed)
        }
        deleted = [name for name in before if _visible(name) and name not in namespace]
        kept_before = inputs.kept(changed)
        asked = {name: namespace[name] for name in keep if name in namespace}
        # What is kept already, under whatever name, need not be kept again.
        kept = {name: value for name, value in asked.items() if id(value) not in kept_before}
        missing = {*keep, *(out or ())} - namespace.keys()
        if out is not None:
            written = {name: namespace[name] for name in out if name in namespace}
            deleted = [name for name in deleted if name in out]
        written = {name: value for name, value in (written | asked).items() if name not in kept}
        return cls(
            written,
            deleted,
            references=inputs.references(changed),
            required=frozenset(out or ()),
            notes=[f"{name} was not assigned" for name in sorted(missing)],
            known=inputs.sent,
            kept=kept,
        )

    def keep(self, keeping: Keeping) -> dict[str, Any]:
        """Leave here what is to be kept; return the culprit of each value that cannot be."""
        refused = {}
        for name, value in self.kept.items():
            try:
                self.values[name] = keeping.keep(name, value)
            except OSError:
                raise
            except Exception:  # noqa: BLE001 - any object's own code may run here
                refused[name] = _culprit(name, value, keeping.namespace)
        return refused

    def dump(self, bundle: object, namespace: dict[str, Any]) -> Dumped:
        """Pickle what comes back, without what the notebook has."""
        return values.dump(bundle, namespace, without=self.known, references=self.references)


def finished(
    blobs: Blobs, namespace: dict[str, Any], written: Written, last: Any
) -> dict[str, Any]:
    """Return the envelope of a cell that ended well."""
    keeping = Keeping(blobs, namespace)
    if refused := written.keep(keeping):
        return not_returned(refused, "kept")
    bundle = {
        "values": written.values,
        "deleted": written.deleted,
        "has_last": last.has_value,
        "last": keeping.stand_in(last.value),
    }
    notes = list(written.notes)
    try:
        dumped = written.dump(bundle, namespace)
    except Exception:  # noqa: BLE001 - any object's own code may run here
        unsent = _unsent(namespace, written.values, written.known)
        if unsent.keys() & written.required:
            return not_returned(unsent)
        notes += [f"{name} stays behind: {summary(value)}" for name, value in unsent.items()]
        if _unsent(namespace, {"result": last.value}, written.known):
            last.show()
            bundle |= {"has_last": False, "last": None}
        bundle["values"] = {n: v for n, v in written.values.items() if n not in unsent}
        dumped = written.dump(bundle, namespace)
    return _stored(blobs, dumped) | {"notes": notes, "kept": keeping.entries}


def returned(
    blobs: Blobs,
    namespace: dict[str, Any],
    value: object,
    known: Collection[str],
    same: Mapping[int, str],
    *,
    keep: bool = False,
) -> dict[str, Any]:
    """Return the envelope of a function that returned a value to who has the `known` names.

    What is the `same` as a kept value goes back as a reference to it; all of it may have to stay.
    """
    keeping = Keeping(blobs, namespace)
    try:
        last = keeping.keep(_RETURNED, value) if keep and id(value) not in same else value
        bundle = {"has_last": True, "last": last}
        dumped = values.dump(bundle, namespace, without=known, references=same)
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - any object's own code may run here
        refused = {_RETURNED: _culprit(_RETURNED, value, namespace)}
        return not_returned(refused, "kept" if keep else "brought back")
    return _stored(blobs, dumped) | {"kept": keeping.entries}


def _stored(blobs: Blobs, dumped: Dumped) -> dict[str, Any]:
    try:
        payload, buffers = values.store(blobs, dumped)
    except OSError as error:
        return no_room(error)
    return {"outcome": "ok", "payload": payload, "blobs": buffers}


def no_room(error: OSError) -> dict[str, Any]:
    """Return the envelope of an attempt whose result finds no room in the store."""
    return {
        "outcome": "died",
        "reason": "transfer",
        "message": f"the result cannot be stored: {error.strerror}: {error.filename}",
    }


def dump_items(
    namespace: dict[str, Any],
    results: list[Any],
    failures: dict[int, dict[str, Any]],
    known: Collection[str],
) -> Dumped:
    """Pickle the results of some items of a map.

    Parameters
    ----------
    namespace : dict
    results : list
        One for each item; those that cannot be pickled are replaced by None.
    failures : dict of int to dict
        The envelopes of items that failed, by their place in `results`; those whose results
        cannot be pickled are added.
    known : collection of str
        Names that the notebook has.
    """
    bundle = {"values": results, "failed": failures}
    try:
        return values.dump(bundle, namespace, without=known)
    except Exception:  # noqa: BLE001 - any object's own code may run here
        for place, value in enumerate(results):
            name = "the returned value"
            if unsent := _unsent(namespace, {name: value}, known):
                failures[place], results[place] = not_returned(unsent), None
        return values.dump(bundle, namespace, without=known)


def end_copy(error: BaseException | None) -> NoReturn:
    """End a process that the code has forked, at the code's end: another answers for the run."""
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        sys.stderr.write(describe(error))
        status = 1
    os._exit(status & 0xFF)


def failed(
    blobs: Blobs,
    namespace: dict[str, Any],
    error: BaseException,
    partial: Written | None = None,
) -> dict[str, Any]:
    """Return the envelope of user code that raised an exception."""
    trace = describe(error)
    envelope: dict[str, Any] = {
        "outcome": "error",
        "type": type(error).__name__,
        "module": type(error).__module__,
        "mro": _ancestry(type(error)),
        # Both are kept and shown elsewhere, too; the notebook gets the exception itself.
        "message": redacted(_text(error)[: 2 * _MESSAGE])[:_MESSAGE],
        "traceback": redacted(trace),
        "payload": None,
        "blobs": [],
        "notes": [],
    }
    bundle: dict[str, Any] = {"error": error}
    if partial is not None:
        keeping = Keeping(blobs, namespace)
        refused = partial.keep(keeping)
        envelope["kept"] = keeping.entries
        unsent = refused | _unsent(namespace, partial.values, partial.known)
        envelope["notes"] = [f"{n} stays behind: {summary(v)}" for n, v in unsent.items()]
        bundle["values"] = {n: v for n, v in partial.values.items() if n not in unsent}
        bundle["deleted"] = partial.deleted
    dumped = _dump_error(bundle, namespace)
    if dumped is None and bundle.pop("values", None):
        dumped = _dump_error({"error": error}, namespace)
    if dumped is not None and (found := _stored(blobs, dumped))["outcome"] == "ok":
        envelope["payload"], envelope["blobs"] = found["payload"], found["blobs"]
    return envelope


def not_loaded(error: BaseException) -> dict[str, Any]:
    """Return the envelope of an attempt whose inputs cannot be rebuilt on its machine."""
    return {
        "outcome": "died",
        "reason": "transfer",
        "message": redacted(f"the inputs cannot be loaded: {type(error).__name__}: {_text(error)}"),
        "stack": redacted(_format(error)),
    }


def describe(error: BaseException) -> str:
    """Return an exception as Python prints it, without the frames above the user's code."""
    error.__traceback__ = _trim(error.__traceback__)
    return _format(error)


def not_returned(unsent: Mapping[str, Any], what: str = "brought back") -> dict[str, Any]:
    """Return the envelope of an attempt whose result cannot be pickled."""
    first = next(iter(unsent.values()))
    sentences = [f"{name} cannot be {what}: {summary(c)}" for name, c in unsent.items()]
    return {
        "outcome": "died",
        "reason": "transfer",
        "message": "; ".join(sentences),
        "facts": {"name": first.name, "path": first.path},
    }


def _visible(name: str) -> bool:
    return not (name.startswith("__") and name.endswith("__"))


def _unsent(
    namespace: dict[str, Any], candidates: Mapping[str, Any], known: Collection[str]
) -> dict[str, Any]:
    """Return the culprit of each value that cannot be pickled, by name."""
    unsent = {}
    for name, value in candidates.items():
        try:
            values.dump(value, namespace, without=known)
        except Exception:  # noqa: BLE001 - any object's own code may run here
            unsent[name] = _culprit(name, value, namespace)
    return unsent


def _culprit(name: str, value: object, namespace: dict[str, Any]) -> Culprit:
    found = find_culprits({name: value}, lambda part: values.dump(part, namespace))
    unknown = Culprit(name, name, type(value).__name__, "it can be pickled only sometimes")
    return found[0] if found else unknown


def _dump_error(bundle: dict[str, Any], namespace: dict[str, Any]) -> values.Dumped | None:
    """Pickle an exception, and make sure that it can be rebuilt and shown."""
    try:
        str(bundle["error"])
        dumped = values.dump(bundle, namespace, errors=True)
        values.load(io.BytesIO(dumped.pickle), dumped.buffers, {})
    except Exception:  # noqa: BLE001 - any object's own code may run here
        return None
    return dumped


def _trim(trace: TracebackType | None) -> TracebackType | None:
    """Drop the frames between this module and the user's code."""
    found = trace
    while found is not None:
        module = str(found.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
        if module not in _OURS:
            return found
        found = found.tb_next
    return None


def _ancestry(cls: type) -> list[str]:
    names = []
    for base in cls.__mro__[:-1]:
        names += [base.__name__, f"{base.__module__}.{base.__qualname__}"]
    return names


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as inner:  # noqa: BLE001 - a broken __str__ must not hide the error
        return f"<{type(error).__name__} whose __str__ raises {type(inner).__name__}>"


def _format(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the error
        text = f"{type(error).__name__}: {_text(error)}"
    text = "\n".join(line[:_MESSAGE] for line in text.split("\n"))
    return text if len(text) <= _TRACEBACK else text[: _TRACEBACK // 2] + "\n[...]\n" + text[-1000:]
