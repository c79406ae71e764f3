"""benchmarks/tune_strategy.py: the search over settings, and what its choice is worth elsewhere."""

import sys
from pathlib import Path

import numpy as np
import pytest

from evoflash.proposers import require
from tests.replay.spaces import recording

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import tune_strategy


def test_settings_are_tried_once_each_beginning_with_the_default(monkeypatch):
    """Fewer starters are made to look better, so the search finds the fewest."""
    asked = []

    def scores(name, spaces, repeats, evaluations):
        asked.append(name)
        starters = int(name.partition("starters=")[2].partition(":")[0])
        return np.full((len(spaces), repeats), 1 - starters / 20)

    monkeypatch.setattr(tune_strategy, "scores", scores)
    found = tune_strategy.search([recording()], 14, 1, 20)
    assert list(found) == asked
    assert len(set(asked)) == 14
    for name in asked:
        require(name)  # raises for a setting or a value that evolution does not take
    assert "starters=8" in asked[0]
    best = max(found, key=lambda name: found[name].mean())
    assert "starters=4" in best


def test_settings_are_chosen_on_the_other_spaces():
    """Settings b win on two spaces, so they are chosen for the third, where they lose; settings a win nowhere alone."""
    found = {
        "a": np.array([[0.5], [0.5], [0.5]]),
        "b": np.array([[0.9], [0.9], [0.1]]),
        "c": np.array([[0.0], [0.0], [0.9]]),
    }
    assert tune_strategy.left_out(found).ravel().tolist() == [0.5, 0.5, 0.1]
    lines = list(tune_strategy.rows(found))
    assert [line.split()[-1] for line in lines[:3]] == ["b", "a", "c"]
    assert lines[0].startswith("0.633  +0.133 ±")
    assert lines[-1].startswith("chosen with each space left out: 0.367 (-0.133 ±")


def test_scores_are_those_of_replays():
    found = tune_strategy.scores("random", [recording("one"), recording("two")], 2, 15)
    assert found.shape == (2, 2)
    assert found[0].tolist() == pytest.approx(found[1].tolist())  # the same space by two names
    assert found[0, 0] != found[0, 1]
