"""Populations: who may become a parent, by name, after EvoEngineer (arXiv 2510.03760).

`best` breeds from one incumbent of each family; `elite` from the peaks of each, fast members that are not alike;
`map-elites` from the owners of niches, in islands that start afresh when they stagnate, with a migrant of another.
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

PEAKS = 6  # parents of a family
SEARCHED = 60  # the fastest members of a family, among whom peaks are looked for
ALIKE = 1  # members that differ in no more genes than this are one peak
STAGNANT = 80  # results of an island without an improvement, until it starts afresh
ISLANDS = 2  # of each family

Niche = Callable[[Member], Any]


class Population(Protocol):
    """Who may become a parent."""

    def parents(self, archive: Archive, family: str) -> list[Member]:
        """Right members of a family, the fastest first; at least one where the family has any."""
        ...

    def tell(self, member: Member) -> None:
        """A result, in the order of numbers."""
        ...

    def said(self) -> dict[str, Any]:
        """What a person may want to know of it, e.g. how often islands started afresh."""
        ...


class BestPopulation:
    """One incumbent: the fastest of a family."""

    def parents(self, archive: Archive, family: str) -> list[Member]:
        """It alone."""
        return archive.elites(1, family)

    def tell(self, member: Member) -> None:
        """The archive knows."""

    def said(self) -> dict[str, Any]:
        """Nothing."""
        return {}


class ElitePopulation:
    """The fastest few of a family that differ from each other in more than one gene.

    Neighbours of the best are mostly almost as fast. As parents they would all be one: peaks that lie apart are what a
    crossover can combine.
    """

    def __init__(self) -> None:
        self._peaks: dict[str, list[Member]] = {}

    def parents(self, archive: Archive, family: str) -> list[Member]:
        """The peaks, found anew when the family has another result."""
        if family not in self._peaks:
            self._peaks[family] = peaks(archive.elites(SEARCHED, family))
        return self._peaks[family]

    def tell(self, member: Member) -> None:
        """Its family's peaks may be others now."""
        self._peaks.pop(member.candidate.family, None)

    def said(self) -> dict[str, Any]:
        """Nothing."""
        return {}


@dataclass
class Island:
    """A part of a family's population.

    Attributes:
        owners: the fastest of each niche since the island began.
        since: results since its last improvement.
        restarts: how often it began afresh.
        improvements: how often it made the best of all islands better.
    """

    owners: dict[Any, Member] = field(default_factory=dict)
    best_us: float = float("inf")
    since: int = 0
    restarts: int = 0
    improvements: int = 0


class MapElitesPopulation:
    """Islands of one family each, of which every one keeps the fastest of each niche (MAP-Elites, arXiv 1504.04909).

    A result belongs to the island of its parents, without parents to the family's islands in turn. An island without an
    improvement in `STAGNANT` results starts afresh with what comes in next, and with one migrant: the best of the
    family's next island. The archive keeps the owner of every niche whatever happens to islands.

    Args:
        niche: what the members of an island are told apart by.
    """

    def __init__(self, niche: Niche | None = None):
        self._niche = niche or warp_niche
        self._islands: dict[str, list[Island]] = {}
        self._home: dict[int, int] = {}  # candidate -> island of its family
        self._turn: Counter[str] = Counter()
        self._best_us = float("inf")

    def parents(self, archive: Archive, family: str) -> list[Member]:
        """The owners of the island whose turn it is."""
        islands = self._islands.get(family, [])
        self._turn[family] += 1
        for step in range(len(islands)):
            owners = islands[(self._turn[family] + step) % len(islands)].owners
            if owners:
                return sorted(owners.values(), key=_rank)[:PEAKS]
        return archive.elites(1, family)

    def tell(self, member: Member) -> None:
        """Finds the member's island; it may own a niche there now, and the island may start afresh."""
        candidate = member.candidate
        islands = self._islands.setdefault(candidate.family, [Island() for _ in range(ISLANDS)])
        homes = [self._home[parent] for parent in candidate.parents if parent in self._home]
        number = homes[0] % ISLANDS if homes else candidate.index % ISLANDS
        self._home[candidate.index] = number
        island = islands[number]
        island.since += 1
        if member.evaluation.status is Status.OK:
            self._settle(island, member)
        if island.since >= STAGNANT:
            migrant = min(islands[(number + 1) % ISLANDS].owners.values(), key=_rank, default=None)
            islands[number] = Island(restarts=island.restarts + 1, improvements=island.improvements)
            if migrant is not None and ISLANDS > 1:
                self._settle(islands[number], migrant)

    def said(self) -> dict[str, Any]:
        """Of each island its niches, restarts, and improvements of the best of all."""
        return {
            f"{family} {number}": {
                "niches": len(island.owners),
                "restarts": island.restarts,
                "improvements": island.improvements,
            }
            for family, islands in sorted(self._islands.items())
            for number, island in enumerate(islands)
        }

    def _settle(self, island: Island, member: Member) -> None:
        niche, fitness = self._niche(member), member.fitness_us
        if niche not in island.owners or fitness < island.owners[niche].fitness_us:
            island.owners[niche] = member
        if fitness < island.best_us:
            island.best_us, island.since = fitness, 0
        if fitness < self._best_us:
            self._best_us = fitness
            island.improvements += 1


def peaks(ranking: list[Member]) -> list[Member]:
    """Of members, the fastest first, those that differ from every faster peak in more than `ALIKE` genes."""
    found: list[Member] = []
    for member in ranking:
        genes = member.candidate.genome.values()  # in the order of the names, which a family's genomes share
        if all(sum(map(operator.ne, genes, each.candidate.genome.values())) > ALIKE for each in found):
            found.append(member)
        if len(found) == PEAKS:
            break
    return found


def warp_niche(member: Member) -> tuple[Any, ...]:
    """The bucket of shared memory, and how a block's warps or threads are laid out.

    That is what the genes named so say; of a family that has none, its first two genes.
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
    """A population by name.

    Raises:
        NotFoundError: with the nearest names.
    """
    if name not in POPULATIONS:
        raise unknown("population", name, POPULATIONS)
    return POPULATIONS[name]()


def _rank(member: Member) -> tuple[float, int]:
    return member.fitness_us, member.candidate.index
