"""The finals: the best few on every case that they claim, then interleaved against the baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace

from evoflash.codegen.source import Source
from evoflash.codegen.template import Template
from evoflash.codegen.toolchain import Build
from evoflash.core.archive import Member
from evoflash.core.finals import Final, Finals
from evoflash.core.status import Status
from evoflash.evaluator.sanitizers import Finding
from evoflash.problems import Case, Problem
from evoflash.run.fair_clock import differences
from evoflash.run.jobs import Entrant, Job
from evoflash.run.scheduler import Scheduler
from evoflash.system import processes
from evoflash.targets import Target

GENERAL_TRIES = 60  # kernels asked whether they take every size; most are made for the searched one


class Contest:
    """The finals of a run on one device or on each, while builds run beside each other.

    Args:
        plan: the number of the run's plan.
        problems: of each shape that a kernel must serve, by name. It is rendered for the first, and claims cases there.
        say: is told what is going on.
        sanitize: whether finalists run under the sanitizers first; one with a finding is out.
        everywhere: whether they are held on each device; the first decides who has passed and who wins.
    """

    def __init__(
        self,
        plan: int,
        problems: Mapping[str, Problem],
        target: Target,
        templates: Mapping[str, Template],
        scheduler: Scheduler,
        say: Callable[[str], None],
        *,
        sanitize: bool = False,
        everywhere: bool = False,
    ):
        self._plan = plan
        self._title = "+".join(problems)
        shape, self._problem = next(iter(problems.items()))
        self._where = f"{shape}: " if len(problems) > 1 else ""
        self._prefix = f"{shape}, " if len(problems) > 1 else ""
        self._target = target
        self._templates = templates
        self._scheduler = scheduler
        self._say = say
        self._sanitize = sanitize
        self._everywhere = everywhere
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
            for text in differences(standings, lambda index: f"#{index}"):
                self._say(f"finals of {self._title}: {text}")
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
            job = Job(self._plan, member.candidate, self._source(member))
            build = self._build(job).result()
            if build.library is not None and self._scheduler.passes(job, build, case):
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
        racing = [each for each in entrants if each.index not in out]
        finals = self._scheduler.finals(self._plan, racing, rounds, everywhere=self._everywhere)
        fallen = [Final(index=i, status=status, reason=self._where + why) for i, (status, why) in out.items()]
        sanitized = {f"{self._prefix}candidate {index}": "; ".join(map(str, each)) for index, each in findings.items()}
        return finals.model_copy(update={"finalists": (*finals.finalists, *fallen), "sanitized": sanitized})

    def _source(self, member: Member) -> Source:
        """A member rendered for the first shape."""
        index, template = member.candidate.index, self._templates[member.candidate.family]
        if index not in self._sources:
            self._sources[index] = template.render(member.candidate.genome, self._problem, self._target.facts)
        return self._sources[index]

    def _build(self, job: Job) -> Future[Build]:
        digest = job.source.digest
        if digest not in self._builds:
            self._builds[digest] = self._scheduler.build(job)
        return self._builds[digest]

    def _entrants(self, members: Sequence[Member]) -> list[Entrant]:
        """Builds each member for the first shape, and anew for the cases of other constants that it admits."""
        begun: list[tuple[Job, Future[Build], list[tuple[Case, Source, Future[Build]]]]] = []
        for member in members:
            template, genome = self._templates[member.candidate.family], member.candidate.genome
            job = Job(self._plan, member.candidate, self._source(member))
            own, cases = self._build(job), []
            for case in self._problem.cases():
                if template.refusals(case.problem, self._target.facts):
                    continue
                if template.same_constants(case.problem, self._problem):
                    cases.append((case, job.source, own))  # what is exported meets every length, so this very kernel
                elif template.space([case.problem], self._target.facts).is_valid(genome):
                    source = template.render(genome, case.problem, self._target.facts)
                    cases.append((case, source, self._build(replace(job, source=source))))
            begun.append((job, own, cases))
        return [
            Entrant(job, own.result(), [(case, source, each.result()) for case, source, each in cases])
            for job, own, cases in begun
        ]

    def _watch(self, entrants: Sequence[Entrant]) -> dict[int, list[Finding]]:
        """What the sanitizers say of each, by its number; beside each other, since nothing is timed meanwhile."""
        watched = {each.index: self._scheduler.sanitize(each.job, each.build, self._problem) for each in entrants}
        try:
            return {index: future.result() for index, future in watched.items()}
        except BaseException:
            processes.end_programs()
            raise
