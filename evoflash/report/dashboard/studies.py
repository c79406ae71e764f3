"""Runs of a database as Optuna studies in memory, which follow those that are running."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from evoflash.codegen.template import load
from evoflash.errors import EvoflashError, MissingError
from evoflash.report.dashboard.trials import note, trial
from evoflash.report.tables import us
from evoflash.store import RunStore, RunSummary, StoredCandidate
from evoflash.store.trials import Choices, distributions_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

BATCH = 500  # candidates that are read at once
NOTED = 50  # fastest candidates that get a page; optuna-dashboard looks for each page among all pages


@dataclass
class _Copy:
    """A run's study.

    Attributes:
        last_id: of the candidates that were read.
        ahead: candidates that were read before one with a smaller index, by their index.
        ids: of its trials, by the index of their candidates.
    """

    study: Study
    distributions: Mapping[str, BaseDistribution]
    last_id: int = 0
    ahead: dict[int, StoredCandidate] = field(default_factory=dict)
    ids: dict[int, int] = field(default_factory=dict)
    best: list[StoredCandidate] = field(default_factory=list)  # the fastest right ones
    summary: RunSummary | None = None


class Studies:
    """Copies of runs in memory. `refresh` reads what is new; the database is never written.

    Args:
        run_ids: the runs to copy; none copies all, those that begin later, too.
        folders: with the user's own templates, whose spaces give parameters their choices.
        more: options that commands in notes need, with a leading blank.

    Raises:
        MissingError: when optuna-dashboard is not installed.
    """

    def __init__(self, store: RunStore, run_ids: Sequence[int] = (), folders: Sequence[Path] = (), more: str = ""):
        try:
            import optuna_dashboard
        except ImportError:
            raise MissingError("evoflash dashboard needs optuna-dashboard; pip install 'evoflash[dashboard]'") from None
        import optuna

        self._dashboard = optuna_dashboard
        self._optuna = optuna
        self.storage = optuna.storages.InMemoryStorage()
        self._store = store
        self._run_ids = run_ids
        self._folders = folders
        self._more = more
        self._copies: dict[int, _Copy] = {}

    def refresh(self) -> int:
        """Copies what has been recorded since the last time, the newest runs first; returns the number of trials."""
        runs = [run for run in self._store.runs() if not self._run_ids or run.id in self._run_ids]
        for run in runs:  # all at once, so that they are listed in their order
            if run.id not in self._copies:
                self._copies[run.id] = self._begin(run)
        return sum(self._follow(run) for run in reversed(runs))

    def _begin(self, run: RunSummary) -> _Copy:
        optuna = self._optuna
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it logs each study that it creates
        try:
            study = optuna.create_study(
                storage=self.storage, study_name=f"run {run.id}: {run.problem_label}", direction="minimize"
            )
        finally:
            optuna.logging.set_verbosity(verbosity)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(["time, us"])
        return _Copy(study, distributions_of(self._spaces(run)))

    def _spaces(self, run: RunSummary) -> dict[str, Choices]:
        """The choices of the families that are still there; genes of the others become attributes."""
        spaces: dict[str, Choices] = {}
        for family in run.plan.get("families", ()):
            try:
                declared = load(family, tuple(self._folders)).declaration.parameters
            except EvoflashError:
                continue
            spaces[family] = {name: parameter.values for name, parameter in declared.items()}
        return spaces

    def _follow(self, run: RunSummary) -> int:
        """Adds what is new of a run."""
        copy = self._copies[run.id]
        if copy.summary == run:
            return 0
        before = len(copy.ids)
        while new := self._store.stored(run.id, after=copy.last_id, limit=BATCH):
            copy.last_id = max(each.id for each in new)
            copy.ahead |= {each.candidate.index: each for each in new}
            self._add(copy)
        if run.status != "running":  # what is still ahead has a gap before it, which nothing will fill
            self._add(copy, with_gaps=True)
        self._describe(copy, run)
        copy.summary = run
        return len(copy.ids) - before

    def _add(self, copy: _Copy, *, with_gaps: bool = False) -> None:
        """Adds candidates by index, so that a trial's number is that of its candidate in the run."""
        study_id = copy.study._study_id
        for index in sorted(copy.ahead):
            if index > max(copy.ids, default=-1) + 1 and not with_gaps:
                break
            stored = copy.ahead.pop(index)
            copy.ids[index] = self.storage.create_new_trial(study_id, trial(stored, copy.distributions))
            if stored.fitness_us is not None:
                copy.best = sorted((*copy.best, stored), key=_fitness)[:NOTED]

    def _describe(self, copy: _Copy, run: RunSummary) -> None:
        """Notes on the run and its fastest candidates, and what is known of the run."""
        for stored in copy.best:
            # All that `save_note` asks of a trial; Optuna's own would have a sampler suggest values for it.
            page = SimpleNamespace(storage=self.storage, study=copy.study, _trial_id=copy.ids[stored.candidate.index])
            text = note(stored, self._more)
            if self._dashboard.get_note(page) != text:  # type: ignore[arg-type]
                self._dashboard.save_note(page, text)  # type: ignore[arg-type]
        facts = {
            "command": f"evoflash runs show {run.id}",
            "status": f"{run.status}: {run.stop_reason}" if run.stop_reason else run.status,
            "device": str(run.machine.get("device", run.target)),
            "strategy": run.strategy,
            "correct": f"{run.correct} of {run.candidates}",
        }
        if run.best_id is not None:
            facts["best"] = f"candidate {run.best_id} (trial {run.best_index}), {us(run.best_us)} us"
        for name, value in facts.items():
            copy.study.set_user_attr(name, value)
        self._dashboard.save_note(copy.study, _run_note(run, self._more))


def _fitness(stored: StoredCandidate) -> float:
    assert stored.fitness_us is not None
    return stored.fitness_us


def _run_note(run: RunSummary, more: str) -> str:
    """A run's page in Markdown."""
    lines = [f"**Run {run.id}**: {run.problem_label}, {run.status}", ""]
    if run.best_id is not None:
        lines += [
            f"The fastest of the search is candidate {run.best_id}, trial {run.best_index}: {us(run.best_us)} us.",
            "",
            f"- `evoflash show {run.best_id}{more}`: the candidate",
        ]
    lines += [
        f"- `evoflash runs show {run.id}{more}`: failures, operators, convergence, finals",
        "",
        "A trial's number is that of the candidate in its run. Its attribute `command` shows the candidate. These "
        "studies are copies in memory: what is changed here is gone when the dashboard ends.",
    ]
    return "\n".join(lines)
