"""The moves of `evolution`: each makes a new valid point from members of the archive."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from evoflash.core.archive import Member
from evoflash.proposers.lattice import Lattice, Point

GOOD_SHARE = 0.15  # share of a family's results that count as good, for the density
DRAWS = 24  # draws from the density, of which the most promising is taken
BATCH = 32  # times that many are drawn together
SKIP_PROBABILITY = 0.4  # probability of skipping a parent for the next best one (a geometric choice)
GENES = (1, 2, 2, 3)  # that a jump moves
CROSSOVER_PARENTS = 5  # crossover chooses among this many parents
TRIES = 6  # attempts at a new point before a move gives up


class Child(NamedTuple):  # cheaper to make than a frozen dataclass, and there are many
    """A new point of a family, with the move that made it and its parents."""

    family: str
    point: Point
    operator: str
    parents: tuple[int, ...] = ()


class Operators:
    """Step, sweep, jump, crossover, family switch, density (as in TPE) and random.

    Args:
        lattices: by family.
        is_new: whether a point of a family has not been proposed yet.
    """

    def __init__(self, lattices: Mapping[str, Lattice], is_new: Callable[[str, Point], bool], rng: random.Random):
        self._lattices = lattices
        self._is_new = is_new
        self._rng = rng
        self._all: dict[str, Callable[[str, list[Member]], Child | None]] = {
            "step": self._step,
            "sweep": self._sweep,
            "jump": self._jump,
            "crossover": self._crossover,
            "family-switch": self._switch,
            "density": self._density,
            "random": self._random,
        }
        self.density_of: dict[str, Density] = {}

    def make(self, operator: str, family: str, parents: list[Member], tries: int = TRIES) -> Child | None:
        """A new child in a family; None when the move finds none.

        Args:
            parents: correct members, fastest first; of this family, or of others for "family-switch".
            tries: attempts, until the move gives up.
        """
        for _ in range(tries):
            child = self._all[operator](family, parents)
            if child is not None and self._is_new(child.family, child.point):
                return child
        return None

    def neighbours(self, parent: Member) -> list[Child]:
        """Every new point one move away from a member."""
        family, index = parent.candidate.family, parent.candidate.index
        lattice = self._lattices[family]
        return [
            Child(family, point, "step", (index,))
            for point in lattice.neighbours(lattice.point(parent.candidate.genome))
            if self._is_new(family, point)
        ]

    def _step(self, family: str, parents: list[Member]) -> Child | None:
        """An untried neighbour of the best parent that has one, so that good regions are searched completely."""
        for parent in self._in_turn(parents):
            children = self.neighbours(parent)
            if children:
                return self._rng.choice(children)
        return None

    def _sweep(self, family: str, parents: list[Member]) -> Child | None:
        """The fastest parent with one gene at any untried value."""
        lattice, best = self._lattices[family], parents[0]
        points = lattice.variations(lattice.point(best.candidate.genome))
        new = [point for point in points if self._is_new(family, point)]
        return Child(family, self._rng.choice(new), "sweep", (best.candidate.index,)) if new else None

    def _jump(self, family: str, parents: list[Member]) -> Child | None:
        if not parents:
            return None
        parent = self._parent(parents)
        lattice = self._lattices[family]
        genes = self._rng.choice(GENES)
        point = lattice.jump(lattice.point(parent.candidate.genome), self._rng, genes)
        return Child(family, point, "jump", (parent.candidate.index,))

    def _crossover(self, family: str, parents: list[Member]) -> Child | None:
        if len(parents) < 2:
            return None
        first, second = self._rng.sample(parents[:CROSSOVER_PARENTS], 2)
        lattice = self._lattices[family]
        point = lattice.cross(lattice.point(first.candidate.genome), lattice.point(second.candidate.genome), self._rng)
        return Child(family, point, "crossover", (first.candidate.index, second.candidate.index))

    def _switch(self, family: str, parents: list[Member]) -> Child | None:
        """A parent of another family: shared genes are kept, the others drawn, and the result repaired."""
        donors = [parent for parent in parents if parent.candidate.family != family]
        if not donors:
            return None
        parent = self._parent(donors)
        lattice = self._lattices[family]
        point = lattice.fitted(parent.candidate.genome, self._rng)
        return Child(family, point, "family-switch", (parent.candidate.index,))

    def _density(self, family: str, parents: list[Member]) -> Child | None:
        density = self.density_of.get(family)
        point = density.draw(self._lattices[family], self._rng) if density is not None else None
        return Child(family, point, "density") if point is not None else None

    def _random(self, family: str, parents: list[Member]) -> Child | None:
        return Child(family, self._lattices[family].sample(self._rng), "random")

    def _parent(self, parents: list[Member]) -> Member:
        return next(self._in_turn(parents))

    def _in_turn(self, parents: list[Member]) -> Iterator[Member]:
        """The parents, fastest first, except that each is moved to the end with probability `SKIP_PROBABILITY`."""
        passed = []
        for parent in parents:
            if self._rng.random() < SKIP_PROBABILITY:
                passed.append(parent)
            else:
                yield parent
        yield from passed


class Density:
    """The ratio of two densities, each a product over genes: of good points and of the others.

    As in TPE (Bergstra et al., NeurIPS 2011).

    Args:
        points: points of correct results, fastest first; at least one.
        sizes: number of values of each gene.
    """

    def __init__(self, points: list[Point], sizes: list[int]):
        places = np.array(points)
        good = max(2, round(GOOD_SHARE * len(points)))
        rest = places[good:] if len(points) > good else places
        likely = [self._smooth(places[:good, gene], size) for gene, size in enumerate(sizes)]
        usual = [self._smooth(rest[:, gene], size) for gene, size in enumerate(sizes)]
        self._drawn: list[np.ndarray] = []
        self._steps = [np.cumsum(each)[:-1] for each in likely]  # cumulative densities, without the final 1
        self._ratio = [np.log(one / other) for one, other in zip(likely, usual, strict=True)]

    @staticmethod
    def _smooth(column: np.ndarray, size: int) -> np.ndarray:
        counts = np.bincount(column, minlength=size) + 1 / size
        return counts / counts.sum()

    def draw(self, lattice: Lattice, rng: random.Random) -> Point | None:
        """The valid one with the largest density ratio of `DRAWS` points."""
        if not self._drawn:
            self._drawn = self._draw_many(rng.randrange(2**32))
        for places in self._drawn.pop():
            if lattice.is_valid(point := tuple(places.tolist())):
                return point
        return None

    def _draw_many(self, seed: int) -> list[np.ndarray]:
        """`BATCH` times `DRAWS` points, sorted by their density ratios; together, since a draw alone costs as much."""
        chance = np.random.default_rng(seed).random((len(self._steps), BATCH, DRAWS))
        drawn = [np.searchsorted(steps, row) for steps, row in zip(self._steps, chance, strict=True)]
        promise = sum(ratio[places] for ratio, places in zip(self._ratio, drawn, strict=True))
        order = np.argsort(-np.asarray(promise), axis=1, kind="stable")
        return list(np.take_along_axis(np.stack(drawn, axis=2), order[:, :, None], axis=1))
