"""A task: one kernel that is searched for, with its proposals, archive and run; and its trials.

The term is that of multitask tuning (Liu and others, "GPTune", PPoPP 2021). A task is one shape, or in a multi-shape
run several shapes that one kernel must serve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from evoflash.codegen.source import Source
from evoflash.core.archive import Archive
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.core.status import Status
from evoflash.errors import StorageError
from evoflash.run import warm_start
from evoflash.run.duplicates import Duplicates
from evoflash.run.families import Families
from evoflash.run.insights import GENERATION, is_due, observe
from evoflash.run.jobs import Job
from evoflash.run.plan import Plan
from evoflash.run.proposals import Proposals
from evoflash.run.stopping import EarlyStopping
from evoflash.store import RunStore
from evoflash.targets import Target


@dataclass(eq=False)
class Trial:
    """One candidate on its way: proposed and rendered, built and examined, recorded, learned.

    Attributes:
        evaluation: None until the pipeline is done with it.
        is_on_record: the run's database has it already, from before an interruption.
    """

    task: Task
    candidate: Candidate
    source: Source
    evaluation: Evaluation | None = None
    is_on_record: bool = False

    @property
    def index(self) -> int:
        """The candidate's number in its run."""
        return self.candidate.index

    @property
    def job(self) -> Job:
        """What a builder and an examiner need of it."""
        return Job(self.task.number, self.candidate, self.source)

    @property
    def is_new_duplicate(self) -> bool:
        """Whether its evaluation names an original whose times are still to be added."""
        return not self.is_on_record and self.evaluation is not None and self.evaluation.status is Status.DUPLICATE

    def complete(self) -> None:
        """Adds the times of the original, whose result has been learned by now."""
        assert self.evaluation is not None
        self.evaluation = self.task.duplicates.completed(self.evaluation)


