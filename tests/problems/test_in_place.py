"""Functions that update their arguments: what is derived from them, the gates, and launches that are timed."""

import ctypes
import subprocess
from pathlib import Path

import pytest

from evoflash.core.status import Gate
from evoflash.evaluator.messages import Examine
from evoflash.problems import Case, searched_cases
from evoflash.problems.function.description import describe
from evoflash.targets.base import cxx
from evoflash.testing import check_problem
from evoflash.worker import correctness, functions, rivals, sanitized_launch
from evoflash.worker.clock import CpuClock
from evoflash.worker.kernel import Kernel
from evoflash.worker.kernel_timer import KernelTimer
from evoflash.worker.references import References, WrongResultError
from evoflash.worker.updates import Repetition, Updates
from tests.problems.files import INTERFACE
from tests.problems.in_place import ADAM, CACHE, FUSED, KERNEL

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def problem():
    return describe("fused.py", FUSED, {}, "cpu")


@pytest.fixture(scope="module")
def library(problem, tmp_path_factory) -> Path:
    """Right, unless the environment names a fault."""
    folder = tmp_path_factory.mktemp("fused")
    name, text = problem.header
    (folder / name).write_text(text)
    (folder / "kernel.cpp").write_text(KERNEL)
    options = [f"-I{INTERFACE}", "-shared", "-fPIC", "-o", "kernel.so"]
    subprocess.run([cxx(), "-std=c++17", *options, "kernel.cpp"], cwd=folder, check=True)
    return folder / "kernel.so"


def check(library: Path, case: Case) -> None:
    with Kernel(library) as kernel:
        correctness.check(kernel, case, References("cpu").of(case), lambda: None)


def test_what_is_updated_is_an_output_and_one_member(problem):
    members = problem.header[1].partition("typedef struct {\n")[2].splitlines()
    assert members[:3] == [
        "  EvoflashTensor x, residual; /* read and written */",
        "  EvoflashTensor weight; /* read */",
        "  double eps;",
    ]
    assert [(each.name, each.updates) for each in problem.outputs()] == [("x", 0), ("residual", 1)]
    assert problem.interface.returns == "none"
    assert problem.min_bytes == 4 * (2 * 2 * 6 * 16 + 16)
    cache = describe("append.py", CACHE, {}, "cpu")
    assert [(each.name, each.updates) for each in cache.outputs()] == [("out", None), ("cache", 0)]
    changed = 4 * 8
    assert cache.min_bytes == 4 * 2 * changed + 4 * 4 * 8 + 8 * 4 + 4 * 4  # of the cache what changes
    inputs = cache.inputs(0, "normal", "cpu")
    named = cache.named(inputs, (torch.empty(4), inputs[0]))
    assert list(named) == ["cache", "keys", "places", "out"]


@pytest.mark.parametrize("source", [FUSED, CACHE, ADAM], ids=["fused", "append", "adam"])
def test_it_conforms_and_leaves_its_inputs(source):
    problem = describe("task.py", source, {}, "cpu")
    check_problem(problem)
    inputs = problem.inputs(0, "normal", "cpu")
    before = [each.clone() for each in inputs]
    exact, plain = problem.reference(inputs), problem.plain(inputs)
    assert all(torch.equal(*pair) for pair in zip(before, inputs, strict=True))
    (eager,) = problem.baselines("cpu").values()
    eager(*inputs)
    for output, wide, narrow in zip(problem.outputs(), exact, plain, strict=True):
        torch.testing.assert_close(wide.to(narrow.dtype), narrow)
        if output.updates is not None:
            assert torch.equal(inputs[output.updates], narrow)
            assert not torch.equal(inputs[output.updates], before[output.updates])


def test_a_right_kernel_passes_every_case(problem, library):
    for case in (*searched_cases(problem), *problem.cases(), *problem.random_cases(1)):
        check(library, case)


@pytest.mark.parametrize(
    ("fault", "gate", "words"),
    [
        (1, Gate.ERROR, "residual: max error"),
        (2, Gate.INPUTS, "input 2 was overwritten"),
        (3, Gate.ERROR, "x: max error"),
        (4, Gate.REPEAT, "run 2 differs from run 1"),
        (5, Gate.FRESH, "with new values at the same addresses"),
    ],
)
def test_a_wrong_kernel_is_refused_by_its_gate(problem, library, fault, gate, words, monkeypatch):
    monkeypatch.setenv("IN_PLACE_FAULT", str(fault))
    with pytest.raises(WrongResultError, match=words) as caught:
        check(library, searched_cases(problem)[0])
    assert caught.value.gate is gate


def test_a_sanitizer_is_given_one_tensor_for_both(problem, library):
    loaded = ctypes.CDLL(str(library))
    loaded.evoflash_workspace_bytes.restype = ctypes.c_size_t
    assert sanitized_launch.launch(loaded, problem, sanitized_launch.HostMemory()) == 0


# Functions of a user's.


def right(x, residual, weight, eps):
    residual.add_(x)
    x.copy_(torch.nn.functional.rms_norm(residual, weight.shape, weight, eps))


def forgetful(x, residual, weight, eps):
    x.copy_(torch.nn.functional.rms_norm(x + residual, weight.shape, weight, eps))


