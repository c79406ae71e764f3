"""What the figures show of a run: read once, in a fixed number of queries."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from evoflash.codegen.template import load
from evoflash.core.candidate import Candidate
from evoflash.core.finals import Final, Finals
from evoflash.core.genome import Genome
from evoflash.core.profile import Profile
from evoflash.core.status import Status
from evoflash.errors import EvoflashError, SpaceError
from evoflash.problems import Problem
from evoflash.report.gene_importance import Importance, is_time, time_of, weigh
from evoflash.report.lineage import genome_changes
from evoflash.run.shapes import Shape, shapes_on_record
from evoflash.run.tasks import BASELINES
from evoflash.space.search_space import SearchSpace
from evoflash.store import CandidateSummary, Insight, Outcome, RunStore, RunSummary

THINNED = 2500  # candidates that a figure draws one by one; a browser stays quick with that many


@dataclass(frozen=True)
class RunData:
    """A run as the figures see it.

    Attributes:
        candidates: in the order in which they finished.
        origins: parents in other runs.
        finals: None before they ran.
        insights: oldest first.
        profile: of the winner, where one was taken.
    """

    run: RunSummary
    candidates: tuple[CandidateSummary, ...]
    origins: tuple[CandidateSummary, ...]
    finals: Finals | None
    insights: tuple[Insight, ...]
    profile: Profile | None = None

    @classmethod
    def read(cls, store: RunStore, run_id: int | None = None) -> RunData:
        """A run, by default the latest.

        Raises:
            NotFoundError: when there is no such run.
        """
        run = store.run(run_id)
        candidates, origins = store.summaries(run.id)
        finals, insights = store.finals(run.id), store.insights(run.id)
        found = cls(run, tuple(candidates), tuple(origins), finals, tuple(insights))
        return replace(found, profile=store.profile(found.winner.id)) if found.winner is not None else found

    @property
    def title(self) -> str:
        """The run's number, and what is searched as the person called it."""
        names = "+".join(str(each.get("name", "")) for each in self.run.plan.get("shapes", ()))
        return f"run {self.run.id}: {names or self.run.problem_label}"

    @property
    def device(self) -> str:
        """The device that was searched on."""
        return str(self.run.machine.get("device", self.run.target))

    @cached_property
    def by_id(self) -> dict[int, CandidateSummary]:
        """Every candidate by its id, and the parents in other runs."""
        return {each.id: each for each in (*self.candidates, *self.origins)}

    @cached_property
    def by_index(self) -> dict[int, CandidateSummary]:
        """The run's candidates by their numbers."""
        return {each.index: each for each in self.candidates}

    @cached_property
    def correct(self) -> tuple[CandidateSummary, ...]:
        """The correct candidates with a time, without duplicates, in the order in which they finished."""
        return tuple(each for each in self.candidates if each.status == Status.OK and is_time(each.fitness_us))

    @cached_property
    def improvements(self) -> tuple[CandidateSummary, ...]:
        """The candidates that improved the best time."""
        found: list[CandidateSummary] = []
        for each in self.correct:
            if not found or time_of(each) < time_of(found[-1]):
                found.append(each)
        return tuple(found)

    @cached_property
    def places(self) -> dict[int, int]:
        """Id -> the number of candidates that had finished when it finished, itself included."""
        return {each.id: number for number, each in enumerate(self.candidates, 1)}

    @property
    def steps(self) -> list[tuple[int, Outcome]]:
        """The improvements, each with the number of candidates finished by then, as the store gives them."""
        names = Outcome.__dataclass_fields__
        return [
            (self.places[each.id], Outcome(**{name: getattr(each, name) for name in names}))
            for each in self.improvements
        ]

    @cached_property
    def seconds(self) -> dict[int, float]:
        """Id -> seconds from the beginning of the run; they never decrease, although the clock may be set back."""
        found, last = {}, 0.0
        for each in self.candidates:
            last = max(last, (each.finished_at - self.run.created_at).total_seconds())
            found[each.id] = last
        return found

    @property
    def winning_final(self) -> Final | None:
        """The winner of the finals."""
        return self.finals.winner if self.finals is not None else None

    @cached_property
    def winner(self) -> CandidateSummary | None:
        """The winner of the finals; without one, the fastest candidate that did not fail in the finals."""
        if self.winning_final is not None:
            return self.by_index[self.winning_final.index]
        finalists = self.finals.finalists if self.finals is not None else ()
        refuted = {final.index for final in finalists if final.status is not Status.OK}
        standing = (each for each in self.correct if each.index not in refuted)
        return min(standing, key=lambda each: (time_of(each), each.index), default=None)

    @property
    def winner_us(self) -> float | None:
        """The winner's median: that of the finals, or else that of the search."""
        if self.winning_final is not None and self.winning_final.time is not None:
            return self.winning_final.time.p50_us
        return self.winner.fitness_us if self.winner is not None else None

    @cached_property
    def path(self) -> tuple[CandidateSummary, ...]:
        """The winner, its first parent, the first parent of that one, … to the first ancestor."""
        found: list[CandidateSummary] = []
        each = self.winner
        while each is not None:
            found.append(each)
            each = next((self.by_id[key] for key in each.parent_ids if key in self.by_id), None)
        return tuple(found)

    @cached_property
    def baselines(self) -> dict[str, float]:
        """Name -> median in microseconds: of the finals, else of the beginning of the search."""
        if self.finals is not None and self.finals.baselines:
            return {each.name: each.p50_us for each in self.finals.baselines}
        begun = self.latest(BASELINES)
        return {name: value for name, value in (begun.data if begun is not None else {}).items() if is_time(value)}

    @property
    def best_baseline(self) -> str | None:
        """The fastest baseline."""
        return min(self.baselines, key=lambda name: self.baselines[name], default=None)

    @cached_property
    def main_family(self) -> str | None:
        """The winner's family; without a winner, the one with the most candidates."""
        if self.winner is not None:
            return self.winner.family
        counts: dict[str, int] = {}
        for each in self.candidates:
            counts[each.family] = counts.get(each.family, 0) + 1
        return max(counts, key=lambda family: counts[family], default=None)

    @cached_property
    def importance(self) -> Importance | None:
        """What a forest says of the genes of the main family; None where too few candidates are correct."""
        return weigh(self.children_of(self.main_family)) if self.main_family is not None else None

    @cached_property
    def threads(self) -> dict[int, int]:
        """Id -> threads of a block: a gene, or in the main family a figure that its search space derives from genes."""
        found: dict[int, int] = {}
        space = self._main_space
        for each in self.candidates:
            threads = each.genome.get("threads")
            if threads is None and space is not None and each.family == self.main_family:
                with contextlib.suppress(SpaceError):  # a genome of an earlier version of the space
                    threads = space.derived(each.genome).get("threads")
            if isinstance(threads, int):
                found[each.id] = threads
        return found

    @property
    def _main_space(self) -> SearchSpace | None:
        """The search space of the main family; None where this machine lacks the family, or facts of the device."""
        facts, problems = self.run.machine.get("facts"), list(self.problems.values())
        if self.main_family is None or not facts or not problems:
            return None
        try:
            return load(self.main_family, [Path(each) for each in self.run.plan.get("templates", ())]).space(
                problems, facts
            )
        except EvoflashError:
            return None

    @cached_property
    def problems(self) -> dict[str, Problem]:
        """The problem of each shape by its name; empty where this machine lacks the package that one is of."""
        try:
            shapes = [Shape.model_validate(each) for each in shapes_on_record(self.run.plan)]
        except (EvoflashError, ValueError):
            return {}
        return {each.name: each.problem for each in shapes}

    def latest(self, kind: str) -> Insight | None:
        """The latest observation of a kind."""
        return next((each for each in reversed(self.insights) if each.kind == kind), None)

    def children_of(self, family: str) -> list[CandidateSummary]:
        """The correct candidates of a family, in the order in which they finished."""
        return [each for each in self.correct if each.family == family]

    def thinned(self, among: Sequence[CandidateSummary]) -> list[CandidateSummary]:
        """At most about `THINNED` of these candidates: all that matter, and every n-th of the others.

        The winner and its ancestors, the finalists and the candidates that improved the best time are always kept.
        """
        if len(among) <= THINNED:
            return list(among)
        kept = {each.id for each in (*self.path, *self.improvements)}
        kept |= {self.by_index[final.index].id for final in (self.finals.finalists if self.finals is not None else ())}
        step = math.ceil(len(among) / max(1, THINNED - len(kept)))
        return [each for number, each in enumerate(among) if each.id in kept or number % step == 0]


def changes(parent: CandidateSummary, child: CandidateSummary) -> dict[str, tuple[Any, Any]]:
    """The genes that differ, with the family first: name -> (parent's, child's)."""
    old, new = (Candidate(0, each.family, Genome(each.genome), each.operator) for each in (parent, child))
    return genome_changes(old, new)


def shown(value: Any) -> str:
    """A gene's value as text."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def described(genome: Mapping[str, Any]) -> str:
    """A genome in one line."""
    return ", ".join(f"{name}={shown(value)}" for name, value in genome.items())