class Task:
    """The state of one run. `Task.new` begins one, `Task.resumed` goes on with one.

    Args:
        number: of its plan among those of the search.

    Attributes:
        reference: the baselines by whose times devices are compared; none for a single device.
        best_us: the fastest time so far, in order of completion; None while nothing is right.
        stop_reason: why nothing more is proposed; empty while something is.
        is_closed: the run has ended, now or before it was resumed.
    """

    def __init__(self, number: int, plan: Plan, families: Families, target: Target, store: RunStore, run_id: int):
        self.number = number
        self.plan = plan
        self.run_id = run_id
        self.families = families
        self.archive = Archive()
        self.duplicates = Duplicates(self.archive)
        self.best_us: float | None = None
        self.reference: Mapping[str, float] = {}
        self.stop_reason = ""
        self.is_closed = False
        self._proposals = Proposals(plan, families, self.archive)
        self._target = target
        self._store = store
        self._recorded: dict[int, tuple[Candidate, Evaluation]] = {}
        self._known: dict[str, int] = {}  # candidates of earlier runs, by the digest of their source
        self._early_stopping = EarlyStopping(plan.effort.patience_percent)
        self._generation = 0  # of the insights that are on record

    @classmethod
    def new(
        cls,
        number: int,
        plan: Plan,
        families: Families,
        target: Target,
        store: RunStore,
        machine: Mapping[str, Any],
    ) -> Self:
        """A task whose run begins now.

        Args:
            machine: facts that are stored with the run.
        """
        run_id = store.begin_run(
            strategy=plan.strategy,
            seed=plan.seed,
            target=target.name,
            problem=families.problem,
            plan=plan.model_dump(mode="json"),
            machine=machine,
            label=plan.label,
        )
        task = cls(number, plan, families, target, store, run_id)
        task._take_over_results(machine)
        return task

    @classmethod
    def resumed(
        cls,
        number: int,
        plan: Plan,
        families: Families,
        target: Target,
        store: RunStore,
        machine: Mapping[str, Any],
        run_id: int,
    ) -> Self:
        """A task that goes on with a run: what is on record is proposed and learned again, without an examination."""
        task = cls(number, plan, families, target, store, run_id)
        task._recorded = {candidate.index: (candidate, found) for candidate, found in store.recorded(run_id)}
        task._generation = max((each.generation for each in store.insights(run_id)), default=0)
        task.is_closed = store.run(run_id).status == "done"
        if not task.is_closed:
            store.reopen_run(run_id)
            task._take_over_results(machine)
        return task

    def _take_over_results(self, machine: Mapping[str, Any]) -> None:
        if self.plan.reuse:
            stored = self.plan.model_dump(mode="json")
            self._known = warm_start.results(self._store, self.run_id, stored, machine)

    @property
    def has_finals(self) -> bool:
        """Whether finals are still to come; a survey has none."""
        return not self.is_closed and self.plan.survey is None

    @property
    def proposed(self) -> int:
        """Candidates so far, those in flight included."""
        return self._proposals.count

    @property
    def is_replaying(self) -> bool:
        """Whether candidates on record are still to be proposed again."""
        return self.proposed <= max(self._recorded, default=-1)

    @property
    def examined(self) -> int:
        """Candidates whose results this process has found out and the proposer has learned."""
        return len(self.archive) - len(self._recorded)

    def propose(self, others: Sequence[Task]) -> Trial | None:
        """The next trial, of a genome of another task or of the strategy's; None when nothing new is left.

        Args:
            others: the tasks whose best genomes are worth a trial, the most similar first.

        Raises:
            StorageError: when this run has another candidate on record under this number.
        """
        candidate = self._proposals.next((each.run_id, each.archive) for each in others)
        if candidate is None:
            self.stop_reason = "every genome has been tried"
            return None
        trial = Trial(self, candidate, self.families.render(candidate))
        self._recall(trial)
        return trial

    def _recall(self, trial: Trial) -> None:
        """Gives a trial the evaluation on record: this run's own, or an earlier run's for the same source."""
        known = self._known.pop(trial.source.digest, None)
        if trial.index not in self._recorded:
            trial.evaluation = self._store.candidate(known).evaluation if known is not None else None
            return
        recorded, trial.evaluation = self._recorded[trial.index]
        trial.is_on_record = True
        if trial.candidate != recorded:
            raise StorageError(
                f"run {self.run_id} cannot be resumed: candidate {trial.index} would be {trial.candidate.family} "
                f"{trial.candidate.genome.digest}, on record is {recorded.family} {recorded.genome.digest}; "
                "templates, spaces or evoflash have changed since, so begin a new search"
            )

    def record(self, trial: Trial, elapsed_s: float | None) -> bool:
        """Writes a trial's result down, unless it is on record; whether it is the best so far.

        Args:
            elapsed_s: seconds of search so far; None where they are written with another result.
        """
        evaluation = trial.evaluation
        assert evaluation is not None
        if not trial.is_on_record:
            source = trial.source
            text = source.text if self.plan.survey is None else None  # of ten thousands, gigabytes that nobody reads
            self._store.record(
                self.run_id,
                trial.candidate,
                evaluation,
                text,
                source.language,
                elapsed_s=elapsed_s,
                source_digest=source.digest,
            )
        fitness = evaluation.fitness_us if evaluation.status is Status.OK else None
        if fitness is None or (self.best_us is not None and fitness >= self.best_us):
            return False
        self.best_us = fitness
        return True

    def learn(self, trial: Trial) -> None:
        """Tells archive and proposer the result of a trial; trials must come in the order of their numbers."""
        assert trial.evaluation is not None
        member = self.archive.add(trial.candidate, trial.evaluation.without_details())
        self._proposals.proposer.tell(member)
        self._early_stopping.tell(member, self._proposals.proposer)
        if self._early_stopping.is_over and not self.stop_reason:
            self.stop_reason = str(self._early_stopping)
        if self.plan.survey is None and is_due(len(self.archive)):
            self.observe()

    def observe(self) -> None:
        """Records what the results so far say; a resumed run does not record a generation again."""
        generation = -(-len(self.archive) // GENERATION)
        if generation > self._generation:
            self._generation = generation
            for each in observe(self.archive, self.families.spaces, self._target.facts, self._proposals.proposer):
                self._store.record_insight(self.run_id, generation, each.kind, each.text, each.data)

    def finals(self) -> Finals | None:
        """The finals on record."""
        return self._store.finals(self.run_id)

    def leave_out(self, reason: str) -> None:
        """Ends a run that cannot propose anything."""
        self.stop_reason = reason
        self.end("failed", reason, 0.0)

    def end(self, status: str, reason: str, elapsed_s: float) -> None:
        """Closes the run's record; one that is closed stays as it is."""
        if not self.is_closed:
            self._store.finish_run(self.run_id, status=status, reason=reason, elapsed_s=elapsed_s)
        self.is_closed = True
