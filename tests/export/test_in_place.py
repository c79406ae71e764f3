"""An exported function that updates its arguments: the operator's schema, its copies, and what computes."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from evoflash.errors import UsageError
from evoflash.export import rendering
from evoflash.export.call_times import Calls
from evoflash.export.formats import FORMATS
from evoflash.export.package import write
from evoflash.problems.function.description import describe
from tests.problems.in_place import CACHE, FUSED, KERNEL

from .conftest import load
from .test_function import winner_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    problem = describe("fused.py", FUSED, {}, "cpu")
    return write(winner_of("exported_in_place", problem, KERNEL), tmp_path_factory.mktemp("in_place") / "out")


@pytest.fixture(scope="module")
def module(folder: Path, cache: Path) -> ModuleType:
    return load("exported_in_place", folder)


def given(rows: int = 6, columns: int = 16, **options) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(rows, columns, **options), torch.randn(rows, columns, **options), torch.rand(columns)


def computes(module: ModuleType, *arguments) -> str:
    """ "rows" or "reference", whichever is counted for a call that agrees with the file's function."""
    wanted, before = [each.clone() for each in arguments], module.stats()
    assert module.fused(*arguments) is None
    module._reference.fused(*wanted)
    torch.testing.assert_close(arguments, tuple(wanted))
    after = module.stats()
    return next((name.split()[0] for name in after if after[name] > before[name]), "neither")


def test_the_kernel_or_the_reference_updates(module):
    assert computes(module, *given()) == "rows"
    assert computes(module, *given(3, 24)) == "rows"
    x, residual, weight = given(16, 6)
    assert computes(module, x.T, residual.T, weight.repeat(3)[:16]) == "rows"
    assert computes(module, *given(dtype=torch.float64)) == "reference"
    parameter = torch.nn.Parameter(given()[2])
    x, residual, _ = given()
    module.fused(x, residual, parameter)
    assert x.grad_fn is not None
    with pytest.raises(RuntimeError, match="size of tensor a"):
        module.fused(torch.randn(3, 8), torch.randn(3, 8), torch.randn(7))


def test_to_ask_changes_nothing(module):
    x, residual, weight = given()
    for arguments in ((x, residual, weight), (x[1:], residual[1:], weight)):
        before = [each.clone() for each in arguments]
        assert module.is_supported(*arguments)
        assert module.explain(*arguments).endswith(" computes")
        assert all(torch.equal(*pair) for pair in zip(before, arguments, strict=True))
    unaligned = torch.empty(97)[1:].view(6, 16)
    copy = module._operators._copy(unaligned)
    assert (copy.data_ptr() - unaligned.data_ptr()) % 128 == 0
    assert copy.stride() == unaligned.stride()


def test_the_operator_says_what_it_updates_and_compiles_whole(module):
    operator = torch.ops.exported_in_place.fused.default
    assert str(operator._schema).startswith("exported_in_place::fused(Tensor(a!) x, Tensor(b!) residual, Tensor weight")
    assert str(operator._schema).endswith("-> ()")
    torch.library.opcheck(operator, (*given(), 1e-6), test_utils=("test_schema", "test_faketensor"))
    torch.library.opcheck(operator, (*given(), 1e-6), test_utils=("test_autograd_registration",))
    torch.library.opcheck(operator, (*given(), 1e-6), test_utils=("test_aot_dispatch_static",))

    def around(x: Tensor, residual: Tensor, weight: Tensor) -> Tensor:
        module.fused(x, residual, weight)
        return x + residual

    ours, theirs = given(), given()
    compiled = torch.compile(around, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*ours), around(*theirs))
    torch.testing.assert_close(ours, theirs)
    x, residual, weight = (torch.stack([each, each + 1]) for each in given())
    wanted = [(each.clone(), other.clone()) for each, other in zip(x, residual, strict=True)]
    mapped = lambda *each: module.fused(*each) or each[0]  # noqa: E731 - vmap wants an answer
    torch.vmap(mapped)(x, residual, weight)
    for place, pair in enumerate(wanted):
        module.fused(*pair, weight[place])
        torch.testing.assert_close((x[place], residual[place]), pair)
    with pytest.raises(RuntimeError, match="broadcast shape"):
        torch.vmap(mapped, in_dims=(0, None, None))(x, residual[0], weight[0])


def test_the_package_tests_and_times_itself(module, capsys):
    selftest = importlib.import_module("exported_in_place.selftest")
    assert selftest.main() == 0
    assert {line.split()[-5] for line in capsys.readouterr().out.splitlines()[1:]} == {"x", "residual"}
    assert all(each.by_kernel for each in selftest.check(selftest.CASES[0]))
    program = importlib.import_module("exported_in_place.calls")
    program.ROUNDS = 3
    assert list(Calls.model_validate(program.measure()).us) == ["fused", "eager"]


def test_an_output_beside_and_indices():
    kernel = KERNEL.replace('"fused.h"', '"append.h"')  # which is not built here
    files = rendering.files(winner_of("exported_append", describe("append.py", CACHE, {}, "cpu"), kernel))
    operators = files["exported_append/_operators.py"]
    assert '"Tensor(a!) cache",' in operators
    assert "-> Tensor" in operators
    for path, text in files.items():
        if path.endswith((".py", ".cpp", ".h")) and "_reference" not in path:
            assert max(map(len, text.splitlines())) <= 120, path
            assert not re.search(r"\n\n\n\n", text), path


def test_kernelbench_returns_what_it_computes():
    winner = winner_of("exported_in_place", describe("fused.py", FUSED, {}, "cpu"), KERNEL)
    with pytest.raises(UsageError, match="fused updates its arguments"):
        FORMATS["kernelbench"](winner)
