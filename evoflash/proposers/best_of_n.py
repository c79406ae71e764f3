"""Best of N: variations of one start that learn nothing from each other; what feedback is worth shows against this."""

from __future__ import annotations

import random

from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Proposal
from evoflash.proposers.base import Spaces, novel, seed_proposals

GENES = (1, 2, 3, 4)  # how many genes of the start a variation changes; drawn for each


class BestOfNProposer:
    """The known-good genomes, or where there are none a random one of each family; then variations of these alone."""

    def __init__(self, spaces: Spaces, seed: int):
        self._spaces = spaces
        self._rng = random.Random(seed)
        known = seed_proposals(spaces)
        seeded = {proposal.family for proposal in known}
        drawn = [
            Proposal(family, spaces[family].sample(self._rng), "random")
            for family in sorted(spaces)
            if family not in seeded
        ]
        self._starts = [*known, *drawn]
        self._queue = list(self._starts)

    def ask(self, archive: Archive) -> Proposal | None:
        """A start, then a variation of any of them."""
        while self._queue:
            proposal = self._queue.pop(0)
            if not archive.has(proposal.family, proposal.genome):
                return proposal
        return novel(archive, self._variation, self._rng, self._spaces)

    def tell(self, member: Member) -> None:
        """Nothing is learned."""

    def _variation(self) -> Proposal:
        start = self._rng.choice(self._starts)
        genome = self._spaces[start.family].mutate(start.genome, self._rng, self._rng.choice(GENES))
        return Proposal(start.family, genome, "variation")
