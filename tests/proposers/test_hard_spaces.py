"""Where a search is hard: most things fail, one point is valid, nothing can be enumerated, times are noisy."""

import random
import statistics

import pytest

from evoflash.core.archive import Archive
from evoflash.core.status import Status
from evoflash.proposers.evolution import SURROGATE, EvolutionProposer
from evoflash.proposers.random import RandomProposer
from evoflash.space.search_space import SearchSpace
from tests.helpers import failed, ordinal, right, space, tell


def search(proposer, budget, judge, window=4):
    archive, queue = Archive(), []
    while len(archive) < budget:
        while len(queue) < window and (proposal := proposer.ask(archive)) is not None:
            archive.propose(proposal.family, proposal.genome)
            queue.append(proposal)
        if not queue:
            break
        first = queue.pop(0)
        tell(proposer, archive, first, judge(first.genome))
    return archive


def distance(genome) -> float:
    return sum(abs(value - 5) for value in genome.values())


WIDE = space({name: ordinal(*range(10)) for name in "abcdef"}, ["a + b + c >= 3"], "wide")  # a million points


def test_a_million_points_are_not_enumerated(monkeypatch):
    monkeypatch.setattr(SearchSpace, "genomes", lambda self: pytest.fail("every genome was asked for"))
    archive = search(EvolutionProposer({"wide": WIDE}, 0), 70, lambda genome: right(10.0 + distance(genome)))
    assert len(archive) == 70
    assert archive.best is not None
    assert archive.best.fitness_us <= 15  # of a million points, 3,647 are as near as that


def test_where_most_things_fail_it_learns_what_does_not():
    def judge(genome):
        return failed(Status.LAUNCH_FAILED) if genome["a"] < 6 else right(10.0 + distance(genome))

    archive = search(EvolutionProposer({"wide": WIDE}, 1), 100, judge)
    chance = search(RandomProposer({"wide": WIDE}, 1), 100, judge)
    fails = {
        name: statistics.mean(member.evaluation.status is not Status.OK for member in found)
        for name, found in (
            ("random", list(chance)),
            ("model", [member for member in archive if member.candidate.operator == SURROGATE]),
        )
    }
    assert fails["random"] > 0.5
    assert fails["model"] < 0.3 * fails["random"]


def test_one_valid_point_is_found_and_then_it_ends():
    lone = space({"a": ordinal(*range(50)), "b": ordinal(*range(50))}, ["a * b == 49 * 49"], "lone")
    proposer, archive = EvolutionProposer({"lone": lone}, 0), Archive()
    proposal = proposer.ask(archive)
    assert proposal is not None
    assert dict(proposal.genome) == {"a": 49, "b": 49}
    archive.propose(proposal.family, proposal.genome)
    tell(proposer, archive, proposal, right(1.0))
    assert proposer.ask(archive) is None


@pytest.mark.long
def test_noise_of_a_fifth_does_not_lead_it_astray():
    noise = random.Random(3)

    def judge(genome):
        return right((10.0 + distance(genome)) * noise.uniform(0.8, 1.2))

    found = [search(EvolutionProposer({"wide": WIDE}, seed), 80, judge) for seed in range(3)]
    chance = [search(RandomProposer({"wide": WIDE}, seed), 80, judge) for seed in range(3)]
    nearest = [
        statistics.mean(distance(member.candidate.genome) for archive in archives for member in archive.elites(5))
        for archives in (found, chance)
    ]
    assert nearest[0] < 0.75 * nearest[1]
