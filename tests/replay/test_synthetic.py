import numpy as np
import pytest

from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.replay import Recording
from evoflash.replay.landscape import Landscape
from evoflash.replay.synthetic import CONFIGURATIONS, seeds_of, synthetic
from tests.helpers import failed, right

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def spaces():
    return [synthetic(seed) for seed in SEEDS]


def test_a_space_is_a_function_of_its_seed(spaces):
    assert synthetic(2).digest == spaces[2].digest
    assert len({each.digest for each in spaces}) == len(SEEDS)
    assert [each.name for each in spaces] == [f"synthetic-{seed}" for seed in SEEDS]


def test_spaces_are_of_usual_size_and_scale(spaces):
    for each in spaces:
        assert CONFIGURATIONS[0] <= len(each.results) <= CONFIGURATIONS[1]
        facts = Landscape.of(each)
        assert 4 <= facts.genes <= 10
        assert facts.failed <= 0.3
        assert 0.35 < facts.gap < 1.35
        assert facts.near < 0.03
        assert 0 < facts.main < facts.pairs < 1
        assert facts.adjacent > 0.4  # neither noise
        assert facts.minima > 0.001  # nor one valley


def test_what_fails_is_a_region(spaces):
    """Neighbours of a failure fail more often than others, so that failures can be learned."""
    shares = []
    for each in spaces:
        (space,) = each.spaces.values()
        fails = {genome: each.results["synthetic", genome.digest].status is not Status.OK for genome in space.genomes()}
        broken = [genome for genome, fell in fails.items() if fell][:20]
        if broken:
            near = [fails[other] for genome in broken for other in space.neighbours(genome)]
            shares.append((np.mean(near), np.mean(list(fails.values()))))
    assert shares
    assert all(near > 2 * usual for near, usual in shares)


def test_words_name_seeds():
    assert seeds_of("synthetic:7") == range(7, 8)
    assert list(seeds_of("synthetic:3-5")) == [3, 4, 5]
    assert seeds_of("synthetic:5-3") == range(5, 4)
    assert seeds_of("synthetic") is seeds_of("latest") is seeds_of("synthetic:x.csv") is None


def made(time_us) -> Recording:
    rows = [
        ("made", Genome({"a": a, "b": b, "c": c}), time_us(a, b, c))
        for a in range(1, 7)
        for b in range(1, 6)
        for c in range(1, 5)
    ]
    return Recording.of("made", rows)


def test_the_statistics_tell_landscapes_apart():
    sums = Landscape.of(made(lambda a, b, c: right(float(np.exp(a + b + c)))))
    assert (sums.configurations, sums.genes, sums.density, sums.failed) == (120, 3, 1.0, 0.0)
    assert sums.main == pytest.approx(1)
    assert sums.minima == pytest.approx(1 / 120)
    assert sums.distance > 0.9
    assert (sums.gap, sums.tail) == pytest.approx((9 - 3, 15 - 9))
    products = Landscape.of(made(lambda a, b, c: right(float(np.exp((a - 3.5) * (b - 3))))))
    assert products.main < 0.05
    assert products.pairs == pytest.approx(1)
    rng = np.random.default_rng(0)
    noise = Landscape.of(made(lambda a, b, c: right(float(np.exp(rng.standard_normal())))))
    assert abs(noise.main) < 0.2
    assert abs(noise.adjacent) < 0.2
    assert noise.minima > 0.1
    flat = Landscape.of(made(lambda a, b, c: failed() if c == 4 else right(1.0 + (a > 3))))
    assert flat.failed == 0.25
    assert flat.near == 0.5
    assert flat.flat > 0.8
