"""The workers of a node, as `evoflash worker` starts them: one that builds, and one for each device.

They are threads of one process, and two kinds, so that a build never keeps a device waiting. Kernels run in processes
of their own, as ever (`evaluator.sandbox`), so no nanny is needed. When the scheduler is gone they look for it again:
caches, compilers and examiners stay ready meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from evoflash.cluster import node as nodes
from evoflash.cluster.node import Node
from evoflash.cluster.security import LOCALHOST, Certificates, host_of, is_this_machine, quieten, require_distributed
from evoflash.cluster.values import kind_of
from evoflash.errors import UsageError, WorkerError
from evoflash.targets import Target

BUILD = "BUILD"  # the resource of a builder; those of devices are GPU and CPU, and the kind of device
LOST = "worker-handle-scheduler-connection-broken"  # Dask's reason for closing a worker whose scheduler is gone
TIDY_S = 60.0  # between two looks at searches that have ended without a word


def device_resource(target: Target) -> str:
    """The resource that every device of a target has."""
    return "GPU" if target.name == "cuda" else "CPU"


@dataclass(frozen=True)
class Place:
    """Where and as what a node's workers stand.

    Attributes:
        scheduler: its address, as Dask has it.
        host: the address at which the other nodes reach this one; None for this machine alone.
        name: what the names of its workers begin with.
        builders: builds at once; 0 for none.
        patience_s: how long they look for a scheduler that is gone.
    """

    scheduler: str
    name: str
    builders: int
    host: str | None = None
    interface: str | None = None
    certificates: Certificates = field(default_factory=Certificates)
    patience_s: float = 600.0

    def bound(self) -> dict[str, Any]:
        """Where the workers listen.

        Raises:
            UsageError: when the scheduler is elsewhere, and nobody has said where this node can be reached.
        """
        if self.interface is not None:
            return {"interface": self.interface}
        if self.host is not None:
            return {"host": self.host}
        if is_this_machine(host_of(self.scheduler)):
            return {"host": LOCALHOST}
        raise UsageError(
            f"the scheduler {self.scheduler} is on another machine, and builds travel between nodes; say at which "
            "address of this one they may reach it: --host, or --interface"
        )


def worker_names(place: Place, devices: Sequence[Target]) -> list[str]:
    """The name of the worker of each device."""
    return [f"{place.name}-{each.label}" for each in devices]


def serve(place: Place, node: Node, say: Callable[[str], None] = lambda _: None) -> None:
    """Runs a node until its scheduler is closed, or is gone for too long, or all its workers are sent away.

    Raises:
        WorkerError: when there is no scheduler for so long.
        UsageError: when it is not known where to listen.
        MissingError: without the extra `cluster`.
    """
    require_distributed()
    bound, security = place.bound(), place.certificates.security()
    quieten()
    nodes.be(node)
    try:
        asyncio.run(_serve(place, node, bound, security, say))
    finally:
        node.close()
        nodes.be(None)


async def _serve(place: Place, node: Node, bound: dict[str, Any], security: Any, say: Callable[[str], None]) -> None:
    since_s, roles = time.monotonic(), _roles(place, node)
    while roles:
        try:
            workers = await _started(place, roles, bound, security)
        except (OSError, TimeoutError) as error:
            if time.monotonic() - since_s > place.patience_s:
                raise WorkerError(
                    f"there is no scheduler at {place.scheduler} ({error}); start it, or look at its address"
                ) from None
            await asyncio.sleep(0.5)
            continue
        say(f"{place.name}: at work for {place.scheduler}, {_words(place, node)}")
        tidying = asyncio.create_task(_tidy(node))
        await asyncio.gather(*(each.finished() for each in workers))
        tidying.cancel()
        # Who was sent away stays away; the others look for the scheduler again.
        roles = [role for role, each in zip(roles, workers, strict=True) if each.close_reason == LOST]
        if roles:
            say(f"{place.name}: the scheduler {place.scheduler} is gone; looking for it")
            since_s = time.monotonic()
    say(f"{place.name}: its scheduler has closed, or has sent it away")


def _words(place: Place, node: Node) -> str:
    devices = ", ".join(f"{each.label} ({each.device})" for each in node.devices.values()) or "no device"
    return f"{place.builders} builders, {devices}"


async def _tidy(node: Node) -> None:
    while True:
        await asyncio.sleep(TIDY_S)
        node.forget()


Role = tuple[str, int, dict[str, float]]  # a worker's name, threads and resources


def _roles(place: Place, node: Node) -> list[Role]:
    """A builder, and a worker for each device."""
    found: list[Role] = []
    if place.builders:
        found.append((f"{place.name}-builder", place.builders, {BUILD: float(place.builders)}))
    for name, each in node.devices.items():
        found.append((name, 1, {device_resource(each): 1.0, kind_of(each): 1.0}))
    return found


async def _started(place: Place, roles: Sequence[Role], bound: dict[str, Any], security: Any) -> list[Any]:
    """The workers, connected; none if one of them is not."""
    workers = [
        _worker_class()(
            place.scheduler,
            name=name,
            nthreads=threads,
            resources=resources,
            security=security,
            memory_limit=0,  # kernels have limits of their own, and nothing else takes much
            dashboard=False,
            **bound,
        )
        for name, threads, resources in roles
    ]
    try:
        for each in workers:
            await each
    except BaseException:
        for each in workers:
            await each.close()
        raise
    return workers


def _worker_class() -> Any:
    """Dask's worker, which can be asked for libraries, and says why it was closed."""
    from distributed import Worker

    class NodeWorker(Worker):
        close_reason = ""

        def __init__(self, *arguments: Any, **options: Any):
            super().__init__(*arguments, **options)
            self.handlers["evoflash_library"] = self.evoflash_library

        async def evoflash_library(self, digest: str) -> bytes | None:
            """The content of a library that this node has."""
            return nodes.here().library(digest)

        async def close(self, *arguments: Any, **options: Any) -> Any:
            self.close_reason = self.close_reason or options.get("reason") or "closed"
            return await super().close(*arguments, **options)

    return NodeWorker
