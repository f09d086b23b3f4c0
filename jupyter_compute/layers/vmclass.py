"""The VM classes of dask-cloudprovider, as far as they are used: to create a VM, and to delete it.

Each of its cluster classes (``EC2Cluster``, ``GCPCluster``, …) knows how its worker class is to be
called. So one is constructed, each time anew as they share their options, but never started:
there is no Dask cluster, no scheduler, and no certificate. What its VM would have booted, a
container of Dask with keys and the whole configuration in the user-data, is replaced by our
start script.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from jupyter_compute.errors import AskError

__all__ = ["construct", "describable", "identity", "load", "machine", "remove"]

_GENERIC = "dask_cloudprovider.generic.vmcluster"
_HOOK = "render_process_cloud_init"

_NOT_OURS = frozenset(
    {
        *("auto_shutdown", "bootstrap", "debug", "docker_args", "docker_image", "env_vars"),
        *("extra_bootstrap", "n_workers", "protocol", "scheduler_options", "security"),
        *("worker_class", "worker_command", "worker_module", "worker_options", "worker_threads"),
    }
)
"""Options about the containers that Dask would start."""

_TYPE_OPTIONS = ("instance_type", "machine_type", "vm_size", "server_type", "size")
"""How the classes call a machine type."""

_TOLD = ("disk_id", "droplet", "id", "instance", "instance_id", "nic", "public_ip", "server")
"""Attributes in which a VM object keeps what the cloud has called its parts."""

_FAILED = "Failed to"


def load(path: str, setting: str) -> type:
    """Return the cluster class.

    Parameters
    ----------
    path : str
        Dotted.
    setting : str
        Where it is configured.

    Raises
    ------
    AskError
        If it cannot be used.
    """
    module, _, name = path.rpartition(".")
    try:
        generic = importlib.import_module(_GENERIC)
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        why = " ".join(str(error).split("\n\n")[0].split()).rstrip(".")
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        hint = 'pip install "dask-cloudprovider[NAME OF THE CLOUD]"'
        raise AskError(f"{setting}: {path}: {why}{cause}", hint=hint) from error
    if found is None:
        raise AskError(
            f"{setting}: {module} has no {name}", hint="dask_cloudprovider.gcp.GCPCluster"
        )
    if not (isinstance(found, type) and issubclass(found, generic.VMCluster)):
        hint = "e.g. GCPCluster, of which GCPWorker is the worker class"
        raise AskError(f"{setting}: {path} is no VMCluster of dask-cloudprovider", hint=hint)
    return found


def construct(cls: type, options: Mapping[str, Any], kind: str, where: str, owner: str) -> Any:
    """Return a cluster object, not started, for one VM.

    Parameters
    ----------
    cls : type
        As `load` returns it.
    options : mapping
        Its keywords.
    kind : str
        The machine type.
    where : str
        Where the layer is configured.
    owner : str

    Raises
    ------
    AskError
        If they are wrong.
    """
    _check_names(cls, options, where)
    chosen: dict[str, Any] = {name: kind for name in _TYPE_OPTIONS if name in _keywords(cls)}
    if "ngpus" in _keywords(cls) - options.keys():
        # GCP's class cannot be constructed with the defaults of its own configuration.
        chosen |= {"scheduler_ngpus": 0, "worker_ngpus": 0}
    try:
        cluster: Any = _unstarted(cls)(**{**chosen, **options}, security=False)
    except Exception as error:
        raise AskError(f"{where}.options: {cls.__name__}: {_line(error)}") from error
    cluster.owner = owner
    if describable(cluster):
        cluster.boto_session.register_component("data_loader", _data())
    if _HOOK not in cluster.worker_class.create_vm.__code__.co_names:
        raise AskError(f"{where}.cloudprovider: {cls.__name__} starts no VMs that take a script")
    if not getattr(cluster, "security_groups", True):
        hint = f"set {where}.options.security_groups"
        raise AskError(
            f"{where}: {cls.__name__} would open ports of machines to the world", hint=hint
        )
    return cluster


def machine(
    cluster: Any,
    name: str,
    marks: Mapping[str, str],
    script: str = "",
    noted: Callable[[Mapping[str, Any]], None] | None = None,
) -> Any:
    """Return a VM object, which is not created yet.

    Parameters
    ----------
    cluster : object
        As `construct` returns it.
    name : str
        What the VM is called, in the cloud too.
    marks : mapping
        Tags.
    script : str
        What it boots.
    noted : callable, optional
        Is told the VM's `identity` each time that the cloud says more of it.
    """
    cls = cluster.worker_class
    vm = type(cls.__name__, (_Noting, cls), {})("tcp://127.0.0.1:0", **cluster.worker_options)
    vm.name, vm.command = name, script
    for attribute in ("instance_tags", "volume_tags"):
        if hasattr(vm, attribute):
            setattr(vm, attribute, {**(getattr(vm, attribute) or {}), **marks})
    if hasattr(vm, "instance_labels"):
        labels = {key.replace(":", "-").lower(): text.lower() for key, text in marks.items()}
        vm.instance_labels = {**(vm.instance_labels or {}), **labels}
    vm.noted = noted
    cluster.called = vm.note
    return vm


def identity(vm: Any) -> dict[str, Any]:
    """Return what the cloud calls the VM and its parts, as far as it is known by now."""
    found = {name: _reduced(getattr(vm, name, None)) for name in _TOLD}
    return {name: value for name, value in found.items() if value}


async def remove(vm: Any, known: Mapping[str, Any]) -> None:
    """Delete a VM object's VM, which has this identity; raise what the class raises, or says."""
    for name, value in known.items():
        setattr(vm, name, _restored(vm, name, value))
    await vm.close()
    failed = next((line for line in vm.cluster.said if line.startswith(_FAILED)), "")
    if failed:
        raise RuntimeError(failed)


