"""Performance measures of strategies on recorded spaces.

The score is that of Willemsen et al. (Future Generation Computer Systems 2024, doi 10.1016/j.future.2024.05.021). With
the N correct times in descending order d, random search is expected to have found
S(M) = d[min(N - 1, round(M (N + 1) / (M + 1)))] after M draws. A run whose best is f(t) after t evaluations has the
performance (S(t) - f(t)) / (S(t) - optimum), and its score is the mean performance between the evaluations at which
random search gets 1 % and 95 % of the way from the median to the optimum. So 0 is random search, and 1 is finding the
optimum at once. The score is linear in the runs: that of a strategy is the mean over its seeds, then over the spaces,
and strategies are compared seed by seed.

The fraction of the optimum is the best time divided by the time of a configuration. For a rate such as GFLOP/s this is
its value divided by the best value. For values that are mapped linearly to times it is a measure of distance, and the
score is that of the values themselves (`objective`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evoflash.core.record import Document
from evoflash.replay.recording import Recording
from evoflash.replay.simulation import Trace

MARKS = (25, 50, 100, 200)
NEAR = 0.95  # fraction of the optimum that counts as found
UNREACHED = 1.5  # evaluations of a run that never gets there, as a multiple of its actual evaluations
RESAMPLES = 2000


@dataclass(frozen=True)
class Standing:
    """The measures of a strategy over all spaces.

    Attributes:
        strategy: its name and settings.
        score: the score of Willemsen and others, 0 for random search and 1 for the optimum at once.
        score_interval: its 95 % bootstrap interval over the seeds.
        ev95: evaluations until 95 % of the optimum: the median over the seeds, then the geometric mean over the spaces.
        s95: seconds of builds and measurements until 95 % of the optimum, likewise; None where they were not recorded.
        medians: evaluations -> fraction of the optimum: the median over the seeds, then the mean over the spaces.
        reached: evaluations -> share of the runs that have 95 % of the optimum by then.
        p_value: of the paired test against the first strategy of the table; None for that strategy itself.
        proposal_ms: mean time of a proposal.
        by_space: score, ev95 and s95 of each space.
    """

    strategy: str
    score: float
    score_interval: tuple[float, float]
    ev95: float
    s95: float | None
    medians: dict[int, float]
    reached: dict[int, float]
    p_value: float | None
    proposal_ms: float
    by_space: dict[str, dict[str, float | None]]


class ReplayDocument(Document):
    """Strategies on recorded spaces.

    Attributes:
        evaluations: evaluations of each run.
        repeats: runs of each strategy on each space.
        standings: the measures of each strategy, in the order in which they were named.
    """

    evaluations: int
    repeats: int
    standings: tuple[Standing, ...]


def expected_random(descending: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """S: the time that random search is expected to have found after `draws` draws; of the shape of `draws`."""
    count = len(descending)
    places = np.round(draws * (count + 1) / (draws + 1)).astype(int)
    return descending[np.minimum(count - 1, places)]


def cutoff(descending: np.ndarray, share: float) -> int:
    """The number of draws after which random search is expected to be this far from the median to the optimum."""
    optimum, median, count = descending[-1], float(np.median(descending)), len(descending)
    place = int(np.argmax(descending <= optimum + (median - optimum) * (1 - share)))
    return max(1, math.ceil(place / (count + 1 - place)))


def run_score(trace: Trace, recording: Recording) -> float:
    """The score of one run; until it finds a correct configuration, its best counts as the slowest time."""
    descending = recording.descending_us
    start, end = cutoff(descending, 0.01), min(cutoff(descending, 0.95), len(trace.best_us))
    moments = np.arange(min(start, end), end + 1)
    expected = expected_random(descending, moments)
    found = np.minimum(np.array(trace.best_us), descending[0])[moments - 1]
    gap = expected - recording.optimum_us
    known = gap > 0  # undefined once random search is expected to have found the optimum
    return float(np.mean((expected - found)[known] / gap[known])) if known.any() else 0.0


def evaluations_until(trace: Trace, recording: Recording) -> float:
    """The number of evaluations after which a run is near the optimum."""
    near = recording.optimum_us / np.array(trace.best_us) >= NEAR
    return float(np.argmax(near) + 1) if near.any() else UNREACHED * len(trace.best_us)


def seconds_until(trace: Trace, recording: Recording) -> float:
    """The seconds of builds and measurements after which a run is near the optimum; 0 where none are recorded."""
    needed = evaluations_until(trace, recording)
    spent = trace.seconds[min(round(needed), len(trace.seconds)) - 1]
    return spent * max(1.0, needed / len(trace.seconds))


def standing(traces: Sequence[Trace], recordings: Mapping[str, Recording], rival: Sequence[Trace] = ()) -> Standing:
    """The measures of one strategy.

    Args:
        traces: its runs, with the same seeds on each space.
        rival: the runs of the strategy to compare with, on the same spaces with the same seeds.
    """
    spaces = list(dict.fromkeys(trace.space for trace in traces))
    by_space = {name: [trace for trace in traces if trace.space == name] for name in spaces}
    scores = {name: np.array([run_score(each, recordings[name]) for each in own]) for name, own in by_space.items()}
    needed = {
        name: float(np.median([evaluations_until(each, recordings[name]) for each in own]))
        for name, own in by_space.items()
    }
    seconds = {
        name: float(np.median([seconds_until(each, recordings[name]) for each in own]))
        for name, own in by_space.items()
    }
    fractions = {
        name: recordings[name].optimum_us / np.array([each.best_us for each in own]) for name, own in by_space.items()
    }
    marks = [mark for mark in MARKS if mark <= len(traces[0].best_us)]
    return Standing(
        strategy=traces[0].strategy,
        score=float(np.mean([own.mean() for own in scores.values()])),
        score_interval=_interval(list(scores.values())),
        ev95=float(np.exp(np.mean(np.log(list(needed.values()))))),
        s95=float(np.exp(np.mean(np.log(list(seconds.values()))))) if all(seconds.values()) else None,
        medians={n: float(np.mean([np.median(own[:, n - 1]) for own in fractions.values()])) for n in marks},
        reached={n: float(np.mean([np.mean(own[:, n - 1] >= NEAR) for own in fractions.values()])) for n in marks},
        p_value=_paired(traces, rival, recordings) if rival else None,
        proposal_ms=float(np.mean([each.proposal_ms for each in traces])),
        by_space={
            name: {"score": float(scores[name].mean()), "ev95": needed[name], "s95": seconds[name] or None}
            for name in spaces
        },
    )


def _interval(scores: Sequence[np.ndarray]) -> tuple[float, float]:
    """A 95 % bootstrap interval, by resampling the seeds of each space."""
    rng = np.random.default_rng(0)
    means = np.mean([own[rng.integers(len(own), size=(RESAMPLES, len(own)))].mean(axis=1) for own in scores], axis=0)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _paired(traces: Sequence[Trace], rival: Sequence[Trace], recordings: Mapping[str, Recording]) -> float:
    """The p-value of Wilcoxon's two-sided signed-rank test on scores paired by space and seed."""
    from scipy.stats import wilcoxon  # imported late, since it takes half a second

    theirs = {(each.space, each.seed): run_score(each, recordings[each.space]) for each in rival}
    pairs = [(run_score(each, recordings[each.space]), theirs[each.space, each.seed]) for each in traces]
    differences = np.array([own - other for own, other in pairs])
    if not np.any(differences):
        return 1.0
    outcome: Any = wilcoxon(differences)  # its stubs lack the fields
    return float(outcome.pvalue)
