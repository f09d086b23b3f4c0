"""``@remote``: functions that run elsewhere, called like any other."""

from __future__ import annotations

import ast
import functools
import pickle
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import jupyter_compute
from homes import Home
from jupyter_compute import remote
from jupyter_compute.errors import AskError, ComputeError
from jupyter_compute.notebook import session
from jupyter_compute.notebook.remote import RemoteFunction
from kernels import Kernel, Reply


class _Class:
    """Nothing to run."""


def _generator() -> Iterator[int]:
    yield 1


async def _async_generator() -> Any:
    yield 1


class _Stream:
    def __call__(self) -> Iterator[int]:
        yield 1


def _plain(x: int, y: int = 2) -> int:
    """Add."""
    return x + y


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (_Class, "is a class"),
        (_generator, "generator"),
        (_async_generator, "generator"),
        (functools.partial(_generator), "cannot run _generator: a generator"),
        (functools.lru_cache(_generator), "cannot run _generator: a generator"),
        (staticmethod(_generator), "cannot run _generator: a generator"),
        (_Stream().__call__, "generator"),
        (_Stream(), "cannot run _Stream: a generator"),
        (classmethod(_Class), "is a class"),
        (int, "int is a class"),
        (3, "of type int"),
        ("local", "of type str"),
        (property(_generator), "of type property"),
        (NotImplemented, "of type NotImplementedType"),
    ],
)
def test_what_cannot_run_is_refused_at_decoration(what: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        remote(what)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cpus": 2}, "did you mean cpu"),
        ({"cpu": -1}, "at least 0.1"),
        ({"memory": 32}, "unit"),
        ({"catch": "error"}, "try and except"),
    ],
)
def test_a_bad_option_is_refused_at_decoration(options: dict[str, Any], words: str) -> None:
    with pytest.raises(AskError, match=words):
        remote(**options)
    with pytest.raises(AskError, match=words):
        remote(_plain).options(**options)


def test_a_decorated_function_keeps_its_name_and_its_words() -> None:
    add = remote(_plain)
    assert (add.__name__, add.__doc__, add.local(1)) == ("_plain", "Add.", 3)
    assert repr(add) == "<remote _plain>"


def test_decorating_again_adds_to_the_ask() -> None:
    add = remote(retries=3)(remote(cpu=2)(_plain))
    assert (add.asked.cpu, add.asked.retries) == (2.0, 3)
    assert add.options(cpu=4).asked.cpu == 4.0
    assert add.asked.cpu == 2.0


def test_a_decorated_function_travels() -> None:
    again = pickle.loads(pickle.dumps(remote(cpu=2)(_plain)))
    assert isinstance(again, RemoteFunction)
    assert (again.local(1), again.asked.cpu) == (3, 2.0)


def test_inside_a_run_it_is_a_plain_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_COMPUTE_RUN", "r-abc")
    assert remote(_plain)(1) == 3
    with pytest.raises(ComputeError, match="cannot submit"):
        remote(_plain).submit(1)


def test_the_public_surface_is_what_it_says() -> None:
    for name in jupyter_compute.__all__:
        assert getattr(jupyter_compute, name) is not None
    with pytest.raises(AttributeError):
        _ = jupyter_compute.nothing
    assert set(jupyter_compute.__all__) <= set(dir(jupyter_compute))


