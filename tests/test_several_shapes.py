"""Searches over several shapes, on made-up evaluations: turns, transfers, one budget, one end after an interruption."""

import math

import pytest

from evoflash import targets
from evoflash.core.finals import Contestant, Final, Finals
from evoflash.core.status import Status
from evoflash.errors import WorkerError
from evoflash.problems.attention import AttentionProblem
from evoflash.run.proposals import TRANSFER, TRANSFER_ELITES, TRANSFER_INTERVAL
from evoflash.run.shapes import Shape
from evoflash.search import Search
from evoflash.store import RunStore
from tests.helpers import TINY, Quiet, plan
from tests.made_up import HOPELESS, UNMEASURABLE, Interrupting, MadeUpEvaluator, MadeUpToolchain, made_up_search


def of(length: int) -> AttentionProblem:
    return AttentionProblem.of(1, 2, length, 16, dtype="float32")


@pytest.fixture(scope="module")
def target():
    return targets.detect("cpu")


@pytest.fixture
def begin(target, tmp_path):
    """Makes a search over lengths; runs' ids go on with it."""
    stores = []

    def make(
        *lengths: int, run_ids=(), progress=None, name: str = "runs.db", jitter: bool = False, **changes
    ) -> Search:
        for store in stores:
            store.close()
        stores[:] = [RunStore.open(str(tmp_path / name), write=True)]
        changes = {"budget": 60, "strategy": "random", **changes}
        patience = changes.pop("patience_percent", None)
        own = [{"patience_percent": each} for each in (patience if isinstance(patience, tuple) else [patience] * 9)]
        shapes = [Shape(name=f"length {length}", problem=of(length)) for length in lengths]
        plans = [
            plan(target, "tiny", TINY, seed=n, **changes, **own[n], shapes=(each,)) for n, each in enumerate(shapes)
        ]
        toolchain = MadeUpToolchain(jitter=jitter)
        return made_up_search(plans, target, toolchain, stores[0], progress or Quiet(), run_ids)

    yield make
    for store in stores:
        store.close()


def stories(search: Search):
    """What each task proposed and found, as it is in the database."""
    return [
        [(candidate, evaluation.status, evaluation.fitness_us) for candidate, evaluation in search.store.recorded(run)]
        for run in (task.run_id for task in search.tasks)
    ]


def test_shapes_take_turns_share_the_budget_and_are_runs_of_one_search(begin):
    search = begin(32, 64, 128, budget=61)
    outcomes = search.run()
    assert [each.run_id for each in outcomes] == [1, 2, 3]
    assert {each.reason for each in outcomes} == {"61 candidates tried"}
    found = search.store.runs()
    assert [(run.candidates, run.status, run.group_id) for run in found] == [
        (21, "done", 1),
        (20, "done", 1),
        (20, "done", 1),
    ]
    assert [run.problem["seq_q"] for run in found] == [32, 64, 128]
    assert [run.id for run in search.store.group(2)] == [1, 2, 3]


def test_a_genome_that_is_good_for_one_shape_is_tried_on_the_others(begin):
    search = begin(32, 64, budget=80, window=1)
    search.run()
    for own, other in ((0, 1), (1, 0)):
        story, others = stories(search)[own], stories(search)[other]
        moved = [(n, candidate) for n, (candidate, *_) in enumerate(story) if candidate.operator == TRANSFER]
        assert moved
        for number, candidate in moved:
            assert number % TRANSFER_INTERVAL == 0
            known = [each for each in others[: number + own] if each[1] is Status.OK]
            ranking = sorted(known, key=lambda each: (each[2], each[0].index))
            assert candidate.key in [each[0].key for each in ranking[:TRANSFER_ELITES]]
            assert candidate.origin.run_id == search.tasks[other].run_id
            assert others[candidate.origin.index][0].key == candidate.key
        keys = [candidate.key for candidate, *_ in story]
        assert len(keys) == len(set(keys))


@pytest.mark.parametrize("strategy", ["evolution", "random", "tpe", "nsga2"])
def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(begin, strategy):
    whole = begin(32, 64, 128, name="whole.db", strategy=strategy)
    whole.run()
    search = begin(32, 64, 128, progress=Interrupting(17), strategy=strategy)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    assert {run.status for run in search.store.runs()} == {"interrupted"}
    again = begin(32, 64, 128, run_ids=(1, 2, 3), progress=Interrupting(14), strategy=strategy)
    with pytest.raises(KeyboardInterrupt):
        again.run()
    last = begin(32, 64, 128, run_ids=(1, 2, 3), strategy=strategy)
    last.run()
    assert stories(last) == stories(whole)
    assert [run.status for run in last.store.runs()] == ["done"] * 3


