"""The finals: the best few on every case that they claim, then interleaved against the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from evoflash.archive import Member
from evoflash.evaluation import Final, Finals, Status
from evoflash.evaluator import Evaluator, Finalist
from evoflash.executors import Stations
from evoflash.problems import Problem
from evoflash.targets import Target
from evoflash.template import Source, Template
from evoflash.toolchain import Build, Toolchain


def hold(
    members: Sequence[Member],
    problem: Problem,
    target: Target,
    templates: Mapping[str, Template],
    toolchain: Toolchain,
    stations: Stations,
    evaluator: Evaluator,
    rounds: int,
) -> Finals:
    """The finals of these members; one whose kernel does not build for a case that it claims is out."""
    finalists, out = _enter(members, problem, target, templates, toolchain, stations)
    finals = evaluator.finals(finalists, rounds)
    return finals.model_copy(update={"finalists": (*finals.finalists, *out)})


def _enter(
    members: Sequence[Member],
    problem: Problem,
    target: Target,
    templates: Mapping[str, Template],
    toolchain: Toolchain,
    stations: Stations,
) -> tuple[list[Finalist], list[Final]]:
    """Builds each member for the searched problem, and anew for the cases of other constants that its genome admits."""
    builds: dict[str, Future[Build]] = {}

    def build(source: Source) -> Future[Build]:
        if source.digest not in builds:
            builds[source.digest] = stations.build(lambda: toolchain.build(source))
        return builds[source.digest]

    entries = []
    for member in members:
        template, genome = templates[member.candidate.family], member.candidate.genome
        own = build(template.render(genome, problem, target.facts))
        cases = []
        for case in problem.cases():
            if template.refusals(case.problem, target.facts):
                continue
            if template.same_constants(
                case.problem, problem
            ):  # what is exported meets every length, so this very kernel
                cases.append((case, own))
            elif template.space(case.problem, target.facts).is_valid(genome):
                cases.append((case, build(template.render(genome, case.problem, target.facts))))
        entries.append((member.candidate.index, own, cases))

    finalists, out = [], []
    for index, own, cases in entries:
        built = own.result()
        failed = next((each.result() for _, each in cases if each.result().library is None), built)
        if failed.library is None or built.library is None:
            out.append(Final(index=index, status=failed.status or Status.BUILD_FAILED, reason=failed.reason))
        else:
            libraries = [(case, library) for case, each in cases if (library := each.result().library) is not None]
            finalists.append(Finalist(index, built.library, libraries))
    return finalists, out
