"""Every culprit is named, with its place, whatever the objects do."""

from __future__ import annotations

import collections
import functools
import gc
import io
import logging
import mmap
import os
import queue
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import types
import weakref
from contextlib import closing
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from jupyter_compute.culprits import Culprit, find_culprits, open_files, summary, to_error

LOCK = threading.Lock()
CONN = LOCK


class Holder:
    """Something that pickles as its attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slots:
    __slots__ = ("inner",)

    def __init__(self, inner: object) -> None:
        self.inner = inner


class KeepsSome:
    """Pickles less than it has."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept = [threading.Lock()]

    def __getstate__(self) -> dict[str, Any]:
        return {"kept": self.kept}


Pair = collections.namedtuple("Pair", "left right")  # noqa: PYI024 - the untyped kind


def found(dumps: Any = cloudpickle.dumps, **values: Any) -> dict[str, str]:
    return {culprit.path: culprit.what for culprit in find_culprits(values, dumps)}


def closure() -> Any:
    lock = threading.Lock()
    return lambda: lock


def default(lock: object = threading.Lock()) -> object:
    return lock


def keyword_default(*, lock: object = LOCK) -> object:
    return lock


def global_reader() -> object:
    return [CONN for _ in range(1)]


def by_value(function: Any) -> Any:
    """Return a function as if a cell of the notebook had defined it."""
    function = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    function.__module__ = "__main__"
    return function


def model() -> Holder:
    return Holder(cache={"a": [0, 1, 2, Holder(_lock=threading.Lock())]}, size=3)


def cyclic() -> list[Any]:
    ring: list[Any] = [1]
    ring.append({"me": ring, "lock": threading.Lock()})
    return ring


def keyword_function() -> Any:
    function = by_value(keyword_default)
    function.__kwdefaults__ = {"lock": threading.Lock()}
    return function


def attribute_function() -> Any:
    function = by_value(closure)
    function.cache = {"k": threading.Lock()}
    return function


def class_with(lock: object) -> type:
    return type("Own", (), {"__module__": "__main__", "shared": lock})


PLACES = {
    "itself": (threading.Lock, "v"),
    "attributes and containers": (model, "v.cache['a'][3]._lock"),
    "tuple": (lambda: (1, (2, threading.Lock())), "v[1][1]"),
    "named tuple": (lambda: Pair(1, threading.Lock()), "v[1]"),
    "set": (lambda: {1, threading.Lock()}, "v.<item>"),
    "key": (lambda: {threading.Lock(): 1}, "v.<key <lock>>"),
    "long key": (lambda: {"k" * 99: threading.Lock()}, f"v['{'k' * 38}…]"),
    "slots": (lambda: Slots(threading.Lock()), "v.inner"),
    "state": (KeepsSome, "v.kept[0]"),
    "default dict": (lambda: collections.defaultdict(list, k=[threading.Lock()]), "v['k'][0]"),
    "deque": (lambda: collections.deque([threading.Lock()]), "v[0]"),
    "partial": (lambda: functools.partial(print, threading.Lock()), "v.args[0]"),
    "partial keyword": (lambda: functools.partial(print, k=threading.Lock()), "v.keywords['k']"),
    "method": (lambda: types.MethodType(print, Holder(x=threading.Lock())), "v.__self__.x"),
    "closure": (closure, "v.<closure> lock"),
    "default": (lambda: by_value(default), "v.__defaults__[0]"),
    "keyword default": (keyword_function, "v.<default> lock"),
    "attribute of a function": (attribute_function, "v.cache['k']"),
    "global": (lambda: by_value(global_reader), "v → CONN"),
    "class": (lambda: class_with(threading.Lock()), "v.shared"),
    "instance of a class": (
        lambda: [class_with(threading.Lock())()],
        "v[0].__class__.shared",
    ),
    "cycle": (cyclic, "v[1]['lock']"),
    "array": (lambda: np.array([1, threading.Lock()], dtype=object), "v[1]"),
    "matrix": (lambda: np.array([[1, 2], [3, threading.Lock()]], dtype=object), "v.flat[3]"),
    "series": (lambda: pd.Series([1, threading.Lock()]), "v.iloc[1]"),
    "frame": (lambda: pd.DataFrame({"a": [1], "b": [threading.Lock()]}), "v['b'].iloc[0]"),
    "many": (lambda: [*range(200_000), {"z": threading.Lock()}], "v[200000]['z']"),
    "many objects": (
        lambda: [*(Holder(n=n) for n in range(3000)), threading.Lock()],
        "v[3000]",
    ),
}


@pytest.mark.parametrize("case", PLACES, ids=str)
def test_the_place_is_named(case):
    make, path = PLACES[case]
    assert found(v=make()) == {path: "a lock"}


def generator() -> Any:
    yield


async def coroutine() -> None:
    """Never run."""


async def asynchronous_generator() -> Any:
    yield


