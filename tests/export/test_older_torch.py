"""Exports for a torch before 2.10: their operators built by ATen, here against the installed torch."""

import importlib
import threading
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from evoflash.export.package import write

from .conftest import cpu_winner, cuda_winner, load
from .test_module import agrees, inputs, normal

NEWER = (99, 0)  # than any torch, which is then built for by ATen

by_aten = pytest.mark.slow  # a build takes ten seconds


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> ModuleType:
    module = load("exported_by_aten", write(cpu_winner("exported_by_aten"), tmp_path_factory.mktemp("by_aten") / "out"))
    module._build.STABLE_TORCH = NEWER
    return module


def computes(module: ModuleType, q: Tensor, k: Tensor, v: Tensor, **options) -> str:
    """ "kernel" or "SDPA", whichever is counted for a call that agrees with SDPA."""
    before = module.stats()["SDPA"]
    agrees(module, q, k, v, **options)
    return "SDPA" if module.stats()["SDPA"] > before else "kernel"


@by_aten
def test_the_kernel_computes_by_operators_alone(module: ModuleType):
    q, k, v = inputs(kv_heads=2)
    assert computes(module, q, k, v, scale=0.5) == "kernel"
    assert "-DUSE_ATEN" in module._build._rules()
    assert module._operators.direct(q, k, v, False, None, True) is None
    with pytest.raises(AttributeError, match="make_direct"):
        module._operators.loaded().binding.make_direct  # noqa: B018


@by_aten
def test_layouts_and_what_no_kernel_takes(module: ModuleType):
    q, k, v = normal(2, 9, 3 * 4 * 16).view(2, 9, 12, 16).transpose(1, 2).split(4, dim=1)
    assert computes(module, q, k, v) == "kernel"
    assert computes(module, q, k, v, causal=True) == "SDPA"
    assert computes(module, *inputs(rows=7)) == "SDPA"  # its launcher declines
    assert computes(module, *inputs(size=8)) == "SDPA"
    assert computes(module, *inputs(size=8, kv_heads=2), scale=0.3) == "SDPA"
    assert "launcher declines" in module.explain(*inputs(rows=7))


@by_aten
def test_errors_say_what_failed(module: ModuleType):
    with pytest.raises(RuntimeError, match=r"code 42 on q of 2 x 4 x 13 x 16"):
        module.attention(*inputs(rows=13))
    with pytest.raises(RuntimeError, match="there is no kernel 1"):
        module._operators.call_of(1, *inputs())
    with pytest.raises(ValueError, match="one head size"):
        module.attention(normal(2, 4, 9, 16), *inputs(size=8)[1:])


@by_aten
def test_the_operator_is_well_formed_compiles_and_has_gradients(module: ModuleType):
    q, k, v = inputs()
    torch.library.opcheck(torch.ops.exported_by_aten.attention.default, (q, k, v, False, None))
    compiled = torch.compile(lambda q, k, v: module.attention(q * 2, k, v) + 1, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(q, k, v), scaled_dot_product_attention(q * 2, k, v) + 1)
    found = []
    for function in (module.attention, scaled_dot_product_attention):
        leaves = [each.requires_grad_() for each in inputs()]
        found.append(torch.autograd.grad(function(*leaves).square().sum(), leaves))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@by_aten
def test_threads_may_call_at_once(module: ModuleType):
    cases = [inputs(rows=rows) for rows in range(20, 24)]
    expected = [module.attention(*case) for case in cases]
    outputs: dict[int, Tensor] = {}
    threads = [threading.Thread(target=lambda i=i: outputs.update({i: module.attention(*cases[i])})) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(outputs[i], expected[i]) for i in range(4))


@by_aten
@pytest.mark.nvcc
@pytest.mark.long
def test_a_cuda_package_is_built_by_aten(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    load("exported_cuda_by_aten", write(cuda_winner("exported_cuda_by_aten"), tmp_path / "out"))
    build = importlib.import_module("exported_cuda_by_aten._build")
    monkeypatch.setattr(build, "STABLE_TORCH", NEWER)
    assert build.libraries().binding.is_file()


def test_libraries_of_an_older_torch_serve_that_version_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    load("exported_versions", write(cpu_winner("exported_versions"), tmp_path / "out"))
    build = importlib.import_module("exported_versions._build")

    def digest(version: str) -> str:
        monkeypatch.setattr(torch, "__version__", version)
        return build._digest(build._rules())

    assert digest("2.9.0") != digest("2.9.1+cu128")
    assert digest("2.10.0") == digest("2.13.0+cpu") != digest("2.9.0")
    with pytest.raises(build.BuildError, match=r"torch 2\.8\.0 is too old; install torch>=2\.9"):
        digest("2.8.0")
