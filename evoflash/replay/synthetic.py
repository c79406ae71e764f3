"""Synthetic spaces: recordings drawn at random, on which strategies compete beside the measured ones.

A space is a function of its seed. Its genes are like those of GPU kernels: flags, methods, powers of two, tiles, block
sizes. Products and ratios of genes limit what is valid, and other products what fails. Log time is a sum of effects:

- of single genes: slopes, humps, thresholds, or any value;
- of two genes: humps over their product or ratio, flags that help beyond a threshold, or any table;
- of three or four genes likewise;
- of each configuration, at random.

The slower of two such sums counts, as with compute and memory, and some genes have an effect only for some values of
another. Both make plateaus. Then ranks are mapped to times, so that the median, the slowest and the share of good
configurations are as drawn. `Traits` has the ranges, which were fitted to the statistics of six measured spaces
(`landscape`, docs/results/search.md).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from evoflash.core.evaluation import Evaluation, Timing
from evoflash.core.genome import Gene, Genome
from evoflash.core.status import Stage, Status
from evoflash.replay.recording import Recording
from evoflash.space.parameter import Parameter

FAMILY = "synthetic"
WORD = re.compile(r"synthetic:([0-9]{1,9})(?:-([0-9]{1,9}))?")
COMBINATIONS = (2_000, 40_000)  # of all values of all genes
CONFIGURATIONS = (1_000, 5_000)  # valid ones
NEAR = np.log(1.05)  # log of time / best time up to which a configuration is good
JITTER = 0.003  # relative standard deviation of a measured time
COST_RATIO = 10.0  # of the longest build and measurement to the shortest, at most
BEST_US = (5.0, 50_000.0)


@dataclass(frozen=True)
class Traits:
    """What is drawn at random of a space.

    Attributes:
        genes: number of genes.
        constraints: number of constraints, and the share of the combinations that each leaves.
        kept: the share that a constraint leaves valid.
        failed: share of the valid configurations that fail.
        single, double, triple, own: weights of the effects of one gene, two genes, more genes, and of a configuration
            alone, in the variance of log time.
        decay: importance of the effects, from the largest to the next.
        bottlenecks: sums of which the slowest counts.
        idle: number of genes that have an effect only for some values of another.
        gap: log of median time / best time.
        tail: log of slowest time / median time.
        good: share of the configurations within 5 % of the best.
    """

    genes: int
    constraints: int
    kept: float
    failed: float
    single: float
    double: float
    triple: float
    own: float
    decay: float
    bottlenecks: int
    idle: int
    gap: float
    tail: float
    good: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draws each trait from its range."""
        return cls(
            genes=int(rng.integers(4, 11)),
            constraints=int(rng.choice([0, 1, 2, 3, 3, 4])),
            kept=rng.uniform(0.5, 0.9),
            failed=float(rng.choice([0.0, rng.uniform(0, 0.1), rng.uniform(0.1, 0.3)])),
            single=float(np.exp(rng.uniform(np.log(0.15), np.log(2.5)))),
            double=rng.uniform(0.2, 0.9),
            triple=rng.uniform(0.02, 0.4),
            own=rng.uniform(0.0, 0.08),
            decay=rng.uniform(0.3, 0.85),
            bottlenecks=int(rng.integers(1, 3)),
            idle=int(rng.integers(0, 5)),
            gap=rng.uniform(0.4, 1.3),
            tail=rng.uniform(0.8, 3.5),
            good=float(np.exp(rng.uniform(np.log(0.0002), np.log(0.01)))),
        )


def seeds_of(word: str) -> range | None:
    """The seeds that "synthetic:7" or "synthetic:100-199" names, both ends included; None for another word."""
    found = WORD.fullmatch(word)
    if found is None:
        return None
    first = int(found[1])
    return range(first, 1 + (int(found[2]) if found[2] else first))


def synthetic(seed: int) -> Recording:
    """The space of a seed, named synthetic-<seed>."""
    rng = np.random.default_rng(seed)
    traits = Traits.draw(rng)
    while True:  # until the space has a usual size
        parameters = _parameters(rng, traits.genes)
        if not COMBINATIONS[0] <= np.prod([len(each.values) for each in parameters.values()]) <= COMBINATIONS[1]:
            continue
        ground = Ground.of(parameters)
        valid = ground.part(_valid(ground, traits, rng))
        if CONFIGURATIONS[0] <= len(valid.places) <= CONFIGURATIONS[1]:
            break
    failed = _failed(valid, traits.failed, rng)
    times = _times(_heights(valid, traits, rng), ~failed, traits, rng)
    seconds = _seconds(valid, np.random.default_rng([seed, 1]))  # of its own, so that times stay as they were
    return Recording.of(f"{FAMILY}-{seed}", list(_rows(valid, failed, times, seconds)), {FAMILY: parameters})


