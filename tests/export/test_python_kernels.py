"""An exported kernel that is a Python module: its operator, what it declines, and what it does without its modules."""

import importlib
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from evoflash import targets
from evoflash.bench import entrants
from evoflash.codegen.template import load as load_template
from evoflash.errors import NoPackageError, UsageError
from evoflash.export import rendering
from evoflash.export.call_times import Calls
from evoflash.export.package import package_in, write
from evoflash.export.winner import Winner
from evoflash.problems import FunctionProblem
from evoflash.problems.attention import AttentionProblem
from evoflash.problems.function.description import describe

from .conftest import load

FILE = Path(__file__).parents[1] / "fixtures" / "function" / "scaled_rows.py"
KERNEL = '''"""Scaled rows, by PyTorch's own operations."""

import torch

DECLINED, FAILING, RAISING = 12, 77, 78


def launch(x, weight, out, sums, factor, times):
    if x.shape[1] == DECLINED:
        return -1
    if x.shape[0] == FAILING:
        return 42
    if x.shape[0] == RAISING:
        raise KeyError("a row")
    torch.mul(x, weight * factor, out=out)
    torch.sum(out, -1, out=sums)
'''
APPEND = '''"""Appends to a cache."""
import torch

def append(cache: torch.Tensor, row: torch.Tensor) -> None:
    cache[1:].copy_(cache[:-1].clone())
    cache[0].copy_(row)

def get_inputs(rows: int = 4, columns: int = 3):
    return torch.randn(rows, columns), torch.randn(columns)

mutates = ("cache",)
'''
APPENDING = """
def launch(cache, row):
    cache[1:] = cache[:-1].clone()
    cache[0] = row
"""


