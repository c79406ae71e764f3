"""What is derived from a function: its header, struct and facts, its reference in float64, adversaries and checks."""

import ctypes
import json
import subprocess

import pytest

from evoflash.core.status import Gate
from evoflash.problems import Case, FunctionProblem, searched_cases
from evoflash.problems.c_interface import CInterface
from evoflash.problems.function import adversaries
from evoflash.problems.function.description import describe
from evoflash.problems.function.flops import FlopCounter
from evoflash.problems.function.in_double import InDouble
from evoflash.problems.function.program import Program
from evoflash.targets import cuda
from evoflash.targets.base import cxx
from evoflash.testing import check_problem
from evoflash.worker import correctness
from evoflash.worker.kernel import Kernel, LaunchError
from evoflash.worker.references import References, WrongResultError
from tests.problems.files import INTERFACE, SCALE

torch = pytest.importorskip("torch")
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

NARROW = """
import torch

def product(a: torch.Tensor, b: torch.Tensor):
    return a * b

def get_inputs(rows: int = 64, dtype: str = "float16"):
    return tuple(torch.randn(rows, 8, dtype=getattr(torch, dtype)) * 30 for _ in range(2))
"""

THROUGH = """
import torch

def through(x: torch.Tensor, scale: torch.Tensor):
    return (x.float() * scale).to(x.dtype), x.float() * scale

def get_inputs(rows: int = 4, dtype: str = "float32"):
    return (torch.randn(rows, 8) * 3).to(getattr(torch, dtype)), torch.rand(1)
"""

# Right without a fault; 1 keeps its results by the address of x, 2 compares with another number, 3 leaves elements out.
KERNEL = """
#include "scale.h"
extern "C" size_t evoflash_workspace_bytes(const Scale *) { return 0; }
extern "C" int evoflash_launch(const Scale *problem, void *) {
  const Scale &p = *problem;
#if FAULT == 1
  static const void *known;
  static float cache[4096];
#endif
  if (p.x.dtype != EVOFLASH_FLOAT32) return EVOFLASH_UNSUPPORTED;
  for (int64_t row = 0; row < p.x.size[0]; ++row)
    for (int64_t i = 0; i < p.x.size[1]; ++i) {
      const float x = ((const float *)p.x.data)[row * p.x.stride[0] + i * p.x.stride[1]];
      float scaled = x * ((const float *)p.weight.data)[i * p.weight.stride[0]] * (float)p.factor;
#if FAULT == 1
      float &old = cache[row * p.x.size[1] + i];
      if (known == p.x.data) scaled = old;
      old = scaled;
#endif
      ((float *)p.scaled.data)[row * p.scaled.stride[0] + i * p.scaled.stride[1]] = scaled;
      if (FAULT == 3 && i == 5) continue;
      ((bool *)p.positive.data)[row * p.positive.stride[0] + i * p.positive.stride[1]] = x > (FAULT == 2 ? 0.5f : 0);
    }
#if FAULT == 1
  known = p.x.data;
#endif
  return 0;
}
"""

OFFSETS = """
#include <stdio.h>
#include "scale.h"
int main() {
  printf("[%zu, %zu, %zu, %zu, %zu, ", sizeof(Scale), sizeof(EvoflashTensor), offsetof(EvoflashTensor, rank),
         offsetof(EvoflashTensor, size), offsetof(EvoflashTensor, stride));
  printf("%zu, %zu, %zu, %zu, %zu]", offsetof(Scale, weight), offsetof(Scale, scaled), offsetof(Scale, positive),
         offsetof(Scale, factor), offsetof(Scale, workspace));
}
"""


