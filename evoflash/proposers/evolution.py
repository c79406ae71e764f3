"""Evolution: the default strategy.

1. Begin with the spaces' known-good genomes, then a few random ones of each family.
2. From then on choose an operator for each proposal: mutate an elite, cross two elites of a family, carry an elite's
   genes into another family, or draw at random.
3. Parents come from the elites of a family and from the owners of niches, so that no family dies of one unlucky start.
4. The better a family's best, the more proposals it gets; one with nothing right is reached by family switches only.
"""

from __future__ import annotations

import random

from evoflash.archive import Archive, Member
from evoflash.candidate import Proposal
from evoflash.proposers.base import Spaces, novel, random_proposal, seed_proposals

STARTERS = 8  # random genomes of each family before the first child
ELITES = 6  # parents of a family
OPERATORS = {"mutation": 0.5, "crossover": 0.3, "random": 0.15, "family-switch": 0.05}


class EvolutionProposer:
    """Elites, mutation, crossover and family switch."""

    def __init__(self, spaces: Spaces, seed: int):
        self._spaces = spaces
        self._rng = random.Random(seed)
        starters = [family for _ in range(STARTERS) for family in sorted(spaces)]
        self._queue = seed_proposals(spaces)
        self._starters = starters[len(self._queue) :]

    def ask(self, archive: Archive) -> Proposal | None:
        """A genome that has not been proposed."""
        while self._queue:
            proposal = self._queue.pop(0)
            if not archive.has(proposal.family, proposal.genome):
                return proposal
        if self._starters:
            family = self._starters.pop(0)
            return novel(
                archive,
                lambda: Proposal(family, self._spaces[family].sample(self._rng), "random"),
                self._rng,
                self._spaces,
            )
        return novel(archive, lambda: self._child(archive), self._rng, self._spaces)

    def tell(self, member: Member) -> None:
        """All that it knows of the past is in the archive."""

    def _child(self, archive: Archive) -> Proposal:
        family = self._family(archive)
        if family is None:
            return random_proposal(self._spaces, self._rng)
        parents = self._parents(archive, family)
        operator = self._rng.choices(list(OPERATORS), weights=list(OPERATORS.values()))[0]
        if operator == "crossover" and len(parents) > 1:
            first, second = self._rng.sample(parents, 2)
            genome = self._spaces[family].crossover(first.candidate.genome, second.candidate.genome, self._rng)
            return Proposal(family, genome, operator, (first.candidate.index, second.candidate.index))
        if operator == "family-switch" and len(self._spaces) > 1:
            return self._switch(self._rng.choice(parents))
        if operator == "random":
            return Proposal(family, self._spaces[family].sample(self._rng), operator)
        parent = self._rng.choice(parents)
        genes = 1 + (self._rng.random() < 0.4) + (self._rng.random() < 0.15)
        genome = self._spaces[family].mutate(parent.candidate.genome, self._rng, genes)
        return Proposal(family, genome, "mutation", (parent.candidate.index,))

    def _switch(self, parent: Member) -> Proposal:
        """The parent's genes in another family: those that it knows are kept, the rest drawn, the whole repaired."""
        others = sorted(set(self._spaces) - {parent.candidate.family})
        family = self._rng.choice(others)
        genome = self._spaces[family].repair(parent.candidate.genome, self._rng)
        return Proposal(family, genome, "family-switch", (parent.candidate.index,))

    def _family(self, archive: Archive) -> str | None:
        """A family with a right member, drawn by the inverse square of its best time."""
        families = archive.families()
        if not families:
            return None
        weights = [archive.elites(1, family)[0].fitness_us ** -2 for family in families]
        return self._rng.choices(families, weights=weights)[0]

    def _parents(self, archive: Archive, family: str) -> list[Member]:
        """The elites, and one owner of a niche."""
        parents = archive.elites(ELITES, family)
        owners = [owner for owner in archive.niches().values() if owner.candidate.family == family]
        stranger = self._rng.choice(owners)
        return parents if stranger in parents else [*parents, stranger]
