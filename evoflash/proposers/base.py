"""Who decides what to try next: the extension point for search strategies.

A proposer is asked for one genome at a time and is told results in the order of the candidates' numbers. It has no
clock, no device and no random state but its own seed: the same seed and the same results give the same proposals.
That is also how a run is
resumed: the recorded results are told again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Protocol

from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Proposal
from evoflash.core.genome import Genome
from evoflash.space.search_space import SearchSpace

Spaces = Mapping[str, SearchSpace]

NOVELTY_TRIES = 50


class Proposer(Protocol):
    """A strategy.

    The constructor takes the spaces of all families by name and a seed. `testing.check_proposer` is the conformance
    suite.
    """

    def ask(self, archive: Archive) -> Proposal | None:
        """The next genome to try, valid in its family's space; None when nothing new is left."""
        ...

    def tell(self, member: Member) -> None:
        """A candidate's result, in the order of numbers."""
        ...


def novel(archive: Archive, draw: Callable[[], Proposal], rng: random.Random, spaces: Spaces) -> Proposal | None:
    """The first of `NOVELTY_TRIES` draws that has not been proposed; else any genome that has not, else None."""
    for _ in range(NOVELTY_TRIES):
        proposal = draw()
        if not archive.has(proposal.family, proposal.genome):
            return proposal
    families = sorted(spaces)
    rng.shuffle(families)
    for family in families:
        for genome in spaces[family].genomes():
            if not archive.has(family, genome):
                return Proposal(family, genome, "enumeration")
    return None


def random_proposal(spaces: Spaces, rng: random.Random) -> Proposal:
    """A random genome of a random family."""
    family = rng.choice(sorted(spaces))
    return Proposal(family, spaces[family].sample(rng), "random")


def seed_proposals(spaces: Spaces) -> list[Proposal]:
    """The known-good genomes of all spaces that are valid here, one of each family in turn."""
    by_family = {}
    for family, space in sorted(spaces.items()):
        genomes = [Genome(seed.genome) for seed in space.seeds]
        by_family[family] = [genome for genome in genomes if not space.violations(genome)]
    rounds = max((len(genomes) for genomes in by_family.values()), default=0)
    return [
        Proposal(family, genomes[number], "seed")
        for number in range(rounds)
        for family, genomes in by_family.items()
        if number < len(genomes)
    ]
