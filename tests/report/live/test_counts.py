"""What is counted of a running search."""

import pytest

from evoflash.core.status import Status
from evoflash.progress import Work
from evoflash.report.live import Counts
from evoflash.report.live.line import line_of
from evoflash.store import RunStore
from tests.report.live.search import Clock, counts
from tests.store import runs


def test_bests_shares_and_failures():
    made = Counts(10, 1.0)
    made.baselines("mission", {"slow": 40.0, "fast": 20.0})
    results = [
        ("a", "seed", Status.OK, 30.0),
        ("b", "step", Status.WRONG, None),
        ("a", "step", Status.OK, 10.0),
        ("a", "step", Status.DUPLICATE, 10.0),
        ("b", "jump", Status.WRONG, None),
        ("b", "jump", Status.BUILD_FAILED, None),
        ("b", "jump", Status.OK, 11.0),
    ]
    bests = [made.add("mission", index, *result) for index, result in enumerate(results)]
    assert bests == [True, False, True, False, False, False, False]
    own = made.shapes["mission"]
    assert list(own.baselines) == ["fast", "slow"]
    assert own.best is not None
    assert (own.best.index, own.best.time_us, own.best.after) == (2, 10.0, 3)
    assert own.steps == [(1, 30.0), (3, 10.0)]
    assert made.failures() == [(Status.WRONG, 2), (Status.BUILD_FAILED, 1)]
    family, operator = made.families["a"], made.operators["jump"]
    assert (family.tried, family.right, family.bests, family.best_us) == (3, 3, 2, 10.0)
    assert (operator.tried, operator.right, operator.bests, operator.best_us) == (3, 1, 0, 11.0)
    made.watch(lambda: Work("search", (), (), 3, 30.0, 30.0))
    assert line_of(made) == (
        "7/10 candidates, 14 per minute; 0 building, 0 timing, 3 waiting; best 10.00 us, 2.00x fast; "
        "failures: 2 wrong, 1 build_failed"
    )


@pytest.mark.parametrize(
    ("elapsed_s", "results", "left_s"),
    [
        (60.0, 10, 60.0),  # ten a minute, and ten are left
        (100.0, 10, 20.0),  # the minutes are over first
        (130.0, 19, 0.0),
        (0.5, 1, 119.5),  # too early for a pace
    ],
)
def test_the_time_left_is_that_of_what_is_spent_first(elapsed_s, results, left_s):
    made = Counts(20, 2.0)
    for index in range(results):
        made.add("mission", index, "a", "seed", Status.WRONG, None)
    assert made.left_s(Work("search", elapsed_s=elapsed_s, session_s=elapsed_s)) == pytest.approx(left_s)


def test_results_on_record_count_but_say_nothing_of_the_pace(tmp_path):
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as store:
        outcomes = store.outcomes(runs.small_run(store))
    made = Counts(20, 2.0)
    made.recall("mission", outcomes)
    assert made.results == 8
    assert made.shapes["mission"].best is not None
    assert made.shapes["mission"].best.index == 5
    work = Work("search", elapsed_s=70.0, session_s=10.0)
    assert made.candidates_a_minute(work) is None
    made.add("mission", 8, "a", "seed", Status.WRONG, None)
    assert made.candidates_a_minute(work) == pytest.approx(6.0)


def test_a_clock_that_stands():
    made = Counts(1, 1.0, clock=(clock := Clock()))
    clock.now = 3.5
    assert made.elapsed_s == 3.5
    assert counts("mission").elapsed_s == 0.0