KINDS = {
    "generator": (generator, "a generator; make it a list first: list(v)"),
    "asynchronous generator": (asynchronous_generator, "an asynchronous generator; "),
    "coroutine": (coroutine, "a coroutine; await it first"),
    "socket": (socket.socket, "a socket; create it inside the cell"),
    "database": (lambda: sqlite3.connect(":memory:"), "a database connection; create it inside"),
    "thread": (threading.Thread, "a thread; create it inside"),
    "event": (threading.Event, "a lock; create it inside"),
    "semaphore": (threading.Semaphore, "a lock; create it inside"),
    "recursive lock": (threading.RLock, "a lock; create it inside"),
    "thread-local": (threading.local, "thread-local data; create it inside"),
    "queue": (queue.Queue, "a queue; create it inside"),
    "simple queue": (queue.SimpleQueue, "a queue; create it inside"),
    "weak reference": (lambda: weakref.ref(model), "a weak reference; use the object itself"),
    "weak dictionary": (weakref.WeakValueDictionary, "a weak reference; use the object itself"),
    "frame": (sys._getframe, "a frame or traceback; keep the text"),
    "tls": (ssl.create_default_context, "a socket; create it inside"),
    "map": (lambda: mmap.mmap(-1, 10), "a memory map; create it inside"),
    "file for writing": (
        functools.partial(tempfile.TemporaryFile, "w"),
        "an open file; pass its path",
    ),
}


@pytest.mark.parametrize("case", KINDS, ids=str)
def test_what_it_is_and_what_to_do(case):
    make, text = KINDS[case]
    value = make()
    (culprit,) = find_culprits({"v": value}, cloudpickle.dumps)
    getattr(value, "close", int)()
    assert summary(culprit).startswith(f"it is {text}")


def test_a_process():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        assert found(v=process) == {"v": "a process"}


def test_something_called_a_connection():
    class ApiClient:
        def __reduce__(self) -> Any:
            raise TypeError("not that")

    (culprit,) = find_culprits({"v": ApiClient()}, cloudpickle.dumps)
    assert "connection" in culprit.what


@pytest.mark.parametrize(
    "value",
    [np, logging.getLogger("x"), lambda x: x, Holder, Holder(a=1), 1, [None], io.StringIO("x")],
    ids=lambda value: type(value).__name__,
)
def test_what_can_be_pickled_is_not_blamed(value):
    assert found(v=value) == {}


class TestSeveral:
    def test_all_at_once(self):
        two = [threading.Lock(), 1, {"k": generator()}]
        assert found(a=two, b=3, c=threading.Lock()) == {
            "a[0]": "a lock",
            "a[2]['k']": "a generator",
            "c": "a lock",
        }

    def test_two_variables_with_the_same_part(self):
        lock = threading.Lock()
        assert found(a=[lock, lock], b={"k": lock}) == {"a[0]": "a lock", "b['k']": "a lock"}

    def test_a_part_that_is_a_variable_is_blamed_once(self):
        lock = threading.Lock()
        assert found(a=[lock], b=lock, c=lambda: lock) == {"b": "a lock"}

    def test_other_parts_are_blamed_beside_it(self):
        lock = threading.Lock()
        assert found(a=[lock, generator()], b=lock) == {"a[1]": "a generator", "b": "a lock"}

    @pytest.mark.slow  # it collects garbage
    def test_nothing_of_them_is_kept_alive(self):
        holder = Holder(lock=threading.Lock())
        gone = weakref.ref(holder)
        find_culprits({"v": [holder]}, cloudpickle.dumps)
        del holder
        gc.collect()
        assert gone() is None


class TestOpenFiles:
    def test_files_are_found_where_they_usually_are(self, tmp_path):
        path = tmp_path / "data.txt"
        path.write_text("x")
        with path.open() as text, path.open("rb") as binary:
            values = {"a": text, "b": [1, binary], "c": {"k": text}, "d": sys.stdout, "e": 5}
            assert [culprit.path for culprit in open_files(values)] == ["a", "b[1]", "c['k']"]
            assert cloudpickle.loads(cloudpickle.dumps(text)).read() == "x", "the danger is over"

    def test_closed_and_temporary_ones_too(self):
        with tempfile.NamedTemporaryFile("w+") as file:
            assert open_files({"f": file})
        with open(os.devnull) as closed:  # noqa: PTH123 - a plain file
            pass
        assert open_files({"f": closed})

    @pytest.mark.parametrize(
        "value",
        [io.StringIO(), io.BytesIO(b"x"), "path", sys.stdout, sys.stderr, [sys.stdout], Holder()],
        ids=lambda value: type(value).__name__,
    )
    def test_what_is_not_a_file(self, value):
        assert not open_files({"v": value})

    def test_large_containers_are_not_searched(self):
        with open(os.devnull) as file:  # noqa: PTH123 - a plain file
            assert not open_files({"v": [*range(101), file]})


class TestMessages:
    def test_of_one(self):
        error = to_error(find_culprits({"v": model()}, cloudpickle.dumps))
        assert str(error) == (
            "v cannot be sent: v.cache['a'][3]._lock is a lock; "
            "create it inside the cell that uses it"
        )
        assert (error.name, error.path) == ("v", "v.cache['a'][3]._lock")

    def test_of_several(self):
        with closing(generator()) as g:
            error = to_error(find_culprits({"v": model(), "g": g}, cloudpickle.dumps))
        assert str(error).splitlines() == [
            "v, g cannot be sent",
            "  v: v.cache['a'][3]._lock is a lock; create it inside the cell that uses it",
            "  g: it is a generator; make it a list first: list(g)",
        ]
        assert error.facts["culprits"] == [
            {"name": "v", "path": "v.cache['a'][3]._lock", "type": "_thread.lock"},
            {"name": "g", "path": "g", "type": "generator"},
        ]

    def test_of_too_many(self):
        culprits = [Culprit(f"v{n}", f"v{n}", "X", "TypeError: x" * 100) for n in range(50)]
        lines = str(to_error(culprits)).splitlines()
        assert lines[0] == "v0, v1, v2, v3, v4, v5 and 44 more cannot be sent"
        assert lines[-1] == "  and 30 more"
        assert len(lines) == 22
