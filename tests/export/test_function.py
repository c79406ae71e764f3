"""An exported function: its operator against the reference, whichever computes, and what the package says of itself."""

import importlib
import json
import re
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from evoflash import resources
from evoflash.codegen.amalgamation import Amalgamation
from evoflash.errors import NoPackageError, UsageError
from evoflash.export import rendering
from evoflash.export.call_times import Calls
from evoflash.export.formats import FORMATS
from evoflash.export.package import package_in, write
from evoflash.export.winner import Winner
from evoflash.problems import FunctionProblem
from evoflash.problems.function import Interface
from evoflash.problems.function.description import describe

from .conftest import load

FIXTURES = Path(__file__).parents[1] / "fixtures" / "function"
FILE = FIXTURES / "scaled_rows.py"
KERNEL = (FIXTURES / "templates" / "rows" / "kernel.cpp.j2").read_text().replace("{{ genome.sums }}", "2")

MODULE = '''"""A linear layer, scaled."""
import torch
from torch import nn

rows = 6
width = 4

class Model(nn.Module):
    def __init__(self, width, outputs, factor, added, name="plain"):
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.factor, self.added, self.name = factor, added, name

    def forward(self, x):
        return self.linear(x) * (self.factor if self.name == "plain" else 0.0) + sum(self.added)

def get_inputs():
    return [torch.randn(rows, width)]

def get_init_inputs():
    return [width, 3, 2.0, (1, 2)]
'''
MODULE_KERNEL = """
#include "scaled_linear.h"
extern "C" size_t evoflash_workspace_bytes(const ScaledLinear *) { return 0; }
extern "C" int evoflash_launch(const ScaledLinear *problem, void *) {
  const ScaledLinear &p = *problem;
  const float *x = (const float *)p.x.data, *weight = (const float *)p.linear_weight.data;
  for (int64_t i = 0; i < p.out.size[0]; ++i)
    for (int64_t j = 0; j < p.out.size[1]; ++j) {
      double sum = ((const float *)p.linear_bias.data)[j];
      for (int64_t k = 0; k < p.x.size[1]; ++k)
        sum += (double)x[i * p.x.stride[0] + k * p.x.stride[1]] * weight[j * p.linear_weight.stride[0] + k];
      ((float *)p.out.data)[i * p.out.stride[0] + j] = (float)(sum * p.factor + p.added_0 + p.added_1);
    }
  return 0;
}
"""


def inlined(source: str, problem: FunctionProblem) -> str:
    shipped = resources.shipped() / "templates" / "include"
    return Amalgamation(lambda name: (shipped / name).read_text()).of(source, dict([problem.header]))


def winner_of(name: str, problem: FunctionProblem, source: str, **changes) -> Winner:
    made = Winner(
        name=name,
        family="rows",
        genome={"sums": 2},
        source=inlined(source, problem),
        language="c++",
        target="cpu",
        arch=None,
        problem=problem,
        provenance={"run": 1, "candidate": 2, "strategy": "evolution", "seed": 0},
        cases=tuple(case.name for case in problem.cases()),
        constants=(),
    )
    return replace(made, **changes)


@pytest.fixture(scope="module")
def problem() -> FunctionProblem:
    return describe(FILE.name, FILE.read_text(), {}, "cpu")


