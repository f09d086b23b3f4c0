"""The search for culprits survives objects that do their worst when they are looked at."""

from __future__ import annotations

import abc
import sys
import threading
import time
from typing import Any

import cloudpickle
import pytest

from jupyter_compute.culprits import find_culprits, summary


class Holder:
    """Something that pickles as its attributes."""


def found(dumps: Any = cloudpickle.dumps, **values: Any) -> dict[str, str]:
    return {culprit.path: culprit.what for culprit in find_culprits(values, dumps)}


def fails(value: object) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:  # noqa: BLE001 - whatever it is
        return True
    return False


def test_reduce_that_raises():
    class Raises:
        def __reduce__(self) -> Any:
            raise ZeroDivisionError("on purpose")

    (culprit,) = find_culprits({"v": [Raises()]}, cloudpickle.dumps)
    assert culprit.path == "v[0]"
    assert culprit.reason == "ZeroDivisionError: on purpose"
    assert "ZeroDivisionError: on purpose" in summary(culprit)


def test_reduce_that_ends_the_process():
    class Exits:
        def __reduce__(self) -> Any:
            raise SystemExit(3)

    assert list(found(v=Exits())) == ["v"]


def test_reduce_that_never_returns_to_its_caller():
    class Endless:
        def __reduce__(self) -> Any:
            return self.__reduce__()

    (culprit,) = find_culprits({"v": {"k": Endless()}}, cloudpickle.dumps)
    assert culprit.path == "v['k']"
    assert "RecursionError" in culprit.reason


def test_reduce_that_leads_back_to_the_object():
    class Ring:
        def __reduce__(self) -> Any:
            return Ring, (self,)

    assert list(found(v=[Ring()])) == ["v"]
    assert list(found(v=Ring())) == ["v"]


def test_a_closure_that_is_not_assigned_yet():
    def outer() -> Any:
        lock = threading.Lock()

        def inner() -> Any:
            return later, lock

        if lock.locked():
            later = 1
        return inner

    assert found(v=outer()) == {"v.<closure> lock": "a lock"}


@pytest.mark.parametrize("answer", [5, (), (1, 2, 3), (print, "x"), (print, (), 1, 2, 3, 4)])
def test_reduce_that_returns_nonsense(answer):
    class Nonsense:
        def __reduce__(self) -> Any:
            return answer

    assert list(found(v=Nonsense())) == ["v"]


def test_errors_and_objects_that_cannot_be_shown():
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    class Shy:
        def __reduce__(self) -> Any:
            raise Mute

        def __repr__(self) -> str:
            raise RuntimeError

    (culprit,) = find_culprits({"v": Shy()}, cloudpickle.dumps)
    assert culprit.reason == "Mute"


def test_properties_and_class_that_blow_up():
    class Trap:
        def __init__(self) -> None:
            self.inner = threading.Lock()

        @property
        def boom(self) -> None:
            raise RuntimeError

        @property
        def __class__(self) -> type:
            raise RuntimeError

    assert found(v=Trap()) == {"v.inner": "a lock"}


def test_a_metaclass_that_hides_names():
    class Meta(abc.ABCMeta):
        @property
        def __module__(cls) -> str:
            raise RuntimeError

    class Strange(metaclass=Meta):
        def __reduce_ex__(self, protocol: object) -> Any:
            raise TypeError("no")

    assert list(found(v=Strange())) == ["v"]


@pytest.mark.slow
def test_nesting_without_end():
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    (culprit,) = find_culprits({"v": deep}, cloudpickle.dumps)
    assert (culprit.path, culprit.what) == ("v", "nested too deeply to be pickled")


def test_nesting_just_too_deep():
    deep: list[Any] = []
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]
    while not fails(deep[0]):
        deep = deep[0]
    while not fails(deep):
        deep = [deep]
    for _ in range(5):
        deep = [deep]
    (culprit,) = find_culprits({"v": deep}, cloudpickle.dumps)
    assert (culprit.path, culprit.what) == ("v", "nested too deeply to be pickled")


def test_a_failure_that_no_part_shows():
    def dumps(value: object) -> None:
        if type(value) is dict:
            raise ValueError("together only")

    assert list(found(dumps, v={"a": Holder(), "b": Holder()})) == ["v"]


def test_slow_objects_end_the_search(monkeypatch):
    class Slow:
        def __reduce__(self) -> Any:
            now[0] += 1
            raise TypeError("slow")

    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    culprits = find_culprits({"v": [Slow() for _ in range(500)], "w": Slow()}, cloudpickle.dumps)
    assert {culprit.name for culprit in culprits} == {"v", "w"}
    assert now[0] < 50


def test_an_interrupt_gets_through():
    class Interrupts:
        def __reduce__(self) -> Any:
            raise KeyboardInterrupt

    def interrupted(value: object) -> None:
        if type(value) is list:
            raise TypeError
        raise KeyboardInterrupt

    for dumps in (cloudpickle.dumps, interrupted):
        with pytest.raises(KeyboardInterrupt):
            find_culprits({"v": [Interrupts()]}, dumps)
    with pytest.raises(KeyboardInterrupt):
        find_culprits({"v": Holder()}, interrupted)
