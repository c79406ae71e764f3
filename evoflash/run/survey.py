"""A survey: what a run measures in place of a search, all of a sub-space or a uniform sample of it.

The genomes come in a random order that follows from the seed, so that what has been measured of an unfinished survey is
a uniform sample, too, and a larger sample begins with the smaller one of the same seed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Iterator, Mapping

from pydantic import Field

from evoflash.core.candidate import Proposal
from evoflash.core.genome import Gene, Genome
from evoflash.core.record import Record
from evoflash.errors import SpaceError
from evoflash.proposers.listed import ListedProposer
from evoflash.space.search_space import SearchSpace

ENUMERABLE = 200_000  # valid genomes of a family that a survey may list
MISSES = 1000  # draws in a row that were drawn before, after which the rest of the genomes is listed
MEASURED = "survey"  # the operator of its proposals

Ranges = tuple[tuple[int, int], ...]


class Survey(Record):
    """What is measured, in which order, and what was measured before.

    Attributes:
        out: the absolute path of the file of the results; a sitting that was killed is found by it.
        sitting: identifies this sitting in that file.
        sources: by family the digest of one kernel, which tells whether its template has changed since.
        only: values of parameters that are measured; a parameter that is not named has all of its values.
        sample: genomes of each family, drawn uniformly from the valid ones without repetition; None measures all.
        skipped: by family the places of the genomes that were measured before, as first and last place.
    """

    out: str
    sitting: str
    sources: dict[str, str] = {}
    only: dict[str, tuple[Gene, ...]] = {}
    sample: int | None = Field(None, gt=0)
    skipped: dict[str, Ranges] = {}

    def proposer(self, spaces: Mapping[str, SearchSpace], seed: int) -> ListedProposer:
        """Proposes what is left to measure; the families take turns."""
        return ListedProposer([self._proposals(family, space, seed) for family, space in sorted(spaces.items())])

    def _proposals(self, family: str, space: SearchSpace, seed: int) -> Iterator[Proposal]:
        skipped = iter(self.skipped.get(family, ()))
        first, last = next(skipped, (-1, -1))
        for place, genome in enumerate(self.genomes(space, seed)):
            if 0 <= last < place:
                first, last = next(skipped, (-1, -1))
            if not first <= place <= last:
                yield Proposal(family, genome, MEASURED)

    def genomes(self, space: SearchSpace, seed: int) -> Iterator[Genome]:
        """The genomes to measure, in the order of the survey.

        Raises:
            SpaceError: when all of a space are wanted that has more than `ENUMERABLE`.
        """
        rng = random.Random(f"{seed} {space.family}")
        return _all(space, rng) if self.sample is None else itertools.islice(_drawn(space, rng), self.sample)


def places(genomes: Iterator[Genome], known: Collection[str]) -> Ranges:
    """The places of genomes whose digests are known, as ranges; stops after the last of them."""
    found: list[tuple[int, int]] = []
    left = len(known)
    for place, genome in enumerate(genomes):
        if not left:
            break
        if genome.digest in known:
            left -= 1
            if found and found[-1][1] == place - 1:
                found[-1] = (found[-1][0], place)
            else:
                found.append((place, place))
    return tuple(found)


def _all(space: SearchSpace, rng: random.Random) -> Iterator[Genome]:
    genomes = list(itertools.islice(space.genomes(), ENUMERABLE + 1))
    if len(genomes) > ENUMERABLE:
        raise SpaceError(
            f"{space.family} has more than {ENUMERABLE} valid genomes; fix more parameters by --set, or take a sample "
            "by --sample"
        )
    rng.shuffle(genomes)
    yield from genomes


def _drawn(space: SearchSpace, rng: random.Random) -> Iterator[Genome]:
    """Distinct genomes in the order in which they are drawn; once nearly all have been drawn, the others."""
    seen: set[str] = set()
    misses = 0
    while misses < MISSES:
        genome = space.sample(rng)
        if genome.digest in seen:
            misses += 1
            continue
        misses = 0
        seen.add(genome.digest)
        yield genome
    yield from (genome for genome in space.genomes() if genome.digest not in seen)
