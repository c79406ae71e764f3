"""Searches over several shapes, on made-up evaluations: turns, transfers, one budget, one end after an interruption."""

import math

import pytest

from evoflash import targets
from evoflash.core.evaluation import Evaluation
from evoflash.core.finals import Contestant, Final, Finals
from evoflash.core.status import Stage, Status
from evoflash.errors import SpaceError, WorkerError
from evoflash.problems import AttentionProblem
from evoflash.run.multi_shape import JointEvaluator, joined, pooled
from evoflash.run.plan import choose_families
from evoflash.run.proposals import TRANSFER, TRANSFER_ELITES, TRANSFER_INTERVAL
from evoflash.run.shapes import Shape
from evoflash.search import Search
from evoflash.store import RunStore
from tests.helpers import PROBLEM, TINY, Quiet, failed, plan, right
from tests.made_up import HOPELESS, UNMEASURABLE, Interrupting, MadeUpEvaluator, MadeUpToolchain, made_up_search
from tests.store import runs


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
            known = [each for each in others[: number + 1] if each[1] is Status.OK]
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
        held.append(self._problem.seq_q)
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


def test_a_kernel_that_fails_on_one_shape_has_failed():
    accuracy = runs.accuracy("seed 0")
    found = joined({"short": right(2.0, accuracy=(accuracy,)), "long": failed()})
    assert (found.status, found.reason, found.fitness_us) == (Status.WRONG, "long: made to fail", None)
    assert [(each.shape, each.p50_us) for each in found.timings] == [("short", 2.0)]
    assert [each.case for each in found.accuracy] == ["short: seed 0"]


def test_the_joint_score_is_the_geometric_mean_and_quick_where_one_is():
    found = joined({"short": right(2.0, seconds=1.0), "long": right(8.0, quick=True, stage=Stage.QUICK, seconds=2.0)})
    assert found.fitness_us == pytest.approx(4.0)
    assert (found.quick, found.stage, found.seconds) == (True, Stage.QUICK, 3.0)
    assert {each.shape: each.p50_us for each in found.timings} == pytest.approx({"": 4.0, "short": 2.0, "long": 8.0})


def test_on_each_shape_a_kernel_is_measured_by_the_best_there():
    class Judge:
        def __init__(self, *times):
            self.times, self.bests = list(times), []

        def examine(self, build, best_us) -> Evaluation:
            self.bests.append(best_us)
            return right(self.times.pop(0))

    short, long = Judge(2.0, 1.0, 3.0), Judge(8.0, 9.0, 7.0)
    evaluator = JointEvaluator({"short": short, "long": long})  # type: ignore[dict-item]
    for _ in range(3):
        evaluator.examine(None, 123.0)  # type: ignore[arg-type]
    assert (short.bests, long.bests) == ([None, 2.0, 1.0], [None, 8.0, 8.0])


def contestant(name: str, *samples: float) -> Contestant:
    middle = sorted(samples)[len(samples) // 2]
    return Contestant(name=name, p50_us=middle, p90_us=middle, p99_us=middle, samples=samples)


def finals(scale: float, *finalists: Final, missing: bool = False) -> Finals:
    baselines = [contestant("sdpa", *(scale * each for each in (20.0, 24.0, 28.0)))]
    baselines += [] if missing else [contestant("eager", *(scale * each for each in (50.0, 60.0, 70.0)))]
    failures = {"eager": "no memory"} if missing else {}
    return Finals(finalists=finalists, baselines=tuple(baselines), baseline_failures=failures, rounds=3)


def test_the_finals_of_all_shapes_are_pooled_by_hand_worked_means(tmp_path):
    winner = [
        Final(index=4, status=Status.OK, cases=cases, time=contestant("candidate 4", *samples))
        for cases, samples in ((40, (10.0, 12.0, 14.0)), (3, (40.0, 48.0, 56.0)))
    ]
    fallen = [
        Final(index=2, status=Status.OK, time=contestant("candidate 2", 1.0, 1.0, 1.0)),
        Final(index=2, status=Status.HUNG, reason="it hung"),
    ]
    absent = Final(index=7, status=Status.WRONG, reason="odd lengths")
    short = finals(1.0, winner[0], fallen[0], absent)
    found = pooled({"short": short, "long": finals(4.0, winner[1], fallen[1], missing=True)}, {4: ()})
    assert [each.name for each in found.baselines] == ["sdpa"]  # eager does not run on both
    assert found.baselines[0].samples == pytest.approx((40.0, 48.0, 56.0))
    assert found.baseline_failures == {"eager": "long: no memory"}
    best, *others = found.finalists
    assert found.winner == best
    assert best.time is not None
    assert best.vs_best is not None
    assert best.time.samples == pytest.approx((20.0, 24.0, 28.0))
    assert best.vs_best.value == pytest.approx(2.0)
    assert (best.cases, best.best_baseline) == (43, "sdpa")
    assert [(each.shape, each.p50_us) for each in best.by_shape] == [("short", 12.0), ("long", 48.0)]
    assert {(each.index, each.status, each.reason, each.time) for each in others} == {
        (2, Status.HUNG, "long: it hung", None),
        (7, Status.WRONG, "short: odd lengths", None),
    }
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as store:
        run = runs.begin(store)
        for index in range(8):
            store.record(run, runs.candidate(index), runs.ok(9.0), None)
        store.record_finals(run, found)
        assert store.finals(run) == found


def test_of_kernels_that_no_mean_tells_apart_the_simplest_is_taken():
    def one(index, *samples):
        return Final(index=index, status=Status.OK, time=contestant(f"candidate {index}", *samples))

    short = finals(1.0, one(1, 10.0, 12.0, 11.0), one(2, 20.0, 24.0, 22.0), one(3, 30.0, 36.0, 33.0))
    long = finals(4.0, one(1, 40.0, 41.0, 42.0), one(2, 20.0, 20.6, 21.1), one(3, 40.0, 41.0, 42.0))
    found = pooled({"short": short, "long": long}, {1: (9,), 2: (1,), 3: (0,)})
    assert found.winner is not None
    assert found.winner.index == 2  # half as fast on the one, twice on the other; 3 is slower on the whole
    assert "tied with the fastest" in found.winner.reason
    assert [each.index for each in found.finalists] == [2, 1, 3]


def test_a_family_that_has_a_difference_built_in_serves_no_two_shapes(target):
    both = choose_families([of(32), of(64)], target, ("tiny",), (TINY,))
    assert both == ("tiny",)
    causal = of(64).model_copy(update={"causal": True})
    with pytest.raises(SpaceError, match="tiny: one kernel cannot serve shapes that differ in causal"):
        choose_families([of(32), causal], target, ("tiny",), (TINY,))
    half = PROBLEM.model_copy(update={"dtype": "float16"})
    with pytest.raises(SpaceError, match="tiny: its tests need one dtype"):
        choose_families([PROBLEM, half], target, ("tiny",), (TINY,))
    with pytest.raises(SpaceError, match="no family takes"):
        choose_families([half], target, ("tiny",), (TINY,), need_all=False)
