import itertools
import math
import operator
import random

import numpy as np
import pytest

from evoflash.core.genome import Genome
from evoflash.proposers import gaussian_process
from evoflash.proposers.bandit import Bandit
from evoflash.proposers.gaussian_process import GaussianProcess
from evoflash.proposers.lattice import Lattice
from evoflash.proposers.models import FailureClassifier, Forest, training_subset
from evoflash.proposers.surrogate import Surrogate, flattened
from tests.helpers import FLAG, categorical, ordinal, space


def made() -> Lattice:
    parameters = {
        "rows": ordinal(8, 16, 32, 64),
        "keys": ordinal(8, 16, 32, 64),
        "layout": categorical("a", "b", "c"),
        "fast": FLAG,
        "fixed": ordinal(7),
    }
    return Lattice(space(parameters, ["rows * keys <= 1024"], derived={"tile": "rows * keys"}))


def valid(lattice: Lattice):
    everything = itertools.product(*(range(size) for size in lattice.sizes))
    return [point for point in everything if lattice.is_valid(point)]


def time_us(point) -> float:
    rows, keys, layout, fast, _ = point
    return 10.0 + 4 * abs(rows + keys - 3) + 3 * layout + 5 * (1 - fast)


def test_points_and_genomes_are_the_same_thing():
    lattice = made()
    for genome in lattice.space.genomes():
        assert lattice.genome(lattice.point(genome)) == genome
    assert lattice.point(Genome({"rows": 16, "keys": 8, "layout": "c", "fast": True, "fixed": 7})) == (1, 0, 2, 1, 0)
    assert len(valid(lattice)) == sum(1 for _ in lattice.space.genomes())


def test_every_move_is_valid_and_moves_what_it_says():
    lattice, rng = made(), random.Random(0)
    listed = set(valid(lattice))
    for _ in range(300):
        point, other = lattice.sample(rng), lattice.sample(rng)
        assert {lattice.jump(point, rng), lattice.cross(point, other, rng)} <= listed
        neighbours = list(lattice.neighbours(point))
        steps = {lattice.point(each) for each in lattice.space.neighbours(lattice.genome(point))}
        # An ordinal gene of few values moves anywhere; one of many, here none, by one step.
        assert steps <= set(neighbours) == {each for each in listed if sum(map(operator.ne, each, point)) == 1}
        assert all(sum(a != b for a, b in zip(point, each, strict=True)) == 1 for each in neighbours)
        child = lattice.cross(point, point, rng)
        assert child == point


def test_an_ordinal_gene_of_many_values_moves_by_one_step():
    lattice = Lattice(space({"rows": ordinal(1, 2, 4, 8, 16, 32), "fast": FLAG}))
    assert set(lattice.neighbours((3, 0))) == {(2, 0), (4, 0), (3, 1)}


def test_features_hold_coordinates_products_ratios_and_derived_figures():
    lattice = made()
    rows = lattice.features([(0, 3, 2, 1, 0), (2, 2, 0, 0, 0)])
    # rows, keys, layout, fast; log2 of rows * keys and rows / keys; the derived tile
    assert rows.tolist() == [[0, 3, 2, 1, 9, -3, 512], [2, 2, 0, 0, 10, 0, 1024]]
    assert lattice.unit([(0, 3, 2, 1, 0)]).tolist() == [[0, 1, 1, 1]]


@pytest.mark.parametrize("process", [0.0, 0.5, 1.0])
def test_what_is_promising_is_expected_to_improve_most(process):
    lattice = made()
    points = valid(lattice)
    rng = random.Random(1)
    known = rng.sample(points, 40)
    surrogate = Surrogate(lattice, 30, process)
    for point in known:
        surrogate.tell(point, time_us(point))
    assert surrogate.fit(0)
    unknown = [point for point in points if point not in known]
    gains, _ = surrogate.expected(unknown, min(map(time_us, known)))
    best = [unknown[number] for number in np.argsort(-gains)[:6]]
    assert np.mean([time_us(each) for each in best]) < np.quantile([time_us(each) for each in unknown], 0.25)
    assert (gains >= 0).all()


def test_what_fails_is_avoided_though_it_would_be_fast():
    lattice = made()
    points = valid(lattice)
    known = random.Random(2).sample(points, 60)
    surrogate = Surrogate(lattice, 30, 0.5)
    for point in known:
        surrogate.tell(point, None if point[3] else time_us(point))  # every fast one fails
    assert surrogate.fit(0)
    unknown = [point for point in points if point not in known]
    gains, _ = surrogate.expected(unknown, 1e9)  # everything would be an improvement
    fast = np.array([point[3] == 1 for point in unknown])
    assert gains[fast].max() < gains[~fast].min()


def test_seconds_are_expected_where_they_are_like_those_of_results():
    lattice = made()
    surrogate = Surrogate(lattice, 10, 0.8)
    points = valid(lattice)
    tried = random.Random(1).sample(points, 20)
    for number, point in enumerate(tried):
        seconds = None if number % 5 == 0 else 10.0 if point[3] else 1.0  # a few were in the cache
        surrogate.tell(point, time_us(point), seconds)
    assert surrogate.fit(0)
    untried = [point for point in points if point not in tried]
    _, expected = surrogate.expected(untried, 1.0)
    fast = np.array([point[3] == 1 for point in untried])
    assert np.median(expected[fast]) > 2 * np.median(expected[~fast])


