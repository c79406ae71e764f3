import pytest

from evoflash.core.archive import Archive
from evoflash.core.candidate import Candidate
from evoflash.core.genome import Genome
from evoflash.proposers.evolution import EvolutionProposer
from evoflash.proposers.random import RandomProposer
from evoflash.run.stopping import HORIZON, MEMORY, EarlyStopping, Forecaster
from tests.helpers import failed, ordinal, right, space, tell


class Forecasting:
    """A strategy that expects what it is told to."""

    def __init__(self, *gains: float | None):
        self._gains = list(gains)

    def expected_gain(self, builds: int) -> float | None:
        assert builds == HORIZON
        return self._gains.pop(0) if len(self._gains) > 1 else self._gains[0]


def told(patience: EarlyStopping, strategy: object, *times_us: float | None) -> list[bool]:
    """Whether it was over after each result; None is a failure."""
    archive, over = Archive(), []
    for number, time_us in enumerate(times_us):
        candidate = Candidate(number, "family", Genome({"x": number}), "made")
        patience.tell(archive.add(candidate, failed() if time_us is None else right(time_us)), strategy)
        over.append(patience.is_over)
    return over


def test_it_ends_when_too_little_has_been_expected_for_long_enough():
    patience = EarlyStopping(1.0)
    gains = [0.5, None, *([0.009] * (HORIZON - 1)), 0.02, *([0.0099] * HORIZON)]
    over = told(patience, Forecasting(*gains), *([10.0] * len(gains)))
    assert over == [False] * (len(gains) - 1) + [True]
    assert str(patience) == (
        "the next 20 candidates are expected to gain 0.99 %, for 20 results less than the 1 % of --patience"
    )


def test_nothing_is_given_up_before_something_is_right_and_without_a_threshold_never():
    assert not any(told(EarlyStopping(99.0), Forecasting(0.0), *([None] * 100)))
    assert not any(told(EarlyStopping(None), Forecasting(0.0), *([10.0] * 300)))


def test_without_a_forecast_the_gains_on_record_are_extrapolated():
    """e per 80 results is a quarter of that, 25 %, per 20."""
    times = [10.0, *([10.0] * MEMORY)]
    assert told(EarlyStopping(1.0), object(), *times, *([10.0] * HORIZON)).index(True) == MEMORY + HORIZON - 1
    gaining = [10.0 * 2.718281828 ** (-number / MEMORY) for number in range(200)]
    assert not any(told(EarlyStopping(24.9), object(), *gaining))
    assert told(EarlyStopping(25.1), object(), *gaining).index(True) == MEMORY + HORIZON - 1


def test_the_model_expects_much_while_much_is_left_and_little_when_all_is_found():
    valley = space({name: ordinal(*range(8)) for name in "abc"}, family="valley")
    proposer, archive, expected = EvolutionProposer({"valley": valley}, 0), Archive(), []
    assert isinstance(proposer, Forecaster)
    assert not isinstance(RandomProposer({"valley": valley}, 0), Forecaster)
    assert proposer.expected_gain(HORIZON) is None
    for _ in range(150):
        proposal = proposer.ask(archive)
        archive.propose(proposal.family, proposal.genome)
        distance = sum(abs(value - 5) for value in proposal.genome.values())
        tell(proposer, archive, proposal, right(10.0 + distance))
        expected.append(proposer.expected_gain(HORIZON))
    assert max(gain for gain in expected[:40] if gain is not None) > 0.05
    assert archive.best.fitness_us == pytest.approx(10.0)
    assert expected[-1] < 0.01
