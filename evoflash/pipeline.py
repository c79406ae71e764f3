"""From a source to an evaluation: builds run wide, the device examines what they made, twins are noticed."""

from __future__ import annotations

from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from evoflash.candidate import Candidate
from evoflash.errors import StorageError
from evoflash.evaluation import BuildReport, Evaluation, Stage, Status
from evoflash.evaluator import Evaluator
from evoflash.executors import Stations
from evoflash.template import Source
from evoflash.toolchain import Build, Toolchain

TRIES = 3  # of a candidate whose library is damaged between its build and its examination


class Pipeline:
    """Candidates go in with their sources and come out with their evaluations, in any order.

    A candidate whose source or machine code an elder has is not built or not timed: it comes out as a `DUPLICATE` that
    names its elder, which may still be on its way.

    Attributes:
        building: candidates that wait for a builder or are being built.
        examining: candidates that wait for the device or are being examined.
    """

    def __init__(self, toolchain: Toolchain, evaluator: Evaluator, stations: Stations):
        self._toolchain = toolchain
        self._evaluator = evaluator
        self._stations = stations
        self.building = 0
        self.examining = 0
        self._done: SimpleQueue[tuple[Candidate, Source, Future[Any]]] = SimpleQueue()
        self._twins: list[tuple[Candidate, Evaluation]] = []
        self._elders: dict[str, int] = {}  # digest of a source or of machine code -> the first candidate that has it
        self._best_us: float | None = None
        self._witness: Source | None = None  # the latest that was right before this process began

    def submit(self, candidate: Candidate, source: Source) -> None:
        """Takes a candidate in."""
        elder = self._elders.setdefault(source.digest, candidate.index)
        if elder != candidate.index:
            self._twins.append((candidate, _twin(elder, "the same source", None)))
        else:
            self.building += 1
            future = self._stations.build(lambda: self._toolchain.build(source))
            future.add_done_callback(lambda done: self._done.put((candidate, source, done)))

    def remember(self, candidate: Candidate, source: Source, evaluation: Evaluation) -> None:
        """Takes note of a candidate that was evaluated before, so that its twins are noticed and the best is known."""
        self._elders.setdefault(source.digest, candidate.index)
        if evaluation.status is Status.OK:
            self._witness = source
        self._note(candidate, evaluation)

    def wait(self) -> list[tuple[Candidate, Evaluation]]:
        """What has finished, once there is anything; nothing only when there is nothing to wait for."""
        finished, self._twins = self._twins, []
        while not finished and (self.building or self.examining):
            candidate, source, future = self._done.get()
            outcome = future.result()
            if isinstance(outcome, Build):
                self.building -= 1
                verdict = self._pass_on(candidate, source, outcome)
            else:
                self.examining -= 1
                verdict = outcome
                self._note(candidate, verdict)
            if verdict is not None:
                finished.append((candidate, verdict))
        return finished

    def _pass_on(self, candidate: Candidate, source: Source, build: Build) -> Evaluation | None:
        """A built candidate goes on to the device, unless that is not needed."""
        verdict = self._evaluator.screen(build)
        if verdict is not None:
            return verdict
        assert build.report.binary_digest is not None
        elder = self._elders.setdefault(build.report.binary_digest, candidate.index)
        if (
            elder < candidate.index
        ):  # a younger twin that was built first does not count: proposals must not depend on luck
            return _twin(elder, "the same machine code", build.report)
        self.examining += 1
        future = self._stations.examine(lambda: self._examine(source, build))
        future.add_done_callback(lambda done: self._done.put((candidate, source, done)))
        return None

    def _examine(self, source: Source, build: Build) -> Evaluation:
        """What became of the library since it was built must not count against the kernel."""
        if self._witness is not None:
            self._evaluator.trust(self._toolchain.build(self._witness))
            self._witness = None
        for _ in range(TRIES):
            build = self._toolchain.restored(build, source)
            verdict = self._evaluator.screen(build) or self._evaluator.examine(build, self._best_us)
            if verdict.status is Status.OK or build.library is None or build.is_intact:
                return verdict
        raise StorageError(
            f"the build cache changes while it is used: {build.library} is not what was built; find out who writes "
            "there, or choose another folder by --cache, then go on by `evoflash resume`"
        )

    def _note(self, candidate: Candidate, evaluation: Evaluation) -> None:
        if evaluation.build is not None and evaluation.build.binary_digest is not None:
            self._elders.setdefault(evaluation.build.binary_digest, candidate.index)
        if evaluation.status is Status.OK and evaluation.fitness_us is not None:
            self._best_us = min(self._best_us or evaluation.fitness_us, evaluation.fitness_us)


def _twin(elder: int, what: str, report: BuildReport | None) -> Evaluation:
    stage = Stage.BUILD if report is None else Stage.RESOURCES
    reason = f"{what} as candidate {elder}"
    return Evaluation(status=Status.DUPLICATE, stage=stage, reason=reason, build=report, duplicate_of=elder)
