"""A node: one host with its devices, its builders and its cache, as the driver's requests see it.

Dask's workers stand in one process for each host or part of a host, which `evoflash worker` starts (worker.py). They
run requests (requests.py), which share what a search needs there: a toolchain, an examiner for each device.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evoflash.cluster.turns import Turns
from evoflash.cluster.values import Setup
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.errors import MissingError, WorkerError
from evoflash.evaluator import Evaluator
from evoflash.run.examiner import Examiner, make_evaluator
from evoflash.run.plan import Plan
from evoflash.targets import Target, cpu
from evoflash.targets.cpu import NATIVE, CpuTarget

SEARCHES = 2  # that a node keeps ready at once
IDLE_S = 900.0  # after which a search that asks nothing is closed: its driver may have been killed


def make_toolchain(target: Target, cache: Path, deadline_s: float) -> Toolchain:
    """What builds on a node."""
    return Toolchain(target, cache, deadline_s, many=True)


class Served:
    """What a node has ready for one search."""

    def __init__(self, node: Node, setup: Setup):
        self.plans, self.target, deadline_s = setup.opened()
        _require_portable(self.target)
        self.toolchain = node.make_toolchain(self.target, node.cache, deadline_s)
        self.used_s = time.monotonic()
        self._node = node
        self.gone: set[str] = set()  # workers that have not answered
        self._examiners: dict[str, Examiner] = {}
        self._guard = threading.Lock()

    def examiner(self, worker: str) -> Examiner:
        """That of the device which a worker holds."""
        with self._guard:
            if worker not in self._examiners:
                device = self._node.devices[worker]
                self._examiners[worker] = Examiner(self.plans, device, self.toolchain, self._node.make_evaluator)
            return self._examiners[worker]

    def close(self) -> None:
        """Ends compilers and workers."""
        self.toolchain.stop()
        with self._guard:
            for each in self._examiners.values():
                each.close()


class Node:
    """One host, or part of one.

    Args:
        cache: the folder of the build cache.
        devices: by the name of the worker that holds it.
        take_turns: never build while a device examines.
    """

    def __init__(
        self,
        cache: Path,
        devices: Mapping[str, Target],
        *,
        take_turns: bool,
        make_toolchain: Callable[[Target, Path, float], Any] = make_toolchain,
        make_evaluator: Callable[[Plan, Target], Evaluator] = make_evaluator,
    ):
        self.cache = cache
        self.devices = devices
        self.host = socket.gethostname()
        self.turns = Turns(needed=take_turns)
        self.make_toolchain = make_toolchain
        self.make_evaluator = make_evaluator
        self._served: OrderedDict[str, Served] = OrderedDict()
        self._libraries: dict[str, Path] = {}  # by the digest of their content
        self._guard = threading.Lock()

    def serve(self, setup: Setup) -> Served:
        """What is ready for a search; made when it first asks."""
        closed: list[Served] = []
        with self._guard:
            if setup.digest not in self._served:
                self._served[setup.digest] = Served(self, setup)
            served = self._served[setup.digest]
            served.used_s = time.monotonic()
            self._served.move_to_end(setup.digest)
            while len(self._served) > SEARCHES:
                closed.append(self._served.popitem(last=False)[1])
        for each in closed:
            each.close()
        return served

    def forget(self, digest: str | None = None) -> None:
        """Closes a search; without its digest all that have not asked for long."""
        now = time.monotonic()
        with self._guard:
            old = [name for name, each in self._served.items() if now - each.used_s > IDLE_S]
            closed = [self._served.pop(name) for name in ([digest] if digest in self._served else old)]
        for each in closed:
            each.close()

    def close(self) -> None:
        """Closes all searches."""
        for digest in list(self._served):
            self.forget(digest)

    def keep(self, build: Build) -> Build:
        """Remembers where a library is, for other nodes that ask for it."""
        if build.library is not None and build.report.binary_digest is not None:
            self._libraries[build.report.binary_digest] = build.library
        return build

    def library(self, digest: str) -> bytes | None:
        """The content of a library that was built here; None where it is not here any more."""
        path = self._libraries.get(digest)
        with contextlib.suppress(OSError):
            return path.read_bytes() if path is not None else None
        return None


def _require_portable(target: Target) -> None:
    """Raises MissingError where this host would build for another processor than the device's."""
    if isinstance(target, CpuTarget) and target.processor == NATIVE:
        own = cpu.detect().details["processor_digest"]
        if own != target.details["processor_digest"]:
            raise MissingError(
                f"{socket.gethostname()} has another processor than the device, whose compiler does not name it; "
                "install g++ there, or start `evoflash worker` on hosts that are alike"
            )


_here: Node | None = None


def be(node: Node | None) -> None:
    """Makes this process a node."""
    global _here
    _here = node


def here() -> Node:
    """The node that this process is."""
    if _here is None:
        raise WorkerError("this worker of Dask's is not one of evoflash's; start `evoflash worker` instead")
    return _here
