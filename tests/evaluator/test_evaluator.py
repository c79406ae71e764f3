"""One worker, asked directly: what it judges, how it is replaced, what the driver decides without it."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from evoflash import targets
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Build, Toolchain
from evoflash.core.evaluation import BuildReport
from evoflash.core.genome import Genome
from evoflash.core.status import Stage, Status
from evoflash.errors import WorkerError
from evoflash.evaluator import Limits, ShapeEvaluator, screen
from evoflash.evaluator import sandbox as sandboxes
from evoflash.evaluator.messages import Examine, Prepare, Verified, Verify
from evoflash.evaluator.sandbox import Sandbox, WorkerDeath
from evoflash.problems import Case
from evoflash.problems.attention import AttentionProblem
from evoflash.targets.cuda import CudaTarget
from evoflash.worker.shortage import ShortageError, own_memory
from tests.helpers import BROKEN, PROBLEM


@pytest.fixture(scope="module")
def target():
    return targets.detect("cpu")


@pytest.fixture(scope="module")
def evaluator(target):
    made = ShapeEvaluator(PROBLEM, target, samples=4, quick_samples=3, deadline_s=60)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def build(target, tmp_path_factory):
    """A built kernel of the broken family."""
    toolchain = Toolchain(target, tmp_path_factory.mktemp("cache"))
    template = load("broken", [BROKEN])
    return lambda fault, work=1: toolchain.build(
        template.render(Genome({"fault": fault, "work": work}), PROBLEM, target.facts)
    )


def test_a_right_kernel_is_timed_in_full(evaluator, build):
    found = evaluator.examine(build("none"), None)
    assert (found.status, found.stage, found.quick) == (Status.OK, Stage.FULL, False), found.reason
    (warm,) = found.timings
    assert warm.regime == "warm"
    assert len(warm.samples) == 4
    assert min(warm.samples) <= warm.p50_us <= warm.p90_us <= warm.p99_us <= max(warm.samples)
    assert found.fitness_us == warm.p50_us
    assert found.seconds > 0


def test_a_kernel_far_behind_the_best_is_given_up_early(evaluator, build):
    found = evaluator.examine(build("none"), 1e-6)
    assert (found.status, found.stage, found.quick) == (Status.OK, Stage.QUICK, True)
    assert len(found.timings[0].samples) == 3


def test_a_right_kernel_meets_cases_of_the_finals_where_it_is_told_to(evaluator, build):
    fits_the_search = build("searched_shape_only")
    assert evaluator.examine(fits_the_search, None).status is Status.OK
    found = evaluator.examine(fits_the_search, 1e-6, PROBLEM.hardest_cases())  # also one that is given up early
    assert (found.status, found.stage) == (Status.WRONG, Stage.FINAL)
    assert found.reason.startswith("1x1: ")
    assert found.fitness_us is None
    assert found.build == fits_the_search.report
    passed = evaluator.examine(build("none"), None, PROBLEM.hardest_cases())
    assert (passed.status, passed.stage) == (Status.OK, Stage.FULL), passed.reason


def test_what_is_no_library_is_a_failure_of_its_own(evaluator, tmp_path):
    broken = tmp_path / "kernel.so"
    broken.write_bytes(b"no ELF")
    found = evaluator.examine(Build(BuildReport(binary_digest="0"), broken), None)
    assert (found.status, found.stage) == (Status.LAUNCH_FAILED, Stage.CORRECTNESS)
    assert "does not load" in found.reason


@pytest.mark.parametrize("fault", ["writes_input", "writes_input_later", "out_of_bounds", "segfault"])
def test_a_bad_kernel_leaves_no_trace_for_the_next(evaluator, build, fault):
    assert evaluator.examine(build(fault), None).status is not Status.OK
    after = evaluator.examine(build("none"), None)
    assert after.status is Status.OK, after.reason


def test_the_baselines_have_times(evaluator):
    times = evaluator.baselines(rounds=2)
    assert set(times) == {"sdpa", "sdpa-math", "eager"}
    assert all(time > 0 for time in times.values())


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(max_registers=64), "65 registers, over the limit of 64"),
        (Limits(max_shared_bytes=1000), "1001 bytes of shared memory, over the limit of 1000"),
        (Limits(max_spill_bytes=0), "8 bytes of spills, over the limit of 0"),
        (Limits(max_registers=65, max_shared_bytes=1001, max_spill_bytes=8), None),
        (Limits(), None),
    ],
)
def test_limits_are_held_without_a_device(target, limits, words):
    report = BuildReport(registers=65, shared_bytes=1001, spill_bytes=8, binary_digest="0")
    verdict = screen(Build(report, Path("kernel.so")), limits, target)
    if words is None:
        assert verdict is None
    else:
        assert verdict is not None
        assert (verdict.status, verdict.stage, verdict.reason) == (Status.OVER_BUDGET, Stage.RESOURCES, words)


@pytest.mark.parametrize(("limit", "words"), [(None, "limit of 4"), (6, "limit of 4"), (2, "limit of 2")])
def test_a_family_may_refuse_spills_that_the_run_would_take(target, limit, words):
    build = Build(BuildReport(spill_bytes=8, binary_digest="0"), Path("kernel.so"), max_spill_bytes=4)
    verdict = screen(build, Limits(max_spill_bytes=limit), target)
    assert verdict is not None
    assert verdict.status is Status.OVER_BUDGET
    assert words in verdict.reason


def test_a_build_that_the_compiler_warns_of_is_refused():
    log = "ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async instructions are serialized\n"
    gpu = CudaTarget(device="none", facts={"arch": 90}, details={})
    build = Build(BuildReport(binary_digest="0", log=log), Path("kernel.so"))
    verdict = screen(build, Limits(), gpu)
    assert verdict is not None
    assert (verdict.status, verdict.stage) == (Status.OVER_BUDGET, Stage.RESOURCES)
    assert verdict.reason == "the compiler warns: wgmma.mma_async instructions are serialized"


def test_a_limit_on_what_a_target_does_not_report_holds_nothing_up(target):
    strict = Limits(max_registers=1, max_shared_bytes=1, max_spill_bytes=0)
    assert screen(Build(BuildReport(binary_digest="0"), Path("kernel.so")), strict, target) is None


def test_a_worker_that_does_not_start_is_an_error_with_its_last_words():
    with (
        Sandbox("no-such-device", Prepare(problem=PROBLEM)) as sandbox,
        pytest.raises(WorkerError, match="worker cannot prepare"),
    ):
        sandbox.start()


def test_a_worker_without_time_to_start(monkeypatch):
    monkeypatch.setattr(sandboxes, "START_DEADLINE_S", 0.0)
    with Sandbox("cpu") as sandbox, pytest.raises(WorkerError, match="does not start: no response within 0 s"):
        sandbox.start()


def test_a_worker_dies_with_the_sandbox_and_a_new_one_takes_its_place(build):
    request = Examine(problem=PROBLEM, library=build("segfault").library, best_us=None, samples=2, quick_samples=1)
    with Sandbox("cpu") as sandbox:
        death = sandbox.call(request, 60)
        assert isinstance(death, WorkerDeath)
        assert death.status is Status.CRASHED
        assert "SIGSEGV" in death.reason
        right = request.model_copy(update={"library": build("none").library})
        answer = sandbox.call(right, 60)
        assert not isinstance(answer, WorkerDeath)
        assert answer["status"] == "ok"
        assert sandbox.starts == 2
        process = sandbox._process
        assert process is not None
    assert process.poll() is not None


def test_an_interrupted_request_leaves_no_answer_to_the_next(build, monkeypatch):
    own = Case(name="own", problem=PROBLEM)
    examine = Examine(problem=PROBLEM, library=build("none").library, best_us=None, samples=2, quick_samples=1)
    with Sandbox("cpu") as sandbox:
        sandbox.start()
        with monkeypatch.context() as patch:
            patch.setattr(sandbox, "_receive", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                sandbox.call(examine, 60)
        answer = sandbox.call(Verify(cases=((own, build("none").library),)), 60)
        assert not isinstance(answer, WorkerDeath)
        assert [each.case for each in Verified.model_validate(answer).accuracy] == ["own"]
        assert sandbox.starts == 2


def test_a_problem_travels_to_the_worker_and_back():
    problem = AttentionProblem.of(2, 4, 33, 16, kv_heads=2, dtype="bfloat16", causal=True, scale=0.3)
    prepare = Prepare(problem=problem)
    assert Prepare.model_validate_json(prepare.model_dump_json()) == prepare
    verify = Verify(cases=tuple((case, Path("kernel.so")) for case in problem.cases()))
    assert Verify.model_validate_json(verify.model_dump_json()) == verify


def test_memory_and_time_for_a_reference_are_not_the_kernels_fault(build):
    """No verdict on a kernel that had no turn; the worker goes on where it can."""
    library = build("none").library
    impossible = Case(name="impossible", problem=AttentionProblem.of(2**31 - 1, 2**20, 2**20, 16, dtype="float32"))
    own = Case(name="own", problem=PROBLEM)
    long = Case(name="long", problem=AttentionProblem.of(1, 64, 8192, 64, dtype="float32"))
    with Sandbox("cpu") as sandbox:
        with pytest.raises(WorkerError, match=r"no memory for the reference of impossible.*; take a smaller shape"):
            sandbox.call(Verify(cases=((impossible, library),)), 60)
        assert Verified.model_validate(sandbox.call(Verify(cases=((own, library),)), 60)).status is Status.OK
        assert sandbox.starts == 1
        with pytest.raises(
            WorkerError, match=r"cannot prepare the problem: no response within 0\.5 s while preparing long; "
        ):
            sandbox.call(Verify(cases=((long, library),)), 0.5)


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."), MemoryError()]
)
def test_a_shortage_is_told_from_other_errors(error: Exception):
    with pytest.raises(ShortageError, match="no memory for a test"), own_memory("a test"):
        raise error
    with pytest.raises(RuntimeError, match="other"), own_memory("a test"):
        raise RuntimeError("other")