def talkative(x, residual, weight, eps):
    right(x, residual, weight, eps)
    return x


@pytest.mark.parametrize(
    ("function", "gate", "words"),
    [
        (right, None, ""),
        (forgetful, Gate.ERROR, "residual: max error"),
        (talkative, Gate.FORM, "returned a Tensor instead of None"),
    ],
)
def test_a_function_updates_as_the_reference_does(problem, function, gate, words):
    case = searched_cases(problem)[0]

    def run() -> None:
        functions.check(function, case, References("cpu").of(case), lambda: None)

    if gate is None:
        run()
        return
    with pytest.raises(WrongResultError, match=words) as caught:
        run()
    assert caught.value.gate is gate


def test_an_output_is_not_in_the_memory_of_what_is_updated():
    problem = describe("append.py", CACHE, {}, "cpu")
    case = searched_cases(problem)[0]

    def aliased(cache, keys, places):
        cache.index_copy_(0, places, keys)
        return cache[:4, 0].copy_(keys.abs().amax(-1))

    with pytest.raises(WrongResultError, match="the out shares memory with input 0") as caught:
        functions.check(aliased, case, References("cpu").of(case), lambda: None)
    assert caught.value.gate is Gate.ALIAS


# Times.


def growing(factor: str, dtype: str = "float32", start: str = "torch.rand") -> Repetition:
    """How often x may be multiplied, or whatever is done to it."""
    source = f"""
import torch
mutates = ("x",)
def grow(x: torch.Tensor):
    x{factor}
def get_inputs(count: int = 100):
    return {start}((count,){", dtype=torch." + dtype if start != "torch.rand" else ""}).to(torch.{dtype})
"""
    problem = describe("grow.py", source, {}, "cpu")
    return Repetition(problem, problem.inputs(0, "normal", "cpu"))


def test_launches_in_a_row_end_before_values_drift_away():
    assert growing(".add_(1)").launches(3000, 3) == 3 * 512
    assert growing(".mul_(4)").launches(3000, 3) == 3 * 64  # 4 ** 128 is infinite
    assert growing(".mul_(2 ** -10)").launches(3000, 3) == 3 * 8  # 2 ** -126 is the smallest normal number
    assert growing(".mul_(2 ** -10)", "bfloat16").launches(3000, 3) == 3 * 8
    assert growing(".add_(1)", "int64", "torch.zeros").launches(3000, 3) == 3  # an index may leave its range
    assert growing(".add_(1)", "uint8", "torch.zeros").launches(3000, 3) == 3 * 512
    assert growing(".mul_(2)").launches(2, 3) == 2
    few = growing(".mul_(2 ** -20)")
    assert (few.copies(), few.launches(3000, 3)) == (16, 12)
    assert growing(".add_(1)").copies() == 1


def test_first_values_come_back_before_each_try_of_a_sample(problem):
    first = problem.inputs(0, "strided", "cpu")
    inputs = tuple(each.clone() for each in first)
    updates, seen = Updates(problem.outputs(), inputs, first), []
    (eager,) = problem.baselines("cpu").values()
    clock = CpuClock()

    def call() -> None:
        seen.append(torch.equal(inputs[1], first[1]))
        eager(*inputs)

    captured = clock.capture([call], 4)
    for _ in range(2):
        clock.sample(captured, updates.restore)
    tries = [seen[number : number + 4] for number in range(0, len(seen), 4)]
    assert len(tries) >= 2
    assert seen[:4] == [True, False, False, False] == seen[-4:]


def examine(problem, library: Path):
    request = Examine(problem=problem, library=library, best_us=None, samples=5, quick_samples=3)
    with Kernel(library) as kernel:
        return KernelTimer("cpu", References("cpu"), lambda _: None).time(kernel, problem, request)


def test_timed_launches_leave_what_as_many_calls_do(problem, library, monkeypatch):
    (timing,), quick = examine(problem, library)
    assert not quick
    assert timing.launches % 3 == 0
    assert timing.launches > 3
    monkeypatch.setenv("IN_PLACE_FAULT", "4")
    with pytest.raises(WrongResultError, match=r"after timing: .* error") as caught:
        examine(problem, library)
    assert caught.value.gate is Gate.TIMED


class Half(rivals.UserFunction):
    """Right in the first calls, which are checked, and idle from then on."""

    def __init__(self, most: int):
        super().__init__("here:half")
        self.most, self.calls = most, 0

    def load(self):
        def half(*arguments):
            self.calls += 1
            if self.calls <= self.most:
                right(*arguments)

        return half


def test_a_rival_that_does_not_update_is_left_out(problem):
    references = References("cpu")
    known = [references.of(case).inputs for case in searched_cases(problem)]
    sets = [tuple(each.clone() for each in inputs) for inputs in known]
    repetition = Repetition(problem, known[0])
    prepared = rivals.prepare(Half(10**9), problem, sets, references, CpuClock(), repetition)
    assert prepared.launches % 3 == 0
    with pytest.raises(WrongResultError, match="seed 0, as timed"):
        rivals.prepare(Half(3), problem, sets, references, CpuClock(), repetition)
    assert all(torch.equal(*pair) for pair in zip(sets[0], known[0], strict=True))
