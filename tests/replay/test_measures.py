import math
from dataclasses import replace

import numpy as np
import pytest

from evoflash.core.evaluation import BuildReport
from evoflash.core.genome import Genome
from evoflash.replay import Recording, Trace, simulate, standing
from evoflash.replay.measures import cutoff, evaluations_until, expected_random, run_score
from tests.helpers import right

LINE = Recording.of("line", [("f", Genome({"x": x}), right(100.0 + x)) for x in range(1000)])


def trace(best_us, seed=0, strategy="made", space="line") -> Trace:
    count = len(best_us)
    return Trace(
        strategy, space, seed, tuple(best_us), ("random",) * count, 1.0, tuple(2.0 * n for n in range(1, count + 1))
    )


def test_random_search_is_expected_where_the_formula_says():
    """d[min(N - 1, round(M (N + 1) / (M + 1)))], worked by hand."""
    descending = np.arange(10.0, 0.0, -1.0)
    assert expected_random(descending, np.array([0, 1, 4, 10, 1000])).tolist() == [10.0, 4.0, 1.0, 1.0, 1.0]


def test_the_cutoffs_are_where_random_search_gets_there():
    descending = LINE.descending_us
    # 1 % of the way from the median 599.5 to 100 is 594.505: places 505 and up; 505 / (1001 - 505) = 1.02
    assert cutoff(descending, 0.01) == 2
    # 95 % of the way from the median 599.5 to 100 is 124.975: places 975 and up; 975 / (1001 - 975) = 37.5
    assert cutoff(descending, 0.95) == 38
    assert expected_random(descending, np.array([38]))[0] <= 124.975 + 1


def test_zero_is_random_and_one_is_the_optimum_at_once():
    moments = np.arange(1, 201)
    assert run_score(trace(expected_random(LINE.descending_us, moments)), LINE) == 0.0
    assert run_score(trace([100.0] * 200), LINE) == 1.0
    assert run_score(trace([1099.0] * 200), LINE) < -5
    assert run_score(trace([math.inf] * 200), LINE) == run_score(trace([1099.0] * 200), LINE)


def test_real_random_search_scores_about_zero():
    scores = [run_score(simulate("random", LINE, seed, 60), LINE) for seed in range(60)]
    assert abs(np.mean(scores)) < 0.25


def test_evaluations_until_counts_from_one_and_is_finite():
    assert evaluations_until(trace([106.0, 105.0, 100.0]), LINE) == 2
    assert evaluations_until(trace([106.0] * 10), LINE) == 15


def test_a_standing_averages_over_seeds_then_over_spaces():
    other = replace(LINE, name="other")
    runs = [trace([100.0] * 200, seed) for seed in range(3)]
    runs += [trace([400.0] * 100 + [100.0] * 100, seed, space="other") for seed in range(3)]
    found = standing(runs, {"line": LINE, "other": other})
    assert found.medians == {25: 0.625, 50: 0.625, 100: 0.625, 200: 1.0}
    assert found.reached == {25: 0.5, 50: 0.5, 100: 0.5, 200: 1.0}
    assert found.ev95 == pytest.approx(math.sqrt(1 * 101))
    assert found.score == pytest.approx((found.by_space["line"]["score"] + found.by_space["other"]["score"]) / 2)
    assert found.score_interval == (pytest.approx(found.score), pytest.approx(found.score))
    assert found.s95 == pytest.approx(math.sqrt(2 * 202))
    assert found.p_value is None


def test_seconds_are_those_of_builds_and_measurements():
    slow = [right(100.0 + x).model_copy(update={"seconds": 0.5, "build": BuildReport(seconds=1.5)}) for x in range(50)]
    recording = Recording.of("slow", [("f", Genome({"x": x}), each) for x, each in enumerate(slow)])
    run = simulate("random", recording, 0, 60)
    assert run.seconds == (*(2.0 * n for n in range(1, 51)), *[100.0] * 10)
    assert standing([run], {"slow": recording}).s95 == 2.0 * evaluations_until(run, recording)
    assert standing([simulate("random", LINE, 0, 9)], {"line": LINE}).s95 is None


def test_the_paired_test_sees_a_difference_and_none():
    rng = np.random.default_rng(0)
    slow = [trace(np.minimum.accumulate(100 + 500 * rng.random(200)), seed) for seed in range(12)]
    fast = [replace(each, best_us=tuple(100 + (value - 100) / 2 for value in each.best_us)) for each in slow]
    recordings = {"line": LINE}
    assert (standing(fast, recordings, slow).p_value or 1) < 0.01
    assert standing(slow, recordings, slow).p_value == 1.0
    low, high = standing(fast, recordings).score_interval
    assert low < standing(fast, recordings).score < high
