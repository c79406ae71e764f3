import pytest

from evoflash.core.archive import Archive
from evoflash.core.status import Status
from evoflash.proposers.optuna import PENALTY, OptunaProposer
from tests.helpers import FLAG, categorical, failed, ordinal, right, space, tell

SPACES = {
    "one": space(
        {"rows": ordinal(1, 2, 4, 8, 16), "layout": categorical("a", "b", "c"), "fast": FLAG},
        ["rows < 16 or fast"],
        "one",
    ),
    "two": space({"rows": ordinal(1, 2, 4, 8), "keys": ordinal(1, 2, 3)}, [], "two"),
}


def run(proposer, budget, judge):
    archive = Archive()
    for _ in range(budget):
        proposal = proposer.ask(archive)
        archive.propose(proposal.family, proposal.genome)
        tell(proposer, archive, proposal, judge(proposal))
    return archive


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "cmaes"])
def test_a_failure_is_told_as_a_finite_penalty(sampler):
    proposer = OptunaProposer({"one": SPACES["one"]}, 0, sampler)
    outcomes = iter([failed(Status.CRASHED), right(30.0), failed(), right(50.0), failed(), right(20.0), failed()])
    run(proposer, 7, lambda _: next(outcomes))
    values = {trial.value for trial in proposer._study.trials if trial.value is not None}
    assert {PENALTY * 30, PENALTY * 50} <= values
    # Before anything is right nothing is known of the scale: that failure waits until there is.
    assert max(values) == PENALTY * 50


def test_a_model_learns_the_genes_that_were_really_tried():
    """A genome that breaks a constraint is repaired; the repaired one is what the result belongs to."""
    proposer = OptunaProposer({"one": SPACES["one"]}, 0, "tpe")
    archive = run(proposer, 25, lambda proposal: right(10.0 + proposal.genome["rows"]))
    tried = {
        (member.candidate.genome["rows"], member.candidate.genome["layout"], member.candidate.genome["fast"])
        for member in archive
    }
    told = {
        (trial.params["one.rows"], trial.params["one.layout"], trial.params["one.fast"])
        for trial in proposer._study.get_trials(deepcopy=False)
        if trial.value is not None
    }
    assert tried <= told


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "cmaes"])
def test_it_learns(sampler):
    """On an easy slope the second forty are better than the first."""
    big = space({name: ordinal(*range(12)) for name in "abcd"}, family="big")
    proposer = OptunaProposer({"big": big}, 0, sampler)
    archive = run(proposer, 80, lambda proposal: right(1.0 + sum(proposal.genome.values())))
    times = [member.fitness_us for member in archive]
    assert sum(times[40:]) < sum(times[:40])


def test_a_result_that_was_not_asked_for_is_learned_too():
    proposer, archive = OptunaProposer(SPACES, 0, "tpe"), Archive()
    stranger = OptunaProposer(SPACES, 9, "tpe").ask(Archive())
    archive.propose(stranger.family, stranger.genome)
    tell(proposer, archive, stranger, right(12.0))
    assert [trial.value for trial in proposer._study.trials] == [12.0]
    assert proposer._study.best_trial.params["family"] == stranger.family
