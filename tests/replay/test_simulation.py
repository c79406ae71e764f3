import itertools
import random
from dataclasses import replace

import pytest

from evoflash import proposers
from evoflash.core.candidate import Proposal
from evoflash.core.genome import Genome
from evoflash.replay import simulate
from evoflash.replay.race import TRACES, Race
from evoflash.replay.space import MEASURED
from tests.replay.spaces import recording


def test_only_what_was_measured_is_valid_and_every_move_stays_there():
    made = recording()
    space, rng = made.spaces["made"], random.Random(0)
    everything = list(space.genomes())
    assert len(everything) == len(space) == len(set(everything))
    stranger = Genome({"rows": 2, "stages": 2, "fast": True})
    listed = set(everything)
    for _ in range(200):
        first, second = space.sample(rng), space.sample(rng)
        moves = [space.mutate(first, rng, 3), space.crossover(first, second, rng), *space.neighbours(first)]
        assert set(moves) <= listed
    assert space.violations(stranger) == []
    assert space.violations({**stranger, "rows": 8, "stages": 6}) == []
    few = recording(sizes=(8, 6, 1)).spaces["made"]
    assert few.parameters["fast"].values == (False,)


def test_repair_keeps_what_it_can():
    space = recording(sizes=(8, 8, 2)).spaces["made"]
    broken = {"rows": 8, "stages": 7, "fast": True}
    assert space.violations(broken) == [MEASURED]
    for seed in range(20):
        mended = space.repair(broken, random.Random(seed))
        assert space.violations(mended) == []
        assert sum(mended[name] == broken[name] for name in broken) == 2
    fine = {"rows": 3, "stages": 2, "fast": False}
    assert dict(space.repair(fine, random.Random(0))) == dict(sorted(fine.items()))


@pytest.mark.parametrize("strategy", ["evolution", "random", "best-of-n", "nsga2"])
def test_a_replay_is_a_function_of_its_seed(strategy):
    made = recording()
    first, again, other = (replace(simulate(strategy, made, seed, 60, 4), proposal_ms=0) for seed in (5, 5, 6))
    assert first == again
    assert first.best_us != other.best_us
    assert list(first.best_us) == sorted(first.best_us, reverse=True)
    assert len(first.operators) == 60


def test_a_failure_costs_an_evaluation_and_has_no_time():
    made = recording(fails=lambda rows, **_: rows % 2 == 0)
    trace = simulate("random", made, 0, len(made.results))
    assert len(trace.operators) == len(made.results)  # the whole space, its failures included
    assert trace.best_us[-1] == made.optimum_us
    right = {each.fitness_us for each in made.results.values()} - {None}
    assert set(trace.best_us) <= right | {float("inf")}


class Stubborn:
    """Three genomes again and again, then nothing new."""

    def __init__(self, spaces, seed):
        self.genomes = itertools.cycle(itertools.islice(spaces["made"].genomes(), 3))

    def ask(self, archive):
        return Proposal("made", next(self.genomes), "again")

    def tell(self, member):
        pass


def test_repeats_are_free_but_capped(monkeypatch):
    monkeypatch.setattr(proposers, "create", lambda name, spaces, seed: Stubborn(spaces, seed))
    trace = simulate("stubborn", recording(), 0, 10)
    assert trace.operators == ("again",) * 3
    assert len(trace.best_us) == 10
    assert len(set(trace.best_us[2:])) == 1


def test_a_race_that_stopped_goes_on_to_the_same_end(tmp_path):
    recordings = {each.name: each for each in (recording("one"), recording("two", fails=lambda rows, **_: rows == 3))}
    race = Race(("random", "evolution"), recordings, repeats=3, evaluations=25)

    def timeless(traces):
        return [replace(each, proposal_ms=0.0) for each in traces]

    whole = timeless(race.run(1, None))
    assert [(each.strategy, each.space, each.seed) for each in whole[:4]] == [
        ("random", "one", 0),
        ("random", "one", 1),
        ("random", "one", 2),
        ("random", "two", 0),
    ]
    finished = []

    def stop_after_five(trace):
        finished.append(trace)
        if len(finished) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        race.run(1, tmp_path, stop_after_five)
    with (tmp_path / TRACES).open("a") as file:
        file.write('\n{"of": ["cut sho')
    resumed = []
    assert timeless(race.run(2, tmp_path, resumed.append)) == whole
    assert len(resumed) == 12 - 5
    assert timeless(race.run(1, tmp_path, lambda _: pytest.fail("everything was there"))) == whole
    longer = Race(("random",), recordings, repeats=1, evaluations=30)
    assert {len(each.best_us) for each in longer.run(1, tmp_path)} == {30}
