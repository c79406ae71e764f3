from functools import partial

import pytest

from evoflash import proposers
from evoflash.errors import NotFoundError
from evoflash.testing import check_proposer


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name", ["evolution", "random", "tpe", "nsga2", "cmaes", pytest.param("gp", marks=pytest.mark.slow)]
)
def test_each_strategy_conforms(name):
    check_proposer(partial(proposers.create, name), budget=8 if name == "gp" else 45)


def test_optuna_is_tpe_and_every_name_is_known():
    assert {"evolution", "random", "optuna", "tpe", "nsga2", "cmaes", "gp"} <= set(proposers.names())
    assert proposers.create("optuna", {}, 0)._name == "tpe"


def test_an_unknown_strategy_names_the_near_ones():
    with pytest.raises(NotFoundError, match="unknown strategy 'evolutoin'; did you mean 'evolution'"):
        proposers.create("evolutoin", {}, 0)
