"""A problem with two outputs that is not attention, and kernels that are wrong in one of them."""

import math
import subprocess

import pytest

from evoflash.codegen.amalgamation import self_contained
from evoflash.core.status import Gate
from evoflash.problems import Bounds, Case, Output, Problem
from evoflash.problems.c_interface import CInterface
from evoflash.targets.base import cxx
from evoflash.testing import check_problem
from evoflash.worker import correctness
from evoflash.worker.kernel import Kernel
from evoflash.worker.references import References, WrongResultError

torch = pytest.importorskip("torch")

SOURCE = """
#include "rows.h"
extern "C" size_t evoflash_workspace_bytes(const Rows *) { return 0; }
extern "C" int evoflash_launch(const Rows *p, void *) {
  const int64_t rows = p->x.size[0], columns = p->x.size[1];
  float *const sums = (float *)p->sums.data;
  for (int row = 0; row < rows; ++row) {
    float sum = 0;
    for (int i = 0; i < columns; ++i) {
      const float x = ((const float *)p->x.data)[row * columns + i];
      sum += x;
      ((short *)p->squares.data)[row * columns + i] = short(x * x + (p->fault == 1 && row == 2));
    }
    if (p->fault == 2 && row == 3) continue;
    sums[row] = p->fault == 3 ? sum + 0.25f : p->fault == 4 ? (sum < 0 ? -sum : sum) : sum;
  }
  if (p->fault == 5) sums[rows] = 0;
  return 0;
}
"""


class Rows(Problem):
    """The sum of each row of whole numbers, and their squares as integers."""

    kind = "rows"
    rows: int = 5
    columns: int = 7
    fault: int = 0

    @property
    def label(self):
        return f"{self.rows}x{self.columns}"

    def facts(self):
        return self.model_dump()

    @property
    def flops(self):
        return 2 * self.rows * self.columns

    @property
    def min_bytes(self):
        return 4 * self.rows * (self.columns + 1) + 2 * self.rows * self.columns

    def cases(self):
        return (Case(name="own", problem=self),)

    def inputs(self, seed, variant, device):
        generator = torch.Generator().manual_seed(seed)
        return (torch.randint(1, 100, self.input_shapes()[0], generator=generator).float().to(device),)

    def input_shapes(self):
        return ((self.rows, self.columns),)

    def input_dtypes(self):
        return ("float32",)

    def outputs(self):
        return Output("sums", (self.rows,), "float32"), Output("squares", (self.rows, self.columns), "int16")

    def reference(self, inputs):
        return inputs[0].double().sum(dim=1), inputs[0].double().square()

    def plain(self, inputs):
        return inputs[0].sum(dim=1), inputs[0].square().to(torch.int16)

    def bounds(self, output, reference, plain_max, plain_rms):
        return Bounds(0.0, 0.0, 0.0) if output.name == "squares" else Bounds(1e-3, 1e-3, 1e-3)

    def mirror(self, inputs):
        inputs[0].neg_()
        return (-1, 1)

    def baselines(self, target):
        return {"eager": lambda x: (x.sum(dim=1), x.square().to(torch.int16))}

    @property
    def c_interface(self):
        return CInterface.of(self.kind, ["x"], ["sums", "squares"], {"fault": self.fault})

    def named(self, inputs, outputs):
        return self.c_interface.named((*inputs, *outputs), {"fault": self.fault})


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    (folder / "rows.cpp").write_text(SOURCE)
    (folder / "whole.cpp").write_text(self_contained(folder / "rows.cpp", Rows()))
    command = [cxx(), "-O1", "-shared", "-fPIC", str(folder / "whole.cpp"), "-o", str(folder / "rows.so")]
    subprocess.run(command, check=True)
    return Kernel(folder / "rows.so")


def check(kernel, fault):
    case = Case(name="own", problem=Rows(fault=fault))
    return correctness.check(kernel, case, References("cpu").of(case), lambda: None)


def test_the_problem_conforms():
    check_problem(Rows())


def test_a_right_kernel_passes_with_the_errors_of_the_output_nearest_to_its_bounds(kernel):
    accuracy = check(kernel, 0)
    assert (accuracy.output, accuracy.max_error) == ("sums", 0.0)
    assert not math.isinf(accuracy.share)


@pytest.mark.parametrize(
    ("fault", "gate", "words"),
    [
        (1, Gate.ERROR, r"own: squares: max error 1 > 0, worst at \(2, 0\)"),
        (2, Gate.UNWRITTEN, r"own: sums not written at \(3,\) \(1 elements\)"),
        (3, Gate.ERROR, "own: sums: max error 0.25"),
        (4, Gate.FRESH, "own: sums: .*new values at the same addresses"),
        (5, Gate.WRITES, "own: write outside the sums"),
    ],
)
def test_a_wrong_kernel_is_refused_with_the_name_of_its_output(kernel, fault, gate, words):
    with pytest.raises(WrongResultError, match=words) as raised:
        check(kernel, fault)
    assert raised.value.gate is gate
