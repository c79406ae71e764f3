"""Ranking of children by a model: every move fills a pool, and the child with the largest expected improvement wins."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from evoflash.core.archive import Archive, Member
from evoflash.proposers.lattice import Lattice, Point
from evoflash.proposers.operators import Child, Density, Operators
from evoflash.proposers.surrogate import FEASIBILITY_POWER, Surrogate

NEIGHBOURHOODS = 3  # the pool contains all neighbours of this many fastest members of a family
MIN_NEW_RESULTS = 2  # minimum number of new results before the models are refitted
IN_FLIGHT_DIVISOR = 3  # nor are they refitted before 1 / this of the candidates in flight have results
STOCKED = ("random", "family-switch")  # moves whose children take longer to make than to rank
RENEWAL_DIVISOR = 6  # 1 / this of their children in a pool is made anew each time
MIN_POOL_DIVISOR = 8  # a slow family gets at least 1 / this of a full pool
NEAR_RATIO = 1.5  # families up to this factor slower than the fastest get turns

Parents = Callable[[Archive, str], list[Member]]


class Ranking:
    """Ranks children of all families by expected improvement over the best, so that families compete for the budget.

    Args:
        moves: the moves that fill the pool.
        size: children of the fastest family; a family that is r times slower gets r**-2 times as many.
        growth: the models are refitted when the number of results has grown by this share.
        trees: trees of a forest.
        process: weight of the Gaussian process.
        flatten: whether the models see slow times compressed.
        thrift: exponent of the seconds that a child is expected to take, by which its expected improvement is divided;
            0 disregards them.
        turns: one of this many children comes from another family that is nearly as fast as the fastest, each in turn;
            0 disables this. Otherwise a family with few results would hardly be chosen, since its model expects little.
        kept: the probability that points of a family keep the user's limits.
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
        flatten: bool,
        thrift: float,
        turns: int,
        kept: Callable[[str, Sequence[Point]], np.ndarray],
        rng: random.Random,
    ):
        self._lattices = lattices
        self._operators = operators
        self._moves = moves
        self._size = size
        self._growth = growth
        self._thrift = thrift
        self._turns = turns
        self._kept = kept
        self._rng = rng
        self._surrogates = {family: Surrogate(lattice, trees, process, flatten) for family, lattice in lattices.items()}
        self._stock: dict[tuple[str, str], dict[Point, Child]] = {}  # by family and move, the latest last
        self._ranked: deque[Child] = deque()
        self._others: list[deque[Child]] = []  # the ranked children of each family that has turns
        self._asked = 0
        self._gains: list[float] | None = None  # expected improvements of the ranked children, largest first
        self._results = self._fitted = 0

    def tell(self, family: str, point: Point, time_us: float | None, seconds: float | None) -> None:
        """Reports a result; see `Surrogate.tell`."""
        self._surrogates[family].tell(point, time_us, seconds)
        self._results += 1

    def next(
        self, archive: Archive, parents: Parents, is_new: Callable[[str, Point], bool], in_flight: int
    ) -> Child | None:
        """The best-ranked child that is still new; None when there are too few results.

        Args:
            in_flight: proposals without a result. With many of them, the models are refitted less often.
        """
        new_results = max(MIN_NEW_RESULTS, self._growth * self._results, in_flight / IN_FLIGHT_DIVISOR)
        if self._results - self._fitted >= new_results or not self._ranked:
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
        """The sum of the expected improvements of the next children, in log time; None when there are too few results.

        It is an overestimate while it is large, because children may all find the same improvement. Small values agree
        with the gains on recorded spaces (docs/results/search.md).
        """
        return sum(self._gains[:builds]) if self._gains is not None else None

    def _rank(self, archive: Archive, parents: Parents, is_new: Callable[[str, Point], bool]) -> None:
        self._fitted = self._results
        best = archive.best
        assert best is not None
        scored: list[tuple[float, float, Child]] = []  # the gain by thrift, the gain, the child
        near: list[str] = []
        for family in archive.families():
            if "density" in self._moves:
                points = [self._lattices[family].point(member.candidate.genome) for member in archive.ok(family)]
                self._operators.density_of[family] = Density(points, self._lattices[family].sizes)
            if self._surrogates[family].fit(self._rng.randrange(2**31), self._growth):
                slower = archive.elites(1, family)[0].fitness_us / best.fitness_us
                count = max(self._size // MIN_POOL_DIVISOR, int(self._size / slower**2))
                pool = self._pool(archive, family, parents(archive, family), count, is_new)
                if not pool:  # everything has been tried
                    continue
                points = [child.point for child in pool]
                gains, seconds = self._surrogates[family].expected(points, best.fitness_us)
                gains = gains * self._kept(family, points) ** FEASIBILITY_POWER
                worth = gains / seconds**self._thrift if self._thrift else gains
                scored += zip(worth.tolist(), gains.tolist(), pool, strict=True)
                if family != best.candidate.family and slower <= NEAR_RATIO:
                    near.append(family)
        scored.sort(key=lambda each: -each[0])  # stable: ties stay in the order of the pool
        self._gains = sorted((gain for _, gain, _ in scored), reverse=True) if scored else None
        self._ranked = deque(child for *_, child in scored[: self._size // 2])
        self._others = [deque(child for *_, child in scored if child.family == family) for family in near]

    def _pool(
        self, archive: Archive, family: str, parents: list[Member], count: int, is_new: Callable[[str, Point], bool]
    ) -> list[Child]:
        """New children of a family, without duplicates: neighbours of the fastest, and children of each move."""
        pool: dict[Point, Child] = {}
        for parent in archive.elites(NEIGHBOURHOODS, family):
            pool |= {child.point: child for child in self._operators.neighbours(parent)}
        share = count // len(self._moves)
        for move in self._moves:
            relatives = archive.elites(NEIGHBOURHOODS) if move == "family-switch" else parents
            if move in STOCKED:
                children = self._stocked(family, move, relatives, share, is_new)
            else:
                children = filter(None, [self._operators.make(move, family, relatives) for _ in range(share)])
            for child in children:
                pool.setdefault(child.point, child)
        return list(pool.values())

    def _stocked(
        self, family: str, move: str, parents: list[Member], count: int, is_new: Callable[[str, Point], bool]
    ) -> list[Child]:
        """Some new children of a move, and those of earlier pools that were not proposed since."""
        earlier = self._stock.get((family, move), {})
        stock = {point: child for point, child in earlier.items() if is_new(family, point)}
        for _ in range(max(count // RENEWAL_DIVISOR, count // 2 - len(stock))):
            child = self._operators.make(move, family, parents)
            if child is not None:
                stock[child.point] = child
        self._stock[family, move] = dict(list(stock.items())[-count:])
        return list(self._stock[family, move].values())
