"""A search space: its valid genomes, and the moves between them.

A space is declared in search_spaces/<family>.yaml and bound to a device and one problem, on which it depends what is
valid; or to several problems, and then valid is what is valid for all of them. Every genome that leaves here is valid:
`sample`, `neighbours`, `mutate`, `crossover`, `repair` return no other.
"""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from evoflash.core.genome import Gene, Genome
from evoflash.errors import SpaceError, unknown
from evoflash.space.component import Group
from evoflash.space.constraints import Validity
from evoflash.space.declaration import Constraint, Declaration, Seed


class SearchSpace:
    """A declaration bound to the facts of problems and of a device.

    Args:
        problems: the facts of each problem that one kernel must serve, mostly one.
    """

    def __init__(
        self,
        declaration: Declaration,
        problems: Sequence[Mapping[str, Any]],
        device: Mapping[str, Any],
    ):
        self.family = declaration.family
        self.parameters = declaration.parameters
        self.seeds = declaration.seeds
        self._validity = Validity(declaration, problems, device)
        self._groups = [Group(names, checks, self._validity) for names, checks in self._validity.groups]

    def seeded(self, genomes: Sequence[Mapping[str, Gene]]) -> Self:
        """This space with known-good genomes before its own."""
        twin = copy.copy(self)
        own = [Seed(genome=dict(genome), device="", date="", note="an earlier run's") for genome in genomes]
        twin.seeds = (*own, *self.seeds)
        return twin

    def derived(self, genome: Mapping[str, Gene]) -> dict[str, Any]:
        """The space's named expressions for a genome, e.g. the shared memory that it takes."""
        return self._validity.derived(genome)

    def explain(self, rng: random.Random) -> list[tuple[Constraint, float]]:
        """Each constraint with the share of blind draws that it alone excludes, the hardest first."""
        return self._validity.explain(rng)

    def violations(self, genome: Mapping[str, Gene]) -> list[Constraint]:
        """The constraints that a complete genome breaks.

        Raises:
            SpaceError: when genes are missing, unknown, or outside their values.
        """
        for name in genome:
            if name not in self.parameters:
                raise SpaceError(f"family {self.family}: {unknown('parameter', name, self.parameters)}")
        for name, parameter in self.parameters.items():
            if name not in genome:
                raise SpaceError(f"family {self.family}: parameter {name!r} is missing; give one of {parameter.values}")
            if not parameter.admits(genome[name]):
                raise SpaceError(
                    f"family {self.family}: {name}={genome[name]!r} is none of {parameter.values}; choose one"
                )
        return self._validity.broken(genome)

    def is_valid(self, genome: Mapping[str, Gene]) -> bool:
        """Whether a genome of this space's genes satisfies every constraint."""
        return self._validity.holds(self._validity.cheapest, genome)

    def sample(self, rng: random.Random) -> Genome:
        """A valid genome, drawn uniformly: each group of parameters that no constraint ties to the others by itself.

        A group in which blind draws find nothing is searched completely, in random order.

        Raises:
            SpaceError: when no genome is valid; the message says which constraint excludes what.
        """
        self._validity.require_possible(rng)
        genome: dict[str, Gene] = {}
        for group in self._groups:
            genome |= group.draw(rng)
        return Genome(genome)

    def require_valid_genomes(self, rng: random.Random) -> None:
        """Raises SpaceError, saying which constraint excludes what, when nothing is valid here."""
        self.sample(rng)

    def genomes(self) -> Iterator[Genome]:
        """Every valid genome, in the order of the declaration."""
        for values in self._validity.complete(None, {}, list(self.parameters), self._validity.cheapest):
            yield Genome(values)

    def neighbours(self, genome: Genome) -> list[Genome]:
        """The valid genomes one move away: an ordinal one step, a categorical or flag any other value."""
        found = []
        for name, parameter in self.parameters.items():
            values = parameter.values
            place = parameter.place(genome[name])
            steps = (place - 1, place + 1) if parameter.kind == "ordinal" else range(len(values))
            for step in steps:
                if step != place and 0 <= step < len(values):
                    changed = genome.replace(**{name: values[step]})
                    if self.is_valid(changed):
                        found.append(changed)
        return found

    def mutate(self, genome: Genome, rng: random.Random, genes: int = 1) -> Genome:
        """A valid genome with about this many genes changed; ordinals mostly by one step, sometimes by two."""
        changed = dict(genome)
        movable = [name for name, parameter in self.parameters.items() if len(parameter.values) > 1]
        for name in rng.sample(movable, min(genes, len(movable))):
            values = self.parameters[name].values
            place = self.parameters[name].place(genome[name])
            if self.parameters[name].kind == "ordinal":
                reach = 2 if rng.random() < 0.3 else 1
                others = [step for step in (place - reach, place + reach) if 0 <= step < len(values)]
                others = others or [step for step in (place - 1, place + 1) if 0 <= step < len(values)]
            else:
                others = [step for step in range(len(values)) if step != place]
            changed[name] = values[rng.choice(others)]
        return self.repair(changed, rng)

    def crossover(self, first: Genome, second: Genome, rng: random.Random) -> Genome:
        """A valid genome with each gene from either parent."""
        return self.repair({name: rng.choice((first, second))[name] for name in self.parameters}, rng)

    def repair(self, values: Mapping[str, Gene], rng: random.Random) -> Genome:
        """The values themselves if they are valid, else a valid genome that keeps as many of them as it can.

        Genes that are missing or unknown here (from another family) are drawn or dropped, so this also moves a genome
        between families: they are drawn to fit those that are kept, where that can be. Each group of tied parameters is
        repaired by itself: first one gene is freed, then two, of those that broken constraints read; a group that
        cannot be saved is drawn anew.
        """
        self._validity.require_possible(rng)
        genome: dict[str, Gene] = {}
        for group in self._groups:
            kept = {name: values[name] for name in group.names if self.parameters[name].admits(values.get(name))}
            genome |= group.fill(kept, rng) or self._repair_group(group, kept, rng)
        return Genome(genome)

    def _repair_group(self, group: Group, kept: Mapping[str, Gene], rng: random.Random) -> dict[str, Gene]:
        domains = self._validity.domains
        drawn = {
            name: kept[name] if name in kept else rng.choice(domains[name] or self.parameters[name].values)
            for name in group.names
        }
        return group.repair(drawn, rng)