def _parameters(rng: np.random.Generator, genes: int) -> dict[str, Parameter]:
    """Genes of random kinds; at most one is a block size, which has many values."""
    kinds = ["block", *rng.choice(["flag", "method", "power", "tile"], genes - 1, p=[0.3, 0.1, 0.35, 0.25])]
    if rng.random() < 0.3:
        kinds[0] = "power"
    parameters = {}
    for number, kind in enumerate(rng.permutation(kinds)):
        count = int(rng.integers(3, 7))
        step = int(rng.choice([8, 16, 32]))
        first = int(rng.choice([0, 1, 3, 4]))
        values: dict[str, tuple[Gene, ...]] = {
            "method": tuple("abcdef"[:count]),
            "power": tuple(2 ** (first + place) for place in range(count)),
            "tile": tuple(range(1, count + 3)),
            "block": tuple(step * (place + 1) for place in range(int(rng.integers(8, 33)))),
        }
        parameters[f"{kind}_{number}"] = (
            Parameter(kind="flag")
            if kind == "flag"
            else Parameter(kind="categorical" if kind == "method" else "ordinal", values=values[str(kind)])
        )
    return parameters


@dataclass(frozen=True)
class Ground:
    """Configurations as numbers.

    Attributes:
        parameters: the genes.
        places: indices of the values, of shape (configurations, genes).
        logs: log2 of numbers, and the place of other values, of the same shape.
    """

    parameters: dict[str, Parameter]
    places: np.ndarray
    logs: np.ndarray

    @classmethod
    def of(cls, parameters: dict[str, Parameter]) -> Self:
        """All combinations of values."""
        places = np.array(list(itertools.product(*(range(len(each.values)) for each in parameters.values()))))
        scales = [
            np.log2(np.array(each.values, float))
            if each.kind == "ordinal"
            else np.arange(len(each.values), dtype=float)
            for each in parameters.values()
        ]
        logs = np.stack([scale[column] for scale, column in zip(scales, places.T, strict=True)], axis=1)
        return cls(parameters, places, logs)

    def part(self, kept: np.ndarray) -> Ground:
        """Some of the configurations, by a mask or by indices."""
        return Ground(self.parameters, self.places[kept], self.logs[kept])

    @property
    def numbers(self) -> list[int]:
        """The genes that are numbers."""
        return [n for n, each in enumerate(self.parameters.values()) if each.kind == "ordinal"]


