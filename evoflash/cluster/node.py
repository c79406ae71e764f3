"""A node: one host with its devices, its builders and its cache, as the driver's requests see it.

The functions at the end are what Dask's workers run. They stand in one process for each host or part of a host, which
`evoflash worker` starts (worker.py), and share what a search needs there: a toolchain, an examiner for each device.

A library is known by the digest of its content. Who is asked to examine one that is not in the node's cache fetches it
from the worker that built it; if that is gone, the source, which every request has, is built again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evoflash.cluster.turns import Turns
from evoflash.cluster.values import Answer, Described, RemoteBuild, Setup
from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.errors import EvoflashError, MissingError, WorkerError
from evoflash.evaluator import Evaluator, sanitizers
from evoflash.evaluator.sanitizers import Finding
from evoflash.problems import Case, Problem
from evoflash.run.examiner import Examiner, make_evaluator
from evoflash.run.jobs import Beginning, Entrant, Examination
from evoflash.run.plan import Plan
from evoflash.targets import Target, cpu
from evoflash.targets.cpu import NATIVE, CpuTarget

SEARCHES = 2  # that a node keeps ready at once
IDLE_S = 900.0  # after which a search that asks nothing is closed: its driver may have been killed
FETCH_S = 5.0  # for a library from another node; to build it again takes less


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


def _answering(work: Callable[..., Any]) -> Callable[..., Answer]:
    """Has a function say what is wrong with this node, instead of raising it."""

    @functools.wraps(work)
    def answering(*arguments: Any) -> Answer:
        start, value, error = time.monotonic(), None, None
        try:
            value = work(*arguments)
        except EvoflashError as caught:
            error = caught
        return Answer(value, error, _worker().address, here().host, time.monotonic() - start)

    return answering


@_answering
def build(setup: Setup, source: Source) -> Build:
    """Builds a source."""
    served = here().serve(setup)
    with here().turns.building():
        built = here().keep(served.toolchain.build(source))
    fields = {name: getattr(built, name) for name in Build.__dataclass_fields__}
    return RemoteBuild(**fields, origin=_worker().address)


@_answering
def begin(setup: Setup, plan: int) -> Beginning:
    """Times the baselines of a plan."""
    with _device(setup) as (_, examiner):
        return examiner.begin(plan)


@_answering
def clock(setup: Setup, plan: int) -> Mapping[str, float]:
    """The baselines of a plan, by which this device is compared with others."""
    with _device(setup) as (_, examiner):
        return examiner.clocks[plan].times_us


@_answering
def examine(setup: Setup, wanted: Examination) -> Evaluation:
    """Examines a build."""
    local = replace(wanted, build=_local(here().serve(setup), wanted.build, wanted.job.source))
    with _device(setup) as (_, examiner):
        evaluation = examiner.examine(local)
        device = f"{here().host}/{evaluation.device or examiner.target.label}"
        return evaluation.model_copy(update={"device": device})


@_answering
def passes(setup: Setup, plan: int, source: Source, built: Build, case: Case) -> bool:
    """Whether a kernel takes a case and is right there."""
    local = _local(here().serve(setup), built, source)
    with _device(setup) as (_, examiner):
        return examiner.passes(plan, source, local, case)


@_answering
def sanitize(setup: Setup, source: Source, built: Build, problem: Problem) -> list[Finding]:
    """What the sanitizers say of a kernel."""
    local = _local(here().serve(setup), built, source)
    with _device(setup) as (served, examiner):
        return sanitizers.run(examiner.target, served.toolchain, source, problem, local)


@_answering
def finals(setup: Setup, plan: int, entrants: Sequence[Entrant], rounds: int) -> Finals:
    """The finals of a plan."""
    served = here().serve(setup)
    local = [
        replace(
            each,
            build=_local(served, each.build, each.job.source),
            cases=[(case, source, _local(served, built, source)) for case, source, built in each.cases],
        )
        for each in entrants
    ]
    with _device(setup) as (_, examiner):
        return examiner.finals(plan, local, rounds)


def release(setup: Setup, plan: int) -> None:
    """Ends the workers of a plan."""
    node, served = here(), here().serve(setup)
    for worker in node.devices:
        served.examiner(worker).release(plan)


def forget(digest: str) -> None:
    """Ends a search."""
    here().forget(digest)


def described(dask_worker: Any) -> Described | None:
    """The device that a worker holds, which Dask names; None for one that only builds."""
    device = here().devices.get(dask_worker.name)
    return None if device is None else Described(dask_worker.address, here().host, device.portable())


@contextlib.contextmanager
def _device(setup: Setup) -> Iterator[tuple[Served, Examiner]]:
    """The device of this worker, for this search, while nothing is built where that would disturb."""
    served = here().serve(setup)
    with here().turns.examining():
        yield served, served.examiner(_worker().name)


def _local(served: Served, built: Build, source: Source) -> Build:
    """A build with its library in this node's cache."""
    if built.library is None or built.is_intact:
        return built
    known = served.toolchain.known(source)
    if known is None or known.report.binary_digest != built.report.binary_digest:
        content = _fetched(served, built)
        if content is not None:
            known = served.toolchain.adopt(source, built, content)
        else:
            with here().turns.building():
                known = served.toolchain.build(source)
    return here().keep(replace(known, max_spill_bytes=built.max_spill_bytes))


def _fetched(served: Served, built: Build) -> bytes | None:
    """The library of a build from the worker that has it; None where that is gone, or has something else."""
    digest = built.report.binary_digest
    if not isinstance(built, RemoteBuild) or built.origin in served.gone or digest is None:
        return None
    from distributed.utils import sync

    worker = _worker()

    async def ask() -> bytes | None:
        return await asyncio.wait_for(worker.rpc(built.origin).evoflash_library(digest=digest), FETCH_S)

    try:
        return sync(worker.loop, ask)
    except (OSError, TimeoutError):
        served.gone.add(built.origin)
        return None


def _worker() -> Any:
    """The worker of Dask's that runs this."""
    from distributed import get_worker

    return get_worker()
