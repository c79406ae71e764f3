"""Populations, which select parents, after EvoEngineer (arXiv 2510.03760).

- `best`: the fastest member of each family.
- `elite`: the peaks of each family, which are fast members that differ from each other.
- `map-elites`: the elites of niches, in islands that restart when they stagnate, with a migrant from another island.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from evoflash.core.archive import Archive, Member, resource_niche
from evoflash.core.status import Status
from evoflash.errors import unknown

PEAKS = 6  # maximum number of parents per family
SEARCHED = 60  # peaks are searched among this many fastest members of a family
ALIKE = 1  # members that differ in at most this many genes belong to one peak
STAGNATION = 80  # results without an improvement after which an island restarts
ISLANDS = 2  # islands per family

Niche = Callable[[Member], Any]


class Population(Protocol):
    """Selects parents."""

    def parents(self, archive: Archive, family: str) -> list[Member]:
        """Correct members of a family, fastest first; at least one if the family has any."""
        ...

    def tell(self, member: Member) -> None:
        """Reports a result; results come in the order of the candidates' numbers."""
        ...

    def figures(self) -> dict[str, Any]:
        """Statistics for the user, e.g. how often islands restarted."""
        ...


class BestPopulation:
    """Only the fastest member of a family."""

    def parents(self, archive: Archive, family: str) -> list[Member]:
        """The fastest member."""
        return archive.elites(1, family)

    def tell(self, member: Member) -> None:
        """Does nothing: the archive has the fastest member."""

    def figures(self) -> dict[str, Any]:
        """No statistics."""
        return {}


class ElitePopulation:
    """The fastest members of a family that differ from each other in more than one gene.

    Most neighbours of the best are almost as fast, but add nothing as parents: crossover needs parents that differ.
    """

    def __init__(self) -> None:
        self._peaks: dict[str, list[Member]] = {}

    def parents(self, archive: Archive, family: str) -> list[Member]:
        """The peaks, recomputed after each new result of the family."""
        if family not in self._peaks:
            self._peaks[family] = peaks(archive.elites(SEARCHED, family))
        return self._peaks[family]

    def tell(self, member: Member) -> None:
        """Invalidates the peaks of the member's family."""
        self._peaks.pop(member.candidate.family, None)

    def figures(self) -> dict[str, Any]:
        """No statistics."""
        return {}


@dataclass
class Island:
    """A part of a family's population.

    Attributes:
        elites: the fastest member of each niche since the island started.
        best_us: the best time since the island started.
        stagnation: results since its last improvement.
        restarts: number of restarts.
        improvements: how often it improved the best time over all islands.
    """

    elites: dict[Any, Member] = field(default_factory=dict)
    best_us: float = float("inf")
    stagnation: int = 0
    restarts: int = 0
    improvements: int = 0


class MapElitesPopulation:
    """Islands per family, each with the fastest member of each niche (MAP-Elites, arXiv 1504.04909).

    A result belongs to the island of its first parent; results without parents go to the family's islands in turn. An
    island without an improvement in `STAGNATION` results restarts with one migrant, the best of the family's next
    island. The archive keeps the elites of all niches independently of the islands.

    Args:
        niche: maps a member to its niche.
    """

    def __init__(self, niche: Niche | None = None):
        self._niche = niche or warp_niche
        self._islands: dict[str, list[Island]] = {}
        self._home: dict[int, int] = {}  # candidate index -> number of its island
        self._turn: Counter[str] = Counter()
        self._best_us = float("inf")

    def parents(self, archive: Archive, family: str) -> list[Member]:
        """The elites of the next island in turn."""
        islands = self._islands.get(family, [])
        self._turn[family] += 1
        for step in range(len(islands)):
            elites = islands[(self._turn[family] + step) % len(islands)].elites
            if elites:
                return sorted(elites.values(), key=_rank)[:PEAKS]
        return archive.elites(1, family)

    def tell(self, member: Member) -> None:
        """Adds the member to its island, and restarts the island if it stagnates."""
        candidate = member.candidate
        islands = self._islands.setdefault(candidate.family, [Island() for _ in range(ISLANDS)])
        homes = [self._home[parent] for parent in candidate.parents if parent in self._home]
        number = homes[0] % ISLANDS if homes else candidate.index % ISLANDS
        self._home[candidate.index] = number
        island = islands[number]
        island.stagnation += 1
        if member.evaluation.status is Status.OK:
            self._insert(island, member)
        if island.stagnation >= STAGNATION:
            migrant = min(islands[(number + 1) % ISLANDS].elites.values(), key=_rank, default=None)
            islands[number] = Island(restarts=island.restarts + 1, improvements=island.improvements)
            if migrant is not None and ISLANDS > 1:
                self._insert(islands[number], migrant)

    def figures(self) -> dict[str, Any]:
        """The number of niches, restarts and improvements of each island."""
        return {
            f"{family} {number}": {
                "niches": len(island.elites),
                "restarts": island.restarts,
                "improvements": island.improvements,
            }
            for family, islands in sorted(self._islands.items())
            for number, island in enumerate(islands)
        }

    def _insert(self, island: Island, member: Member) -> None:
        niche, fitness = self._niche(member), member.fitness_us
        if niche not in island.elites or fitness < island.elites[niche].fitness_us:
            island.elites[niche] = member
        if fitness < island.best_us:
            island.best_us, island.stagnation = fitness, 0
        if fitness < self._best_us:
            self._best_us = fitness
            island.improvements += 1


def peaks(ranking: list[Member]) -> list[Member]:
    """The members of a ranking that differ from every faster peak in more than `ALIKE` genes."""
    found: list[Member] = []
    for member in ranking:
        genes = member.candidate.genome.values()  # all genomes of a family have their genes in the same order
        if all(sum(map(operator.ne, genes, each.candidate.genome.values())) > ALIKE for each in found):
            found.append(member)
        if len(found) == PEAKS:
            break
    return found


def warp_niche(member: Member) -> tuple[Any, ...]:
    """The bucket of shared memory, and the layout of a block's warps or threads.

    The layout is given by the genes whose names contain "warps" or "threads", or else by the family's first two genes.
    """
    shared, _ = resource_niche(member)
    genes = member.candidate.genome
    names = [name for name in genes if "warps" in name or "threads" in name] or list(genes)[:2]
    return shared, tuple(genes[name] for name in names)


POPULATIONS: Mapping[str, Callable[[], Population]] = {
    "best": BestPopulation,
    "elite": ElitePopulation,
    "map-elites": MapElitesPopulation,
}


def population(name: str) -> Population:
    """Creates a population by name.

    Raises:
        NotFoundError: for an unknown name, with the closest names.
    """
    if name not in POPULATIONS:
        raise unknown("population", name, POPULATIONS)
    return POPULATIONS[name]()


def _rank(member: Member) -> tuple[float, int]:
    return member.fitness_us, member.candidate.index