@pytest.fixture(scope="module")
def folder(problem: FunctionProblem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(winner_of("exported_rows", problem, KERNEL), tmp_path_factory.mktemp("function") / "out")


@pytest.fixture(scope="module")
def module(folder: Path, cache: Path) -> ModuleType:
    return load("exported_rows", folder)


def computes(module: ModuleType, *arguments, **options) -> str:
    """ "kernel" or "reference", whichever is counted for a call that agrees with the file's function."""
    before = module.stats()
    found, wanted = module.scaled_rows(*arguments, **options), module._reference.scaled_rows(*arguments, **options)
    assert type(found) is module._reference.Scaled
    torch.testing.assert_close(tuple(found), tuple(wanted))
    after = module.stats()
    return next((name.split()[0] for name in after if after[name] > before[name]), "neither")


def rows(count: int = 6, columns: int = 8, **options) -> tuple[Tensor, Tensor]:
    return torch.randn(count, columns, **options), torch.randn(columns, **options)


def test_the_kernel_computes_what_was_searched_and_other_sizes(module):
    assert computes(module, *rows()) == "rows"
    assert computes(module, *rows(5, 20), factor=0.5) == "rows"
    assert computes(module, *rows(5, 20), factor=3) == "rows"
    x, weight = rows(8, 6)
    assert computes(module, x.T, weight.repeat(2)[:8]) == "rows"
    assert module.is_supported(*rows(1, 1))
    assert module.explain(*rows()).endswith(" computes")
    assert torch.ops.exported_rows.scaled_rows(*rows())[0].shape == (6, 8)


def test_what_no_kernel_takes_the_reference_computes(module):
    refused = {
        "its launcher declines": (rows(6, 12), {}),
        "made for x of float32": (rows(dtype=torch.float64), {}),
        "made for x of 2 dimensions": ((torch.randn(2, 3, 8), torch.randn(8)), {}),
        "made for weight of 1 dimensions": ((torch.randn(3, 8), torch.randn(3, 8)), {}),
        "made for weight of size columns in dimension 0": ((torch.randn(3, 8), torch.randn(1)), {}),
        "x is empty": (rows(0), {}),
        "made for times=1": (rows(), {"times": 3}),
        "made for kind='plain'": (rows(), {"kind": "relu"}),
        "of another type, or None": (rows(), {"bias": torch.ones(8)}),
    }
    for why, (tensors, options) in refused.items():
        assert computes(module, *tensors, **options) != "rows", why
        assert why in module.explain(*tensors, **options)
        assert module.explain(*tensors, **options).endswith("the reference computes")
        assert not module.is_supported(*tensors, **options)
    assert module.scaled_rows(*rows(), kind="alone").shape == (6, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast is on" in module.explain(*rows())
    assert module.scaled_rows(*rows(device="meta")).out.device.type == "meta"


def test_errors_are_the_kernels_or_the_references_own(module):
    with pytest.raises(RuntimeError, match="the kernel failed with code 42"):
        module.scaled_rows(*rows(77))
    with pytest.raises(RuntimeError, match="size of tensor a"):
        module.scaled_rows(torch.randn(3, 8), torch.randn(7))


def test_derivatives_are_the_references(module):
    found = []
    for function in (module.scaled_rows, module._reference.scaled_rows):
        torch.manual_seed(0)
        given = [each.requires_grad_() for each in rows()]
        out, sums = function(*given, factor=0.5)
        gradients = torch.autograd.grad((out.square().sum() + sums.sum()), given, create_graph=True)
        found.append([*gradients, *torch.autograd.grad(gradients[0].sum(), given)])
        (alone,) = torch.autograd.grad(function(*given).sums.sum(), given[:1])
        found[-1].append(alone)
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
    x, weight = rows()
    with forward_ad.dual_level():
        dual = module.scaled_rows(forward_ad.make_dual(x, torch.ones_like(x)), weight)
        assert forward_ad.unpack_dual(dual.out).tangent is not None
    mapped = torch.vmap(module.scaled_rows, in_dims=(0, None))(torch.stack([x, x + 1]), weight)
    torch.testing.assert_close(mapped.out[1], module.scaled_rows(x + 1, weight).out)
    gradient = torch.func.grad(lambda each: module.scaled_rows(each, weight).sums.sum())
    torch.testing.assert_close(torch.vmap(gradient)(torch.stack([x, x + 1]))[1], gradient(x))


def test_the_operator_is_sound_and_compiles_whole(module):
    x, weight = rows()
    operator = torch.ops.exported_rows.scaled_rows.default
    for arguments in ((x, weight, 2.0, 1, "plain"), (x, weight, 2.0, 3, "relu")):
        torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))
    assert str(operator._schema).startswith(
        'exported_rows::scaled_rows(Tensor x, Tensor weight, float factor=2., int times=1, str kind="plain") -> (Tensor'
    )
    compiled = torch.compile(module.scaled_rows, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, weight).out, module.scaled_rows(x, weight).out)
    assert compiled(x.requires_grad_(), weight).out.requires_grad