def _valid(ground: Ground, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Which combinations satisfy every constraint; shape (combinations,)."""
    valid = np.ones(len(ground.places), bool)
    for _ in range(traits.constraints):
        load = _combined(ground, rng, (2, 3))
        valid &= load <= np.quantile(load, traits.kept)
    return valid


def _combined(ground: Ground, rng: np.random.Generator, genes: tuple[int, int]) -> np.ndarray:
    """Log2 of a product or ratio of a few genes."""
    pool = ground.numbers if len(ground.numbers) >= genes[1] else list(range(ground.places.shape[1]))
    chosen = rng.choice(pool, min(len(pool), int(rng.integers(genes[0], genes[1] + 1))), replace=False)
    signs = rng.choice([1.0, 1.0, 1.0, -1.0], len(chosen))
    return ground.logs[:, chosen] @ signs


def _failed(ground: Ground, share: float, rng: np.random.Generator) -> np.ndarray:
    """Which configurations fail: those with the largest product of a few genes, for one value of a gene or for all."""
    if share == 0:
        return np.zeros(len(ground.places), bool)
    load = _combined(ground, rng, (2, 4))
    load = load + rng.uniform(0, 1.5) * ground.places[:, rng.integers(ground.places.shape[1])].astype(bool)
    order = np.argsort(-load, kind="stable")
    failed = np.zeros(len(load), bool)
    failed[order[: int(share * len(load))]] = True
    return failed


def _heights(ground: Ground, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Log time up to a monotonic map; shape (configurations,)."""
    ground = _with_idle_genes(ground, traits.idle, rng)
    sums = [_sum(ground, traits, rng) for _ in range(traits.bottlenecks)]
    return np.logaddexp.reduce([4 * each for each in sums]) / 4  # nearly the largest


def _with_idle_genes(ground: Ground, count: int, rng: np.random.Generator) -> Ground:
    """Sets genes to their first value where another gene has one half of its values."""
    places, logs = ground.places.copy(), ground.logs.copy()
    for _ in range(count):
        idle, switch = rng.choice(places.shape[1], 2, replace=False)
        off = ground.places[:, switch] >= (ground.places[:, switch].max() + 1) // 2
        places[off, idle], logs[off, idle] = 0, logs[:, idle].min()
    return Ground(ground.parameters, places, logs)


def _sum(ground: Ground, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    genes = ground.places.shape[1]
    total = np.zeros(len(ground.places))
    shares = {(1,): traits.single, (2,): traits.double, (3, 4): traits.triple}
    for orders, share in shares.items():
        effects, weight = np.zeros(len(total)), 1.0
        for _ in range(genes):
            chosen = rng.choice(genes, min(genes, int(rng.choice(orders))), replace=False)
            effects += weight * _standard(_effect(ground, list(chosen), rng))
            weight *= traits.decay
        total += np.sqrt(share) * _standard(effects)
    _, cells = np.unique(ground.places, axis=0, return_inverse=True)  # equal ones where genes are idle
    own = rng.standard_normal(cells.max() + 1)[cells.ravel()]
    return _standard(total) + np.sqrt(traits.own) * own


def _effect(ground: Ground, genes: list[int], rng: np.random.Generator) -> np.ndarray:
    """An effect of some genes together; shape (configurations,)."""
    makers: Sequence[Callable[[Ground, list[int], np.random.Generator], np.ndarray]] = (_hump, _switch, _table)
    return makers[rng.integers(len(makers))](ground, genes, rng)


def _hump(ground: Ground, genes: list[int], rng: np.random.Generator) -> np.ndarray:
    """The distance from the best product or ratio of the genes; the best may be the smallest or the largest."""
    load = ground.logs[:, genes] @ rng.choice([1.0, 1.0, -1.0], len(genes))
    return np.abs(load - rng.uniform(load.min(), load.max())) ** rng.choice([1.0, 2.0])


def _switch(ground: Ground, genes: list[int], rng: np.random.Generator) -> np.ndarray:
    """Whether all genes are beyond thresholds of theirs."""
    sides = []
    for gene in genes:
        column = ground.places[:, gene]
        beyond = column >= rng.integers(1, max(2, column.max() + 1))
        sides.append(beyond if rng.random() < 0.5 else ~beyond)
    return rng.choice([1.0, -1.0]) * np.all(sides, axis=0)


def _table(ground: Ground, genes: list[int], rng: np.random.Generator) -> np.ndarray:
    """Any value for any combination of the genes."""
    sizes = tuple(int(ground.places[:, gene].max()) + 1 for gene in genes)
    return rng.standard_normal(sizes)[tuple(ground.places[:, genes].T)]


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() or 1.0)


def _times(heights: np.ndarray, right: np.ndarray, traits: Traits, rng: np.random.Generator) -> np.ndarray:
    """Times in microseconds, NaN where a configuration fails: the quantile of a height is that of its time.

    Below the median, log(time / best) is a power of the quantile, so that the drawn share is within 5 % of the best;
    above, an exponential of it.
    """
    kept = heights[right]
    levels, level = np.unique(kept, return_inverse=True)
    last = np.cumsum(np.bincount(level))
    quantiles = ((last - 1) / (len(kept) - 1))[level] if len(levels) > 1 else np.zeros(len(kept))
    power = np.log(NEAR / traits.gap) / np.log(2 * traits.good)
    below = traits.gap * (2 * quantiles) ** power
    above = traits.gap + traits.tail * np.expm1(4 * (2 * quantiles - 1)) / np.expm1(4)
    times = np.full(len(heights), np.nan)
    best_us = np.exp(rng.uniform(*np.log(BEST_US)))
    jitter = np.abs(JITTER * rng.standard_normal(len(kept)))
    times[right] = best_us * np.exp(np.where(quantiles < 0.5, below, above) + jitter)
    return times


def _seconds(ground: Ground, rng: np.random.Generator) -> np.ndarray:
    """Seconds of a build and a measurement, up to a factor of the whole space; shape (configurations,).

    One or two genes decide, as the unrolling of a loop does, and not the time of the kernel.
    """
    effects = np.zeros(len(ground.places))
    for _ in range(rng.integers(1, 3)):
        effects += _standard(_effect(ground, [int(rng.integers(ground.places.shape[1]))], rng))
    unit = (effects - effects.min()) / (np.ptp(effects) or 1.0)
    return np.exp(unit * np.log(rng.uniform(1.0, COST_RATIO)))


def _rows(
    ground: Ground, failed: np.ndarray, times: np.ndarray, seconds: np.ndarray
) -> Iterator[tuple[str, Genome, Evaluation]]:
    values = [each.values for each in ground.parameters.values()]
    for places, fails, time_us, spent in zip(
        ground.places.tolist(), failed.tolist(), times.tolist(), seconds.tolist(), strict=True
    ):
        genes = {name: own[place] for name, own, place in zip(ground.parameters, values, places, strict=True)}
        if fails:
            evaluation = Evaluation(
                status=Status.LAUNCH_FAILED, stage=Stage.CORRECTNESS, reason="synthetic", seconds=spent
            )
        else:
            timing = Timing(regime="warm", p50_us=time_us, p90_us=time_us, p99_us=time_us, launches=1)
            evaluation = Evaluation(status=Status.OK, stage=Stage.FULL, timings=(timing,), seconds=spent)
        yield FAMILY, Genome(genes), evaluation