def describable(cluster: Any) -> bool:
    """Tell whether the cloud can be asked for its machines: today only AWS."""
    return hasattr(cluster, "boto_session")


@functools.cache
def _data() -> Any:
    """Return what reads botocore's descriptions of AWS: a third of a second each time, if not kept."""
    from botocore.loaders import create_loader

    return create_loader()


class _Ours:
    """What is other than in the class: it stands before all of its bases."""

    said: list[str]
    owner: str
    called: Callable[[], None]

    def render_process_cloud_init(self, process: Any) -> str:
        """Return what a VM boots."""
        return str(process.command)

    def get_tags(self) -> dict[str, str]:
        """Return tags for what belongs to machines."""
        return {"jupyter-compute-owner": self.owner}

    async def call_async(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call it: there is nothing else in this event loop that would have to wait."""
        answer = function(*args, **kwargs)
        self.called()
        return answer

    def _log(self, message: object) -> None:
        self.said.append(str(message))


def _unstarted(cls: type) -> type:
    """Return the class without what would start a Dask cluster."""
    spec_cluster = importlib.import_module(_GENERIC).SpecCluster

    def init(_: Any, **rest: Any) -> None:
        rest.pop("security")
        if rest:
            raise TypeError(f"there is no option {', '.join(map(repr, rest))}")

    last = type("Unstarted", (spec_cluster,), {"__init__": init})
    more = {
        "said": [],
        # GCP's workers look for their scheduler before they are told what to boot.
        "scheduler_internal_ip": "127.0.0.1",
        "scheduler_port": 0,
    }
    return type(cls.__name__, (_Ours, cls, last), more)


class _Noting:
    """A VM that tells what its cloud has called it as soon as it knows."""

    noted: Callable[[Mapping[str, Any]], None] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in _TOLD:
            self.note()

    def note(self) -> None:
        """Tell what is known by now, if that is anything."""
        if self.noted is not None and (known := identity(self)):
            self.noted(known)


def _check_names(cls: type, options: Mapping[str, Any], where: str) -> None:
    for name in options:
        if name in _NOT_OURS or name.startswith("scheduler_"):
            raise AskError(
                f"{where}.options: {name!r} is about containers of Dask, of which none run"
            )
        if name not in _keywords(cls):
            hint = f"known: {', '.join(sorted(_keywords(cls)))}"
            raise AskError(f"{where}.options: {cls.__name__} has no {name!r}", hint=hint)


def _keywords(cls: type) -> set[str]:
    import inspect

    found: set[str] = set()
    for base in cls.__mro__:
        if base.__module__ == _GENERIC:
            break
        if (made := vars(base).get("__init__")) is not None:
            found |= set(inspect.signature(made).parameters)
    others = {name for name in found if name.startswith(("scheduler_", "worker_"))}
    return found - others - _NOT_OURS - {"self", "args", "kwargs"}


def _reduced(value: Any) -> Any:
    """Return the part of it that can be written down, and is enough to delete it."""
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        names = {key: text for key, text in value.items() if key == "InstanceId"}
        return {"mapping": names} if names else None
    found = {key: getattr(value, key, None) for key in ("id", "name")}
    plain = {key: text for key, text in found.items() if isinstance(text, (str, int))}
    return {"object": plain} if plain and found["id"] is not None else None


def _restored(vm: Any, name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if "mapping" in value:
        return dict(value["mapping"])
    found = value["object"]
    if name == "droplet":
        # The only one that deletes itself.
        sdk = sys.modules[vm.cluster.worker_class.__module__].digitalocean
        return sdk.Droplet(token=vm.config.get("token"), id=found["id"])
    return SimpleNamespace(**found)


def _line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300] or type(error).__name__