def test_what_was_expensive_is_remembered_beside_many_cheap_results():
    lattice = made()
    surrogate, points = Surrogate(lattice, 10, 0.8), valid(lattice)
    slow, quick = ([point for point in points if (point[3] == 1) is wanted] for wanted in (True, False))
    for number in range(500):  # more than a forest is fitted to; the expensive ones first
        point = slow[number % len(slow)] if number < 250 else quick[number % len(quick)]
        surrogate.tell(point, time_us(point), 10.0 if number < 250 else 1.0)
    assert surrogate.fit(0)
    expected = [np.median(surrogate.expected(each, 1.0)[1]) for each in (slow, quick)]
    assert expected[0] > 5 * expected[1]


def test_without_seconds_all_points_cost_the_same():
    lattice = made()
    surrogate = Surrogate(lattice, 10, 0.8)
    points = valid(lattice)
    for point in points[:10]:
        surrogate.tell(point, time_us(point))
    assert surrogate.fit(0)
    assert surrogate.expected(points[10:], 1.0)[1].tolist() == [1.0] * len(points[10:])


def test_too_little_is_known_at_first():
    lattice = made()
    surrogate = Surrogate(lattice, 10, 0.5)
    for number, point in enumerate(valid(lattice)[:6]):
        assert not surrogate.fit(0)
        surrogate.tell(point, 10.0 if number % 2 else None)
    assert surrogate.fit(0)


def curve(results: int):
    """Rows of three features, of which the first covers half its range and the third has no effect, and log times."""
    rows = np.random.default_rng(0).random((results, 3)).astype(np.float32)
    rows[:, 0] *= 0.5
    return rows, np.log(2 + rows[:, 0] + rows[:, 1] ** 2)


def test_a_forest_fits_and_knows_its_uncertainty():
    rows, truth = curve(60)
    forest = Forest(30)
    forest.fit(rows, truth, 0)
    mean, deviation = forest.predict(rows)
    assert np.corrcoef(mean, truth)[0, 1] > 0.95
    assert (deviation >= 0).all()


def test_a_process_fits_and_is_uncertain_where_nothing_was_tried():
    rows, truth = curve(60)
    process = GaussianProcess()
    process.fit(rows[:40], truth[:40])
    mean, deviation = process.predict(rows[40:])
    assert np.corrcoef(mean, truth[40:])[0, 1] > 0.99
    far = np.array([[1.0, 0.5, 0.5]], np.float32)
    assert process.predict(far)[1][0] > 3 * np.median(deviation)
    without_effect = process.predict(rows[40:] + np.array([0, 0, 0.3], np.float32))[0]
    assert np.abs(without_effect - mean).max() < 0.1 * np.ptp(truth)


def test_the_gradient_of_the_posterior_is_right():
    rows, truth = curve(12)
    values = (truth - truth.mean()) / truth.std()
    squares = np.square(rows[:, None] - rows[None]).reshape(-1, 3).astype(float)
    priors = np.array([gaussian_process.LENGTH_PRIOR] * 3 + [(0.0, 1.0), gaussian_process.NOISE_PRIOR])

    def cost(theta):
        return gaussian_process._cost(theta, squares, values, priors)

    theta = priors[:, 0] + np.array([0.3, -0.2, 0.1, 0.4, -0.5])
    steps = 1e-5 * np.eye(5)
    numeric = [(cost(theta + step)[0] - cost(theta - step)[0]) / 2e-5 for step in steps]
    assert cost(theta)[1] == pytest.approx(numeric, rel=1e-4)


def test_of_few_results_a_process_believes_its_prior():
    """Three results of noise neither make a gene decisive nor make it idle."""
    rows, _ = curve(3)
    process = GaussianProcess()
    process.fit(rows, np.array([1.0, 5.0, 2.0]))
    assert process._theta is not None
    lengths = process._theta[:3]
    assert (np.abs(lengths - gaussian_process.LENGTH_PRIOR[0]) < 2 * gaussian_process.LENGTH_PRIOR[1]).all()


def test_slow_times_are_compressed_in_their_order():
    times = np.array([3.0, 0.0, 1.0, 2.0, 4.0, 9.0, 700.0])
    flat = flattened(times)
    assert flat[:4].tolist() == [3.0, 0.0, 1.0, 2.0]
    assert (np.argsort(flat) == np.argsort(times)).all()
    assert flat[4] == pytest.approx(3 + 3 * math.log(4 / 3))
    assert flat.max() < 20
    assert flattened(np.array([2.0, 2.0, 2.0])).tolist() == [2.0, 2.0, 2.0]


def test_failures_are_probabilities():
    rows = np.arange(40, dtype=np.float32)[:, None]
    failures = FailureClassifier(30)
    failures.fit(rows, rows[:, 0] >= 20, 0)
    found = failures.probability(rows)
    assert found[:15].max() < 0.3
    assert found[25:].min() > 0.7
    failures.fit(rows, np.zeros(40, bool), 0)
    assert failures.probability(rows).tolist() == [0.0] * 40


def test_the_fastest_and_the_latest_are_learned_from():
    times = np.array([math.log(1 + (number * 37) % 101) for number in range(101)])
    chosen = training_subset(times, 20)
    assert set(np.argsort(times)[:10]) <= set(chosen)
    assert set(range(91, 101)) <= set(chosen)
    assert len(chosen) <= 20
    assert training_subset(times, 200).tolist() == list(range(101))


def test_the_bandit_prefers_what_pays_and_follows_a_change():
    rng, bandit = random.Random(0), Bandit(["good", "bad"])

    def pulls(pays: str, count: int) -> int:
        chosen = 0
        for _ in range(count):
            arm = bandit.choose(["good", "bad"], rng)
            bandit.update(arm, 0.8 if arm == pays else 0.05)
            chosen += arm == pays
        return chosen

    assert pulls("good", 200) > 150
    assert pulls("bad", 300) > 150
    assert bandit.choose(["bad"], rng) == "bad"
