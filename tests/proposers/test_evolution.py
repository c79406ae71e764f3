import itertools
import random
import statistics

import pytest

from evoflash.core.archive import Archive
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.proposers.evolution import SURROGATE, EvolutionProposer, Settings
from evoflash.proposers.lattice import Lattice
from evoflash.proposers.random import RandomProposer
from tests.helpers import FLAG, categorical, failed, ordinal, right, space, tell

TILES = ordinal(8, 16, 32, 64, 128, 256)


def landscape(family, genome):
    """A rugged valley as kernels have it: tiles that must fit each other, flags that help together, failures."""
    if int(genome.digest[:4], 16) % 7 == 0:
        return failed(Status.WRONG)
    steps = {name: TILES["values"].index(genome[name]) for name in ("rows", "keys")}
    time_us = (
        20 + 4 * abs(steps["rows"] - 3) + 3 * abs(steps["keys"] - steps["rows"] + 1) + 2 * (genome["unroll"] - 2) ** 2
    )
    time_us += {"a": 9, "b": 4, "c": 0, "d": 6}[genome["layout"]]
    time_us += -8 if genome["async"] and genome["stages"] >= 3 else 3 * genome["async"]
    return right(time_us + int(genome.digest[4:6], 16) / 128)


def rugged(family="rugged", **more):
    parameters = {
        "rows": TILES,
        "keys": TILES,
        "stages": ordinal(1, 2, 3, 4),
        "unroll": ordinal(1, 2, 3, 4, 5),
        "layout": categorical("a", "b", "c", "d"),
        "async": FLAG,
        "padding": ordinal(0, 8, 16),
    }
    return space(parameters, ["rows * keys * stages <= 16384", "stages == 1 or async"], family, **more)


def search(proposer, budget, window=4):
    archive, queue = Archive(), []
    while len(archive) < budget:
        while len(queue) < window:
            proposal = proposer.ask(archive)
            archive.propose(proposal.family, proposal.genome)
            queue.append(proposal)
        first = queue.pop(0)
        tell(proposer, archive, first, landscape(first.family, first.genome))
    return archive


def test_what_takes_ten_times_as_long_must_promise_more():
    """Padding has no effect but seconds: one of its three values is cheap, which the model prefers by thrift alone."""
    for seed in range(3):
        cheap = []
        for thrift in (0.0, 1.0):
            proposer, archive = EvolutionProposer({"rugged": rugged()}, seed, Settings(thrift=thrift)), Archive()
            while len(archive) < 80:
                proposal = proposer.ask(archive)
                seconds = 10.0 if proposal.genome["padding"] else 1.0
                found = landscape("rugged", Genome({**proposal.genome, "padding": 0}))
                tell(proposer, archive, proposal, found.model_copy(update={"seconds": seconds}))
            chosen = [each.candidate.genome for each in archive if each.candidate.operator == SURROGATE]
            cheap.append(sum(genome["padding"] == 0 for genome in chosen) / len(chosen))
        assert cheap[1] > 1.5 * cheap[0]


@pytest.mark.long  # many searches
def test_evolution_beats_random_at_the_same_budget():
    spaces, budget = {"rugged": rugged()}, 60
    best = {
        kind: [search(kind(spaces, seed), budget).best.fitness_us for seed in range(7)]
        for kind in (EvolutionProposer, RandomProposer)
    }
    evolution, chance = best[EvolutionProposer], best[RandomProposer]
    assert statistics.median(evolution) < statistics.median(chance)
    assert statistics.mean(evolution) < statistics.mean(chance)


def test_it_begins_with_known_good_genomes_then_every_family():
    known = {"rows": 64, "keys": 32, "stages": 1, "unroll": 2, "layout": "c", "async": False, "padding": 0}
    too_big = {**known, "rows": 256, "keys": 256, "async": True}
    seeds = [{"genome": each, "device": "any", "date": "2025-01-01"} for each in (too_big, known)]
    spaces = {"one": rugged("one", seeds=seeds), "two": rugged("two")}
    members = list(search(EvolutionProposer(spaces, 0), 60))
    first, *others = [member.candidate for member in members]
    assert (first.family, first.genome, first.operator) == ("one", Genome(known), "seed")
    starters = others[: 2 * Settings().starters]
    assert {each.operator for each in starters} == {"random"}
    assert [each.family for each in starters].count("one") == Settings().starters
    assert not any(member.candidate.genome == Genome(too_big) for member in members)


