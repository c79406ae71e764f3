"""Genomes as points: tuples of indices into the parameters' values, which are cheap to change, check and compare."""

from __future__ import annotations

import itertools
import math
import operator
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from evoflash.core.genome import Gene, Genome
from evoflash.space.search_space import SearchSpace

Point = tuple[int, ...]

FEW = 4  # an ordinal parameter with at most this many values is changed like a categorical one
REACH = 2  # steps that a jump moves an ordinal coordinate, at most
TRIES = 8  # attempts at a valid point before an invalid one is repaired


class Lattice:
    """The points of one space.

    Attributes:
        sizes: number of values of each parameter.
        movable: the coordinates of parameters with more than one value.
    """

    def __init__(self, space: SearchSpace):
        self.space = space
        self._names = list(space.parameters)
        self._values = [parameter.values for parameter in space.parameters.values()]
        self._places = [{(type(v), v): place for place, v in enumerate(values)} for values in self._values]
        self._ordinal = [
            parameter.kind == "ordinal" and len(parameter.values) > FEW for parameter in space.parameters.values()
        ]
        self.sizes = [len(values) for values in self._values]
        self.movable = [number for number, values in enumerate(self._values) if len(values) > 1]
        self._jumps = [self._reached(number) for number in range(len(self.sizes))]
        self._valid: dict[Point, bool] = {}
        self._known: dict[Genome, Point] = {}
        self._near: dict[Point, list[Point]] = {}
        self._figures: dict[Point, list[float]] = {}
        self._derived_names: list[str] | None = None  # of those that are numbers
        ordinal = [number for number, each in enumerate(space.parameters.values()) if each.kind == "ordinal"]
        scaled = ((number, _log2(self._values[number])) for number in ordinal)
        self._logs = {number: logs for number, logs in scaled if logs is not None}
        self._pairs = np.array(list(itertools.combinations(range(len(self._logs)), 2)), int).reshape(-1, 2)
        self._effects = np.zeros((len(self._names), max(self.sizes)))  # on the time, by the space's prior
        if space.prior is not None:
            for number, (name, values) in enumerate(zip(self._names, self._values, strict=True)):
                self._effects[number, : len(values)] = [space.prior.of(name, value) for value in values]

    def point(self, genome: Genome) -> Point:
        """The point of a genome of this space, e.g. a candidate's, which is remembered."""
        if genome not in self._known:
            self._known[genome] = self._point(genome)
        return self._known[genome]

    def _point(self, genome: Genome) -> Point:
        genes = ((places, genome[name]) for name, places in zip(self._names, self._places, strict=True))
        return tuple([places[type(gene), gene] for places, gene in genes])

    def genome(self, point: Point) -> Genome:
        """The genome at a point."""
        return Genome(self._genes(point))

    def is_valid(self, point: Point) -> bool:
        """Whether the genome at a point satisfies every constraint."""
        valid = self._valid.get(point)  # one look-up instead of two: a search comes by here millions of times
        if valid is None:
            valid = self._valid[point] = self.space.is_valid(self._genes(point))
        return valid

    def sample(self, rng: random.Random) -> Point:
        """A uniformly random valid point."""
        return self._point(self.space.sample(rng))

    def repaired(self, point: Point, rng: random.Random) -> Point:
        """The point itself if it is valid, otherwise a valid one that keeps most of its coordinates."""
        return point if self.is_valid(point) else self.fitted(self._genes(point), rng)

    def fitted(self, genes: Mapping[str, Gene], rng: random.Random) -> Point:
        """A valid point that keeps most of these genes, which may be those of another space."""
        return self._point(self.space.repair(genes, rng))

    def neighbours(self, point: Point) -> Sequence[Point]:
        """The valid points one move away: ordinal coordinates by one step, others to any value."""
        if point not in self._near:
            self._near[point] = list(self._neighbours(point))
        return self._near[point]

    def _neighbours(self, point: Point) -> Iterator[Point]:
        for number in self.movable:
            place, count = point[number], len(self._values[number])
            others = (place - 1, place + 1) if self._ordinal[number] else range(count)
            for other in others:
                if other != place and 0 <= other < count:
                    moved = (*point[:number], other, *point[number + 1 :])
                    if self.is_valid(moved):
                        yield moved

    def variations(self, point: Point) -> Iterator[Point]:
        """The valid points that differ in one coordinate, by any distance."""
        for number in self.movable:
            for other in range(len(self._values[number])):
                moved = (*point[:number], other, *point[number + 1 :])
                if moved != point and self.is_valid(moved):
                    yield moved

    def _reached(self, number: int) -> list[list[int]]:
        """For each place of a coordinate the others that a jump may take it to."""
        places = range(self.sizes[number])
        reach = REACH if self._ordinal[number] else len(places)
        return [[other for other in places if 0 < abs(other - place) <= reach] for place in places]

    def jump(self, point: Point, rng: random.Random, genes: int = 2) -> Point:
        """A valid point with `genes` coordinates moved: ordinal ones by up to `REACH` steps, others to any value."""
        moved = point
        for _ in range(TRIES):
            changed = list(point)
            for number in rng.sample(self.movable, min(genes, len(self.movable))):
                changed[number] = rng.choice(self._jumps[number][point[number]])
            moved = tuple(changed)
            if self.is_valid(moved):
                return moved
        return self.repaired(moved, rng)

    def cross(self, first: Point, second: Point, rng: random.Random) -> Point:
        """A valid point with each coordinate from either parent."""
        child = first
        for _ in range(TRIES):
            child = tuple([rng.choice(pair) for pair in zip(first, second, strict=True)])
            if self.is_valid(child):
                return child
        return self.repaired(child, rng)

    def crowding(self, point: Point, others: Iterable[Point]) -> float:
        """How often other points have the values of this one; near values of ordinal genes count in part."""
        crowd = np.array(list(others)).reshape(-1, len(point))
        if not len(crowd):
            return 0.0
        reach = np.array(
            [max(1.0, size / 3) if ordinal else 1.0 for size, ordinal in zip(self.sizes, self._ordinal, strict=True)]
        )
        near = np.abs(crowd - np.array(point)) / reach
        return float(np.clip(1 - near, 0, None)[:, self.movable].sum())

    def expected(self, points: Sequence[Point]) -> np.ndarray:
        """Log times that the space's prior expects, against the mean; shape (points,), zeros without a prior."""
        places = np.array(points, int).reshape(len(points), len(self._names))
        return math.log(2) * self._effects[np.arange(len(self._names)), places].sum(axis=1)

    def unit(self, points: Sequence[Point]) -> np.ndarray:
        """The movable coordinates of points, scaled to [0, 1]; shape (points, movable)."""
        spans = np.array([self.sizes[number] - 1 for number in self.movable], float)
        return np.array(points, float).reshape(len(points), len(self.sizes))[:, self.movable] / spans

    def features(self, points: Sequence[Point]) -> np.ndarray:
        """Features of points for a model, float32 of shape (points, features).

        They are the coordinates, the logarithms of product and ratio of each pair of positive ordinal genes, and the
        space's derived values. The limits of a kernel are mostly products (threads, bytes) or ratios (work per thread).
        """
        places = np.array(points, np.float32).reshape(len(points), len(self._names))
        columns = [places[:, self.movable]]
        if len(self._pairs):
            logs = np.stack([logs[places[:, number].astype(int)] for number, logs in self._logs.items()], axis=1)
            one, other = logs[:, self._pairs[:, 0]], logs[:, self._pairs[:, 1]]
            columns.append(np.stack([one + other, one - other], axis=2).reshape(len(points), 2 * len(self._pairs)))
        figures = [self._derived(point) for point in points]
        if figures and figures[0]:
            columns.append(np.array(figures, np.float32))
        return np.concatenate(columns, axis=1)

    def _derived(self, point: Point) -> list[float]:
        """The derived values at a point that are numbers."""
        if point not in self._figures:
            derived = self.space.derived(self._genes(point))
            if self._derived_names is None:
                self._derived_names = [name for name, value in derived.items() if isinstance(value, int | float)]
            self._figures[point] = [float(derived[name]) for name in self._derived_names]
        return self._figures[point]

    def _genes(self, point: Point) -> dict[str, Gene]:
        return dict(zip(self._names, map(operator.getitem, self._values, point), strict=True))


def _log2(values: Sequence[Gene]) -> np.ndarray | None:
    """Base-2 logarithms of at least three positive numbers; None for other values."""
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if len(numbers) < len(values) or len(numbers) < 3 or min(numbers) <= 0:
        return None
    return np.array([float(np.log2(number)) for number in numbers], np.float32)
