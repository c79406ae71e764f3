"""The children that a model prefers: a pool of them by every operator, the most promising first."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from evoflash.core.archive import Archive, Member
from evoflash.proposers.lattice import Lattice, Point
from evoflash.proposers.operators import Child, Density, Operators
from evoflash.proposers.surrogate import Surrogate

NEIGHBOURHOODS = 3  # the fastest of a family, whose neighbours are all in the pool
LEAST_NEWS = 2  # results until models are fitted anew, however few there are
HASTE = 6  # models are not fitted anew before this fraction (one over it) of what was in flight is known
FRESH = 6  # this fraction (one over it) of the random points in a pool is drawn anew each time
LEAST_SHARE = 8  # a slow family gets at least this fraction (one over it) of a full pool
NEAR = 1.5  # how many times slower than the fastest a family may be to have a turn

Parents = Callable[[Archive, str], list[Member]]


class Ranking:
    """Children of all families by expected improvement over the best of all, so that families compete for the budget.

    Args:
        moves: the operators that fill the pool.
        size: children of the fastest family; a family that is r times slower gets r**-2 as many.
        growth: models are fitted anew when this share of results has been added.
        turns: every so many children, one is of another family than the fastest, in turn of those that are near it;
            0 is never. A model knows a family the better the more it has seen of it, and expects most of what it knows.
    """

    def __init__(
        self,
        lattices: Mapping[str, Lattice],
        operators: Operators,
        moves: Sequence[str],
        *,
        size: int,
        growth: float,
        trees: int,
        process: float,
        turns: int,
        rng: random.Random,
    ):
        self._lattices = lattices
        self._operators = operators
        self._moves = moves
        self._size = size
        self._growth = growth
        self._turns = turns
        self._rng = rng
        self._surrogates = {family: Surrogate(lattice, trees, process) for family, lattice in lattices.items()}
        self._strangers: dict[str, list[Child]] = {family: [] for family in lattices}
        self._ranked: deque[Child] = deque()
        self._others: list[deque[Child]] = []  # the ranked children of each family that has turns
        self._asked = 0
        self._gains: list[float] | None = None  # what the ranked children were expected to gain, the largest first
        self._told = self._fitted = 0

    def tell(self, family: str, point: Point, time_us: float | None) -> None:
        """A result; None for a failure."""
        self._surrogates[family].tell(point, time_us)
        self._told += 1

    def next(
        self, archive: Archive, parents: Parents, is_new: Callable[[str, Point], bool], in_flight: int
    ) -> Child | None:
        """The most promising child that is still new; None while too little is known.

        Args:
            in_flight: proposals whose results are not known. When there are many, a few results more make no haste.
        """
        news = max(LEAST_NEWS, self._growth * self._told, in_flight / HASTE)
        if self._told - self._fitted >= news or not self._ranked:
            self._rank(archive, parents, is_new)
        self._asked += 1
        sources = [self._ranked]
        if self._others and self._turns and self._asked % self._turns == 0:
            sources.insert(0, self._others[self._asked // self._turns % len(self._others)])
        for ranked in sources:
            while ranked:
                child = ranked.popleft()
                if is_new(child.family, child.point):
                    return child
        return None

    def expected_gain(self, builds: int) -> float | None:
        """What the next children may gain together, of log time; None while too little is known.

        The sum of their expected improvements: too much where they would all find the same, which is so while much is
        left to find. Where it is small it is about what recorded spaces then brought (docs/results/search.md).
        """
        return sum(self._gains[:builds]) if self._gains is not None else None

    def _rank(self, archive: Archive, parents: Parents, is_new: Callable[[str, Point], bool]) -> None:
        self._fitted = self._told
        best = archive.best
        assert best is not None
        scored: list[tuple[float, Child]] = []
        near: list[str] = []
        for family in archive.families():
            if "density" in self._moves:
                points = [self._lattices[family].point(member.candidate.genome) for member in archive.ok(family)]
                self._operators.density_of[family] = Density(points, self._lattices[family].sizes)
            if self._surrogates[family].fit(self._rng.randrange(2**31), self._growth):
                slower = archive.elites(1, family)[0].fitness_us / best.fitness_us
                count = max(self._size // LEAST_SHARE, int(self._size / slower**2))
                self._draw(family, count // len(self._moves), is_new)
                pool = self._pool(archive, family, parents(archive, family), count)
                if not pool:  # all of it has been tried
                    continue
                gains = self._surrogates[family].expected_improvement([child.point for child in pool], best.fitness_us)
                scored += zip(gains.tolist(), pool, strict=True)
                if family != best.candidate.family and slower <= NEAR:
                    near.append(family)
        scored.sort(key=lambda pair: -pair[0])  # stable: ties stay in the order of the pool
        self._gains = [gain for gain, _ in scored] if scored else None
        self._ranked = deque(child for _, child in scored[: self._size // 2])
        self._others = [deque(child for _, child in scored if child.family == family) for family in near]

    def _draw(self, family: str, count: int, is_new: Callable[[str, Point], bool]) -> None:
        """Keeps random points at hand: where few are valid a draw takes milliseconds, so most of them serve again."""
        kept = [child for child in self._strangers[family] if is_new(family, child.point)]
        fresh = max(count // FRESH, count // 2 - len(kept))
        drawn = [self._operators.make("random", family, []) for _ in range(fresh)]
        self._strangers[family] = [*kept, *(child for child in drawn if child is not None)][-count:]

    def _pool(self, archive: Archive, family: str, parents: list[Member], count: int) -> list[Child]:
        """New children of a family, each point once: neighbours of its fastest, random ones, and some by every move."""
        pool = {child.point: child for child in self._strangers[family]}
        for parent in archive.elites(NEIGHBOURHOODS, family):
            pool |= {child.point: child for child in self._operators.neighbours(parent)}
        for number in range(count):
            operator = self._moves[number % len(self._moves)]
            if operator == "random":
                continue
            relatives = archive.elites(NEIGHBOURHOODS) if operator == "family-switch" else parents
            child = self._operators.make(operator, family, relatives)
            if child is not None:
                pool.setdefault(child.point, child)
        return list(pool.values())
