"""The families of a run, bound to its problems and its device: their templates and their search spaces."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from evoflash.codegen.source import Source
from evoflash.codegen.template import load
from evoflash.core.candidate import Candidate
from evoflash.core.genome import Gene
from evoflash.run import warm_start
from evoflash.run.plan import Plan
from evoflash.space.search_space import SearchSpace
from evoflash.targets import Target


class Families:
    """What a plan's candidates are made from.

    Attributes:
        problems: by the name of the shape; one kernel must serve all of them.
        templates, spaces: by family; the genomes of a warm start are the first seeds of their spaces.
    """

    def __init__(self, plan: Plan, target: Target):
        self.problems = plan.problems
        self.problem = plan.shapes[0].problem
        self.templates = {family: load(family, plan.templates) for family in plan.families}
        spaces = {name: each.space(list(self.problems.values()), target.facts) for name, each in self.templates.items()}
        if plan.survey is not None:
            spaces = {name: _part(each, plan.survey.only) for name, each in spaces.items()}
        self.spaces = warm_start.seeded(spaces, plan.warm)
        self._seed = plan.seed
        self._device = target.facts

    def require_valid_genomes(self) -> None:
        """Raises SpaceError, naming the constraints at fault, when a family has no valid genome."""
        for space in self.spaces.values():
            space.require_valid_genomes(random.Random(self._seed))

    def render(self, candidate: Candidate) -> Source:
        """The source of a candidate; of a multi-shape run it is rendered for the first shape and serves all."""
        return self.templates[candidate.family].render(candidate.genome, self.problem, self._device)


def _part(space: SearchSpace, only: Mapping[str, Sequence[Gene]]) -> SearchSpace:
    """The part of a space that is surveyed; families need not share parameters."""
    return space.restricted({name: values for name, values in only.items() if name in space.parameters})