def test_the_package_tests_and_times_itself(module, folder, capsys):
    assert package_in(folder) == "exported_rows"
    selftest = importlib.import_module("exported_rows.selftest")
    assert len(selftest.CASES) == 5
    assert selftest.main() == 0
    assert "WRONG" not in capsys.readouterr().out
    for sizes in selftest.CASES:
        assert all(each.by_kernel for each in selftest.check(sizes))
    program = importlib.import_module("exported_rows.calls")
    program.ROUNDS = 3
    calls = Calls.model_validate(program.measure())
    assert list(calls.us) == ["scaled_rows", "eager"]
    assert calls.by.endswith(" computes")
    assert "rows=6 columns=8" in calls.size
    reference = folder / "exported_rows" / "_reference.py"
    assert reference.read_text() == FILE.read_text()
    reference.write_text(FILE.read_text() + "\n")
    try:
        assert selftest.main() == 1
        assert "changed since the export: _reference.py" in capsys.readouterr().err
    finally:
        reference.write_text(FILE.read_text())


def test_a_kernel_that_cannot_be_built_leaves_it_to_the_reference(problem, tmp_path, monkeypatch):
    module = load("unbuilt_rows", write(winner_of("unbuilt_rows", problem, KERNEL), tmp_path / "out"))

    def fails():
        raise module._build.BuildError("there is no compiler")

    monkeypatch.setattr(module._build, "libraries", fails)
    monkeypatch.setenv("UNBUILT_ROWS_STRICT", "1")
    with pytest.raises(RuntimeError, match="there is no compiler"):
        module.scaled_rows(*rows())
    monkeypatch.delenv("UNBUILT_ROWS_STRICT")
    with pytest.warns(RuntimeWarning, match="computes with the reference, since its kernel cannot be built"):
        assert computes(module, *rows()) == "reference"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert computes(module, *rows()) == "reference"


def table_of(winner: Winner) -> dict:
    return json.loads(json.dumps(rendering.CONTENTS["function"].table(winner)))["kernels"][0]


def test_a_size_is_free_where_the_very_kernel_was_right_at_several(problem):
    whole = winner_of("exported_sizes", problem, KERNEL)
    assert table_of(whole)["inputs"]["x"]["size"] == ["rows", "columns"]
    assert table_of(whole)["outputs"]["sums"]["size"] == ["rows"]
    assert table_of(whole)["numbers"] == {"factor": None, "times": 1}
    assert table_of(whole)["texts"] == {"kind": "plain"}
    for narrow in (
        replace(whole, cases=("large", "strided")),  # its launcher declined the other sizes
        replace(whole, constants=("rows", "columns")),  # another kernel was rendered for those
        replace(whole, constants=None),
    ):
        assert table_of(narrow)["inputs"]["x"]["size"] == [6, 8]
    columns = table_of(replace(whole, constants=("x_1",)))["inputs"]["x"]["size"]
    assert columns[1] == 8


def test_every_file_fits_the_page_and_names_no_machine(problem):
    for path, text in rendering.files(winner_of("exported_page", problem, KERNEL)).items():
        if path.endswith((".py", ".cpp", ".h")) and "_reference" not in path:
            assert max(map(len, text.splitlines())) <= 120, path
        assert not re.search(r"\n\n\n\n", text), path
    assert set(rendering.files(winner_of("exported_page", problem, KERNEL))) <= rendering.paths("exported_page")


def test_what_a_package_cannot_be(problem):
    whole = winner_of("exported_not", problem, KERNEL)
    other = winner_of("exported_not", problem.model_copy(update={"source": "another"}), KERNEL + "// other\n")
    with pytest.raises(UsageError, match="of another file"):
        rendering.files(replace(whole, others=(other,)))
    with pytest.raises(UsageError, match="rename the function"):
        rendering.files(replace(whole, problem=problem.model_copy(update={"name": "explain"})))
    with pytest.raises(NoPackageError, match="does not say how scaled_rows is called"):
        rendering.files(replace(whole, problem=problem.model_copy(update={"interface": Interface()})))
    for name in FORMATS.keys() - {"kernelbench"}:
        with pytest.raises(UsageError, match="not for scaled_rows"):
            FORMATS[name](whole)


def model_new(problem: FunctionProblem, kernel: str) -> dict:
    """What KernelBench finds in the file."""
    text = FORMATS["kernelbench"](winner_of("formatted", problem, kernel))["model_new.py"]
    names: dict = {"__name__": "model_new"}
    exec(compile(text, "model_new.py", "exec"), names)
    return names


