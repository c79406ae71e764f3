"""The families of a run, bound to its problems and its device: their templates and their search spaces."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence

from evoflash.codegen.source import Source
from evoflash.codegen.template import load
from evoflash.core.candidate import Candidate
from evoflash.core.genome import Gene
from evoflash.problems import Case
from evoflash.run import warm_start
from evoflash.run.plan import Plan
from evoflash.space.search_space import SearchSpace
from evoflash.targets import Target

MOST_FLOPS, MOST_BYTES = 4e9, 256e6  # of all cases that a family's first right kernel meets in the search


class Families:
    """What a plan's candidates are made from.

    Attributes:
        problems: by the name of the shape; one kernel must serve all of them.
        templates, spaces: by family; the genomes of a warm start are the first seeds of their spaces.
        proven: families of which a kernel is known to be right on its hardest cases.
    """

    def __init__(self, plan: Plan, target: Target):
        self.problems = plan.problems
        self.problem = plan.shapes[0].problem
        self.templates = {family: load(family, plan.templates) for family in plan.families}
        spaces = {name: each.space(list(self.problems.values()), target.facts) for name, each in self.templates.items()}
        if plan.survey is not None:
            spaces = {name: _part(each, plan.survey.only) for name, each in spaces.items()}
        self.spaces = warm_start.seeded(spaces, plan.warm)
        self.proven: set[str] = set()
        self._hardest: dict[str, tuple[Case, ...]] = {}
        self._seed = plan.seed
        self._device = target.facts

    def require_valid_genomes(self) -> None:
        """Raises SpaceError, naming the constraints at fault, when a family has no valid genome."""
        for space in self.spaces.values():
            space.require_valid_genomes(random.Random(self._seed))

    def hardest(self, family: str) -> tuple[Case, ...]:
        """The cases of the finals that a family's first right kernel meets at once; none once it has.

        They are cases that the same kernel takes, and take about as long as the examination of some candidates.
        """
        if family in self.proven:
            return ()
        if family not in self._hardest:
            self._hardest[family] = tuple(_affordable(self._claimed(family)))
        return self._hardest[family]

    def _claimed(self, family: str) -> Iterator[Case]:
        template = self.templates[family]
        for case in self.problem.hardest_cases():
            same = template.same_constants(case.problem, self.problem)
            if same and not template.refusals(case.problem, self._device):
                yield case

    def render(self, candidate: Candidate) -> Source:
        """The source of a candidate; of a multi-shape run it is rendered for the first shape and serves all."""
        return self.templates[candidate.family].render(candidate.genome, self.problem, self._device)


def _affordable(cases: Iterable[Case]) -> Iterator[Case]:
    """Cases as long as what all of them compute and read is little; larger ones wait for the finals."""
    flops, read = MOST_FLOPS, MOST_BYTES
    for case in cases:
        if case.problem.flops <= flops and case.problem.min_bytes <= read:
            flops, read = flops - case.problem.flops, read - case.problem.min_bytes
            yield case


def _part(space: SearchSpace, only: Mapping[str, Sequence[Gene]]) -> SearchSpace:
    """The part of a space that is surveyed; families need not share parameters."""
    return space.restricted({name: values for name, values in only.items() if name in space.parameters})