@pytest.fixture(scope="module")
def scale() -> FunctionProblem:
    return describe("scale.py", SCALE, {}, "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, scale):
    folder = tmp_path_factory.mktemp("scale")
    name, text = scale.header
    (folder / name).write_text(text)
    return folder


def compile_here(folder, text: str, *options: str, name: str = "main.cpp") -> None:
    (folder / name).write_text(text)
    command = [cxx(), "-std=c++17", "-Wall", "-Werror", f"-I{INTERFACE}", name, *options]
    subprocess.run(command, cwd=folder, check=True)


def test_the_header_names_what_a_kernel_is_given(scale):
    name, text = scale.header
    assert name == "scale.h"
    assert CInterface.of("fused_linear", (), ()).struct == "FusedLinear"
    members = text.partition("typedef struct {\n")[2].partition("}")[0].splitlines()
    assert members == [
        "  EvoflashTensor x, weight; /* read */",
        "  EvoflashTensor scaled, positive; /* written */",
        "  double factor;",
        "  void *workspace; /* evoflash_workspace_bytes() bytes, contents undefined */",
    ]
    assert "activation" not in text  # text is for templates alone
    assert text.startswith("/* Scale and shift.\n")
    odd = scale.model_copy(update={"summary": "ends */ a comment"})
    assert "ends * / a comment" in odd.header[1]


def test_the_struct_is_that_of_c(scale, folder):
    compile_here(folder, OFFSETS, "-o", "offsets", name="offsets.cpp")
    offsets = json.loads(subprocess.run([folder / "offsets"], capture_output=True, check=True).stdout)
    tensors = scale.inputs(0, "strided", "cpu")
    struct = scale.arguments(tensors, tuple(each.empty("cpu") for each in scale.outputs()))
    made, tensor = type(struct), type(struct.x)
    own = [ctypes.sizeof(made), ctypes.sizeof(tensor), tensor.rank.offset, tensor.size.offset, tensor.stride.offset]
    own += [getattr(made, name).offset for name in ("weight", "scaled", "positive", "factor", "workspace")]
    assert own == offsets
    assert (struct.x.data, struct.x.dtype, struct.x.rank) == (tensors[0].data_ptr(), 1, 2)
    assert (struct.x.size[:2], struct.x.stride[:2]) == ([6, 16], [32, 1])
    assert (struct.positive.dtype, struct.factor) == (11, 2.0)


@pytest.mark.nvcc
def test_nvcc_takes_the_header(folder):
    (folder / "device.cu").write_text(
        '#include "scale.h"\nextern "C" __global__ void f(const Scale p) { *(float *)p.scaled.data = p.factor; }\n'
    )
    command = [cuda.nvcc(), "-arch=sm_80", "-std=c++17", f"-I{INTERFACE}", "--cubin", "device.cu", "-o", "device.cubin"]
    subprocess.run([*command, "-DEVOFLASH_DEVICE_ONLY"], cwd=folder, check=True)
    assert (folder / "device.cubin").read_bytes()[:4] == b"\x7fELF"


def test_facts(scale):
    facts = scale.facts()
    assert facts == {
        "rows": 6, "columns": 16, "dtype": "float32", "dtype_bytes": 4, "factor": 2.0, "activation": "none",
        "x_rank": 2, "x_0": 6, "x_1": 16, "x_dtype": "float32", "weight_rank": 1, "weight_0": 16,
        "weight_dtype": "float32", "scaled_rank": 2, "scaled_0": 6, "scaled_1": 16, "scaled_dtype": "float32",
        "positive_rank": 2, "positive_0": 6, "positive_1": 16, "positive_dtype": "bool",
    }  # fmt: skip
    other = describe("scale.py", SCALE, {"dtype": "bfloat16", "activation": "relu", "columns": 24}, "cpu")
    changed = {"dtype": "bfloat16", "dtype_bytes": 2, "activation": "relu", "weight_0": 24, "positive_1": 24}
    assert other.facts() | changed == other.facts()
    assert other.label == "scale rows=6 columns=24 dtype=bfloat16 factor=2.0 activation=relu"
    assert (scale.min_bytes, scale.flops) == (4 * (2 * 6 * 16 + 16) + 6 * 16, 2 * 6 * 16)


def test_it_conforms(scale):
    check_problem(scale)
    check_problem(describe("product.py", NARROW, {}, "cpu"))
    module = describe("7_norm.py", MODULE, {"features": "6"}, "cpu")
    check_problem(module)


MODULE = """
import torch

class Model(torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(features)

    def forward(self, x):
        return self.norm(x)

features = 4

def get_inputs():
    return [torch.randn(8, features)]

def get_init_inputs():
    return [features]
"""


def test_operations_are_counted_as_pytorch_does():
    x, weight = torch.randn(2, 3, 9, 9), torch.randn(5, 3, 3, 3)
    rows = torch.randn(4, 8)

    def compute():
        torch.nn.functional.conv2d(x, weight)
        torch.nn.functional.linear(rows, rows, rows[:, 0])
        torch.nn.functional.scaled_dot_product_attention(*[torch.randn(1, 2, 16, 8)] * 3)
        return torch.einsum("ij,kj->ik", rows, rows).relu()

    with torch.no_grad(), FlopCounter() as counter:
        compute()
    with torch.no_grad(), FlopCounterMode(display=False) as theirs:
        compute()
    assert counter.total == theirs.get_total_flops() > 2 * 4 * 4 * 8


def test_cases(scale):
    stated = [each.name for each in scale.variants if each.is_stated]
    drawn = [each.name for each in scale.variants if not each.is_stated][1:4]  # the first is of the general case
    drawn = [name for name in drawn if name not in stated]
    assert drawn
    assert [each.name for each in scale.cases()] == [
        "large", "tiny", "constant", "infinite", "nan", "strided", "unaligned",
        "rows=1 columns=16 dtype=float32 factor=2.0 activation=none",
        "rows=6 columns=40 dtype=float32 factor=2.0 activation=none",
        *drawn,
        scale.general_case.name,
    ]  # fmt: skip
    fresh = scale.random_cases(3)
    assert {each.problem.sizes[0][1] for each in fresh} <= set(range(1, 9))
    assert {dict(each.problem.sizes)["columns"] for each in fresh} <= {8, 16, 24}
    assert fresh == scale.random_cases(3) != scale.random_cases(4)
    assert scale.general_case.variant == "constant"
    assert all(not each.problem.variants for each in (*scale.cases(), *fresh))  # what a worker is sent stays small


def test_float64_stands_for_smaller_types_wherever_a_function_names_them():
    x = torch.tensor([1 + 2.0**-20], dtype=torch.float64)
    with InDouble():
        cast = [x.float(), x.half(), x.bfloat16(), x.to(torch.bfloat16), x.to(dtype=torch.float16), x.type(torch.half)]
        cast += [x.type_as(torch.zeros(1, dtype=torch.float16)), x.to(torch.zeros(1)), torch.zeros(1) + x - 0]
        made = [torch.zeros(3), torch.ones(3, dtype=torch.float16), torch.arange(3.0), torch.full((3,), 0.1)]
        mean = x.mean(dtype=torch.float32)
        kept = [x.int(), x.to(torch.int8), x > 1, x.to(torch.float8_e4m3fn)]
    assert all(each.dtype == torch.float64 and each.item() == x.item() for each in cast)
    assert all(each.dtype == torch.float64 for each in made)
    assert mean.item() == x.item()
    assert [each.dtype for each in kept] == [torch.int32, torch.int8, torch.bool, torch.float8_e4m3fn]
    assert torch.zeros(1).dtype == torch.float32


def test_the_reference_does_not_round_where_the_function_does():
    problem = describe("product.py", NARROW, {}, "cpu")
    inputs = problem.inputs(0, "normal", "cpu")
    (exact,), (rounded,) = problem.reference(inputs), problem.plain(inputs)
    assert torch.equal(exact, inputs[0].double() * inputs[1].double())
    assert rounded.dtype == torch.float16
    assert not torch.equal(exact, rounded.double())


def test_adversaries():
    tensors = [torch.randn(4, 6), torch.arange(6), torch.randn(6)]
    large, indices, _ = adversaries.changed(tensors, "large")
    assert torch.equal(large, tensors[0] * 32)
    assert indices is tensors[1]
    assert adversaries.changed(tensors, "constant")[0].unique().numel() == 1
    first, _, second = adversaries.changed(tensors, "infinite")
    assert (int((first == torch.inf).sum()), int((first == -torch.inf).sum()), int(second.isinf().sum())) == (1, 1, 2)
    assert [int(each.isnan().sum()) for each in adversaries.changed(tensors, "nan")] == [1, 0, 0]
    assert not tensors[0].isinf().any()

    strided = adversaries.placed(tensors[0], "strided", "cpu")
    assert (strided.stride(), torch.equal(strided, tensors[0])) == ((22, 1), True)
    assert adversaries.placed(tensors[2], "strided", "cpu").stride() == (1,)
    deep = adversaries.placed(torch.randn(2, 3, 4, 5), "strided", "cpu")
    assert deep.stride() == (3 * 4 * 21, 4 * 21, 21, 1)
    unaligned = adversaries.placed(tensors[0], "unaligned", "cpu")
    assert unaligned.data_ptr() % 16 == 4
    assert torch.equal(unaligned, tensors[0])


@pytest.mark.parametrize(
    "dtype", ["float8_e4m3fn", "float8_e5m2", "int8", "uint8", "bool", "int16", "int64", "float64"]
)
def test_cases_of_every_type(dtype):
    problem = describe("through.py", THROUGH, {"dtype": dtype}, "cpu")
    references = References("cpu")
    for case in (*searched_cases(problem), *problem.cases()):
        reference = references.of(case)
        reference.check(problem.plain(reference.inputs), case.name)


def test_where_pytorchs_own_result_overflows_any_result_is_right():
    problem = describe("product.py", NARROW, {}, "cpu")
    (case,) = (each for each in problem.cases() if each.name == "large")
    (expected,) = References("cpu").of(case).outputs
    assert expected.disputed is not None
    where = expected.disputed
    (plain,) = problem.plain(problem.inputs(case.seed, "large", "cpu"))
    assert torch.equal(where, plain.isinf())
    assert where.any()
    good = expected.values.half()
    good[where] = 7.0
    expected.check(good, "large")
    good[~where] = 0.0
    with pytest.raises(WrongResultError):
        expected.check(good, "large")


PADDED = """
import torch

def padded(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.conv1d(x, weight, padding=1, groups=x.shape[1])

def get_inputs(channels: int = 8, width: int = 16):
    return torch.randn(2, channels, width), torch.randn(channels, 1, 3)
"""


def test_a_kernel_may_leave_out_what_is_multiplied_by_zero_where_the_function_itself_does():
    """An infinite weight times the padding is NaN in float64, and nothing in float32, where PyTorch leaves it out."""
    problem = describe("padded.py", PADDED, {}, "cpu")
    (case,) = (each for each in problem.cases() if each.name == "infinite")
    reference = References("cpu").of(case)
    (plain,) = problem.plain(reference.inputs)
    (expected,) = reference.outputs
    assert expected.disputed is not None
    assert torch.equal(expected.disputed, expected.values.isnan() & ~plain.isnan())
    assert expected.disputed.any()
    expected.check(plain, "infinite")
    with pytest.raises(WrongResultError):
        expected.check(torch.where(expected.disputed, plain, plain + 1), "infinite")


def test_nothing_is_expected_where_an_infinite_input_makes_nan(scale):
    (case,) = (each for each in scale.cases() if each.name == "infinite")
    scaled, positive = References("cpu").of(case).outputs
    assert scaled.unspecified is not None
    assert scaled.unspecified.any()
    assert not positive.unspecified.any()


@pytest.mark.parametrize(
    ("fault", "gate", "words"),
    [
        (0, None, ""),
        (1, Gate.FRESH, "seed 0: .*new values at the same addresses"),
        (2, Gate.ERROR, "positive: max"),
        (3, Gate.UNWRITTEN, "positive not written at"),
    ],
)
def test_a_kernel_that_keeps_its_result_by_address_is_refused(scale, folder, fault, gate, words):
    library = f"kernel{fault}.so"
    compile_here(folder, KERNEL, f"-DFAULT={fault}", "-shared", "-fPIC", "-O1", "-o", library, name="kernel.cpp")
    references, first = References("cpu"), searched_cases(scale)[0]
    with Kernel(folder / library) as kernel:
        if gate is not None:
            with pytest.raises(WrongResultError, match=words) as raised:
                correctness.check(kernel, first, references.of(first), lambda: None)
            assert raised.value.gate is gate
            return
        for case in (*searched_cases(scale), *scale.cases(), *scale.random_cases(1)):
            correctness.check(kernel, case, references.of(case), lambda: None)
        other = describe("scale.py", SCALE, {"dtype": "bfloat16"}, "cpu")
        case = Case(name="other", problem=other.alone)
        with pytest.raises(LaunchError, match="unsupported"):
            correctness.check(kernel, case, references.of(case), lambda: None)


MIXED = '''"""Adds a table that the file makes on the CPU by name."""
import torch

def mixed(x: torch.Tensor) -> torch.Tensor:
    return x + 1

def get_inputs(rows: int = 3):
    return torch.ones(rows) + torch.arange(rows, device="cpu")
'''


def test_inputs_are_drawn_on_the_device_unless_the_file_mixes_devices():
    plain = MIXED.replace(', device="cpu"', "")
    drawn = [
        Program.of("mixed.py", text).at((("rows", 3),)).inputs(0, "meta")[0].device.type for text in (plain, MIXED)
    ]
    assert drawn == ["meta", "cpu"]  # meta stands for a GPU


def test_other_failures_on_the_device_are_not_taken_for_that():
    text = MIXED.replace("return torch.ones", 'raise RuntimeError("device is lost")\n    return torch.ones')
    with pytest.raises(RuntimeError, match="device is lost"):
        Program.of("mixed.py", text).at((("rows", 3),)).inputs(0, "meta")


def test_values_that_may_be_indices_are_on_record():
    text = MIXED.replace('torch.ones(rows) + torch.arange(rows, device="cpu")', "torch.arange(rows)")
    problem = describe("mixed.py", text, {"rows": 5000}, "cpu")
    assert problem.index_values() == {0: tuple(range(4096))}
