"""Random search: the strategy that every other one is measured against."""

import random

from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Proposal
from evoflash.proposers.base import Spaces, novel, random_proposal


class RandomProposer:
    """A random family, a random valid genome of it, never the same twice."""

    def __init__(self, spaces: Spaces, seed: int):
        self._spaces = spaces
        self._rng = random.Random(seed)

    def ask(self, archive: Archive) -> Proposal | None:
        """A genome that has not been proposed."""
        return novel(archive, lambda: random_proposal(self._spaces, self._rng), self._rng, self._spaces)

    def tell(self, member: Member) -> None:
        """Nothing is learned."""
