"""A family's first right kernel meets the hardest cases of the finals: which, when, and what is told of it."""

from collections.abc import Sequence

import pytest

from evoflash import targets
from evoflash.codegen.toolchain import Build
from evoflash.core.evaluation import Evaluation
from evoflash.core.status import Stage, Status
from evoflash.evaluator import Evaluator
from evoflash.problems import Case, attention
from evoflash.run.families import MOST_BYTES, MOST_FLOPS, Families
from evoflash.run.local_scheduler import LocalScheduler
from evoflash.search import Search
from evoflash.store import RunStore
from tests.helpers import PROBLEM, TINY, Quiet, plan
from tests.made_up import MadeUpEvaluator, MadeUpToolchain


@pytest.mark.parametrize(
    "shape",
    [
        "mission",
        "b=2,h=8,kv=2,s=512,d=64,causal",
        "b=1,h=8,s=128,d=64,window=17,bias=hqk",
        "b=4,h=8,kv=2,s=1,t=4096,d=128,lengths=uniform",
        "b=1,h=8,s=512,d=64,mask=bqk,dtype=fp32",
    ],
)
def test_the_hardest_of_attention_are_few_of_its_cases(shape):
    (problem,) = attention.parse_all([shape], None).values()
    every, hardest = problem.cases(), problem.hardest_cases()
    assert set(hardest) <= set(every)
    assert 10 <= len(hardest) <= 16 < len(every)
    assert problem.general_case in hardest
    assert sum(case.problem.flops for case in hardest) < 1.2 * MOST_FLOPS
    assert {"nan_row", "infinite_keys", "huge_scores"} <= {case.variant for case in hardest}


def test_cases_that_take_long_wait_for_the_finals():
    target = targets.detect("cpu")
    families = Families(plan(target, "tiny", TINY), target)
    few = families.hardest("tiny")
    assert set(few) <= set(PROBLEM.hardest_cases())  # those of other constants than it was rendered for are left out
    assert {case.problem.dtype for case in few} == {"float32"}
    assert sum(case.problem.min_bytes for case in few) < MOST_BYTES
    families.proven.add("tiny")
    assert families.hardest("tiny") == ()


class Falling(MadeUpEvaluator):
    """Of the kernels that are right, the first few fall on a case of the finals."""

    def __init__(self, toolchain, falls: int):
        super().__init__(PROBLEM, toolchain)
        self.falls = falls
        self.met: list[list[str]] = []

    def examine(self, build: Build, best_us: float | None, further: Sequence[Case] = ()) -> Evaluation:
        found = super().examine(build, best_us)
        if found.status is not Status.OK:
            return found
        self.met.append([case.name for case in further])
        if len(self.met) > self.falls:
            return found
        reason = f"{further[2].name}: max error 1 > 0.1"
        return Evaluation(status=Status.WRONG, stage=Stage.FINAL, reason=reason, build=build.report)


@pytest.fixture
def begin(tmp_path):
    stores = []

    def make(falls: int, run_ids=(), **changes):
        target, toolchain, progress = targets.detect("cpu"), MadeUpToolchain(), Quiet()
        stores.append(RunStore.open(str(tmp_path / "runs.db"), write=True))
        wanted = plan(target, "tiny", TINY, **{"budget": 30, "strategy": "random", "builders": 1, **changes})
        own = Falling(toolchain, falls)
        scheduler = LocalScheduler([wanted], [target], toolchain, lambda plan, _: Evaluator({plan.title: own}))
        return Search([wanted], target, scheduler, stores[-1], progress, run_ids), own, progress

    yield make
    for store in stores:
        store.close()


def test_the_first_right_kernel_meets_them_until_one_of_its_family_passes(begin):
    search, own, progress = begin(falls=3)
    (outcome,) = search.run()
    hardest = [case.name for case in Families(search.plans[0], search.target).hardest("tiny")]
    assert own.met[0] == hardest
    for names in own.met[1:4]:  # the case that the last one fell on comes first
        assert names[0] == hardest[2] if names == own.met[1] else names[0] in hardest
        assert sorted(names) == sorted(hardest)
    assert own.met[4:]
    assert not any(own.met[4:])
    recorded = [each for _, each in search.store.recorded(outcome.run_id)]
    assert sum(each.stage is Stage.FINAL and each.status is Status.WRONG for each in recorded) == 3
    (told,) = [note for note in progress.notes if "falls on a case of the finals" in note]
    assert f"of tiny is right on the searched inputs, but falls on a case of the finals: {hardest[2]}: max" in told


def test_a_resumed_run_does_not_ask_again(begin):
    search, own, _ = begin(falls=0, budget=10)
    search.run()
    assert own.met[0]
    run_id = search.tasks[0].run_id
    search.store.reopen_run(run_id)
    search.store.close()
    again, other, _ = begin(falls=0, budget=20, run_ids=(run_id,))
    again.run()
    assert other.met
    assert not any(other.met)
