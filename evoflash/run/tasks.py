"""The tasks of a search: begun together, they take turns and learn from each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from evoflash.errors import WorkerError
from evoflash.problems.rival import late
from evoflash.progress import Progress
from evoflash.run import fair_clock, warm_start
from evoflash.run.families import Families
from evoflash.run.jobs import Beginning
from evoflash.run.plan import Plan
from evoflash.run.scheduler import Scheduler
from evoflash.run.task import Task
from evoflash.store import RunStore
from evoflash.targets import Target

NOTED_S = 3.0  # of preparing a baseline
NOTHING = Beginning({}, {}, {}, {})
BASELINES = "baselines"  # the kind of an insight: their times when the search began
CLOCK = "clock"  # another: the baselines by which devices are compared, and how they differ


class Tasks:
    """The tasks of a search, in the order of its plans; none until `begin`."""

    def __init__(self) -> None:
        self._tasks: list[Task] = []

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, number: int) -> Task:
        return self._tasks[number]

    def begin(
        self,
        plans: Sequence[Plan],
        run_ids: Sequence[int],
        target: Target,
        store: RunStore,
        progress: Progress,
        scheduler: Scheduler,
        known: Mapping[str, Any],
    ) -> None:
        """Starts the workers, then begins a run for each plan, or goes on with it.

        No run begins before all workers are up, so an interruption until then leaves none behind.

        Args:
            run_ids: the runs to go on with; none begins new ones.
            known: facts of the machine, stored with each run beside those that its worker tells.

        Raises:
            SpaceError: when a family has no valid genome.
            WorkerError: when no shape can be measured.
        """
        families = [Families(plan, target) for plan in plans]
        for each in families:
            each.require_valid_genomes()
        ids: Sequence[int | None] = run_ids or [None] * len(plans)
        begun = [
            _begin(number, plan, run_id, scheduler, store, progress, is_alone=len(plans) == 1)
            for number, (plan, run_id) in enumerate(zip(plans, ids, strict=True))
        ]
        for number, (found, failure) in enumerate(begun):
            own = (number, plans[number], families[number], target, store, {**known, **found.machine})
            run_id = ids[number]
            task = Task.new(*own) if run_id is None else Task.resumed(*own, run_id)
            self._tasks.append(task)
            if found.baselines:  # for those who look at the run before its finals
                words = ", ".join(f"{name} {time:.4g} us" for name, time in found.baselines.items())
                store.record_insight(task.run_id, 0, BASELINES, words, found.baselines)
            self._compare_devices(task, found, store, progress)
            if failure:
                scheduler.release(number)
                task.leave_out(failure)
                progress.note(f"{task.plan.title} is left out: {failure}")
        if not run_ids and len(plans) > 1:
            store.form_group([task.run_id for task in self])
        if all(task.stop_reason for task in self):
            failures = ", ".join(f"{task.plan.title}: {task.stop_reason}" for task in self)
            raise WorkerError(f"none of the shapes can be measured ({failures}); run `evoflash doctor`")

    def _compare_devices(self, task: Task, found: Beginning, store: RunStore, progress: Progress) -> None:
        """Settles by which times a run's devices are compared; a resumed run keeps those that it began with."""
        first = next((each for each in store.insights(task.run_id) if each.kind == CLOCK), None)
        task.reference = first.data["reference"] if first is not None else found.reference
        if found.clock_ratios:
            words = ", ".join(f"{device} {ratio:.4f}" for device, ratio in found.clock_ratios.items())
            data = {"reference": dict(task.reference), "ratios": dict(found.clock_ratios)}
            store.record_insight(task.run_id, 0, CLOCK, f"the baselines take {words} as long", data)
        for device, against in fair_clock.off_peers(found.clock_ratios).items():
            progress.note(fair_clock.words_of(device, against))

    @property
    def next(self) -> Task | None:
        """The task with the fewest proposals, of those that still propose."""
        return min((task for task in self if not task.stop_reason), key=lambda task: task.proposed, default=None)

    def related(self, task: Task) -> list[Task]:
        """The other tasks, the one with the most similar problem first."""
        own, others = task.families.problem.likeness(), [each for each in self if each is not task]
        return sorted(others, key=lambda other: warm_start.distance(other.families.problem.likeness(), own))

    @property
    def are_replaying(self) -> bool:
        """Whether candidates on record are still to be proposed again."""
        return any(task.is_replaying for task in self)

    @property
    def proposed(self) -> int:
        """Candidates of all tasks."""
        return sum(task.proposed for task in self)

    @property
    def examined(self) -> int:
        """Candidates of all tasks whose results were not on record."""
        return sum(task.examined for task in self)


def _begin(
    number: int,
    plan: Plan,
    run_id: int | None,
    scheduler: Scheduler,
    store: RunStore,
    progress: Progress,
    *,
    is_alone: bool,
) -> tuple[Beginning, str]:
    """What is known of the machine and a plan's baselines; or why its shapes cannot be measured.

    Raises:
        WorkerError: when the shapes cannot be measured, and are the only ones or have been measured before.
    """
    summary = store.run(run_id) if run_id is not None else None
    if summary is not None and summary.status == "done":  # nothing more is measured: its history serves the others
        return NOTHING, ""
    try:
        begun = scheduler.begin(number)
        progress.baselines(plan.title, dict(begun.baselines))
        for name, why in begun.rivals_out.items():
            progress.note(f"{plan.title}: no baseline {name}: {why}")
        waiting = late(plan.rivals, chain.from_iterable(each.rivals(plan.target) for each in plan.problems.values()))
        if waiting:
            progress.note(f"{plan.title}: the finals alone time {', '.join(waiting)}, since compiling comes first")
        slow = [f"{name} {seconds:.0f} s" for name, seconds in begun.preparation_s.items() if seconds >= NOTED_S]
        if slow:
            progress.note(f"{plan.title}: to prepare baselines took {', '.join(slow)}, which the minutes do not count")
    except WorkerError as error:
        if is_alone or (summary is not None and summary.candidates):
            raise
        return NOTHING, str(error)
    return begun, ""
