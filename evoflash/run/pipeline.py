"""From a source to an evaluation: builds run wide, the device examines what they made, twins are noticed."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from evoflash.codegen.template import Source
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import BuildReport, Evaluation
from evoflash.core.status import Stage, Status
from evoflash.errors import StorageError
from evoflash.run.worker_pools import WorkerPools

TRIES = 3  # of a candidate whose library is damaged between its build and its examination


class Examiner(Protocol):
    """What judges a build: an `Evaluator`, or several as one."""

    def start(self) -> Mapping[str, object]:
        """Makes ready; what is known of the machine."""
        ...

    def close(self) -> None:
        """Lets go of what `start` took."""
        ...

    def baselines(self) -> dict[str, float]:
        """Median microseconds of each baseline."""
        ...

    def screen(self, build: Build) -> Evaluation | None:
        """The verdict of the gates that need no device; None for what passed them."""
        ...

    def trust(self, build: Build) -> None:
        """Takes a kernel that was right before as a witness that the device works."""
        ...

    def examine(self, build: Build, best_us: float | None) -> Evaluation:
        """Right? How fast?"""
        ...


class Owner(Protocol):
    """Whose candidate it is: twins are told apart, and the best is known, for each owner by itself."""

    @property
    def evaluator(self) -> Examiner:
        """Its judge."""
        ...


SomeOwner = TypeVar("SomeOwner", bound=Owner)


class Pipeline(Generic[SomeOwner]):
    """Candidates go in with their sources and come out with their evaluations, in any order.

    A candidate whose source or machine code an elder of the same owner has is not built or not timed: it comes out as a
    `DUPLICATE` that names its elder, which may still be on its way.

    Attributes:
        building: candidates that wait for a builder or are being built.
        examining: candidates that wait for the device or are being examined.
    """

    def __init__(self, toolchain: Toolchain, pools: WorkerPools):
        self._toolchain = toolchain
        self._pools = pools
        self.building = 0
        self.examining = 0
        self._done: SimpleQueue[tuple[SomeOwner, Candidate, Source, Future[Any]]] = SimpleQueue()
        self._twins: list[tuple[SomeOwner, Candidate, Evaluation]] = []
        # Digest of a source or of machine code -> the owner's first candidate that has it.
        self._elders: dict[tuple[SomeOwner, str], int] = {}
        self._best_us: dict[SomeOwner, float] = {}
        self._witnesses: dict[SomeOwner, Source] = {}  # the latest that was right before this process began

    def submit(self, owner: SomeOwner, candidate: Candidate, source: Source) -> None:
        """Takes a candidate in."""
        elder = self._elders.setdefault((owner, source.digest), candidate.index)
        if elder != candidate.index:
            self._twins.append((owner, candidate, _twin(elder, "the same source", None)))
        else:
            self.building += 1
            future = self._pools.build(lambda: self._toolchain.build(source))
            future.add_done_callback(lambda done: self._done.put((owner, candidate, source, done)))

    def remember(self, owner: SomeOwner, candidate: Candidate, source: Source, evaluation: Evaluation) -> None:
        """Takes note of a candidate that was evaluated before, so that its twins are noticed and the best is known."""
        self._elders.setdefault((owner, source.digest), candidate.index)
        if evaluation.status is Status.OK:
            self._witnesses[owner] = source
        self._note(owner, candidate, evaluation)

    def wait(self) -> list[tuple[SomeOwner, Candidate, Evaluation]]:
        """What has finished, once there is anything; nothing only when there is nothing to wait for."""
        finished, self._twins = self._twins, []
        while not finished and (self.building or self.examining):
            owner, candidate, source, future = self._done.get()
            outcome = future.result()
            if isinstance(outcome, Build):
                self.building -= 1
                verdict = self._pass_on(owner, candidate, source, outcome)
            else:
                self.examining -= 1
                verdict = outcome
                self._note(owner, candidate, verdict)
            if verdict is not None:
                finished.append((owner, candidate, verdict))
        return finished

    def _pass_on(self, owner: SomeOwner, candidate: Candidate, source: Source, build: Build) -> Evaluation | None:
        """A built candidate goes on to the device, unless that is not needed."""
        verdict = owner.evaluator.screen(build)
        if verdict is not None:
            return verdict
        assert build.report.binary_digest is not None
        elder = self._elders.setdefault((owner, build.report.binary_digest), candidate.index)
        # A younger twin that was built first does not count: proposals must not depend on luck.
        if elder < candidate.index:
            return _twin(elder, "the same machine code", build.report)
        self.examining += 1
        future = self._pools.examine(lambda: self._examine(owner, source, build))
        future.add_done_callback(lambda done: self._done.put((owner, candidate, source, done)))
        return None

    def _examine(self, owner: SomeOwner, source: Source, build: Build) -> Evaluation:
        """What became of the library since it was built must not count against the kernel."""
        witness = self._witnesses.pop(owner, None)
        if witness is not None:
            owner.evaluator.trust(self._toolchain.build(witness))
        for _ in range(TRIES):
            build = self._toolchain.restored(build, source)
            verdict = owner.evaluator.screen(build) or owner.evaluator.examine(build, self._best_us.get(owner))
            if verdict.status is Status.OK or build.library is None or build.is_intact:
                return verdict
        raise StorageError(
            f"the build cache changes while it is used: {build.library} is not what was built; find out who writes "
            "there, or choose another folder by --cache, then go on by `evoflash resume`"
        )

    def _note(self, owner: SomeOwner, candidate: Candidate, evaluation: Evaluation) -> None:
        if evaluation.build is not None and evaluation.build.binary_digest is not None:
            self._elders.setdefault((owner, evaluation.build.binary_digest), candidate.index)
        if evaluation.status is Status.OK and evaluation.fitness_us is not None:
            self._best_us[owner] = min(self._best_us.get(owner, evaluation.fitness_us), evaluation.fitness_us)


def _twin(elder: int, what: str, report: BuildReport | None) -> Evaluation:
    stage = Stage.BUILD if report is None else Stage.RESOURCES
    reason = f"{what} as candidate {elder}"
    return Evaluation(status=Status.DUPLICATE, stage=stage, reason=reason, build=report, duplicate_of=elder)
