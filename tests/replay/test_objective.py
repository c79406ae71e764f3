"""Any finite values become positive times in the same order; a fuzz over values, directions and strategies."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from evoflash import proposers
from evoflash.core.genome import Genome
from evoflash.errors import UsageError
from evoflash.replay import Recording, simulate, standing
from evoflash.replay.objective import LIMIT, Objective
from tests.helpers import right

relaxed = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))

LARGEST, SMALLEST = 1.7976931348623157e308, 5e-324
special = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-9, SMALLEST, -SMALLEST, 1e308, -1e308, LARGEST, -LARGEST, 1e20])
finite = special | st.floats(allow_nan=False, allow_infinity=False) | st.floats(-10, 10) | st.floats(0.1, 10)
values = st.lists(finite, min_size=1, max_size=40) | st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("name", "higher"),
    [("time", False), ("score", True), ("GFLOP/s", True), ("TB/s", True), ("GFLOPS/W", True), ("GFLOP/J", True),
     ("energy", False), ("loss", False), ("anything", False)],
)  # fmt: skip
def test_the_name_says_which_direction_is_better(name, higher):
    assert Objective.of(name).higher_is_better is higher
    assert Objective.of(name, not higher).higher_is_better is not higher


def test_times_stay_and_rates_become_their_reciprocals():
    assert Objective.of("time").times(np.array([3.0, 1.0])).tolist() == [3.0, 1.0]
    assert Objective.of("GFLOP/s").times(np.array([4.0, 2.0])).tolist() == [0.25, 0.5]


def test_scores_are_mapped_linearly():
    assert Objective.of("score").times(np.array([-2.0, 8.0, 3.0, 0.0, 8.0])).tolist() == [2.25, 1.0, 1.625, 2.0, 1.0]
    assert Objective.of("score").times(np.array([-2.0, -2.0])).tolist() == [1.0, 1.0]


def test_where_no_linear_map_is_flat_enough_ranks_count():
    assert Objective.of("loss").times(np.array([0.0, 1e-300, 2e-300, 1e300])).tolist() == [1.0, 1.5, 2.0, 2.5]
    assert Objective.of("loss").times(np.array([0.0, 1e-9, 2e-9, 1e308])).tolist() == [1.0, 1.5, 2.0, 2.5]
    assert Objective.of("time").times(np.array([1e-200, 1e-199, 1e20])).tolist() == pytest.approx(
        [1.0, 1 + 2 / 3, 1 + 4 / 3]
    )


@settings(relaxed, max_examples=500)
@given(values, st.booleans())
@example([LARGEST, -LARGEST], True)
@example([SMALLEST, 0.0], False)
@example([SMALLEST, LARGEST], False)
@example([1e-320, 1.0], True)
@example([0.5, 0.75, -1e20, -1e20, -1e20], True)
def test_a_better_value_never_has_a_larger_time(given_values, higher):
    array = np.array(given_values)
    objective = Objective("any", higher)
    times = objective.times(array)
    assert times.shape == array.shape
    assert (times >= 1 / LIMIT).all()
    assert (times <= 2 * LIMIT).all()
    order = np.argsort(-array if higher else array, kind="stable")
    assert (np.diff(times[order]) >= 0).all()
    assert times.min() == times[np.flatnonzero(array == objective.best(array))[0]]
    with np.errstate(over="ignore"):
        near = np.isclose(array, objective.best(array), rtol=1e-12, atol=0)
    assert (times[~near] > times.min()).all()


def recording(given_values: list[float], higher: bool) -> Recording:
    times = Objective("any", higher).times(np.array(given_values))
    genomes = [Genome({"x": number // 6, "y": number % 6, "fast": number % 2 == 0}) for number in range(len(times))]
    return Recording.of(
        "made", [("made", genome, right(1e3 * time)) for genome, time in zip(genomes, times.tolist(), strict=True)]
    )


def replayed(strategy: str, given_values: list[float], higher: bool, evaluations: int) -> None:
    """Simulates a strategy; if it may evaluate everything, it ends with the best value."""
    space = recording(given_values, higher)
    trace = simulate(strategy, space, 0, evaluations)
    assert trace.best_us[-1] >= space.optimum_us
    if len(trace.operators) == len(given_values):
        best = given_values.index(Objective("any", higher).best(np.array(given_values)))
        assert trace.best_us[-1] == 1e3 * Objective("any", higher).times(np.array(given_values))[best]
    found = standing([trace], {"made": space})
    assert np.isfinite([found.score, found.ev95, *found.medians.values()]).all()


FAST = [name for name in proposers.names() if name not in ("gp", "optuna")]


@pytest.mark.parametrize("strategy", FAST)
@settings(relaxed, max_examples=15)
@given(values, st.booleans())
def test_every_strategy_takes_any_objective(strategy, given_values, higher):
    replayed(strategy, given_values, higher, 15)


@settings(relaxed, max_examples=3)
@given(st.lists(finite, min_size=12, max_size=20), st.booleans())
def test_the_gaussian_process_of_optuna_takes_any_objective(given_values, higher):
    replayed("gp", given_values, higher, 12)


@pytest.mark.parametrize("strategy", ["evolution", "random"])
@settings(relaxed, max_examples=10)
@given(values, st.booleans())
def test_whoever_evaluates_everything_ends_with_the_best(strategy, given_values, higher):
    space = recording(given_values, higher)
    trace = simulate(strategy, space, 1, len(given_values))
    assert len(trace.operators) == len(given_values)
    replayed(strategy, given_values, higher, len(given_values))


@pytest.mark.parametrize("time_us", [0.0, -1.0, float("nan"), float("inf")])
def test_a_recording_has_positive_times_only(time_us):
    with pytest.raises(UsageError, match=r"made has the time .*; record positive times"):
        Recording.of("made", [("made", Genome({"x": 1}), right(time_us))])
