"""The same as test_broken on a GPU, where a fault also costs the process its CUDA context."""

import pytest

from evoflash import targets
from evoflash.core.status import Status
from tests.evaluator.runs import Run, search_everything
from tests.helpers import BROKEN_CUDA

pytestmark = pytest.mark.gpu

DEADLINE_S = 20  # of a build and of an evaluation


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("broken_cuda")
    return search_everything(targets.detect("cuda"), folder, "broken_cuda", BROKEN_CUDA, DEADLINE_S)


VERDICTS = [
    ("does_not_compile", Status.BUILD_FAILED, ["error", "undeclared_name"]),
    ("error_code", Status.LAUNCH_FAILED, ["77"]),
    ("declines", Status.LAUNCH_FAILED, ["unsupported problem"]),
    ("too_much_shared", Status.LAUNCH_FAILED, ["evoflash_launch returned"]),
    ("too_many_threads", Status.LAUNCH_FAILED, ["evoflash_launch returned"]),
    ("misses_a_key", Status.WRONG, ["seed 0", "error", ">", "worst at (0, "]),
    ("out_of_bounds", Status.WRONG, ["seed 0", "write outside the output"]),
    ("writes_input", Status.WRONG, ["seed 0", "was overwritten at (0, 0, 0, 3)"]),
    ("writes_input_later", Status.WRONG, ["after timing", "was overwritten"]),
    ("leaves_rows", Status.WRONG, ["seed 0", "output not written at (0, 0, 31, 0)"]),
    ("illegal_address", Status.CRASHED, ["CUDA context is lost"]),
    ("traps", Status.CRASHED, ["CUDA context is lost"]),
    ("hangs", Status.HUNG, [f"{DEADLINE_S} s", "while checking seed 0"]),
    ("run_to_run", Status.WRONG, ["run 2 differs from run 1 at (0, 0, 0, 0)"]),
    ("nan_swallowed", Status.OK, []),
    ("searched_shape_only", Status.OK, []),
    ("none", Status.OK, []),
]


@pytest.mark.parametrize(("fault", "status", "words"), VERDICTS, ids=[each[0] for each in VERDICTS])
def test_each_fault_has_its_verdict(run, fault, status, words):
    verdict = run.verdicts[fault]
    assert verdict.status == status, verdict.reason
    for word in words:
        assert word in verdict.reason
    assert (verdict.fitness_us is not None) == (status is Status.OK)


def test_the_run_went_on_to_its_end(run):
    assert run.status == "done"
    assert len(run.order) == 18
    assert run.starts == 4  # the first worker, one after each lost context, one after the hang


@pytest.mark.parametrize("fault", ["illegal_address", "traps", "hangs"])
def test_whoever_comes_after_a_lost_context_is_judged_by_itself(run, fault):
    """No verdict but those three speaks of a lost context: the next candidate got a process of its own."""
    later = run.order[run.order.index(fault) + 1 :]
    assert all(
        "context is lost" not in run.verdicts[each].reason for each in later if each not in ("illegal_address", "traps")
    )


def test_a_right_kernel_has_both_regimes_and_its_resources(run):
    right = run.verdicts["none"]
    assert {timing.regime for timing in right.timings} == {"warm", "cold"}
    assert right.build is not None
    assert right.build.registers is not None
    assert right.build.spill_bytes == 0


def test_the_finals_catch_what_the_searched_shape_hides(run):
    finals = {(run.order[final.index], final.status) for final in run.finals.finalists}
    assert finals == {("none", Status.OK), ("nan_swallowed", Status.WRONG), ("searched_shape_only", Status.WRONG)}
    winner = run.finals.winner
    assert winner is not None
    assert run.order[winner.index] == "none"
    assert {"sdpa-math", "eager"} <= set(winner.ratios)
