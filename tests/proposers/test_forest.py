"""Trees that all grow at the same time do what trees do."""

import numpy as np
import pytest

from evoflash.proposers import forest
from evoflash.proposers.forest import Trees

RNG = np.random.default_rng(0)
ROWS = RNG.integers(8, size=(120, 6)).astype(np.float32)
TARGETS = np.where(ROWS[:, 2] >= 5, 10.0, 0.0) + ROWS[:, 0]


def fitted(rows=ROWS, targets=TARGETS, seed=0, trees=30, bootstrap=False, min_leaf=1) -> Trees:
    made = Trees(trees, bootstrap=bootstrap, min_leaf=min_leaf)
    made.fit(rows, targets, seed)
    return made


def test_a_tree_that_sees_all_rows_predicts_the_mean_of_equal_rows():
    rows = np.concatenate([ROWS, ROWS[:1]])
    targets = np.concatenate([TARGETS, TARGETS[:1] + 4])
    predicted = fitted(rows, targets).predict(rows)
    same = (rows == rows[0]).all(axis=1)
    assert predicted[:, 0] == pytest.approx(targets[same].mean())
    assert np.abs(predicted - targets)[:, ~same].max() < 1e-9


def test_bootstrapped_trees_see_two_thirds_of_the_rows():
    noise = RNG.normal(size=len(ROWS))
    rows = np.arange(len(ROWS), dtype=np.float32)[:, None]
    known = np.isclose(fitted(rows, noise, bootstrap=True).predict(rows), noise)
    assert known.mean() == pytest.approx(1 - np.exp(-1), abs=0.04)


@pytest.mark.parametrize("min_leaf", [2, 5])
def test_leaves_have_their_least_number_of_results(min_leaf):
    rows = RNG.random((200, 4)).astype(np.float32)
    for predicted in fitted(rows, RNG.normal(size=200), min_leaf=min_leaf).predict(rows):
        _, sizes = np.unique(predicted, return_counts=True)
        assert sizes.min() >= min_leaf
        assert sizes.mean() < 2.5 * min_leaf  # they are split while they can be


def test_what_decides_is_found_among_what_does_not():
    untried = RNG.integers(8, size=(200, 6)).astype(np.float32)
    predicted = fitted(bootstrap=True).predict(untried).mean(axis=0)
    truth = np.where(untried[:, 2] >= 5, 10.0, 0.0) + untried[:, 0]
    assert np.corrcoef(predicted, truth)[0, 1] > 0.98


def test_fewer_features_are_considered_where_there_are_many_values(monkeypatch):
    monkeypatch.setattr(forest, "MOST_VALUES", 0)
    monkeypatch.setattr(forest, "FEWEST_FEATURES", 1)
    decisive = ROWS[:, 2] >= 5
    first = [len(np.unique(each[decisive])) for each in fitted(min_leaf=40).predict(ROWS)]
    assert sum(count > 1 for count in first) > 5  # split by a feature that does not decide
    assert np.corrcoef(fitted().predict(ROWS).mean(axis=0), TARGETS)[0, 1] > 0.98


def test_features_are_considered_a_few_at_a_time_with_the_same_result(monkeypatch):
    together = fitted(bootstrap=True).predict(ROWS)
    monkeypatch.setattr(forest, "AT_ONCE", 1)
    assert (fitted(bootstrap=True).predict(ROWS) == together).all()


def test_places_are_in_the_order_of_their_values():
    values = np.array([-np.inf, -3e38, -2.5, -1e-45, -0.0, 0.0, 1e-45, 2.5, 3e38, np.inf], np.float32)
    places = forest._places(values)
    assert np.sign(np.diff(places)).tolist() == np.sign(np.diff(values)).tolist()
    assert forest._values(places).tolist() == values.tolist()


def test_negative_values_decide_as_positive_ones_do():
    below, above = fitted(ROWS - 8).predict(ROWS - 8), fitted(ROWS + 8).predict(ROWS + 8)
    assert below == pytest.approx(above)


def test_nothing_to_split_by_leaves_the_mean():
    assert fitted(np.ones((5, 3)), np.array([1.0, 2, 3, 4, 5])).predict(np.zeros((2, 3))) == pytest.approx(3)
    assert fitted(targets=np.full(len(ROWS), 7.0)).predict(ROWS) == pytest.approx(7)
    assert fitted(np.ones((1, 2)), np.array([4.0])).predict(np.zeros((1, 2))) == pytest.approx(4)


def test_the_seed_decides():
    assert (fitted(bootstrap=True).predict(ROWS) == fitted(bootstrap=True).predict(ROWS)).all()
    other = fitted(seed=1, bootstrap=True).predict(ROWS)
    assert (fitted(bootstrap=True).predict(ROWS) != other).any()


def test_targets_far_from_zero_lose_nothing():
    near, far = fitted(bootstrap=True), fitted(targets=TARGETS + 1e6, bootstrap=True)
    assert far.predict(ROWS) - 1e6 == pytest.approx(near.predict(ROWS), abs=1e-6)
