"""Registers beyond a limit are predicted, and avoided, by strategies that are not told of the limit."""

import random

import pytest

from evoflash.core.archive import Archive
from evoflash.core.candidate import Proposal
from evoflash.core.evaluation import BuildReport, Evaluation
from evoflash.core.status import Stage, Status
from evoflash.proposers import create
from evoflash.proposers.lattice import Lattice
from evoflash.proposers.limits import MIN_BUILDS, RegisterLimit
from tests.helpers import FLAG, ordinal, right, space

SPACE = space(
    {"rows": ordinal(1, 2, 3, 4, 5, 6, 7, 8), "stages": ordinal(1, 2, 3, 4, 5, 6), "wide": FLAG, "unused": FLAG}
)
GENOMES = random.Random(0).sample(list(SPACE.genomes()), len(list(SPACE.genomes())))
LIMIT = 60


def registers(genome) -> int:
    """Four of each product: half of the genomes are over the limit."""
    return 20 + 4 * genome["rows"] * genome["stages"] * (1 + genome["wide"]) // 2


def evaluation(genome, limit: int | None = LIMIT) -> Evaluation:
    """The more registers, the faster."""
    build = BuildReport(registers=registers(genome))
    if limit is not None and registers(genome) > limit:
        return Evaluation(status=Status.OVER_BUDGET, stage=Stage.RESOURCES, reason="too many", build=build)
    return right(1000.0 / registers(genome), build=build)


def told(limit: int | None, count: int) -> tuple[RegisterLimit, Lattice]:
    lattice = Lattice(SPACE)
    made = RegisterLimit(lattice)
    for genome in GENOMES[:count]:
        made.tell(lattice.point(genome), evaluation(genome, limit))
    return made, lattice


def test_the_limit_lies_between_what_was_let_through_and_what_was_not():
    limit, _ = told(LIMIT, 50)
    assert limit.limit == pytest.approx(LIMIT, abs=4)
    assert told(None, 50)[0].limit is None


def test_too_few_builds_and_no_limit_forbid_nothing():
    points = [Lattice(SPACE).point(genome) for genome in SPACE.genomes()]
    for limit, count in ((LIMIT, MIN_BUILDS - 1), (None, 50)):
        assert (told(limit, count)[0].kept(points) == 1).all()


def test_the_registers_of_untried_points_are_predicted():
    limit, lattice = told(LIMIT, 50)
    kept = limit.kept([lattice.point(genome) for genome in GENOMES])
    rightly = [(likely >= 0.5) == (registers(each) <= LIMIT) for likely, each in zip(kept, GENOMES, strict=True)]
    assert sum(rightly) > 0.9 * len(GENOMES)


def test_what_is_over_budget_for_something_else_is_no_limit_on_registers():
    lattice = Lattice(SPACE)
    limit = RegisterLimit(lattice)
    for genome in SPACE.genomes():
        found = evaluation(genome, None)
        if genome["unused"]:
            found = Evaluation(status=Status.OVER_BUDGET, stage=Stage.RESOURCES, reason="spills", build=found.build)
        limit.tell(lattice.point(genome), found)
    assert limit.limit is None


def test_what_no_model_chooses_probably_keeps_the_limit():
    proposer, archive, (limit, lattice) = create("evolution", {"small": SPACE}, 0), Archive(), told(LIMIT, 50)
    for genome in GENOMES[:50]:
        archive.propose("small", genome)
        member = archive.add(Proposal("small", genome, "made up").numbered(len(archive)), evaluation(genome))
        proposer.tell(member)
    untried = limit.kept([lattice.point(genome) for genome in GENOMES[50:]])
    assert (untried < 0.5).sum() > 0.3 * len(untried)
    proposals = [proposer.ask(archive) for _ in range(20)]
    moved = [lattice.point(each.genome) for each in proposals if each is not None and each.operator != "surrogate"]
    assert len(moved) >= 8
    assert limit.kept(moved).min() >= 0.5
