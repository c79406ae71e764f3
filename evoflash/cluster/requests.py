"""What Dask's workers run: the requests of a driver, done on this node.

A library is known by the digest of its content. Who is asked to examine one that is not in the node's cache fetches it
from the worker that built it; if that is gone, the source, which every request has, is built again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evoflash.cluster.node import Served, here
from evoflash.cluster.values import Answer, Described, RemoteBuild, Setup
from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Build
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.errors import EvoflashError
from evoflash.evaluator import sanitizers
from evoflash.evaluator.sanitizers import Finding
from evoflash.problems import Case, Problem
from evoflash.run.examiner import Examiner
from evoflash.run.jobs import Beginning, Entrant, Examination

FETCH_S = 5.0  # for a library from another node; to build it again takes less


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
        return examiner.finals(plan, local, rounds).on(f"{here().host}/{examiner.target.label}")


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
