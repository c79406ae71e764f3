"""A task: one kernel that is searched for, with its proposer, archive and run; a search has one or more of them.

The term is that of multitask tuning (Liu and others, "GPTune", PPoPP 2021). A task is one shape, or of a robust run
several that one kernel must serve.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evoflash import proposers
from evoflash.codegen.template import Source, load
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Candidate, Origin, Proposal
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Finals
from evoflash.core.status import Status
from evoflash.errors import StorageError
from evoflash.evaluator import Evaluator
from evoflash.run import warm_start
from evoflash.run.contest import Contest
from evoflash.run.insights import GENERATION, is_due, observe
from evoflash.run.multi_shape import JointContest, JointEvaluator
from evoflash.run.pipeline import Examiner
from evoflash.run.plan import Plan
from evoflash.run.stopping import EarlyStopping
from evoflash.run.worker_pools import WorkerPools
from evoflash.store import RunStore
from evoflash.targets import Target

SEED, TRANSFER = "seed", "transfer"
TRANSFER_INTERVAL = 4  # one in so many proposals of a task may be a genome of another task
TRANSFER_ELITES = 3  # genomes of another task that are worth a try
MAX_REPEATED_ASKS = 20  # of what is known already, until a proposer that does not know of transfers is given up


class Task:
    """The state of one run.

    Args:
        run_id: the run to go on with; None: `begin` makes a new one.

    Attributes:
        proposed: all candidates, by number.
        recorded: results on record when it began, by number.
        results: results that wait until the proposer may be told, by number.
        over: why nothing more is proposed; empty while something is.
        is_closed: whether its run has ended, now or before it was resumed.
    """

    def __init__(self, plan: Plan, target: Target, store: RunStore, run_id: int | None = None):
        self.plan = plan
        self.problems = plan.make_problems()
        self.problem, *beside = self.problems.values()
        self.templates = {family: load(family, plan.templates) for family in plan.families}
        spaces = {name: each.space(self.problem, target.facts, beside) for name, each in self.templates.items()}
        self.spaces = warm_start.seeded(spaces, plan.warm)
        self._warm = warm_start.origins(plan.warm)
        self.proposer = proposers.create(plan.strategy, self.spaces, plan.seed)
        self.archive = Archive()
        self.proposed: list[Candidate] = []
        self.results: dict[int, Evaluation] = {}
        self.over = ""
        self.run_id = run_id
        recorded = store.recorded(run_id) if run_id is not None else []
        self.recorded = {candidate.index: (candidate, evaluation) for candidate, evaluation in recorded}
        self.is_closed = run_id is not None and store.run(run_id).status == "done"
        self._target = target
        self._store = store
        self._known: dict[str, int] = {}  # candidates of earlier runs, by their source
        self._sources: dict[int, Source] = {}  # of the candidates that are not recorded yet
        self._best_us: float | None = None
        self._stopping = EarlyStopping(plan.effort.patience_percent)
        insights = store.insights(run_id) if run_id is not None else []
        self._observed = max((each.generation for each in insights), default=0)
        # The shape with the least work goes first: there a wrong kernel is found out at the least cost.
        by_work = sorted(self.problems.items(), key=lambda pair: pair[1].flops)
        self._evaluators = {name: self._make_evaluator(name) for name, _ in by_work}
        single = next(iter(self._evaluators.values()))
        self.evaluator: Examiner = single if len(self._evaluators) == 1 else JointEvaluator(self._evaluators)

    def _make_evaluator(self, shape: str) -> Evaluator:
        effort = self.plan.effort
        return Evaluator(
            self.problems[shape],
            self._target,
            limits=self.plan.limits,
            samples=effort.samples,
            quick_samples=effort.quick_samples,
            deadline_s=self.plan.evaluate_deadline_s,
        )

    def require_valid_genomes(self) -> None:
        """Raises SpaceError, saying which constraint excludes what, when nothing is valid in one of the families."""
        for space in self.spaces.values():
            space.require_valid_genomes(random.Random(self.plan.seed))

    def begin(self, machine: Mapping[str, Any]) -> None:
        """Writes the run's head, or opens it again."""
        plan = self.plan.model_dump(mode="json")
        if self.run_id is None:
            self.run_id = self._store.begin_run(
                strategy=self.plan.strategy,
                seed=self.plan.seed,
                target=self._target.name,
                problem=self.problem,
                plan=plan,
                machine=machine,
                label=" and ".join(each.label for each in self.problems.values()),
            )
        elif not self.is_closed:
            self._store.reopen_run(self.run_id)
        if self.plan.reuse:
            self._known = warm_start.results(self._store, self.run_id, plan, machine)

    def propose(self, others: Sequence[Task]) -> Candidate | None:
        """The next candidate, from another task or by the strategy; None when nothing new is left.

        Args:
            others: the tasks whose best genomes are worth a try, the most alike first.
        """
        proposal = self._transfer(others) or self._ask()
        if proposal is None:
            self.over = "every genome has been tried"
            return None
        candidate = replace(proposal, origin=self._origin(proposal)).numbered(len(self.proposed))
        self.archive.propose(candidate.family, candidate.genome)
        self.proposed.append(candidate)
        return candidate

    def _transfer(self, others: Sequence[Task]) -> Proposal | None:
        """A genome among the best of another task that is valid here and was not tried."""
        if len(self.proposed) % TRANSFER_INTERVAL:
            return None
        for other in others:
            for member in other.archive.elites(TRANSFER_ELITES):
                family, genome = member.candidate.family, member.candidate.genome
                is_new = family in self.spaces and not self.archive.has(family, genome)
                if is_new and warm_start.fits(self.spaces[family], genome):
                    origin = Origin(other.run_id, member.candidate.index) if other.run_id is not None else None
                    return Proposal(family, genome, TRANSFER, origin=origin)
        return None

    def _origin(self, proposal: Proposal) -> Origin | None:
        """Whose genome a proposal is: that of another task, or of the run that this one began with."""
        if proposal.operator != SEED:
            return proposal.origin
        return self._warm.get((proposal.family, proposal.genome.digest))

    def _ask(self) -> Proposal | None:
        for _ in range(MAX_REPEATED_ASKS):
            proposal = self.proposer.ask(self.archive)
            if proposal is None or not self.archive.has(proposal.family, proposal.genome):
                return proposal
        return None

    def render(self, candidate: Candidate) -> Source:
        """The source of a candidate; of a robust run it is rendered for the first shape, and must serve the others."""
        source = self.templates[candidate.family].render(candidate.genome, self.problem, self._target.facts)
        if candidate.index not in self.recorded:
            self._sources[candidate.index] = source
        return source

    def recall(self, candidate: Candidate, source: Source) -> Evaluation | None:
        """The result on record: this run's own, or an earlier run's for the same source, which is then recorded here.

        Raises:
            StorageError: when this run has another candidate on record under this number.
        """
        known = self._known.pop(source.digest, None)
        if candidate.index not in self.recorded:
            return self._store.candidate(known).evaluation if known is not None else None
        recorded, evaluation = self.recorded[candidate.index]
        if candidate != recorded:
            raise StorageError(
                f"run {self.run_id} cannot be resumed: candidate {candidate.index} would be {candidate.family} "
                f"{candidate.genome.digest}, on record is {recorded.family} {recorded.genome.digest}; "
                "templates, spaces or evoflash have changed since, so begin a new search"
            )
        return evaluation

    def record(self, candidate: Candidate, evaluation: Evaluation, elapsed_s: float) -> bool:
        """Writes a result down, unless it is on record; whether it is the best so far."""
        assert self.run_id is not None
        if candidate.index in self._sources:
            source = self._sources.pop(candidate.index)
            self._store.record(self.run_id, candidate, evaluation, source.text, source.language, elapsed_s=elapsed_s)
        fitness = evaluation.fitness_us if evaluation.status is Status.OK else None
        if fitness is None or (self._best_us is not None and fitness >= self._best_us):
            return False
        self._best_us = fitness
        return True

    def inherit(self, twin: Evaluation) -> Evaluation:
        """A twin's result with its elder's times: the elder has a smaller number, so its result is known by now."""
        assert twin.duplicate_of is not None
        elder = self.archive.member(twin.duplicate_of).evaluation
        return twin.model_copy(update={"timings": elder.timings, "reason": f"{twin.reason} ({elder.status})"})

    def learn(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Tells archive and proposer a result; results must come in the order of numbers."""
        member = self.archive.add(candidate, evaluation.without_details())
        self.proposer.tell(member)
        self._stopping.tell(member, self.proposer)
        if self._stopping.is_over and not self.over:
            self.over = str(self._stopping)
        if is_due(len(self.archive)):
            self.observe()

    def observe(self) -> None:
        """Writes down what the results so far say; a resumed run does not write a generation again."""
        assert self.run_id is not None
        generation = -(-len(self.archive) // GENERATION)
        if generation > self._observed:
            self._observed = generation
            for each in observe(self.archive, self.spaces, self._target.facts, self.proposer):
                self._store.record_insight(self.run_id, generation, each.kind, each.text, each.data)

    def contest(self, toolchain: Toolchain, pools: WorkerPools) -> Contest | JointContest:
        """The finals that its best are to go through."""
        evaluator = self._evaluators[self.plan.shape]
        contest = Contest(
            self.problem, self._target, self.templates, toolchain, pools, evaluator, sanitize=self.plan.sanitize
        )
        if len(self.problems) == 1:
            return contest
        return JointContest(self.problems, self._evaluators, contest, self._target, self.templates, toolchain)

    def finals(self) -> Finals | None:
        """The finals on record."""
        return self._store.finals(self.run_id) if self.run_id is not None else None

    def end(self, status: str, reason: str, elapsed_s: float) -> None:
        """Closes the run's record; one that is closed stays as it is."""
        self.evaluator.close()
        if self.run_id is not None and not self.is_closed:
            self._store.finish_run(self.run_id, status=status, reason=reason, elapsed_s=elapsed_s)
        self.is_closed = True

    @property
    def best(self) -> Member | None:
        """The fastest so far."""
        return self.archive.best