def test_starters_cover_the_values_of_the_genes():
    members = list(search(EvolutionProposer({"rugged": rugged()}, 5), Settings().starters))
    genomes = [member.candidate.genome for member in members]
    assert {genome["layout"] for genome in genomes} == {"a", "b", "c", "d"}
    assert len({genome["rows"] for genome in genomes}) >= 4


def test_children_come_from_the_best_and_say_how():
    archive = search(EvolutionProposer({"rugged": rugged(), "other": rugged("other")}, 1), 150)
    members = list(archive)
    operators = {member.candidate.operator for member in members}
    assert {SURROGATE, "step", "jump", "crossover", "family-switch", "density", "random"} <= operators
    count = {"step": (1,), "sweep": (1,), "jump": (1,), "crossover": (2,), "family-switch": (1,), SURROGATE: (0, 1, 2)}
    for member in members:
        candidate = member.candidate
        parents = [members[parent] for parent in candidate.parents]
        assert len(parents) in count.get(candidate.operator, (0,))
        assert all(parent.evaluation.status is Status.OK for parent in parents)
        families = {parent.candidate.family for parent in parents}
        if candidate.operator == "family-switch":
            assert candidate.family not in families
        elif len(parents) == 2 or candidate.operator in ("step", "jump"):
            assert families == {candidate.family}
        if candidate.operator == "step":
            assert len(candidate.genome.changes_from(parents[0].candidate.genome)) == 1
    right_ones = [member for member in members if member.evaluation.status is Status.OK]
    bred = [member.fitness_us for member in right_ones if member.candidate.parents]
    drawn = [member.fitness_us for member in right_ones if member.candidate.operator == "random"]
    assert statistics.median(bred) < statistics.median(drawn)


@pytest.mark.parametrize("share", [0.25, 0.6])
def test_a_share_of_the_children_is_filtered_by_no_model(share):
    archive = search(EvolutionProposer({"rugged": rugged()}, 2, Settings(unfiltered=share, sweep=0)), 120)
    children = [member.candidate.operator for member in archive][Settings().starters :]
    unfiltered = sum(operator != SURROGATE for operator in children)
    assert share <= unfiltered / len(children) < share + 0.05


@pytest.mark.parametrize("setting", ["surrogate", "crossover", "density"])
def test_what_is_left_out_is_not_used(setting):
    archive = search(EvolutionProposer({"rugged": rugged()}, 2, Settings.model_validate({setting: "no"})), 60)
    assert setting not in {member.candidate.operator for member in archive}


def test_every_neighbour_of_the_best_is_tried():
    spaces = {"rugged": rugged()}
    archive = search(EvolutionProposer(spaces, 3), 250)
    assert archive.best is not None
    neighbours = spaces["rugged"].neighbours(archive.best.candidate.genome)
    assert len(neighbours) > 8
    assert all(archive.has("rugged", neighbour) for neighbour in neighbours)


@pytest.mark.long
def test_when_nothing_improves_the_best_is_tried_with_every_value_of_each_gene():
    spaces, patience = {"rugged": rugged()}, 20
    members = list(search(EvolutionProposer(spaces, 3, Settings(sweep=patience)), 200, window=1))
    best, improved = float("inf"), 0
    swept = []
    for number, member in enumerate(members):
        if member.candidate.operator == "sweep":
            assert number - improved > patience
            swept.append(number)
        if member.fitness_us < best:
            best, improved, last = member.fitness_us, number, member
    assert len(swept) > 1
    assert all(second - first > 1 for first, second in itertools.pairwise(swept))
    lattice = Lattice(spaces["rugged"])
    tried = {lattice.point(member.candidate.genome) for member in members}
    assert set(lattice.variations(lattice.point(last.candidate.genome))) <= tried
    assert "sweep" not in {
        each.candidate.operator for each in search(EvolutionProposer(spaces, 3, Settings(sweep=0)), 200)
    }


