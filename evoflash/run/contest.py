"""The finals: the best few on every case that they claim, then interleaved against the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial

from evoflash.codegen.template import Source, Template
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.archive import Member
from evoflash.core.finals import Final, Finals
from evoflash.core.status import Status
from evoflash.evaluator import Evaluator, Finalist, sanitizers
from evoflash.evaluator.sanitizers import Finding
from evoflash.problems import Problem
from evoflash.run.worker_pools import WorkerPools
from evoflash.system import processes
from evoflash.targets import Target


class Contest:
    """Holds finals of one problem on one target; builds run beside each other, the device one at a time.

    Args:
        sanitize: whether finalists run under the sanitizers first; whoever has a finding is out.
    """

    def __init__(
        self,
        problem: Problem,
        target: Target,
        templates: Mapping[str, Template],
        toolchain: Toolchain,
        pools: WorkerPools,
        evaluator: Evaluator,
        *,
        sanitize: bool = False,
    ):
        self._problem = problem
        self._target = target
        self._templates = templates
        self._toolchain = toolchain
        self._pools = pools
        self._evaluator = evaluator
        self._sanitize = sanitize

    def hold(self, members: Sequence[Member], rounds: int) -> Finals:
        """The finals of these members; one whose kernel does not build for a case that it claims is out."""
        finalists, out = self._enter(members)
        sanitized: dict[str, str] = {}
        if self._sanitize:
            findings = self._watch_all(members)
            sanitized = {f"candidate {index}": "; ".join(map(str, each)) for index, each in findings.items()}
            dirty = {index: found for index, each in findings.items() if (found := each[-1]) and not found.clean}
            out += [
                Final(index=each.index, status=Status.WRONG, reason=f"sanitizer: {dirty[each.index]}")
                for each in finalists
                if each.index in dirty
            ]
            finalists = [each for each in finalists if each.index not in dirty]
        finals = self._evaluator.finals(finalists, rounds)
        return finals.model_copy(update={"finalists": (*finals.finalists, *out), "sanitized": sanitized})

    def _watch_all(self, members: Sequence[Member]) -> dict[int, list[Finding]]:
        """What the sanitizers say of each, by its number; beside each other, since nothing is timed meanwhile."""
        watched = {each.candidate.index: self._pools.build(partial(self._watch, each)) for each in members}
        try:
            return {index: future.result() for index, future in watched.items()}
        except BaseException:
            processes.end_programs()
            raise

    def _watch(self, member: Member) -> list[Finding]:
        template = self._templates[member.candidate.family]
        source = template.render(member.candidate.genome, self._problem, self._target.facts)
        return sanitizers.run(self._target, self._toolchain, source, self._problem)

    def _enter(self, members: Sequence[Member]) -> tuple[list[Finalist], list[Final]]:
        """Builds each member for the searched problem, and anew for the cases of other constants that it admits."""
        builds: dict[str, Future[Build]] = {}

        def build(source: Source) -> Future[Build]:
            if source.digest not in builds:
                builds[source.digest] = self._pools.build(lambda: self._toolchain.build(source))
            return builds[source.digest]

        entries = []
        for member in members:
            template, genome = self._templates[member.candidate.family], member.candidate.genome
            own = build(template.render(genome, self._problem, self._target.facts))
            cases = []
            for case in self._problem.cases():
                if template.refusals(case.problem, self._target.facts):
                    continue
                if template.same_constants(case.problem, self._problem):
                    cases.append((case, own))  # what is exported meets every length, so this very kernel
                elif template.space([case.problem], self._target.facts).is_valid(genome):
                    cases.append((case, build(template.render(genome, case.problem, self._target.facts))))
            entries.append((member.candidate.index, own, cases))

        finalists, out = [], []
        for index, own, cases in entries:
            built = own.result()
            failed = next((each.result() for _, each in cases if each.result().library is None), built)
            if failed.library is None or built.library is None:
                out.append(Final(index=index, status=failed.status or Status.BUILD_FAILED, reason=failed.reason))
            else:
                libraries = [(case, library) for case, each in cases if (library := each.result().library) is not None]
                finalists.append(Finalist(index, built.library, libraries, cost_of(built)))
        return finalists, out


def cost_of(build: Build) -> tuple[int, ...]:
    """What a kernel takes, the dearest first: spills, shared memory of a block, registers of a thread, machine code."""
    assert build.library is not None
    report = build.report
    figures = (report.spill_bytes, report.shared_bytes, report.registers)
    size = build.library.stat().st_size if build.library.is_file() else 0  # whoever cleans the cache meanwhile may
    return (*(figure or 0 for figure in figures), size)
