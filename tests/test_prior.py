"""Priors: what recorded spaces tell of a family's values, and what the search makes of it."""

import math
import random
import statistics

import pytest
import yaml

from evoflash.codegen.template import load_all
from evoflash.core.archive import Archive
from evoflash.core.genome import Genome
from evoflash.errors import SpaceError
from evoflash.proposers.evolution import EvolutionProposer, Settings
from evoflash.proposers.lattice import Lattice
from evoflash.proposers.surrogate import Surrogate
from evoflash.replay import Recording
from evoflash.replay.priors import fitted
from evoflash.space import declaration
from evoflash.space.prior import Prior
from tests.helpers import FLAG, categorical, failed, ordinal, right, space, tell
from tests.replay.spaces import recording

PARAMETERS = {
    "tile": ordinal(8, 16, 32, 64),
    "layout": categorical("a", "b", "c"),
    "fast": FLAG,
    "stages": ordinal(1, 2),
}
EFFECTS = {"tile": {8: 1.0, 16: 0.5, 32: -0.5, 64: -1.0}, "layout": {"a": 0.3, "b": -0.3}, "fast": {True: -0.4}}
PRIOR = Prior(recorded=("elsewhere",), effects=EFFECTS)


@pytest.fixture
def path(tmp_path):
    """A search space in a file."""
    (tmp_path / "priors").mkdir()
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump({"family": "small", "parameters": {"tile": {"kind": "ordinal", "values": [8, 16]}}}))
    return file


def write(path, content) -> None:
    (path.parent / "priors" / path.name).write_text(yaml.safe_dump(content))


def test_a_prior_lies_beside_its_space(path):
    assert declaration.read(path).prior is None
    write(path, {"recorded": ["elsewhere"], "effects": {"tile": {8: 0.5, 16: -0.5}}})
    prior = declaration.read(path).prior
    assert prior is not None
    assert prior.expected({"tile": 8}) == 0.5
    assert prior.expected({"tile": 32}) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"recorded": [], "effects": {"tiel": {8: 1.0}}}, "tile"),
        ({"recorded": [], "effects": {"tile": {8: "slow"}}}, "effects.tile.8"),
        ({"effects": {"tile": {8: 1.0}}}, "recorded"),
    ],
)
def test_what_is_no_prior_of_the_space_is_refused_with_the_file(path, content, message):
    write(path, content)
    with pytest.raises(SpaceError, match=rf"priors/small\.yaml.*{message}"):
        declaration.read(path)


def test_a_prior_within_the_space_is_told_where_it_belongs(path):
    path.write_text(path.read_text() + "prior: {recorded: [], effects: {}}\n")
    with pytest.raises(SpaceError, match=r"priors/small\.yaml"):
        declaration.read(path)


def test_the_effects_of_values_are_found_again():
    """`recording` is a valley: rows near 6 are the fastest, and what is not fast takes 7 longer."""
    prior = fitted("made", [recording(), recording("other", sizes=(8, 4, 2))])
    assert prior.recorded == ("made-up", "other")
    assert prior.effects["fast"][False] > 0 > prior.effects["fast"][True]
    assert min(prior.effects["rows"], key=prior.effects["rows"].get) in (4, 5, 6)
    assert max(prior.effects["rows"], key=prior.effects["rows"].get) in (1, 8)


def test_a_family_of_which_nothing_is_right_tells_nothing():
    rows = [("made", Genome({"rows": rows}), right(10.0 + rows)) for rows in (1, 2)]
    failing = Recording.of("half", [*rows, ("broken", Genome({"rows": 1}), failed())])
    assert fitted("broken", [failing]).effects == {}
    assert fitted("made", [failing]).effects["rows"][1] < 0


def proposals(prior: Prior | None, count: int, settings: Settings | None = None) -> list:
    """What is proposed before there is a result, as with many candidates in flight."""
    proposer, archive = EvolutionProposer({"small": space(PARAMETERS).expecting(prior)}, 0, settings), Archive()
    found = []
    for _ in range(count):
        found.append(proposer.ask(archive))
        archive.propose(found[-1].family, found[-1].genome)
    return found


def test_a_search_without_results_begins_with_what_the_prior_expects_to_be_fast():
    def expected(made: list) -> float:
        return statistics.mean(PRIOR.expected(each.genome) for each in made)

    informed = proposals(PRIOR, 20)
    assert {each.operator for each in informed} == {"prior", "random"}
    assert expected(informed) < expected(proposals(None, 20)) - 0.4
    assert len({each.genome for each in informed}) == 20


def test_without_a_prior_or_with_one_that_is_disregarded_proposals_are_the_same():
    assert proposals(PRIOR, 20, Settings(prior=0)) == proposals(None, 20)


def test_no_draw_is_by_the_prior_once_something_right_is_known():
    proposer, archive = EvolutionProposer({"small": space(PARAMETERS).expecting(PRIOR)}, 0), Archive()
    made = []
    for _ in range(40):
        proposal = proposer.ask(archive)
        archive.propose(proposal.family, proposal.genome)
        made.append(proposal.operator)
        tell(proposer, archive, proposal, right(10 + random.Random(proposal.genome.digest).random()))
    assert "prior" in made[:8]
    assert "prior" not in made[8:]


def test_the_model_expects_what_the_prior_does_where_nothing_was_tried():
    """Four slow results that agree with the prior; without it, they tell nothing of values that they do not have."""
    slow = [{"tile": 8, "layout": layout, "fast": False, "stages": stages} for layout in "ac" for stages in (1, 2)]
    promising = {"tile": 64, "layout": "b", "fast": True, "stages": 1}

    def gain(prior: Prior | None) -> float:
        lattice = Lattice(space(PARAMETERS).expecting(prior))
        surrogate = Surrogate(lattice, trees=20, process=0.8)
        for genes in slow:
            surrogate.tell(lattice.point(Genome(genes)), 10 * 2 ** PRIOR.expected(genes))
        assert surrogate.fit(0)
        return float(surrogate.expected([lattice.point(Genome(promising))], 10.0)[0][0])

    assert gain(PRIOR) == pytest.approx(-math.log(2) * PRIOR.expected(promising), rel=0.05)
    assert gain(None) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("family", sorted(name for name, each in load_all().items() if each.declaration.prior))
def test_shipped_priors_know_only_values_that_their_space_has(family):
    own = load_all()[family].declaration
    for name, effects in own.prior.effects.items():
        for value in effects:
            assert own.parameters[name].admits(value), (name, value)