def test_the_budget_moves_to_the_family_whose_best_is_fastest():
    spaces, proposer, archive = {"good": rugged("good"), "slow": rugged("slow")}, None, Archive()
    proposer = EvolutionProposer(spaces, 7)
    for _ in range(150):
        proposal = proposer.ask(archive)
        archive.propose(proposal.family, proposal.genome)
        evaluation = landscape(proposal.family, proposal.genome)
        if evaluation.fitness_us is not None and proposal.family == "slow":
            evaluation = right(3 * evaluation.fitness_us)
        tell(proposer, archive, proposal, evaluation)
    later = [member.candidate.family for member in archive][50:]
    assert later.count("good") > 0.75 * len(later)


def test_a_family_that_starts_badly_still_gets_proposals():
    spaces = {"good": rugged("good"), "late": rugged("late")}
    late = []
    for seed in range(4):  # one of them alone may choose it a few times more or less
        proposer, archive = EvolutionProposer(spaces, seed), Archive()
        for _ in range(120):
            proposal = proposer.ask(archive)
            archive.propose(proposal.family, proposal.genome)
            tell(proposer, archive, proposal, right(10.0 if proposal.family == "good" else 40.0))
        late.append([member.candidate.family for member in archive].count("late"))
    assert sum(late) / len(late) > Settings().starters + 3
    assert 120 - max(late) > 2 * max(late)


@pytest.mark.long
def test_a_family_near_the_fastest_has_turns_whatever_the_model_expects_of_it():
    def share(turns, other_us, seed):
        """Of what the model chose, how much was of the slower family, whose times hardly differ."""
        spaces = {"good": rugged("good"), "near": rugged("near")}
        proposer, archive, chosen = EvolutionProposer(spaces, seed, Settings(turns=turns)), Archive(), []
        for _ in range(120):
            proposal = proposer.ask(archive)
            archive.propose(proposal.family, proposal.genome)
            good_us = landscape(proposal.family, proposal.genome).fitness_us or 60.0
            time_us = good_us if proposal.family == "good" else other_us + good_us / 1000
            tell(proposer, archive, proposal, right(time_us))
            chosen += [proposal.family] if proposal.operator == SURROGATE else []
        return chosen.count("near") / len(chosen)

    seeds = range(5)
    taken, left = (statistics.mean(share(turns, 18.5, seed) for seed in seeds) for turns in (3, 0))
    assert taken > left + 0.1
    assert share(3, 300.0, 0) == 0


def test_nothing_right_yet_means_random():
    proposer, archive = EvolutionProposer({"rugged": rugged()}, 0), Archive()
    for _ in range(40):
        proposal = proposer.ask(archive)
        archive.propose(proposal.family, proposal.genome)
        assert proposal.operator == "random"
        tell(proposer, archive, proposal, failed())


def test_it_leaves_the_global_generator_alone():
    random.seed(1)
    state = random.getstate()
    search(EvolutionProposer({"rugged": rugged()}, 0), 40)
    assert random.getstate() == state


@pytest.mark.parametrize(("window", "seed"), [(1, 2), (4, 0), (8, 1)])
def test_a_space_is_tried_to_its_last_point(window, seed):
    parameters = {"rows": TILES, "keys": TILES, "async": FLAG, "padding": FLAG}
    proposer = EvolutionProposer({"small": space(parameters, [], "small")}, seed)
    archive, queue = Archive(), []
    while True:
        while len(queue) < window and (proposal := proposer.ask(archive)) is not None:
            archive.propose(proposal.family, proposal.genome)
            queue.append(proposal)
        if not queue:
            break
        genome = queue[0].genome
        tell(proposer, archive, queue.pop(0), right(20 + genome["rows"] % 7 + genome["keys"] % 5 + genome["async"]))
    assert len({archive.member(index).candidate.genome for index in range(len(archive))}) == len(archive) == 144
