"""A search space: its valid genomes, and the moves between them.

A space is declared in search_spaces/<family>.yaml and bound to a device and to one or several problems; with several, a
genome must be valid for all of them. `sample`, `neighbours`, `mutate`, `crossover` and `repair` only return valid
genomes.
"""

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

from evoflash.core.genome import Gene, Genome
from evoflash.errors import SpaceError, unknown
from evoflash.space.component import Component
from evoflash.space.constraints import Validity
from evoflash.space.declaration import Constraint, Declaration, Seed
from evoflash.space.prior import Prior


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
        self._bound = (declaration, problems, device)
        self.family = declaration.family
        self.parameters = declaration.parameters
        self.seeds = declaration.seeds
        self.prior = declaration.prior
        self._validity = Validity(declaration, problems, device)
        self._components = [Component(names, checks, self._validity) for names, checks in self._validity.components]

    def seeded(self, genomes: Sequence[Mapping[str, Gene]]) -> Self:
        """A copy of this space with additional seeds before its own."""
        space = copy.copy(self)
        seeds = [Seed(genome=dict(genome), device="", date="", note="from an earlier run") for genome in genomes]
        space.seeds = (*seeds, *self.seeds)
        return space

    def expecting(self, prior: Prior | None) -> Self:
        """A copy of this space with another prior."""
        space = copy.copy(self)
        space.prior = prior
        return space

    def restricted(self, only: Mapping[str, Sequence[Gene]]) -> "SearchSpace":
        """The part of this space in which parameters have some of their values, with the seeds that lie in it.

        Args:
            only: values by parameter; other parameters keep all of theirs.

        Raises:
            SpaceError: for a parameter or a value that is not declared.
        """
        declaration, problems, device = self._bound
        parameters = dict(self.parameters)
        for name, values in only.items():
            if name not in parameters:
                raise SpaceError(f"family {self.family}: {unknown('parameter', name, parameters)}")
            for value in values:
                if not parameters[name].admits(value):
                    raise SpaceError(
                        f"family {self.family}: {name}={value!r} is not one of {parameters[name].values}; choose one"
                    )
            own = sorted({parameters[name].place(value) for value in values})
            kept = tuple(parameters[name].values[place] for place in own)
            parameters[name] = parameters[name].model_copy(update={"values": kept})
        seeds = tuple(
            each for each in self.seeds if all(parameters[name].admits(each.genome.get(name)) for name in parameters)
        )
        return SearchSpace(declaration.model_copy(update={"parameters": parameters, "seeds": seeds}), problems, device)

    def derived(self, genome: Mapping[str, Gene]) -> dict[str, Any]:
        """The derived values of a genome, e.g. its shared memory."""
        return self._validity.derived(genome)

    def explain(self, rng: random.Random) -> list[tuple[Constraint, float]]:
        """Each constraint with the share of unconstrained random genomes that it excludes, largest first."""
        return self._validity.explain(rng)

    def violations(self, genome: Mapping[str, Gene]) -> list[Constraint]:
        """The constraints that a complete genome violates.

        Raises:
            SpaceError: when genes are missing or unknown, or have an undeclared value.
        """
        for name in genome:
            if name not in self.parameters:
                raise SpaceError(f"family {self.family}: {unknown('parameter', name, self.parameters)}")
        for name, parameter in self.parameters.items():
            if name not in genome:
                raise SpaceError(f"family {self.family}: parameter {name!r} is missing; give one of {parameter.values}")
            if not parameter.admits(genome[name]):
                raise SpaceError(
                    f"family {self.family}: {name}={genome[name]!r} is not one of {parameter.values}; choose one"
                )
        return self._validity.broken(genome)

    def is_valid(self, genome: Mapping[str, Gene]) -> bool:
        """Whether a genome with the genes of this space satisfies every constraint."""
        return self._validity.holds(self._validity.cheapest, genome)

    def sample(self, rng: random.Random) -> Genome:
        """A uniformly random valid genome. Independent components are drawn separately.

        A component in which random draws find nothing is searched exhaustively, in random order.

        Raises:
            SpaceError: when no genome is valid; the message says how much each constraint excludes.
        """
        self._validity.require_possible(rng)
        genome: dict[str, Gene] = {}
        for component in self._components:
            genome |= component.draw(rng)
        return Genome(genome)

    def require_valid_genomes(self, rng: random.Random) -> None:
        """Raises SpaceError when no genome is valid; the message says how much each constraint excludes."""
        self.sample(rng)

    def genomes(self) -> Iterator[Genome]:
        """Every valid genome, in the order of the declaration."""
        for values in self._validity.complete(None, {}, list(self.parameters), self._validity.cheapest):
            yield Genome(values)

    def neighbours(self, genome: Genome) -> list[Genome]:
        """The valid genomes one move away: ordinal genes by one step, others to any value."""
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
        """A valid genome with about this many genes changed; ordinal genes mostly by one step, sometimes by two."""
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
        """The values themselves if they are valid, otherwise a valid genome that keeps as many of them as possible.

        Missing genes are drawn and unknown ones dropped, so this also converts genomes between families. If possible,
        missing genes are drawn to fit the others. Each independent component is repaired separately: first one gene,
        then two genes are changed among those that violated constraints read. A component that cannot be repaired is
        drawn anew.
        """
        self._validity.require_possible(rng)
        genome: dict[str, Gene] = {}
        for component in self._components:
            kept = {name: values[name] for name in component.names if self.parameters[name].admits(values.get(name))}
            genome |= component.fill(kept, rng) or self._repair_component(component, kept, rng)
        return Genome(genome)

    def _repair_component(self, component: Component, kept: Mapping[str, Gene], rng: random.Random) -> dict[str, Gene]:
        domains = self._validity.domains
        drawn = {
            name: kept[name] if name in kept else rng.choice(domains[name] or self.parameters[name].values)
            for name in component.names
        }
        return component.repair(drawn, rng)