def test_what_is_proposed_does_not_depend_on_who_finishes_first(begin):
    found = []
    for builders in (1, 4):
        search = begin(32, 64, name=f"{builders}.db", jitter=True, builders=builders, window=6, strategy="evolution")
        search.run()
        found.append(stories(search))
    assert found[0] == found[1]


def test_an_interruption_in_the_finals_of_the_second_keeps_those_of_the_first(begin, monkeypatch):
    held = []

    def finals(self, finalists, rounds):
        held.append(self.problem.seq_q)
        if held == [32, 64]:
            raise KeyboardInterrupt
        best = finalists[0]
        time = Contestant(name="x", p50_us=1.0, p90_us=1.0, p99_us=1.0, samples=(1.0, 1.0))
        return Finals(finalists=(Final(index=best.index, status=Status.OK, time=time),), baselines=(), rounds=rounds)

    monkeypatch.setattr(MadeUpEvaluator, "finals", finals)
    search = begin(32, 64)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    assert [run.status for run in search.store.runs()] == ["done", "interrupted"]
    first = search.store.finals(1)
    outcomes = begin(32, 64, run_ids=(1, 2)).run()
    assert held == [32, 64, 64]
    assert [each.finals.winner is not None for each in outcomes] == [True, True]
    assert outcomes[0].finals == first


def test_a_shape_that_cannot_be_measured_does_not_stop_the_others(begin):
    progress = Quiet()
    search = begin(UNMEASURABLE, 32, progress=progress, budget=20)
    outcomes = search.run()
    assert [(run.status, run.candidates) for run in search.store.runs()] == [("failed", 0), ("done", 20)]
    assert "out of memory" in search.store.run(1).stop_reason
    assert "out of memory" in outcomes[0].reason
    assert outcomes[0].finals is None
    assert any("length 777 is left out" in note for note in progress.notes)
    with pytest.raises(WorkerError, match="out of memory"):
        begin(UNMEASURABLE, UNMEASURABLE, name="none.db").run()
    with pytest.raises(WorkerError, match="out of memory"):
        begin(UNMEASURABLE, name="alone.db").run()


def test_a_shape_for_which_nothing_is_right_ends_without_a_winner(begin):
    search = begin(HOPELESS, 32, budget=30)
    search.run()
    assert [run.correct > 0 for run in search.store.runs()] == [False, True]
    assert not any(candidate.operator == TRANSFER for candidate, *_ in stories(search)[1])


def test_what_one_shape_leaves_of_the_budget_goes_to_the_others(begin):
    search = begin(32, 64, budget=150, patience_percent=(80, None), strategy="evolution")
    search.run()
    first, second = (len(each) for each in stories(search))
    assert first < 60
    assert first + second == 150
    assert "--patience" in search.store.run(1).stop_reason
    assert search.store.run(2).stop_reason == "150 candidates tried"


# One kernel for all.


@pytest.fixture
def joint(target):
    problems = {"middle": of(32), "long": of(128), "short": of(16)}
    shapes = tuple(Shape(name=name, problem=problem) for name, problem in problems.items())
    return plan(target, "tiny", TINY, budget=30, shapes=shapes)


def test_a_robust_run_scores_by_the_geometric_mean_and_keeps_each_shapes_times(joint, target, tmp_path):
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as store:
        made_up_search([joint], target, MadeUpToolchain(), store, Quiet()).run()
        summary, recorded = store.run(1), store.recorded(1)
    assert summary.problem_label == "1x2x32x16 float32 and 1x2x128x16 float32 and 1x2x16x16 float32"
    ok = [evaluation for _, evaluation in recorded if evaluation.status is Status.OK]
    assert len(ok) > 10
    for evaluation in ok:
        times = {each.shape: each.p50_us for each in evaluation.timings if each.shape}
        assert set(times) == {"middle", "long", "short"}
        assert times["long"] == pytest.approx(8 * times["short"])
        assert evaluation.fitness_us == pytest.approx(math.prod(times.values()) ** (1 / 3))
