import pytest

from evoflash.core.archive import Archive
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import BuildReport
from evoflash.core.genome import Genome
from evoflash.errors import NotFoundError
from evoflash.proposers.evolution import EvolutionProposer, Settings
from evoflash.proposers.populations import PEAKS, POPULATIONS, STAGNATION, MapElitesPopulation, peaks, population
from tests.helpers import failed, right
from tests.proposers.test_evolution import rugged, search


def grown(archive, member_of, family="one", parents=(), shared=0, **genes):
    """Adds a member; its time is `member_of`, None for a failure."""
    candidate = Candidate(len(archive), family, Genome(genes), "made", parents)
    build = BuildReport(shared_bytes=shared, registers=32)
    return archive.add(candidate, failed() if member_of is None else right(member_of, build=build))


def test_best_is_one_incumbent_of_each_family():
    archive, best = Archive(), population("best")
    for number, time_us in enumerate((30.0, 20.0, 25.0)):
        best.tell(grown(archive, time_us, rows=number))
    best.tell(grown(archive, 90.0, family="two", rows=1))
    assert [each.fitness_us for each in best.parents(archive, "one")] == [20.0]
    assert [each.fitness_us for each in best.parents(archive, "two")] == [90.0]
    assert best.parents(archive, "three") == []


def test_elites_are_peaks_that_lie_apart():
    archive, elite = Archive(), population("elite")
    for x in range(8):
        elite.tell(grown(archive, 10.0 + x, a=x, b=0))  # all in one line
    assert [each.fitness_us for each in elite.parents(archive, "one")] == [10.0]
    elite.tell(grown(archive, 15.5, a=5, b=1))
    assert [each.fitness_us for each in elite.parents(archive, "one")] == [10.0, 15.5]
    elite.tell(grown(archive, 1.0, a=6, b=2))
    assert [each.fitness_us for each in elite.parents(archive, "one")] == [1.0, 10.0, 15.5]
    assert len(peaks([grown(Archive(), 1.0, a=n, b=n) for n in range(20)])) == PEAKS


def test_islands_keep_their_niches_start_afresh_and_get_a_migrant():
    archive, islands = Archive(), MapElitesPopulation()
    for number in range(4):  # without parents: each island in turn
        islands.tell(grown(archive, 50.0 - number, shared=number // 2 * 40_000, rows=number))
    assert {name: each["niches"] for name, each in islands.figures().items()} == {"one 0": 2, "one 1": 2}
    for number in range(STAGNATION):  # children of candidate 0 that bring nothing
        islands.tell(grown(archive, None, parents=(0,), rows=100 + number))
    said = islands.figures()
    assert [said[name]["restarts"] for name in ("one 0", "one 1")] == [1, 0]
    migrant = [each.fitness_us for _ in range(2) for each in islands.parents(archive, "one")]
    assert migrant.count(47.0) == 2  # the best of island 1 is on both
    islands.tell(grown(archive, 10.0, parents=(0,), shared=0, rows=500))
    assert islands.figures()["one 0"]["improvements"] == 3  # by candidates 0 and 2 before it
    assert sorted(each.fitness_us for each in archive.niches().values()) == [10.0, 47.0]  # whatever happened to islands


@pytest.mark.parametrize("name", POPULATIONS)
def test_evolution_breeds_from_each_population(name):
    archive = search(EvolutionProposer({"rugged": rugged()}, 1, Settings(population=name)), 80)
    pairs = [member.candidate.parents for member in archive if len(member.candidate.parents) == 2]
    assert bool(pairs) == (name != "best")  # one incumbent has nobody to cross with
    assert any(len(member.candidate.parents) == 1 for member in archive)
    assert archive.best is not None
    assert archive.best.candidate.operator != "random"


def test_an_unknown_population_names_the_near_ones():
    with pytest.raises(NotFoundError, match="did you mean 'elite'"):
        population("elit")
