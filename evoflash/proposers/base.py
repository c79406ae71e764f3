"""Proposers decide what to try next. They are the extension point for search strategies.

A proposer has an ask-and-tell interface: it is asked for one genome at a time, and told results in the order of the
candidates' numbers. It uses no clock, no device and no random state other than its seed, so the same seed and the same
results give the same proposals. A run is resumed by telling it the recorded results again.
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
    """A search strategy.

    The constructor takes the spaces, by family, and a seed. `testing.check_proposer` is the conformance suite.
    """

    def ask(self, archive: Archive) -> Proposal | None:
        """Returns a new genome that is valid in its family's space; None when none is left."""
        ...

    def tell(self, member: Member) -> None:
        """Reports a candidate's result; results come in the order of the candidates' numbers."""
        ...


def novel(archive: Archive, draw: Callable[[], Proposal], rng: random.Random, spaces: Spaces) -> Proposal | None:
    """The first of `NOVELTY_TRIES` draws that is new, otherwise any new genome, or None when there is none."""
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
    """The seeds of all spaces that are valid, cycling through the families."""
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
