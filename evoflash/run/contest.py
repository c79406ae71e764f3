"""The finals: the best few on every case that they claim, then interleaved against the baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from evoflash.codegen.source import Source
from evoflash.codegen.template import Template
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.archive import Member
from evoflash.core.finals import Final, Finals
from evoflash.core.status import Status
from evoflash.evaluator import Evaluator, Finalist, sanitizers
from evoflash.evaluator.sanitizers import Finding
from evoflash.problems import Case, Problem
from evoflash.run.worker_pools import WorkerPools
from evoflash.system import processes
from evoflash.targets import Target

GENERAL_TRIES = 60  # kernels asked whether they take every size; most are made for the searched one


@dataclass(frozen=True)
class Entrant:
    """A candidate of the finals, rendered and built: for the first shape, and for each case that it claims."""

    index: int
    source: Source
    build: Build
    cases: Sequence[tuple[Case, Build]]

    @property
    def failure(self) -> Build | None:
        """The first build that failed."""
        return next((each for each in (*(build for _, build in self.cases), self.build) if each.library is None), None)

    def finalist(self) -> Finalist:
        """What the evaluator needs of it. Every build must have a library."""
        assert self.build.library is not None
        cases = [(case, build.library) for case, build in self.cases if build.library is not None]
        return Finalist(self.index, self.build.library, cases, cost_of(self.build))


class Contest:
    """The finals of a run on one target; builds run beside each other, the device one at a time.

    Args:
        problems: of each shape that a kernel must serve, by name. It is rendered for the first, and claims cases there.
        say: is told what is going on.
        sanitize: whether finalists run under the sanitizers first; one with a finding is out.
    """

    def __init__(
        self,
        problems: Mapping[str, Problem],
        target: Target,
        templates: Mapping[str, Template],
        toolchain: Toolchain,
        pools: WorkerPools,
        evaluator: Evaluator,
        say: Callable[[str], None],
        *,
        sanitize: bool = False,
    ):
        self._title = "+".join(problems)
        shape, self._problem = next(iter(problems.items()))
        self._where = f"{shape}: " if len(problems) > 1 else ""
        self._prefix = f"{shape}, " if len(problems) > 1 else ""
        self._target = target
        self._templates = templates
        self._toolchain = toolchain
        self._pools = pools
        self._evaluator = evaluator
        self._say = say
        self._sanitize = sanitize
        self._sources: dict[int, Source] = {}  # by the candidate's number
        self._builds: dict[str, Future[Build]] = {}  # by the source's digest

    def run_finals(
        self, ranking: Sequence[Member], finalists: int, rounds: int, record: Callable[[Finals], None]
    ) -> Finals | None:
        """The finals of the best few; if none of them passes, of the next few, until one does.

        With the first few enters the best kernel that takes every size, if none of them does: what is exported is
        asked for more sizes than the searched one.

        Args:
            ranking: all that may enter, the best first.
            finalists: how many enter at once.
            rounds: of the race, at least.
            record: is given the standings whenever they change.

        Returns:
            The last standings, with everyone who entered; None for an empty ranking.
        """
        standings: Finals | None = None
        general: Member | None = None
        for start in range(0, len(ranking), finalists):
            members = [each for each in ranking[start : start + finalists] if each is not general]
            if not members:
                break
            news = f"{len(members)} candidates on every case, then against the baselines"
            if standings is not None:  # under sanitizers this takes long, so it wants a word
                news = f"none has passed ({standings.finalists[0].reason}); the next {news}"
            self._say(f"finals of {self._title}: {news}")
            if start == 0:
                general = self._general(ranking)
                if general is not None and general not in members:
                    members.append(general)
                    number = general.candidate.index
                    self._say(f"finals of {self._title}: also candidate {number}, the best that takes every size")
            last = self._finals(members, rounds)
            fallen, watched = (standings.finalists, standings.sanitized) if standings is not None else ((), {})
            changes = {"finalists": (*last.finalists, *fallen), "sanitized": {**watched, **last.sanitized}}
            standings = last.model_copy(update=changes)
            record(standings)
            if standings.winner is not None:
                break
        return standings

    def _general(self, ranking: Sequence[Member]) -> Member | None:
        """The best that takes every size, if it is among the `GENERAL_TRIES` best."""
        case = self._problem.general_case
        if case is None:
            return None
        for member in ranking[:GENERAL_TRIES]:
            if not self._templates[member.candidate.family].same_constants(case.problem, self._problem):
                continue  # its sizes are constants
            build = self._build(self._source(member)).result()
            if build.library is not None and self._evaluator.passes(build, case):
                return member
        return None

    def _finals(self, members: Sequence[Member], rounds: int) -> Finals:
        """The finals of these; one whose kernel does not build for a case that it claims is out."""
        entrants = self._entrants(members)
        out: dict[int, tuple[Status, str]] = {
            each.index: (each.failure.status or Status.BUILD_FAILED, each.failure.reason)
            for each in entrants
            if each.failure is not None
        }
        findings = self._watch(entrants) if self._sanitize else {}
        for index, (*_, last) in findings.items():
            if not last.clean and index not in out:
                out[index] = (Status.WRONG, f"sanitizer: {last}")
        finals = self._evaluator.finals([each.finalist() for each in entrants if each.index not in out], rounds)
        fallen = [Final(index=i, status=status, reason=self._where + why) for i, (status, why) in out.items()]
        sanitized = {f"{self._prefix}candidate {index}": "; ".join(map(str, each)) for index, each in findings.items()}
        return finals.model_copy(update={"finalists": (*finals.finalists, *fallen), "sanitized": sanitized})

    def _source(self, member: Member) -> Source:
        """A member rendered for the first shape."""
        index, template = member.candidate.index, self._templates[member.candidate.family]
        if index not in self._sources:
            self._sources[index] = template.render(member.candidate.genome, self._problem, self._target.facts)
        return self._sources[index]

    def _build(self, source: Source) -> Future[Build]:
        if source.digest not in self._builds:
            self._builds[source.digest] = self._pools.build(lambda: self._toolchain.build(source))
        return self._builds[source.digest]

    def _entrants(self, members: Sequence[Member]) -> list[Entrant]:
        """Builds each member for the first shape, and anew for the cases of other constants that it admits."""
        begun: list[tuple[int, Source, Future[Build], list[tuple[Case, Future[Build]]]]] = []
        for member in members:
            template, genome = self._templates[member.candidate.family], member.candidate.genome
            source = self._source(member)
            own, cases = self._build(source), []
            for case in self._problem.cases():
                if template.refusals(case.problem, self._target.facts):
                    continue
                if template.same_constants(case.problem, self._problem):
                    cases.append((case, own))  # what is exported meets every length, so this very kernel
                elif template.space([case.problem], self._target.facts).is_valid(genome):
                    cases.append((case, self._build(template.render(genome, case.problem, self._target.facts))))
            begun.append((member.candidate.index, source, own, cases))
        return [
            Entrant(index, source, own.result(), [(case, each.result()) for case, each in cases])
            for index, source, own, cases in begun
        ]

    def _watch(self, entrants: Sequence[Entrant]) -> dict[int, list[Finding]]:
        """What the sanitizers say of each, by its number; beside each other, since nothing is timed meanwhile."""
        watched = {
            each.index: self._pools.build(
                partial(sanitizers.run, self._target, self._toolchain, each.source, self._problem, each.build)
            )
            for each in entrants
        }
        try:
            return {index: future.result() for index, future in watched.items()}
        except BaseException:
            processes.end_programs()
            raise


def cost_of(build: Build) -> tuple[int, ...]:
    """What a kernel takes, the dearest first: spills, shared memory of a block, registers of a thread, machine code."""
    assert build.library is not None
    report = build.report
    figures = (report.spill_bytes, report.shared_bytes, report.registers)
    size = build.library.stat().st_size if build.library.is_file() else 0  # whoever cleans the cache meanwhile may
    return (*(figure or 0 for figure in figures), size)
