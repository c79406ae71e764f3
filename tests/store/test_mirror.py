"""Optuna sees every recorded candidate as a finished trial, once."""

import logging
import math

import optuna
from optuna.trial import TrialState

from evoflash.store import RunStore, StudyMirror
from tests.store import runs
from tests.store.runs import candidate, ok

ROWS = tuple(16 * n for n in range(1, 9))
SPACES = {
    "cpu_flash": {"rows": ROWS, "layout": ("a", "b"), "async": (False, True)},
    "cpu_simple": {"rows": (16, 32), "layout": ("a", "b"), "async": (False, True)},
}


def trials(url, run):
    return optuna.load_study(study_name=f"run-{run}", storage=url).trials


def test_the_study_has_the_runs_candidates_once(url, capfd, caplog):
    caplog.set_level(logging.INFO)
    with RunStore.open(url, write=True) as store:
        run = runs.small_run(store)
        pairs = store.recorded(run)
        mirror = StudyMirror(url, run, "evolution", SPACES)
        assert mirror.sync(pairs[:5]) == 5
        assert mirror.sync(pairs) == 3
        assert mirror.sync(pairs) == 0
        assert StudyMirror(url, run, "evolution", SPACES).sync(pairs) == 0  # as after a kill
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name.startswith("optuna")]
    found = trials(url, run)
    assert [trial.user_attrs["index"] for trial in found] == list(range(8))
    assert [trial.value for trial in found] == [40.0, 50.0, 30.0, 25.0, None, 20.0, 20.0, None]
    assert {trial.user_attrs["status"] for trial in found if trial.state is TrialState.FAIL} == {
        "build_failed",
        "wrong",
    }
    assert found[4].user_attrs["reason"] == "the compiler refused it"
    assert found[1].params == {
        "family": "cpu_simple",
        "cpu_simple.rows": 32,
        "cpu_simple.layout": "b",
        "cpu_simple.async": True,
    }
    assert found[1].user_attrs["cpu_simple.scale"] == 0.1  # no parameter of the space
    assert found[2].user_attrs["operator"] == "crossover"
    study = optuna.load_study(study_name=f"run-{run}", storage=url)
    assert study.best_value == 20.0
    assert study.user_attrs == {"strategy": "evolution"}


def test_a_space_that_changed_does_not_break_the_study(url):
    assert StudyMirror(url, 1, "random", SPACES).sync([(candidate(0), ok(1.0))]) == 1
    wider = {**SPACES, "cpu_flash": {**SPACES["cpu_flash"], "rows": (8, *ROWS)}, "third": {}}
    mirror = StudyMirror(url, 1, "random", wider)
    assert mirror.sync([(candidate(1, rows=8), ok(1.0)), (candidate(2, family="third"), ok(2.0))]) == 2
    found = trials(url, 1)
    assert found[1].user_attrs["cpu_flash.rows"] == 8
    assert found[2].user_attrs["family"] == "third"


def test_a_fitness_that_is_no_number_is_a_failed_trial(url):
    StudyMirror(url, 1, "random", SPACES).sync([(candidate(0), ok(math.inf)), (candidate(1), ok(math.nan))])
    assert [trial.state for trial in trials(url, 1)] == [TrialState.FAIL, TrialState.FAIL]


def test_optunas_own_words_stay_as_loud_as_they_were(url):
    before = optuna.logging.get_verbosity()
    StudyMirror(url, 1, "random", SPACES).sync([])
    assert optuna.logging.get_verbosity() == before