def test_kernelbench_models_of_a_function_agree(problem):
    names = model_new(problem.at(problem.variants[0]), KERNEL)
    ours, theirs = names["ModelNew"](), names["Model"]()
    x, weight = names["get_inputs"]()
    assert tuple(x.shape) == problem.at(problem.variants[0]).input_shapes()[0]
    torch.testing.assert_close(tuple(ours(x, weight)), tuple(theirs(x, weight)))
    assert type(ours(x, weight)) is names["Scaled"]
    assert names["_compute"](names["_tensors"](ours, (x, weight), {})) is not None
    for arguments, options in (((x, weight, weight), {}), ((x[1:], weight), {}), ((x, weight), {"factor": 3.0})):
        torch.testing.assert_close(ours(*arguments, **options)[0], theirs(*arguments, **options)[0])


def test_kernelbench_models_of_a_module_agree(monkeypatch):
    names = model_new(describe("scaled_linear.py", MODULE, {"rows": 5}, "cpu"), MODULE_KERNEL)
    made = []
    for name in ("Model", "ModelNew"):
        torch.manual_seed(0)
        made.append(names[name](*names["get_init_inputs"]()))
    theirs, ours = made
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    (x,) = names["get_inputs"]()
    assert x.shape == (5, 4)
    counted = []
    compute = names["_compute"]
    monkeypatch.setitem(names, "_compute", lambda tensors: counted.append(1) or compute(tensors))
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
        assert counted == [1]
        other = names["ModelNew"](4, 3, 5.0, (1, 2))
        other.load_state_dict(ours.state_dict())
        torch.testing.assert_close(other(x), (theirs(x) - 3) * 2.5 + 3)
    assert ours(x).requires_grad
    assert counted == [1]


@pytest.mark.parametrize(
    ("text", "sizes", "shape"),
    [("rows, width = 6, 4\ntwice = 2 * rows", {"rows": "3"}, (6, 4)), ("shape = (6, 4)", {"shape_0": "9"}, (9, 4))],
    ids=["a size that another follows", "of a tuple"],
)
def test_kernelbench_makes_the_inputs_that_were_searched(text, sizes, shape):
    file = MODULE.replace("rows = 6\nwidth = 4", text)
    made = "torch.randn(twice, width)" if "twice" in text else "torch.randn(*shape)"
    file = file.replace("torch.randn(rows, width)", made).replace("[width, 3", "[4, 3")
    names = model_new(describe("scaled_linear.py", file, sizes, "cpu"), MODULE_KERNEL)
    (x,) = names["get_inputs"]()
    assert tuple(x.shape) == shape
    with torch.no_grad():
        assert names["_tensors"](names["ModelNew"](*names["get_init_inputs"]()), (x,), {}) is not None


def test_kernelbench_refuses_what_its_file_cannot_be(problem):
    taken = problem.model_copy(update={"source": problem.source + "\nFLAGS = 1\n"})
    with pytest.raises(UsageError, match="has a name FLAGS"):
        model_new(taken, KERNEL)


def test_a_module_is_made_and_called_as_the_files(tmp_path, cache):
    problem = describe("scaled_linear.py", MODULE, {"rows": 5}, "cpu")
    module = load("exported_module", write(winner_of("exported_module", problem, MODULE_KERNEL), tmp_path / "out"))

    def computes(*made_with, **options) -> str:
        ours, theirs = module.Model(*made_with, **options), module._reference.Model(*made_with, **options)
        theirs.load_state_dict(ours.state_dict())
        x, before = torch.randn(5, made_with[0]), module.stats()
        torch.testing.assert_close(ours(x), theirs(x))
        return next((name.split()[0] for name, count in module.stats().items() if count > before[name]), "neither")

    assert computes(4, 3, 2.0, (1, 2)) == "rows"
    assert computes(4, 3, factor=0.5, added=(0, 7)) == "rows"
    assert computes(3, 3, 2.0, (1, 2)) == "neither"  # a width that the kernel does not read
    assert computes(4, 3, 2.0, (1, 2), name="other") == "neither"  # another text
    model = module.Model(4, 3, 2.0, (1, 2))
    model(torch.randn(5, 4)).sum().backward()
    assert model.linear.weight.grad is not None
    x = torch.randn(5, 4)
    out = module.scaled_linear(x, model.linear.weight, model.linear.bias)
    torch.testing.assert_close(out, model(x))
    selftest = importlib.import_module("exported_module.selftest")
    assert selftest.main() == 0
    assert selftest.arguments()[0].shape == (5, 4)
