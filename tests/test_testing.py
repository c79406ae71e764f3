"""The conformance suites pass what is right and name what is wrong."""

import random

import pytest

from evoflash.core.archive import Archive
from evoflash.core.candidate import Proposal
from evoflash.core.genome import Genome
from evoflash.problems import Bounds
from evoflash.problems.attention import AttentionProblem
from evoflash.proposers.random import RandomProposer
from evoflash.testing import check_problem, check_proposer


class Changed(RandomProposer):
    """Random search, spoiled in one way."""

    def __init__(self, spaces, seed):
        super().__init__(spaces, seed)
        self.spaces = spaces


class Repeating(Changed):
    def ask(self, archive: Archive) -> Proposal | None:
        family = sorted(self.spaces)[0]
        return Proposal(family, next(self.spaces[family].genomes()), "first")


class Invalid(Changed):
    def ask(self, archive: Archive) -> Proposal | None:
        genome = Genome({"rows": 16, "stages": 3, "layout": "a", "fast": True, "fixed": 7})
        return Proposal("rich", genome, "careless")


class Impatient(Changed):
    def ask(self, archive: Archive) -> Proposal | None:
        return super().ask(archive) if len(archive) < 10 else None


class Orphaned(Changed):
    def ask(self, archive: Archive) -> Proposal | None:
        proposal = super().ask(archive)
        return proposal and Proposal(proposal.family, proposal.genome, "mutation", (len(archive),))


class Unseeded(Changed):
    def __init__(self, spaces, seed):
        super().__init__(spaces, random.randrange(1 << 30))


class Fails(Changed):
    """Ends when nothing was ever right."""

    def ask(self, archive: Archive) -> Proposal | None:
        return super().ask(archive) if len(archive) < 10 or archive.best else None


@pytest.mark.parametrize(
    ("proposer", "words"),
    [
        (Repeating, "has been proposed before"),
        (Invalid, "breaks bytes <= 24"),
        (Impatient, "it stopped after"),
        (Orphaned, "has no result yet"),
        (Unseeded, "the same seed and results gave"),
        (Fails, "it stopped after"),
    ],
)
def test_a_proposer_that_breaks_a_promise(proposer, words):
    with pytest.raises(AssertionError, match=words):
        check_proposer(proposer)


@pytest.mark.parametrize(
    "problem",
    [
        AttentionProblem.of(1, 2, 64, 64),
        AttentionProblem.of(2, 4, 33, 16, kv_heads=2, seq_kv=65, dtype="bfloat16", causal=True, scale=0.3),
        AttentionProblem.of(1, 1, 1, 8, dtype="float32"),
        AttentionProblem.of(1, 2, 40, 16, sinks=True, lse=True),
    ],
    ids=lambda problem: problem.label,
)
def test_attention_conforms(problem):
    check_problem(problem)


class WrongReference(AttentionProblem):
    def reference(self, inputs):
        return tuple(each * 1.05 for each in super().reference(inputs))


class HalfReference(AttentionProblem):
    def reference(self, inputs):
        return tuple(each.float() for each in super().reference(inputs))


class LaxBounds(AttentionProblem):
    def bounds(self, output, reference, plain_max, plain_rms):
        return Bounds(1e3, 1e3, 1e3)


class SeedlessInputs(AttentionProblem):
    def inputs(self, seed, variant, device):
        return super().inputs(0, variant, device)


class Writing(AttentionProblem):
    def plain(self, inputs):
        inputs[0].zero_()
        return super().plain(inputs)


class WrongMirror(AttentionProblem):
    def mirror(self, inputs):
        inputs[0].neg_()
        return (-1,)


class NoBaselines(AttentionProblem):
    def baselines(self, target):
        return {}


class SameNames(AttentionProblem):
    def cases(self):
        return (super().cases()[0],) * 2


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (WrongReference, "do they compute the same"),
        (HalfReference, "float64"),
        (LaxBounds, "zeros would pass"),
        (SeedlessInputs, "different seeds are equal"),
        (Writing, "overwrites the inputs"),
        (WrongMirror, "does not multiply out by -1"),
        (NoBaselines, "no baseline"),
        (SameNames, "one name"),
    ],
)
def test_a_problem_that_breaks_a_promise(problem, words, monkeypatch):
    if problem is not SameNames:
        monkeypatch.setattr(problem, "cases", lambda self: (_own_case(self),))
    with pytest.raises(AssertionError, match=words):
        check_problem(problem.of(1, 1, 32, 16))


def _own_case(problem):
    from evoflash.problems import Case

    return Case(name="own", problem=problem)
