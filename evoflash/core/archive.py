"""The archive: every candidate with its result, ranked.

It is the history that a proposer sees. Results are added in the order of the candidates' numbers, not in the order in
which they finished, so that the same results lead to the same proposals.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import Evaluation
from evoflash.core.genome import Genome
from evoflash.core.status import Status


@dataclass(frozen=True)
class Member:
    """A candidate with its result."""

    candidate: Candidate
    evaluation: Evaluation

    @property
    def fitness_us(self) -> float:
        """The score in microseconds; infinity for a failure."""
        fitness = self.evaluation.fitness_us
        return float("inf") if fitness is None else fitness


class Archive:
    """All members of a run, by number.

    Args:
        niche: maps a member to its niche (a MAP-Elites cell), e.g. its bucket of shared memory; see `niches`.
    """

    def __init__(self, niche: Callable[[Member], Any] | None = None):
        self._members: list[Member] = []
        self._ranking: list[Member] = []  # the correct members, fastest first
        self._by_family: dict[str, list[Member]] = {}
        self._niche_elites: dict[Any, Member] = {}  # the fastest member of each niche
        self._seen: set[tuple[str, str]] = set()
        self._niche = niche or resource_niche

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members)

    def member(self, index: int) -> Member:
        """The member with this number."""
        return self._members[index]

    def propose(self, family: str, genome: Genome) -> None:
        """Marks a genome as proposed, before its result is known."""
        self._seen.add((family, genome.digest))

    def has(self, family: str, genome: Genome) -> bool:
        """Whether a genome has been proposed."""
        return (family, genome.digest) in self._seen

    @property
    def in_flight(self) -> int:
        """The number of proposals that have no result yet."""
        return len(self._seen) - len(self._members)

    def add(self, candidate: Candidate, evaluation: Evaluation) -> Member:
        """Adds a result; candidates must be added in the order of their numbers."""
        member = Member(candidate, evaluation)
        self._members.append(member)
        if evaluation.status is Status.OK:
            family, rank = candidate.family, lambda each: (each.fitness_us, each.candidate.index)
            bisect.insort(self._ranking, member, key=rank)
            bisect.insort(self._by_family.setdefault(family, []), member, key=rank)
            elite = self._niche_elites.setdefault((family, self._niche(member)), member)
            if member.fitness_us < elite.fitness_us:
                self._niche_elites[family, self._niche(member)] = member
        self._seen.add(candidate.key)
        return member

    def ok(self, family: str | None = None) -> list[Member]:
        """The correct members without duplicates, fastest first; ties are broken by number."""
        return list(self._ranking if family is None else self._by_family.get(family, ()))

    @property
    def best(self) -> Member | None:
        """The fastest member, or None while nothing is correct."""
        return self._ranking[0] if self._ranking else None

    def elites(self, count: int, family: str | None = None) -> list[Member]:
        """The `count` fastest members, over all families or of one."""
        return (self._ranking if family is None else self._by_family.get(family, []))[:count]

    def niches(self) -> Mapping[Any, Member]:
        """The fastest member of each niche (MAP-Elites, arXiv 1504.04909)."""
        return self._niche_elites

    def families(self) -> Sequence[str]:
        """The families that have a correct member, ordered by their fastest member."""
        return sorted(self._by_family, key=lambda family: self._by_family[family][0].fitness_us)


def resource_niche(member: Member) -> tuple[int, int]:
    """Buckets of shared memory (16 KiB) and registers (32), which determine the occupancy."""
    build = member.evaluation.build
    shared = (build.shared_bytes or 0) if build else 0
    registers = (build.registers or 0) if build else 0
    return shared // (16 * 1024), registers // 32
