"""A cloud with a class for dask-cloudprovider: each VM is a file with what it boots."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

from dask_cloudprovider.generic.vmcluster import VMCluster, VMInterface, WorkerMixin


class FileVM(VMInterface):
    def __init__(self, cluster, directory, size, refuses, slow, keeps, **kwargs):
        super().__init__(**kwargs)
        self.cluster = cluster
        self.directory = Path(directory)
        self.size, self.refuses, self.slow, self.keeps = size, refuses, slow, keeps
        self.server = None
        self.docker_image = self.env_vars = None

    async def create_vm(self):
        if self.refuses:
            raise RuntimeError(self.refuses)
        with (self.directory / self.name).open("x") as file:
            file.write(self.cluster.render_process_cloud_init(self))
        self.server = SimpleNamespace(id=f"{self.name}.id", name=self.name, client=object())
        if self.slow:
            await asyncio.Event().wait()
        return "192.0.2.1", None

    async def destroy_vm(self):
        if self.keeps:
            raise RuntimeError(self.keeps)
        (self.directory / str(self.server.id).removesuffix(".id")).unlink()


class FileWorker(WorkerMixin, FileVM):
    pass


class FileCluster(VMCluster):
    def __init__(self, directory=None, size=None, refuses="", slow=False, keeps="", **kwargs):
        self.worker_class = FileWorker
        self.scheduler_class = FileVM
        if directory is None:
            raise ValueError("You must configure a directory")
        own = {"cluster": self, "directory": directory, "size": size}
        self.options = {**own, "refuses": refuses, "slow": slow, "keeps": keeps}
        self.scheduler_options = {**self.options}
        self.worker_options = {**self.options}
        super().__init__(**kwargs)


class ContainerWorker(FileWorker):
    """It boots what it likes."""

    async def create_vm(self):
        return "192.0.2.1", None


class ContainerCluster(FileCluster):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.worker_class = ContainerWorker
