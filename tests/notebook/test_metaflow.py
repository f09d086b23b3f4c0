"""Metaflow's decorators: what they ask for, and how it comes together with ``@remote``."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pickle
import time
from typing import Any

import cloudpickle
import pytest

from jupyter_compute import batch, catch, remote, resources, retry, timeout
from jupyter_compute.errors import AskError
from jupyter_compute.notebook.caught import Catch
from jupyter_compute.notebook.options import Options, from_keywords
from jupyter_compute.notebook.remote import RemoteFunction


def new() -> Any:
    """Return a plain function that nothing has been noted on."""

    def fit(x: int) -> int:
        return 2 * x

    return fit


def asked(*decorators: Any) -> Options:
    """Return what a function asks for that is decorated by these, the first one outermost."""
    function = new()
    for decorate in reversed(decorators):
        function = decorate(function)
    assert isinstance(function, RemoteFunction)
    return function.asked


def test_the_parameters_have_metaflows_units() -> None:
    found = asked(resources(cpu=2, memory=4096, gpu=1, disk=10_000), remote)
    assert (found.cpu, found.memory, found.gpu, found.disk) == (2.0, 4096 * 10**6, 1, 10**10)
    assert asked(resources(memory="4096", disk="20G"), remote).memory == 4096 * 10**6
    assert asked(batch(cpu="4", memory="8GiB", gpu="2"), remote).memory == 8 * 2**30
    assert asked(timeout(seconds=1, minutes=2, hours=3), remote).timeout == 3 * 3600 + 2 * 60 + 1


def test_retry_has_metaflows_defaults_and_a_pause_that_does_not_grow() -> None:
    for decorate in (retry, retry()):
        found = asked(decorate, remote)
        assert (found.retries, found.retry_delay, found.retry_steady) == (3, 120.0, True)
    found = asked(retry(times=1, minutes_between_retries=0.5), remote)
    assert (found.retries, found.retry_delay, found.retry_steady) == (1, 30.0, True)


def test_what_is_not_stated_is_not_asked_for() -> None:
    assert asked(resources(cpu=2), remote).given == {"cpu"}
    assert asked(resources, batch, remote) == Options()
    assert asked(timeout(seconds=9), remote(cpu=2)).given == {"cpu", "timeout"}


def test_every_order_gives_the_same_ask() -> None:
    decorators = [
        remote(cpu=4, memory="1G", retries=1, timeout="1m"),
        resources(cpu=2, memory=3000),
        batch(cpu=3, memory=2000, gpu=1),
        retry(times=2, minutes_between_retries=1),
        timeout(minutes=2),
    ]
    found = {asked(*order) for order in itertools.permutations(decorators)}
    both = from_keywords(cpu=4, memory="3G", gpu=1, retries=2, retry_delay=60, timeout="2m")
    assert found == {dataclasses.replace(both, retry_steady=True)}


@pytest.mark.parametrize(
    ("stated", "decorate", "fields"),
    [
        ({"cpu": 8}, resources(cpu=2), {"cpu": 8.0}),
        ({"cpu": 2}, resources(cpu=8), {"cpu": 8.0}),
        ({"cpu": 0.5}, resources(cpu=0.2), {"cpu": 0.5}),
        ({"gpu": "L4:1"}, resources(gpu=2), {"gpu": 2, "gpu_name": "L4"}),
        ({"disk": "5G"}, resources(disk=10_000), {"disk": 10**10}),
        ({"memory": "8G..64G"}, resources(memory=16_000), {"memory": 16 * 10**9, "memory_high": 64 * 10**9}),
        ({"memory": "8G..16G"}, resources(memory=32_000), {"memory": 32 * 10**9, "memory_high": None}),
        ({"memory": None}, batch(memory=1000), {"memory": 10**9}),
        ({"timeout": "1h"}, timeout(minutes=5), {"timeout": 3600.0}),
        ({"retries": 9}, retry, {"retries": 9, "retry_delay": 120.0, "retry_steady": True}),
        ({"retry_delay": "5s"}, retry(minutes_between_retries=0), {"retries": 3, "retry_delay": 5.0, "retry_steady": False}),
    ],
)  # fmt: skip
def test_the_larger_ask_wins(stated: Any, decorate: Any, fields: dict[str, Any]) -> None:
    for found in (asked(decorate, remote(**stated)), asked(remote(**stated), decorate)):
        assert {name: getattr(found, name) for name in fields} == fields


def test_options_has_the_last_word() -> None:
    fit = catch(retry(resources(cpu=8)(remote(new()))))
    again = fit.options(cpu=2, retry_delay="1s")
    assert (again.asked.cpu, again.asked.retries, again.asked.retry_steady) == (2.0, 3, False)
    assert again.caught == fit.caught


def test_catch_keeps_what_it_was_told() -> None:
    name = "new.<locals>.fit"
    assert catch(remote(new())).caught == Catch(None, True, name)
    silent = catch(var="problem", print_exception=False)
    assert remote(silent(new())).caught == Catch("problem", False, name)
    assert remote(cpu=2)(silent(remote(new()))).caught == Catch("problem", False, name)
    assert catch(var="outer")(remote(silent(new()))).caught.var == "outer"
    assert remote(new()).caught is None


def test_without_remote_a_function_stays_a_plain_one() -> None:
    fit = new()
    assert catch(retry(timeout(seconds=1)(resources(cpu=2)(batch(fit))))) is fit
    assert fit(2) == 4


def test_what_was_noted_goes_along_with_wrappers_and_pickles() -> None:
    fit = retry(times=1)(new())

    @functools.wraps(fit)
    def outer(x: int) -> int:
        return int(fit(x))

    assert remote(outer).asked.retries == 1
    assert remote(cloudpickle.loads(cloudpickle.dumps(fit))).asked.retries == 1
    assert remote(resources(cpu=2)(functools.partial(new(), 1))).asked.cpu == 2.0
    again = cloudpickle.loads(cloudpickle.dumps(catch(var="e")(remote(fit))))
    assert (again.asked.retries, again.caught.var) == (1, "e")
    assert pickle.loads(pickle.dumps(Catch("e"))) == Catch("e")


def test_methods_of_every_kind_are_marked() -> None:
    class Model:
        @remote
        @resources(cpu=2)
        @staticmethod
        def below_and_outside(x: int) -> int:
            return x

        @remote
        @staticmethod
        @resources(cpu=2)
        def below_and_inside(x: int) -> int:
            return x

        @catch(var="error")
        @resources(cpu=2)
        @classmethod
        @remote
        def above(cls) -> type:
            return cls

        @retry
        @resources(cpu=2)
        @remote
        def plain(self) -> Any:
            return self

    found = [Model.below_and_outside, Model.below_and_inside, Model.above, Model().plain]
    assert [one.asked.cpu for one in found] == [2.0] * 4
    assert (Model.above.caught.var, Model().plain.asked.retries) == ("error", 3)
    assert (Model.above.local(), Model.below_and_outside.local(3)) == (Model, 3)


class _Class:
    """Nothing to run."""


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (_Class, "@retry works on functions, and _Class is a class"),
        (time.sleep, "@retry cannot mark sleep, which takes no attributes: put @remote below it"),
        (staticmethod(3), "@retry works on functions, and this is of type int"),
    ],
)
def test_what_cannot_be_marked_is_refused(what: Any, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        retry(what)
    assert words in str(caught.value)
    assert retry(remote(time.sleep)).asked.retries == 3


@pytest.mark.parametrize(
    ("decorate", "given", "message"),
    [
        (resources, {"cpus": 2}, "'cpus' is not a parameter of @resources; did you mean cpu=?"),
        (resources, {"cpu": 0}, "@resources cpu: 0 is not a number > 0, at least 0.1; e.g. 8 or 0.5"),
        (resources, {"memory": 10}, "@resources memory: '10MB' is below the least, 64 MiB; e.g. 8G"),
        (resources, {"memory": "lots"}, "@resources memory: 'lots' is not a size; use 32G (decimal) or 32GiB"),
        (resources, {"memory": True}, "@resources memory: True is not a size; use 32G (decimal) or 32GiB"),
        (resources, {"disk": 1e9}, "@resources disk: '1000000000MB' is more than the largest known volume has, 64 TiB; e.g. 100G"),
        (resources, {"gpu": "L4"}, "@resources gpu: 'L4' is not a number of GPUs; remote(gpu='L4:2') asks for a kind"),
        (resources, {"shared_memory": 64}, "shared_memory= of @resources has no meaning here: a run has the /dev/shm of its machine; leave it out"),
        (batch, {"image": "python:3.12"}, "image= of @batch has no meaning here: a run uses the notebook's own Python and packages; leave it out"),
        (batch, {"trainium": 1}, "trainium= of @batch has no meaning here: no layer offers it; leave it out"),
        (batch, {"tmpfs_path": "/fast"}, "tmpfs_path= of @batch has no meaning here: a run sees the directories of its machine; leave it out"),
        (batch, {"que": "q"}, "'que' is not a parameter of @batch; did you mean queue=?"),
        (batch, {"disk": 9}, "'disk' is not a parameter of @batch; it has cpu, gpu, memory, aws_batch_tags, execution_role, iam_role, log_driver, log_options, max_swap, queue, swappiness"),
        (retry, {"times": -1}, "@retry times: -1 is not a whole number from 0 to 100; e.g. 3"),
        (retry, {"retries": 2}, "'retries' is not a parameter of @retry; did you mean times=?"),
        (retry, {"minutes_between_retries": -1}, "@retry minutes_between_retries: -1 is not a number of at least 0; e.g. 2"),
        (retry, {"minutes_between_retries": 1e9}, "@retry minutes_between_retries: 1000000000.0 is more than 30 days; e.g. 2"),
        (timeout, {}, "@timeout has no duration; e.g. @timeout(minutes=10)"),
        (timeout, {"seconds": "1m"}, "@timeout seconds: '1m' is not a number of at least 0; e.g. 2"),
        (timeout, {"hours": 10**400}, "@timeout hours: a value of type int is not a number of at least 0; e.g. 2"),
        (timeout, {"hours": 721}, "@timeout: 2595600.0 is not a time > 0 and at most 30 days; e.g. 90 (seconds), 90s, 10m or 1h30m"),
        (timeout, {"second": 1}, "'second' is not a parameter of @timeout; did you mean seconds=?"),
        (catch, {"var": "2x"}, "@catch var: '2x' is not a Python name; e.g. result"),
        (catch, {"print_exception": 1}, "print_exception: 1 is neither True nor False; e.g. print_exception=True"),
        (catch, {"name": "x"}, "'name' is not a parameter of @catch; it has var, print_exception"),
    ],
)  # fmt: skip
def test_bad_parameters_are_refused(decorate: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(AskError) as caught:
        decorate(**given)
    assert str(caught.value) == message


@pytest.mark.parametrize("decorate", [batch, catch, resources, retry, timeout])
def test_a_parameter_without_its_name_is_refused(decorate: Any) -> None:
    with pytest.raises(AskError, match=f"^@{decorate.__name__} takes its parameters by name"):
        decorate(3)


def test_what_only_operates_aws_batch_is_left_to_it() -> None:
    idle = {"queue": "q", "iam_role": "r", "image": None, "use_tmpfs": False, "efa": 0}
    own = {"tmpfs_path": "/metaflow_temp", "tmpfs_tempdir": True, "log_options": ["a:b"]}
    assert asked(batch(cpu=2, **idle, **own), remote).given == {"cpu"}
