"""What earlier runs know that serves a new one: good genomes to begin with, and results that need not be got again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evoflash.core.candidate import Origin
from evoflash.core.genome import Gene, Genome
from evoflash.core.record import Record
from evoflash.core.status import Status
from evoflash.errors import EvoflashError, SpaceError
from evoflash.plugins import problem_from_dict
from evoflash.problems import Problem
from evoflash.run.shapes import shapes_on_record
from evoflash.space.search_space import SearchSpace
from evoflash.store import RunStore, RunSummary

BEST = 5  # genomes of the nearest run
UNLIKE = 2.0  # how far apart a text or a switch that differs sets two problems: as much as a factor of four in a size
IDENTITY = ("device", "facts", "compiler", "driver", "torch")  # of a machine; times of another one are not its own
WORK = ("limits", "target", "debug")  # of a plan; what an older evoflash did not write is empty
FINAL = (Status.OK, Status.WRONG, Status.BUILD_FAILED, Status.LAUNCH_FAILED)  # what would be found again


class Known(Record):
    """A good genome of an earlier run; `index` is its candidate there, None in plans of an older evoflash."""

    run: int
    index: int | None = None
    family: str
    genome: dict[str, bool | int | float | str]


def nearest(store: RunStore, problem: Problem, device: str, target: str) -> RunSummary | None:
    """The run on the same device whose problem is most like this one, the latest of equals; None: there is none."""
    wanted = problem.likeness()
    runs = [
        (distance(known.likeness(), wanted), -run.id, run)
        for run in store.runs()
        if run.correct and run.target == target and run.machine.get("device") == device
        and run.problem.get("kind") == problem.kind
        and (known := _problem(run)) is not None and known.computes == problem.computes
    ]  # fmt: skip
    return min(runs)[2] if runs else None


def _problem(run: RunSummary) -> Problem | None:
    """The problem of a run on record; None where this version has no such problem any more."""
    try:
        return problem_from_dict(run.problem)
    except (EvoflashError, ValueError):
        return None


def distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How unlike two problems are: doublings of the sizes, and `UNLIKE` for each field that is no size."""
    total = 0.0
    for name in {*one, *other}:
        mine, others = one.get(name), other.get(name)
        sizes = [each for each in (mine, others) if isinstance(each, int | float) and not isinstance(each, bool)]
        if len(sizes) == 2 and min(sizes) > 0:
            total += abs(math.log2(sizes[0] / sizes[1]))
        elif mine != others:
            total += UNLIKE
    return total


def best_of(store: RunStore, run: RunSummary) -> tuple[Known, ...]:
    """The fastest right genomes of a run, as many as a search should begin with."""
    found = (store.candidate(each).candidate for each in store.fastest(run.id, BEST))
    return tuple(Known(run=run.id, index=each.index, family=each.family, genome=dict(each.genome)) for each in found)


def seeded(spaces: Mapping[str, SearchSpace], known: tuple[Known, ...]) -> dict[str, SearchSpace]:
    """The spaces with known genomes before their own seeds; those that a space does not take any more are left out."""
    return {
        family: space.seeded([each.genome for each in known if each.family == family and fits(space, each.genome)])
        for family, space in spaces.items()
    }


def origins(known: tuple[Known, ...]) -> dict[tuple[str, str], Origin]:
    """Family and digest of a known genome -> whose it is."""
    return {
        (each.family, Genome(each.genome).digest): Origin(each.run, each.index)
        for each in reversed(known)  # of equals the fastest counts
        if each.index is not None
    }


def results(store: RunStore, run_id: int, plan: Mapping[str, Any], machine: Mapping[str, Any]) -> dict[str, int]:
    """What runs before this one found on this problem, these limits and this machine: digest of a source -> candidate.

    The results themselves stay in the database until they are wanted: there may be hundreds of thousands.

    Args:
        run_id: the new run's; what came after it is left out, so that it goes on as it began when it is resumed.
        plan: the new run's, as stored.
        machine: the new run's, as stored.
    """
    found: dict[str, int] = {}
    wanted = _work(plan)
    for run in store.runs():
        same_machine = all(run.machine.get(name) == machine.get(name) for name in IDENTITY)
        if run.id < run_id and same_machine and _work(run.plan) == wanted:
            found |= store.finished_by_source(run.id, FINAL)
    return found


def _work(plan: Mapping[str, Any]) -> list[Any]:
    """What a plan on record asks of a kernel; the names of several shapes count, since their times go by them."""
    shapes = shapes_on_record(plan)
    named = shapes if len(shapes) > 1 else [each["problem"] for each in shapes]
    return [named, *(plan.get(name) or None for name in WORK)]


def fits(space: SearchSpace, genome: Mapping[str, Gene]) -> bool:
    """Whether a genome that was good elsewhere is valid here."""
    try:
        return not space.violations(Genome(genome))
    except SpaceError:  # a gene was added, dropped or renamed since
        return False
