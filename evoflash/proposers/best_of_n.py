"""Best of N: independent variations of the starting genomes. A baseline that shows what feedback is worth."""

from __future__ import annotations

import random

from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Proposal
from evoflash.proposers.base import Spaces, novel, seed_proposals

GENES = (1, 2, 3, 4)  # numbers of genes that a variation changes


class BestOfNProposer:
    """Proposes the seeds, and a random genome for families without any, then variations of these."""

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
        """A starting genome, then variations of them."""
        while self._queue:
            proposal = self._queue.pop(0)
            if not archive.has(proposal.family, proposal.genome):
                return proposal
        return novel(archive, self._variation, self._rng, self._spaces)

    def tell(self, member: Member) -> None:
        """Does nothing: this strategy uses no feedback."""

    def _variation(self) -> Proposal:
        start = self._rng.choice(self._starts)
        genome = self._spaces[start.family].mutate(start.genome, self._rng, self._rng.choice(GENES))
        return Proposal(start.family, genome, "variation")