def winner_of(name: str, problem: FunctionProblem, source: str, **changes) -> Winner:
    made = Winner(
        name=name,
        family="rows",
        genome={"sums": 2},
        source=source,
        language="python",
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
    return write(winner_of("python_rows", problem, KERNEL), tmp_path_factory.mktemp("python") / "out")


@pytest.fixture(scope="module")
def module(folder: Path) -> ModuleType:
    return load("python_rows", folder)


@pytest.fixture
def unloaded(problem: FunctionProblem, tmp_path: Path) -> Iterator[tuple[ModuleType, pytest.MonkeyPatch]]:
    """A package whose kernel needs a module that is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        needy = winner_of("needy_rows", problem, f"import no_such_module\n{KERNEL}")
        yield load("needy_rows", write(needy, tmp_path / "out")), patch


def computes(module: ModuleType, *arguments, **options) -> str:
    """ "rows" or "reference", whichever is counted for a call that agrees with the file's function."""
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
    x, weight = rows()
    assert module._kernels.direct(x, weight, None, 2.0, 1, "plain") is not None
    assert module._kernels.direct(x, None, weight, 2.0, 1, "plain") is None
    assert computes(module, *rows(5, 20), factor=0.5) == "rows"
    assert computes(module, *rows(5, 20), factor=3) == "rows"
    x, weight = rows(8, 6)
    assert computes(module, x.T, torch.nn.Parameter(weight.repeat(2)[:8])) == "rows"
    assert module.explain(*rows()).endswith(" computes")
    assert torch.ops.python_rows.scaled_rows(*rows())[0].shape == (6, 8)


def test_what_no_kernel_takes_the_reference_computes(module):
    refused = {
        "its launcher declines": (rows(6, 12), {}),
        "made for x of float32": (rows(dtype=torch.float64), {}),
        "made for x of 2 dimensions": ((torch.randn(2, 3, 8), torch.randn(8)), {}),
        "made for weight of size columns in dimension 0": ((torch.randn(3, 8), torch.randn(1)), {}),
        "x is empty": (rows(0), {}),
        "made for times=1": (rows(), {"times": 3}),
        "made for kind='plain'": (rows(), {"kind": "relu"}),
        "of another type, or None": (rows(), {"bias": torch.ones(8)}),
    }
    for why, (tensors, options) in refused.items():
        assert computes(module, *tensors, **options) != "rows", why
        assert why in module.explain(*tensors, **options)
        assert not module.is_supported(*tensors, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast is on" in module.explain(*rows())
    assert module.scaled_rows(*rows(device="meta")).out.device.type == "meta"


def test_a_failure_is_an_error(module):
    for count, words in ((77, "the kernel failed with code 42"), (78, "the kernel fails with KeyError: 'a row'")):
        with pytest.raises(RuntimeError, match=words):
            module.scaled_rows(*rows(count))


def test_derivatives_transforms_and_compilation(module):
    found = []
    for function in (module.scaled_rows, module._reference.scaled_rows):
        torch.manual_seed(0)
        given = [each.requires_grad_() for each in rows()]
        out, sums = function(*given, factor=0.5)
        gradients = torch.autograd.grad((out.square().sum() + sums.sum()), given, create_graph=True)
        found.append([*gradients, *torch.autograd.grad(gradients[0].sum(), given)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
    x, weight = rows()
    with forward_ad.dual_level():
        dual = module.scaled_rows(forward_ad.make_dual(x, torch.ones_like(x)), weight)
        assert forward_ad.unpack_dual(dual.out).tangent is not None
    mapped = torch.vmap(module.scaled_rows, in_dims=(0, None))(torch.stack([x, x + 1]), weight)
    torch.testing.assert_close(mapped.out[1], module.scaled_rows(x + 1, weight).out)
    operator = torch.ops.python_rows.scaled_rows.default
    for arguments in ((x, weight, 2.0, 1, "plain"), (x, weight, 2.0, 3, "relu")):
        torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))
    compiled = torch.compile(module.scaled_rows, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, weight).out, module.scaled_rows(x, weight).out)
    assert compiled(x.requires_grad_(), weight).out.requires_grad


def test_the_package_tests_and_times_itself_without_evoflash(module, folder):
    assert package_in(folder) == "python_rows"
    program = (
        "import sys; sys.modules['evoflash'] = None\n"
        "from python_rows import selftest; code = selftest.main()\n"
        "assert all(each.by_kernel for each in selftest.check(selftest.CASES[0]))\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, "WRONG" in done.stdout) == (0, False), done.stderr
    times = importlib.import_module("python_rows.calls")
    times.ROUNDS = 3
    assert Calls.model_validate(times.measure()).by.endswith(" computes")
    entrant = entrants.of_package(folder)
    assert (entrant.source.language, entrant.note) == ("python", "")
    package = folder / "python_rows"
    assert not any((package / name).exists() for name in ("_build.py", "binding.cpp", "evoflash.h"))
    for name in ("README.md", "pyproject.toml"):
        assert not re.search(r"nvcc|g\+\+|ninja", (folder / name).read_text())


def test_what_is_updated_in_place(tmp_path):
    own = describe("append.py", APPEND, {}, "cpu")
    module = load("python_append", write(winner_of("python_append", own, APPENDING), tmp_path / "out"))
    cache, row = torch.randn(4, 3), torch.randn(3)
    wanted, version = torch.cat([row[None], cache[:-1]]), cache._version
    assert module.append(cache, row) is None
    torch.testing.assert_close(cache, wanted)
    assert cache._version > version
    assert [*module.stats().values()] == [1, 0]


def test_without_a_module_the_reference_computes_and_says_why(unloaded):
    module, patch = unloaded
    patch.setenv("NEEDY_ROWS_STRICT", "1")
    with pytest.raises(RuntimeError, match=r"kernel\.py needs no_such_module, which is not installed; pip install"):
        module.scaled_rows(*rows())
    patch.delenv("NEEDY_ROWS_STRICT")
    with pytest.warns(RuntimeWarning, match=r"with the reference, since its kernel cannot be loaded: kernel\.py needs"):
        assert computes(module, *rows()) == "reference"
    assert computes(module, *rows()) == "reference"
    selftest = importlib.import_module("needy_rows.selftest")
    assert selftest.unavailable().startswith("kernel.py needs no_such_module, which is not installed")


def triton_winner(name: str) -> Winner:
    template = load_template("rms_norm_triton")
    file = Path(__file__).parents[2] / "problems" / "rms_norm.py"
    problem = describe(file.name, file.read_text(), {"rows": 16, "columns": 512}, "cpu")
    facts = targets.cuda.of_arch("sm_90a").facts
    genome = template.space([problem], facts).sample(random.Random(0))
    source = template.render(genome, problem, facts)
    return winner_of(name, problem, source.text, family=template.family, genome=dict(genome), target="cuda", arch=90)


def test_tritons_package_is_written_and_falls_back_without_a_gpu(tmp_path):
    winner = triton_winner("triton_rows")
    files = rendering.files(winner)
    row = json.loads(files["triton_rows/kernels.json"])["kernels"][0]
    assert row["inputs"]["x"] == {"dtype": "bfloat16", "size": ["rows", "columns"]}
    assert row["numbers"] == {"eps": None}
    assert "torch 2.9 or newer and triton" in files["README.md"]
    assert "CAPABILITY = (9, 0)" in files["triton_rows/_kernels.py"]
    assert set(files) <= rendering.paths("triton_rows")
    module = load("triton_rows", write(winner, tmp_path / "out"))
    given = importlib.import_module("triton_rows.selftest").arguments.__globals__["_reference"].get_inputs(16, 512)
    if not torch.cuda.is_available():
        torch.testing.assert_close(module.rms_norm(*given), module._reference.rms_norm(*given))
        assert "x is not on a device that runs sm_90" in module.explain(*given)
        reason = importlib.import_module("triton_rows.selftest").unavailable()
        assert reason == "the kernel needs a CUDA device that runs sm_90"


def test_every_file_fits_the_page(problem):
    for winner in (winner_of("python_page", problem, KERNEL), triton_winner("triton_page")):
        for path, text in rendering.files(winner).items():
            if path.endswith(".py") and "_reference" not in path and "/kernel" not in path:
                assert max(map(len, text.splitlines())) <= 120, path
                assert not re.search(r"\n\n\n\n", text), path


def test_what_a_package_cannot_be(problem):
    whole = winner_of("python_not", problem, KERNEL)
    with pytest.raises(UsageError, match="do not share a package"):
        replace(whole, others=(replace(whole, language="c++", source="//"),))
    with pytest.raises(UsageError, match="has no libraries"):
        replace(whole, prebuilt=True)
    with pytest.raises(UsageError, match="rename the function"):
        rendering.files(replace(whole, problem=problem.model_copy(update={"name": "kernel"})))
    with pytest.raises(NoPackageError, match="for a Python kernel for attention"):
        rendering.files(replace(whole, problem=AttentionProblem.of(1, 1, 8, 8)))