@pytest.mark.slow
def test_a_plain_python_process_runs_functions_too(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    session.client.cache_clear()
    session.blobs.cache_clear()

    def speak(words: str) -> str:
        sys.stdout.write(words + "\n")
        return words.upper()

    def fail() -> None:
        raise LookupError("nowhere")

    calm: Callable[[str], Any] = remote(cpu=0.1, memory="256M")(speak)
    assert calm("hello") == "HELLO"
    assert capsys.readouterr().out == "hello\n"
    run = remote(cpu=0.1, memory="256M")(speak).submit("later")
    assert run.result(60) == "LATER"
    assert run.result() is run.result()
    assert (run.state, run.output, run.receipt.attempts) == ("done", "later\n", 1)
    assert next(one.id for one in jupyter_compute.runs()) == run.id
    with pytest.raises(LookupError, match="nowhere"):
        remote(cpu=0.1, memory="256M")(fail)()
    asleep = remote(cpu=0.1, memory="256M")(time.sleep).submit(100)
    with pytest.raises(TimeoutError):
        asleep.result(0.1)
    for active in jupyter_compute.runs():
        active.cancel()


def _ok(reply: Reply) -> Reply:
    assert reply.status == "ok", reply.traceback or reply
    return reply


@pytest.mark.slow
def test_functions_of_a_notebook(shared_kernel: Kernel) -> None:
    kernel = shared_kernel
    _ok(
        kernel.run(
            "from jupyter_compute import remote\nfactor = 3\ndef helper(x): return factor * x"
        )
    )
    _ok(kernel.run("@remote(cpu=1, memory='1G')\ndef triple(x): return helper(x)"))
    assert _ok(kernel.run("triple(14)")).result == "42"
    assert _ok(kernel.run("factor = 2\ntriple(x=14)")).result == "28"
    assert _ok(kernel.run("remote(lambda x: x + factor)(1), remote(len)('abc')")).result == "(3, 3)"
    assert "would send" in _ok(kernel.run("print(triple.plan(1))")).stdout
    assert _ok(kernel.run("await triple.submit(1)")).result == "2"


@pytest.mark.slow
def test_methods_and_coroutines_of_a_notebook(shared_kernel: Kernel) -> None:
    kernel = shared_kernel
    code = """
    from jupyter_compute import remote
    class Model:
        def __init__(self): self.weight = 3
        @remote
        def fit(self, x): return self.weight * x
        @classmethod
        @remote
        def name(cls): return cls.__name__
        @remote
        @staticmethod
        def plain(x): return -x
    @remote
    async def later(x):
        import asyncio
        await asyncio.sleep(0)
        return 2 * x
    """
    _ok(kernel.run(textwrap.dedent(code)))
    assert (
        _ok(kernel.run("Model().fit(2), Model.name(), Model.plain(5)")).result == "(6, 'Model', -5)"
    )
    assert _ok(kernel.run("await later(4)")).result == "8"


@pytest.mark.slow
def test_every_way_to_call_works_for_every_kind_of_function(shared_kernel: Kernel) -> None:
    kernel = shared_kernel
    code = """
    import functools
    from jupyter_compute import remote
    small = remote(cpu=0.1, memory="256M")
    class Model:
        weight = 3
        @small
        def plain(self, x): return self.weight * x
        @small
        @classmethod
        def outside(cls, x): return cls.weight * x
        @classmethod
        @small
        def inside(cls, x): return cls.weight * x
        @staticmethod
        @small
        def static(x): return 3 * x
        def __call__(self, x): return self.weight * x
    model = Model()
    kinds = [
        model.plain, Model.outside, model.inside, model.static, small(model),
        small(lambda x: 3 * x), small(functools.partial(max, 3)), small("abc".rjust),
    ]
    def every(kind):
        return [kind(9), kind.submit(9).result(), kind.local(9), kind.options(cpu=0.2)(9),
                "would send" in kind.plan(9)]
    """
    _ok(kernel.run(textwrap.dedent(code)))
    expected = [*[[27] * 4] * 6, [9] * 4, ["      abc"] * 4]
    found = _ok(kernel.run("[every(kind) for kind in kinds]")).result
    assert ast.literal_eval(found) == [[*values, True] for values in expected]


@pytest.mark.slow
def test_every_way_to_call_works_for_every_kind_of_coroutine(shared_kernel: Kernel) -> None:
    kernel = shared_kernel
    code = """
    import functools
    from jupyter_compute import remote
    small = remote(cpu=0.1, memory="256M")
    class Model:
        weight = 3
        @small
        async def plain(self, x): return self.weight * x
        @small
        @staticmethod
        async def static(x): return 3 * x
        async def __call__(self, x): return self.weight * x
    model = Model()
    kinds = [model.plain, model.static, small(model), small(functools.partial(model.plain))]
    """
    _ok(kernel.run(textwrap.dedent(code)))
    every = (
        "[(await kind(9), await kind.submit(9), kind.submit(9).result(), await kind.local(9), "
        "await kind.options(cpu=0.2)(9), 'would send' in kind.plan(9)) for kind in kinds[:3]]"
    )
    assert ast.literal_eval(_ok(kernel.run(every)).result) == [(27, 27, 27, 27, 27, True)] * 3
    # What is remote already runs in place inside of another one.
    reply = _ok(kernel.run("await kinds[3](9)"))
    assert reply.result == "27"
    assert "plain runs inside this run" in "".join(reply.status_lines)


@pytest.mark.slow
def test_an_exception_of_a_call_shows_the_call_and_the_remote_line(shared_kernel: Kernel) -> None:
    kernel = shared_kernel
    _ok(kernel.run("from jupyter_compute import remote\n@remote\ndef invert(x):\n    return 1 / x"))
    reply = kernel.run("def outer():\n    return invert(0)\nouter()")
    assert reply.ename == "ZeroDivisionError"
    assert "----> 2     return invert(0)" in reply.traceback
    assert "----> 4     return 1 / x" in reply.traceback
    assert "jupyter_compute/" not in reply.traceback


@pytest.mark.slow
def test_a_call_can_be_interrupted(shared_kernel: Kernel) -> None:
    kernel = shared_kernel
    code = "from jupyter_compute import remote\n@remote\ndef wait():\n    import time\n    print('ready')\n    time.sleep(100)\nwait()"
    reply = kernel.start(code)
    kernel.wait_for(lambda: "ready" in reply.stdout)
    kernel.interrupt()
    kernel.finish(reply)
    assert reply.ename == "KeyboardInterrupt"
    assert "time.sleep(100)" in reply.traceback
    assert "no runs" in kernel.run("%compute").stdout


@pytest.mark.slow
def test_a_call_that_waits_for_room_says_so(shared_kernel: Kernel) -> None:
    kernel = shared_kernel
    code = """
    import time
    from jupyter_compute import remote
    @remote(cpu=800, memory="256M")
    def sleep(seconds):
        print("ready")
        time.sleep(seconds)
    sleep(0)  # what follows is quick
    run = sleep.submit(100)
    while "ready" not in run.output: time.sleep(0.01)
    """
    _ok(kernel.run(textwrap.dedent(code)))
    reply = kernel.start("sleep(0)")
    kernel.wait_for(lambda: [text for text in reply.status_lines if "→ waiting for" in text])
    kernel.interrupt()
    assert kernel.finish(reply).ename == "KeyboardInterrupt"
    _ok(kernel.run("run.cancel()"))
