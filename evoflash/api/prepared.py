"""A search that is ready to run."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from evoflash import targets
from evoflash.api.cluster import join
from evoflash.api.result import OnResult, Results
from evoflash.cluster.connection import Connection
from evoflash.cluster.dask_scheduler import DaskScheduler
from evoflash.codegen.toolchain import Toolchain
from evoflash.config import Settings
from evoflash.errors import StorageError, UsageError
from evoflash.progress import Progress
from evoflash.run.local_scheduler import LocalScheduler
from evoflash.run.plan import EACH, Plan
from evoflash.run.scheduler import Scheduler
from evoflash.run.task import Task
from evoflash.search import Outcome, Search
from evoflash.store import RunStore, StudyMirror
from evoflash.targets import Target


@dataclass(frozen=True)
class PreparedSearch:
    """A search that is ready to run.

    Attributes:
        plans: one for each run.
        devices: all that are searched on, of one kind; the first is the one of the finals.
        run_ids: the runs to go on with, in the order of the plans; empty for a new search.
        cluster: who holds the devices, if not this machine; left when the search ends.
    """

    plans: Sequence[Plan]
    devices: Sequence[Target]
    settings: Settings
    run_ids: Sequence[int] = ()
    cluster: Connection | None = None

    @classmethod
    def resumed(
        cls, run_id: int, settings: Settings, say: Callable[[str], None] = lambda _: None, devices: str | None = None
    ) -> Self:
        """What is left of an interrupted search, with all its shapes.

        Args:
            devices: as for a new search; None for what that one was told.

        Raises:
            UsageError: when nothing is left.
        """
        with RunStore.open(settings.db) as store:
            group = store.group(run_id)
        survey = group[0].plan.get("survey")
        if survey is not None:
            raise UsageError(
                f"run {run_id} was a sitting of `evoflash record`; run that command again with --out {survey['out']}"
            )
        if all(each.status == "done" for each in group):
            raise UsageError(f"run {run_id} is done; see `evoflash runs best {run_id}`, or start a new search")
        begun = [each for each in group if each.candidates or each.status != "failed"] or group
        for each in group:
            if each not in begun:
                say(f"run {each.id} failed before its first candidate and is left out: {each.stop_reason}")
        plans = [Plan.model_validate(each.plan) for each in begun]
        first, ids = plans[0], tuple(each.id for each in begun)
        if settings.scheduler is not None:
            cluster, found, settings = join(settings, devices, say, first.target)
            return cls(plans, found, settings, ids, cluster)
        chosen, words = targets.detect_all(first.target, devices or first.devices, first.arch, first.debug)
        if words:
            say(words + place_of_finals(chosen, first.finals_on))
        return cls(plans, chosen, settings, ids)

    @property
    def device(self) -> Target:
        """The first of the devices."""
        return self.devices[0]

    @contextlib.contextmanager
    def database(self) -> Iterator[RunStore]:
        """The database, open for writing meanwhile.

        Raises:
            StorageError: when it or the build cache cannot be written, or another search is writing to it.
        """
        self._toolchain.require_writable()
        with RunStore.open(self.settings.db, write=True) as store:
            yield store

    def search(self, store: RunStore, progress: Progress) -> Search:
        """The search itself, which has not begun yet."""
        scheduler: Scheduler = (
            LocalScheduler(self.plans, self.devices, self._toolchain)
            if self.cluster is None
            else DaskScheduler(self.cluster, self.plans, self.device)
        )
        return Search(self.plans, self.device, scheduler, store, progress, self.run_ids)

    def run(self, on_result: OnResult | None = None) -> list[int]:
        """Runs the search, which nobody watches but a callback; returns the numbers of its runs."""
        with self.database() as store:
            engine = self.search(store, Results(on_result))
            outcomes = engine.run()
            self.mirror(engine, outcomes)
        return [outcome.run_id for outcome in outcomes]

    @functools.cached_property
    def _toolchain(self) -> Toolchain:
        deadline_s, verbose = self.plans[0].build_deadline_s, self.settings.verbose
        return Toolchain(self.device, self.settings.cache, deadline_s, verbose, many=True)

    def mirror(self, engine: Search, outcomes: Sequence[Outcome]) -> None:
        """Copies what a search has found for optuna-dashboard; tells the progress where that is not possible."""
        for task, outcome in zip(engine.tasks, outcomes, strict=True):
            try:
                self._mirror(task, outcome)
            except StorageError as error:
                engine.progress.note(f"optuna-dashboard will not show run {outcome.run_id}: {error}")

    def _mirror(self, task: Task, outcome: Outcome) -> None:
        spaces = {
            family: {name: parameter.values for name, parameter in space.parameters.items()}
            for family, space in task.families.spaces.items()
        }
        mirror = StudyMirror(self.settings.db, outcome.run_id, task.plan.strategy, spaces)
        mirror.sync((member.candidate, member.evaluation) for member in task.archive)


def place_of_finals(devices: Sequence[Target], finals_on: str) -> str:
    """Where a search on several devices has its finals, to end a line about them."""
    if len(devices) == 1:
        return ""
    return "; finals on each" if finals_on == EACH else f"; finals on GPU {devices[0].number}"
