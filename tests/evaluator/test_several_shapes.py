"""The evaluations and finals of several shapes as one, and of one shape as they are."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from evoflash import targets
from evoflash.codegen.toolchain import Build
from evoflash.core.evaluation import BuildReport, Evaluation
from evoflash.core.finals import Conditions, Contestant, Final, Finals
from evoflash.core.statistics import geometric_mean
from evoflash.core.status import Stage, Status
from evoflash.evaluator import Evaluator, Finalist, ShapeEvaluator
from evoflash.evaluator.evaluator import joined
from evoflash.evaluator.ranking import pooled
from evoflash.problems import Case, Problem, searched_cases
from evoflash.store import RunStore
from tests.helpers import PROBLEM, failed, right
from tests.store import runs

SHORT, LONG = PROBLEM, PROBLEM.model_copy(update={"seq_q": 128, "seq_kv": 128})
BUILD = Build(BuildReport(registers=40, binary_digest="0"), Path("kernel.so"))


class Scripted(ShapeEvaluator):
    """Answers what it is given, in this order, and keeps what it is asked."""

    def __init__(self, problem: Problem, *answers: Evaluation, finals: Callable[[Any], Finals] | None = None):
        super().__init__(problem, targets.detect("cpu"))
        self.answers, self.answer_finals = list(answers), finals
        self.bests: list[float | None] = []
        self.further: list[tuple[Case, ...]] = []
        self.trusted: list[Build] = []
        self.entered: list[Finalist] = []
        self.closed = False

    def start(self):
        return {"torch": "none", f"seq {self.problem.facts()['seq_q']}": True}

    def close(self):
        self.closed = True

    def baselines(self, rounds: int = 10, *, with_rivals: bool = True):
        return {"sdpa": 3.1, "eager": 7.3} if self.problem is SHORT else {"sdpa": 12.4}

    def trust(self, build: Build):
        self.trusted.append(build)

    def examine(self, build: Build, best_us: float | None, further: Sequence[Case] = ()) -> Evaluation:
        self.bests.append(best_us)
        self.further.append(tuple(further))
        return self.answers.pop(0)

    def finals(self, finalists, rounds: int) -> Finals:
        self.entered = list(finalists)
        assert self.answer_finals is not None
        return self.answer_finals(finalists)


# One shape.


@pytest.mark.parametrize(
    "answer",
    [
        right(3.7, accuracy=(runs.accuracy("seed 0"),), seconds=1.5),
        right(9.1, quick=True, stage=Stage.QUICK),
        failed(),
        runs.ok(5.3),
    ],
    ids=["right", "quick", "wrong", "cold too"],
)
def test_the_evaluation_of_one_shape_is_that_of_its_own_evaluator(answer):
    own = Scripted(SHORT, answer)
    evaluator = Evaluator({"short": own})
    assert evaluator.examine(BUILD, 2.5) is answer
    assert own.bests == [2.5]


def test_one_shape_is_asked_for_everything_as_it_is():
    finals = pooling(1.0, Final(index=3, status=Status.OK, reason="tied", time=contestant("candidate 3", 1.0, 1.2)))
    own = Scripted(SHORT, finals=lambda _: finals)
    evaluator = Evaluator({"short": own})
    finalist = Finalist(3, Path("kernel.so"), [(case, Path("kernel.so")) for case in SHORT.cases()], (1, 2))
    assert evaluator.finals([finalist], 5) is finals
    assert own.entered == [finalist]
    assert evaluator.baselines() == own.baselines()
    assert evaluator.start() == own.start()
    evaluator.trust(BUILD)
    assert own.trusted == [BUILD]
    evaluator.close()
    assert own.closed


def test_the_geometric_mean_of_one_number_is_that_number():
    assert all(geometric_mean([value]) == value for value in (0.1, 3.3, 1e-7, 123456.789))
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)


# Several shapes.


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
    long, short = (
        Scripted(LONG, right(8.0), right(9.0), right(7.0)),
        Scripted(SHORT, right(2.0), right(1.0), right(3.0)),
    )
    evaluator = Evaluator({"long": long, "short": short})
    found = [evaluator.examine(BUILD, 123.0) for _ in range(3)]
    assert (short.bests, long.bests) == ([None, 2.0, 1.0], [None, 8.0, 8.0])
    assert [each.fitness_us for each in found] == pytest.approx([4.0, 3.0, 21**0.5])


def test_cases_of_the_finals_are_those_of_the_shape_that_is_rendered():
    long, short = Scripted(LONG, right(8.0)), Scripted(SHORT, right(2.0))
    cases = LONG.hardest_cases()
    Evaluator({"long": long, "short": short}).examine(BUILD, None, cases)
    assert (long.further, short.further) == ([cases], [()])


def test_the_shape_with_the_least_work_goes_first_and_the_first_failure_is_the_verdict():
    long, short = Scripted(LONG, right(8.0)), Scripted(SHORT, failed(), right(2.0))
    evaluator = Evaluator({"long": long, "short": short})
    assert evaluator.examine(BUILD, None).reason == "short: made to fail"
    assert long.bests == []
    assert evaluator.examine(BUILD, None).status is Status.OK
    assert len(long.bests) == 1


def test_what_several_shapes_say_is_one_answer():
    long, short = Scripted(LONG), Scripted(SHORT)
    evaluator = Evaluator({"long": long, "short": short})
    assert evaluator.start() == {"torch": "none", "seq 32": True, "seq 128": True}
    assert evaluator.baselines() == pytest.approx({"sdpa": (3.1 * 12.4) ** 0.5})
    evaluator.trust(BUILD)
    assert long.trusted == short.trusted == [BUILD]
    evaluator.close()
    assert long.closed
    assert short.closed


def test_a_finalist_is_checked_on_all_its_cases_once_and_leaves_where_it_falls():
    def one(index, status=Status.OK):
        time = contestant(f"candidate {index}", 1.0, 1.1, 1.2) if status is Status.OK else None
        return Final(index=index, status=status, reason="" if time else "odd lengths", time=time)

    long = Scripted(LONG, finals=lambda _: pooling(1.0, one(1), one(2, Status.WRONG)))
    short = Scripted(SHORT, finals=lambda _: pooling(2.0, one(1)))
    library = Path("kernel.so")
    finalists = [Finalist(index, library, [(case, library) for case in LONG.cases()], (index,)) for index in (1, 2)]
    found = Evaluator({"long": long, "short": short}).finals(finalists, 3)
    assert long.entered == finalists
    (entered,) = short.entered
    assert (entered.index, entered.library, entered.cost) == (1, library, (1,))
    assert entered.cases == [(case, library) for case in searched_cases(SHORT)]
    assert [(each.index, each.status, each.reason) for each in found.finalists] == [
        (1, Status.OK, ""),
        (2, Status.WRONG, "long: odd lengths"),
    ]
    assert [(each.shape, each.name) for each in found.baselines_by_shape] == [
        ("long", "sdpa"),
        ("long", "eager"),
        ("short", "sdpa"),
        ("short", "eager"),
    ]


def contestant(name: str, *samples: float) -> Contestant:
    middle = sorted(samples)[len(samples) // 2]
    return Contestant(name=name, p50_us=middle, p90_us=middle, p99_us=middle, samples=samples)


def pooling(scale: float, *finalists: Final, missing: bool = False) -> Finals:
    """The finals on one shape, where the baselines take `scale` times as long; one of them may be missing."""
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
    short = pooling(1.0, winner[0], fallen[0], absent)
    found = pooled({"short": short, "long": pooling(4.0, winner[1], fallen[1], missing=True)}, {4: ()}, "sdpa-math")
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


def test_the_disturbed_samples_of_all_shapes_are_those_of_the_run():
    short, long = (
        Finals(finalists=(), baselines=(), conditions=Conditions(samples=10, retaken=1, disturbed=n, others=others))
        for n, others in ((0, ("b", "a")), (4, ("b",)))
    )
    conditions = pooled({"short": short, "long": long}, {}, "sdpa-math").conditions
    assert (conditions.samples, conditions.retaken, conditions.disturbed) == (20, 2, 4)
    assert "other programs (a; b) disturbed 20%" in conditions.doubt


def test_of_kernels_that_no_mean_tells_apart_the_simplest_is_taken():
    def one(index, *samples):
        return Final(index=index, status=Status.OK, time=contestant(f"candidate {index}", *samples))

    short = pooling(1.0, one(1, 10.0, 12.0, 11.0), one(2, 20.0, 24.0, 22.0), one(3, 30.0, 36.0, 33.0))
    long = pooling(4.0, one(1, 40.0, 41.0, 42.0), one(2, 20.0, 20.6, 21.1), one(3, 40.0, 41.0, 42.0))
    found = pooled({"short": short, "long": long}, {1: (9,), 2: (1,), 3: (0,)}, "sdpa-math")
    assert found.winner is not None
    assert found.winner.index == 2  # half as fast on the one, twice on the other; 3 is slower on the whole
    assert "tied with the fastest" in found.winner.reason
    assert [each.index for each in found.finalists] == [2, 1, 3]
