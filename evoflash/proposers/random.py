"""Random search, the baseline for all other strategies."""

import random

from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Proposal
from evoflash.proposers.base import Spaces, novel, random_proposal


class RandomProposer:
    """Proposes random valid genomes of random families, without repetition."""

    def __init__(self, spaces: Spaces, seed: int):
        self._spaces = spaces
        self._rng = random.Random(seed)

    def ask(self, archive: Archive) -> Proposal | None:
        """A new genome."""
        return novel(archive, lambda: random_proposal(self._spaces, self._rng), self._rng, self._spaces)

    def tell(self, member: Member) -> None:
        """Does nothing: this strategy uses no feedback."""
