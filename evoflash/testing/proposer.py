"""The conformance suite of strategies: trials on synthetic spaces, with results that are made up."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from evoflash.core.archive import Archive, Member
from evoflash.core.candidate import Proposal
from evoflash.core.evaluation import Evaluation, Timing
from evoflash.core.genome import Genome
from evoflash.core.status import Stage, Status
from evoflash.proposers.base import Proposer, Spaces
from evoflash.space.declaration import Declaration
from evoflash.space.search_space import SearchSpace
from evoflash.testing.expectation import expect

Objective = Callable[[str, Genome], Evaluation]

WINDOW = 5  # proposals in flight, as in a search with several builders


def check_proposer(factory: Callable[[Spaces, int], Proposer], budget: int = 60) -> None:
    """Checks a strategy: valid and new proposals, known parents, determinism, and an end once every genome is proposed.

    Args:
        factory: makes a proposer from the spaces, by family, and a seed; usually the class itself.
        budget: proposals of each trial.

    Raises:
        AssertionError: saying which requirement is violated.
    """
    for spaces in (_spaces("rich"), _spaces("rich", "poor"), _spaces("rich", "other", "poor")):
        for objective in (_landscape, _all_fail):
            first = _trial(factory, spaces, objective, seed=3, budget=budget)
            random.seed(len(first))  # exposes a strategy that draws from the global generator
            second = _trial(factory, spaces, objective, seed=3, budget=budget)
            for number, (one, other) in enumerate(zip(first, second, strict=False)):
                expect(one == other, f"the same seed and results gave {one} and then {other} as proposal {number}")
            expect(
                len(first) == len(second), f"the same seed and results gave {len(first)}, then {len(second)} proposals"
            )
            size = sum(sum(1 for _ in space.genomes()) for space in spaces.values())
            expect(
                len(first) == min(budget, size),
                f"it stopped after {len(first)} of {size} genomes, with a budget of {budget}",
            )
    _check_end(factory)


def _spaces(*families: str) -> dict[str, SearchSpace]:
    """Synthetic spaces: a large one with constraints, another that shares some of its genes, and one of two genomes."""
    numbers = {"kind": "ordinal", "values": (1, 2, 4, 8, 16)}
    declared: dict[str, dict[str, Any]] = {
        "rich": {
            "parameters": {
                "rows": numbers,
                "stages": {"kind": "ordinal", "values": (1, 2, 3)},
                "layout": {"kind": "categorical", "values": ("a", "b", "c")},
                "fast": {"kind": "flag"},
                "fixed": {"kind": "ordinal", "values": (7,)},
            },
            "derived": {"bytes": "rows * stages"},
            "constraints": (
                {"expr": "bytes <= 24", "why": "it must fit"},
                {"expr": "fast or layout != 'c'", "why": "only the fast path knows c"},
            ),
        },
        "other": {
            "parameters": {
                "rows": numbers,
                "layout": {"kind": "categorical", "values": ("b", "d")},
                "fast": {"kind": "flag"},
            },
            "constraints": ({"expr": "rows > 2 or not fast", "why": "too little work"},),
        },
        "poor": {"parameters": {"fast": {"kind": "flag"}}},
    }
    return {
        family: SearchSpace(
            Declaration.model_validate({"family": family, **declared[family]}), [{"rows": 64}], {"cores": 2}
        )
        for family in families
    }


def _landscape(family: str, genome: Genome) -> Evaluation:
    """A time that depends on the genes; about one genome in six fails, and one in six is a duplicate."""
    digit = int(genome.digest[:2], 16) % 6
    if digit == 0:
        return Evaluation(status=Status.WRONG, stage=Stage.CORRECTNESS, reason="made to fail")
    time_us = 10.0 + 5 * (family == "other") + 20 * (not genome["fast"])
    time_us += abs(float(genome.get("rows", 1)) - 8)
    timing = Timing(regime="warm", p50_us=time_us, p90_us=time_us, p99_us=time_us, launches=1, samples=(time_us,))
    return Evaluation(status=Status.DUPLICATE if digit == 1 else Status.OK, stage=Stage.FULL, timings=(timing,))


def _all_fail(family: str, genome: Genome) -> Evaluation:
    return Evaluation(status=Status.BUILD_FAILED, stage=Stage.BUILD, reason="made to fail")


def _trial(
    factory: Callable[[Spaces, int], Proposer], spaces: Spaces, objective: Objective, seed: int, budget: int
) -> list[Proposal]:
    """The proposals within a budget, with several of them in flight, as in `Search`."""
    proposer, archive = factory(spaces, seed), Archive()
    proposals: list[Proposal] = []
    for _ in range(budget):
        proposal = proposer.ask(archive)
        if proposal is None:
            break
        _check_proposal(proposal, spaces, archive)
        proposals.append(proposal)
        archive.propose(proposal.family, proposal.genome)
        if len(proposals) - len(archive) == WINDOW:
            _tell(proposer, archive, proposals[len(archive)], objective)
    return proposals


def _tell(proposer: Proposer, archive: Archive, proposal: Proposal, objective: Objective) -> None:
    evaluation = objective(proposal.family, proposal.genome)
    proposer.tell(archive.add(proposal.numbered(len(archive)), evaluation))


def _check_proposal(proposal: Proposal, spaces: Spaces, archive: Archive) -> None:
    expect(isinstance(proposal, Proposal), f"ask() must return a Proposal or None, not {proposal!r}")
    expect(proposal.family in spaces, f"{proposal}: there is no family {proposal.family!r}")
    expect(isinstance(proposal.genome, Genome), f"{proposal}: its genome is a {type(proposal.genome).__name__}")
    broken = spaces[proposal.family].violations(proposal.genome)
    expect(not broken, f"{proposal} breaks {', '.join(each.expr for each in broken)}; see SearchSpace.repair")
    expect(
        not archive.has(proposal.family, proposal.genome),
        f"{proposal} has been proposed before; see proposers.base.novel",
    )
    expect(bool(proposal.operator), f"{proposal} has no operator")
    members: list[Member] = list(archive)
    for parent in proposal.parents:
        expect(
            0 <= parent < len(members),
            f"{proposal}: parent {parent} has no result yet; only the first {len(members)} candidates have one",
        )


def _check_end(factory: Callable[[Spaces, int], Proposer]) -> None:
    """Expects every genome of a small space once, then None for every further call."""
    spaces = _spaces("poor", "other")
    wanted = {(family, genome.digest) for family, space in spaces.items() for genome in space.genomes()}
    proposer, archive = factory(spaces, 0), Archive()
    while (proposal := proposer.ask(archive)) is not None:
        _check_proposal(proposal, spaces, archive)
        wanted.discard((proposal.family, proposal.genome.digest))
        archive.propose(proposal.family, proposal.genome)
        _tell(proposer, archive, proposal, _landscape)
    expect(not wanted, f"it ended with {len(wanted)} genomes untried; see proposers.base.novel")
    expect(proposer.ask(archive) is None, "ask() returned None and then another proposal")
