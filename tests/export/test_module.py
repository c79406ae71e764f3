"""The exported module, called: against SDPA, compiled, without a compiler, without evoflash."""

import importlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from evoflash import targets
from evoflash.codegen.template import load as load_family
from evoflash.export import rendering
from evoflash.export.package import write
from evoflash.flattening import flatten
from evoflash.problems.attention import AttentionProblem

from .conftest import cpu_winner, load

# Run in a fresh interpreter, in which evoflash cannot be imported even where it is installed.
WITHOUT_EVOFLASH = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("evoflash", "jinja2", "pydantic", "sqlalchemy", "optuna"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Block())
sys.path.insert(0, sys.argv[1])
import exported_plain.selftest
assert exported_plain.selftest.main() == 0
assert not [name for name in sys.modules if name.partition(".")[0] == "evoflash"]
assert exported_plain.info()["candidate"] == 17
"""


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def inputs(batch=2, heads=4, kv_heads=4, rows=9, keys=11, size=16) -> tuple[Tensor, Tensor, Tensor]:
    k = normal(batch, kv_heads, keys, size)
    return normal(batch, heads, rows, size), k, k.flip(2) + 1


def agrees(module: ModuleType, q: Tensor, k: Tensor, v: Tensor, **options) -> None:
    sdpa = {"is_causal": options.get("causal", False), "scale": options.get("scale")}
    expected = scaled_dot_product_attention(q, k, v, enable_gqa=q.shape[1] != k.shape[1], **sdpa)
    out = module.attention(q, k, v, **options)
    q_by_position = q.stride(1) < q.stride(2)
    assert (out.transpose(1, 2) if q_by_position else out).is_contiguous()
    torch.testing.assert_close(out, expected)


def test_runs_where_there_is_no_evoflash(folder: Path, module: ModuleType):
    command = [sys.executable, "-I", "-c", WITHOUT_EVOFLASH, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" kernel ") == len(importlib.import_module("exported_plain.selftest").CASES)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize(("rows", "keys"), [(1, 1), (5, 17), (17, 5)])
def test_the_kernel_agrees_with_sdpa(module: ModuleType, heads: int, kv_heads: int, rows: int, keys: int):
    q, k, v = inputs(heads=heads, kv_heads=kv_heads, rows=rows, keys=keys)
    assert module.is_supported(q, k, v)
    agrees(module, q, k, v)
    agrees(module, q, k, v, scale=0.5)


def test_takes_any_strides_but_the_last(module: ModuleType):
    packed = normal(2, 9, 3 * 4 * 16).view(2, 9, 12, 16).transpose(1, 2)
    q, k, v = packed.split(4, dim=1)
    assert module.is_supported(q, k, v)
    agrees(module, q, k, v)
    expanded = k[:1, :1].expand(2, 4, 9, 16)
    assert module.is_supported(q, expanded, v)
    agrees(module, q, expanded, v)
    turned = normal(2, 4, 16, 9).transpose(2, 3)
    assert not module.is_supported(turned, k, v)
    agrees(module, turned, k, v)


def test_sdpa_computes_what_the_kernel_is_not_made_for(module: ModuleType):
    q, k, v = inputs()
    others = [
        inputs(size=8),
        (q, k, normal(2, 4, 11, 8)),
        (q.double(), k.double(), v.double()),
        (q.bfloat16(), k.bfloat16(), v.bfloat16()),
        (q[:0], k[:0], v[:0]),
        (q[:, :, :0], k, v),
    ]
    for other in others:
        assert not module.is_supported(*other)
        agrees(module, *other)
    assert not module.is_supported(q, k, v, causal=True)
    agrees(module, q, k, v, causal=True)


def test_sdpa_computes_what_the_launcher_declines(module: ModuleType):
    q, k, v = inputs(rows=7)
    assert not module.is_supported(q, k, v)
    assert "launcher declines" in module.explain(q, k, v)
    agrees(module, q, k, v)


def test_a_failing_launch_is_an_error_with_its_code(module: ModuleType):
    with pytest.raises(RuntimeError, match="code 42"):
        module.attention(*inputs(rows=13))


@pytest.mark.parametrize("wanted", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("compute", ["attention", "scaled_dot_product_attention"])
def test_the_kernel_computes_and_gradients_are_those_of_sdpa(module: ModuleType, compute: str, wanted: tuple[int, ...]):
    found = []
    for function in (getattr(module, compute), scaled_dot_product_attention):
        leaves = inputs()
        for index in wanted:
            leaves[index].requires_grad_()
        before = module.stats()
        out = function(*leaves)
        assert (module.stats() != before) == (function is not scaled_dot_product_attention)
        assert module.stats()["SDPA"] == before["SDPA"]
        asked = [leaves[index] for index in wanted]
        found.append(torch.autograd.grad(out, asked, torch.cos(out.detach()), retain_graph=True))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_have_gradients(module: ModuleType):
    found = []
    for function in (module.attention, scaled_dot_product_attention):
        leaves = [each.requires_grad_() for each in inputs(rows=3, keys=5)]
        with sdpa_kernel(SDPBackend.MATH):  # the only backend with second derivatives
            first = torch.autograd.grad(function(*leaves).square().sum(), leaves, create_graph=True)
            found.append(torch.autograd.grad(sum(each.square().sum() for each in first), leaves))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_vmap_and_its_gradients_are_those_of_a_loop(module: ModuleType):
    q, k, v = (torch.stack([each, each * 0.5, each - 1]) for each in inputs())
    looped = torch.stack([module.attention(*each) for each in zip(q, k, v, strict=True)])
    torch.testing.assert_close(torch.vmap(module.attention)(q, k, v), looped)
    torch.testing.assert_close(
        torch.vmap(module.scaled_dot_product_attention, (1, None, None), 1)(q.transpose(0, 1), k[0], v[0]),
        torch.stack([module.attention(each, k[0], v[0]) for each in q], 1),
    )

    def total(q, k, v):
        return module.attention(q, k, v).square().sum()

    per_sample = torch.vmap(torch.func.grad(total))(q, k, v)
    torch.testing.assert_close(per_sample, torch.stack([torch.func.grad(total)(*e) for e in zip(q, k, v, strict=True)]))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": 0.3},
        {"is_causal": True},
        {"dropout_p": 0.0},
        {"attn_mask": torch.ones(9, 11, dtype=torch.bool).tril()},
        {"attn_mask": torch.zeros(9, 11)},
    ],
)
def test_the_drop_in_is_sdpa_by_its_own_signature(module: ModuleType, options: dict):
    q, k, v = inputs()
    expected = scaled_dot_product_attention(q, k, v, **options)
    torch.testing.assert_close(module.scaled_dot_product_attention(q, k, v, **options), expected)
    compiled = torch.compile(module.scaled_dot_product_attention, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(q, k, v, **options), expected)


def test_the_drop_in_takes_what_sdpa_takes(module: ModuleType):
    q, k, v = inputs()
    for other in ((q[0], k[0], v[0]), (q, k[:1], v[:1]), (q, k[:, :1], v[:, :1]), (q[0, 0], k[0, 0], v[0, 0])):
        expected = scaled_dot_product_attention(*other)
        torch.testing.assert_close(module.scaled_dot_product_attention(*other), expected)
    grouped = inputs(kv_heads=2)
    before = module.stats()["SDPA"]
    module.scaled_dot_product_attention(*grouped, enable_gqa=True)
    assert module.stats()["SDPA"] == before
    for call in (module.scaled_dot_product_attention, scaled_dot_product_attention):
        with pytest.raises(RuntimeError, match="must match"):
            call(*grouped)


def test_a_model_is_patched_and_put_back(module: ModuleType):
    layer = torch.nn.TransformerEncoderLayer(64, 4, 64, batch_first=True).train()
    layer.self_attn.dropout = 0.0
    for part in (layer.dropout, layer.dropout1, layer.dropout2):
        part.p = 0.0
    x = normal(2, 9, 64)
    expected, before = layer(x), module.stats()
    with module.patched():
        out = layer(x)
        compiled = torch.compile(lambda *qkv: functional.scaled_dot_product_attention(*qkv), backend="eager")
        compiled(*inputs())
    torch.testing.assert_close(out, expected)
    assert sum(module.stats().values()) == sum(before.values()) + 2
    assert functional.scaled_dot_product_attention is scaled_dot_product_attention


def test_threads_leave_a_patch_in_any_order(module: ModuleType):
    def is_patched() -> bool:
        return functional.scaled_dot_product_attention is module.scaled_dot_product_attention

    first, second = module.patched(), module.patched()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert is_patched()
    second.__exit__(None, None, None)
    assert functional.scaled_dot_product_attention is scaled_dot_product_attention
    with module.patched(), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(functional, "scaled_dot_product_attention", max)
        with module.patched():
            assert is_patched()
        assert functional.scaled_dot_product_attention is max
    assert functional.scaled_dot_product_attention is scaled_dot_product_attention


@pytest.mark.parametrize("causal", [0, 1, None])
@pytest.mark.parametrize("is_wanted", [False, True])
def test_a_mask_that_is_no_bool_is_refused_as_by_sdpa(module: ModuleType, causal: Any, is_wanted: bool):
    q, k, v = inputs()
    q.requires_grad_(is_wanted)
    with pytest.raises(TypeError, match="causal must be a bool"):
        module.attention(q, k, v, causal=causal)
    for compute in (module.scaled_dot_product_attention, scaled_dot_product_attention):
        with pytest.raises(TypeError, match=r"'is_causal' .*must be bool"):
            compute(q, k, v, is_causal=causal)
    with pytest.raises(TypeError, match=r"'enable_gqa' .*must be bool"):
        module.scaled_dot_product_attention(q, k, v, enable_gqa=1)


def test_what_computes_is_told_and_counted(module: ModuleType):
    q, k, v = inputs()
    (kernel,) = set(module.stats()) - {"SDPA"}
    assert module.explain(q, k, v) == f"{kernel} computes"
    assert module.explain(q, k, v, causal=True) == f"not {kernel}: it is made for causal=False\nSDPA computes"
    assert "float32" in module.explain(*(each.double() for each in (q, k, v)))
    assert "head size of 16" in module.explain(*inputs(size=8))
    assert "last stride" in module.explain(normal(2, 4, 16, 9).transpose(2, 3), k, v)
    assert "empty" in module.explain(q[:0], k[:0], v[:0])
    before = module.stats()
    module.attention(q, k, v)
    module.attention(q, k, v, causal=True)
    assert module.stats() == {kernel: before[kernel] + 1, "SDPA": before["SDPA"] + 1}


def test_the_table_says_what_a_kernel_is_asked_for(tmp_path: Path, cache: Path):
    folder = write(cpu_winner("exported_table"), tmp_path / "out")
    table = folder / "exported_table" / "kernels.json"
    document = json.loads(table.read_text())
    (row,) = document["kernels"]
    assert (row["query_length"], row["key_length"], row["batch_heads"]) == ([1, None], [1, None], [1, None])
    row |= {"query_length": [5, 10], "key_length": [11, 11], "batch_heads": [1, 8]}
    table.write_text(json.dumps(document))
    module = load("exported_table", folder)
    assert module.is_supported(*inputs())
    for other, word in ((inputs(rows=11), "query"), (inputs(keys=12), "key"), (inputs(batch=3), "batch x heads")):
        assert not module.is_supported(*other)
        assert word in module.explain(*other)
        agrees(module, *other)
    only_its_lengths = replace(cpu_winner("exported_lengths"), cases=("mission seed 42",))
    (row,) = json.loads(rendering.files(only_its_lengths)["exported_lengths/kernels.json"])["kernels"]
    assert (row["query_length"], row["key_length"]) == ([24, 24], [24, 24])


def test_sdpa_computes_lengths_of_no_row(tmp_path: Path, cache: Path):
    folder = write(cpu_winner("exported_short"), tmp_path / "out")
    table = folder / "exported_short" / "kernels.json"
    document = json.loads(table.read_text())
    document["kernels"][0]["query_length"] = [5, 10]
    table.write_text(json.dumps(document))
    module = load("exported_short", folder)
    for rows in (5, 4, 10, 11):
        q, k, v = inputs(rows=rows)
        before = module.stats()
        torch.testing.assert_close(module.scaled_dot_product_attention(q, k, v), scaled_dot_product_attention(q, k, v))
        by = "SDPA" if rows in (4, 11) else next(iter(before))
        assert module.stats() == {**before, by: before[by] + 1}
    flat = normal(3, 11, 16)  # of three dimensions, which SDPA takes
    assert module.scaled_dot_product_attention(flat, flat, flat).shape == flat.shape


def test_forward_mode_is_no_silent_zero(module: ModuleType):
    q, k, v = inputs()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(q, torch.ones_like(q))
        assert not module.is_supported(dual, k, v)
        with sdpa_kernel(SDPBackend.MATH):
            out = module.attention(dual, k, v)
        assert torch.autograd.forward_ad.unpack_dual(out).tangent is not None


def test_autocast_casts_as_it_does_for_sdpa(module: ModuleType):
    q, k, v = inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        agrees(module, q, k, v)
        assert module.attention(q, k, v).dtype == torch.bfloat16
        assert not module.is_supported(q, k, v)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((9, 16), (9, 8), (9, 16)), "batch, heads, length"),
        (((2, 4, 9, 16), (3, 4, 9, 16), (3, 4, 9, 16)), "batch size"),
        (((2, 4, 9, 16), (2, 4, 9, 16), (2, 4, 8, 16)), "heads and length"),
        (((2, 4, 9, 16), (2, 4, 9, 8), (2, 4, 9, 16)), "head size"),
        (((2, 4, 9, 16), (2, 3, 9, 16), (2, 3, 9, 16)), "multiple"),
    ],
)
def test_says_what_does_not_fit_together(module: ModuleType, shapes: tuple, words: str):
    with pytest.raises(ValueError, match=words):
        module.attention(*(normal(*shape) for shape in shapes))


@pytest.mark.parametrize(
    ("q_shape", "k_shape"),
    [
        ((9, 16), (11, 16)),
        ((4, 9, 16), (4, 11, 16)),
        ((4, 9, 16), (1, 11, 16)),
        ((3, 2, 4, 9, 16), (3, 2, 4, 11, 16)),
        ((3, 2, 4, 9, 16), (3, 2, 2, 11, 16)),
        ((2, 4, 9, 16), (1, 4, 11, 16)),
        ((2, 4, 9, 16), (1, 2, 11, 16)),
        ((2, 4, 9, 16), (4, 11, 16)),
        ((2, 0, 9, 16), (2, 0, 11, 16)),
        ((0, 4, 9, 16), (0, 4, 11, 16)),
        ((2, 4, 9, 16), (2, 4, 0, 16)),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_sdpa_computes_whatever_it_takes(module: ModuleType, q_shape: tuple, k_shape: tuple, device: str):
    q, k = normal(*q_shape).to(device), normal(*k_shape).to(device)
    grouped = len(q_shape) == len(k_shape) >= 4 and q_shape[-3] != k_shape[-3]
    expected = scaled_dot_product_attention(q, k, k, enable_gqa=grouped)
    for out in (module.attention(q, k, k), module.scaled_dot_product_attention(q, k, k, enable_gqa=grouped)):
        assert (out.shape, out.dtype, out.device) == (expected.shape, expected.dtype, expected.device)
        if device == "cpu":
            torch.testing.assert_close(out, expected)
    assert not module.is_supported(q, k, k)
    assert module.explain(q, k, k).endswith("SDPA computes")
    torch._dynamo.reset()
    compiled = torch.compile(lambda q, k: module.attention(q, k, k), backend="aot_eager", fullgraph=True)
    if device == "cpu":
        torch.testing.assert_close(compiled(q, k), expected)
        q.requires_grad_()
        assert module.attention(q, k, k).requires_grad


def test_fake_tensors_are_computed(module: ModuleType):
    with FakeTensorMode() as mode:
        q, k, v = (mode.from_tensor(each) for each in inputs())
        assert module.attention(q, k, v).shape == q.shape
        assert module.attention(q[0], k[0], v[0]).shape == q[0].shape
        assert not module.is_supported(q, k, v)


def test_says_that_dtypes_differ(module: ModuleType):
    q, k, v = inputs()
    with pytest.raises(ValueError, match="dtype"):
        module.attention(q, k.double(), v)


def test_torch_compile_needs_no_graph_break(module: ModuleType):
    compiled = torch.compile(lambda q, k, v: module.attention(q * 2, k, v) + 1, backend="aot_eager", fullgraph=True)
    for q, k, v in (inputs(), inputs(rows=7), inputs(rows=20, kv_heads=2)):
        torch.testing.assert_close(compiled(q, k, v), module.attention(q * 2, k, v) + 1)
    q, k, v = inputs()
    q.requires_grad_()
    compiled(q, k, v).sum().backward()
    assert q.grad is not None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.compile(module.attention, backend="aot_eager", fullgraph=True)(q, k, v).dtype == torch.bfloat16


def test_torch_compile_takes_dynamic_lengths_and_gradients(module: ModuleType):
    """Branches on sizes that are symbols: `enable_gqa must be bool, not SymBool` was one."""
    for compute in (module.attention, module.scaled_dot_product_attention):
        torch.compiler.reset()  # other tests have compiled it, too, and the number of variants is limited
        options = {"enable_gqa": True} if compute is module.scaled_dot_product_attention else {}
        compiled = torch.compile(compute, backend="aot_eager", fullgraph=True, dynamic=True)
        for rows, keys, kv_heads in ((9, 11, 4), (5, 3, 4), (8, 6, 2)):
            for wanted in (False, True):
                q, k, v = (each.requires_grad_(wanted) for each in inputs(rows=rows, keys=keys, kv_heads=kv_heads))
                out = compiled(q, k, v, **options)
                torch.testing.assert_close(out, compute(q, k, v, **options))
                if wanted:
                    out.sum().backward()
                    assert q.grad is not None


def test_torch_export_takes_dynamic_lengths(module: ModuleType):
    class Model(torch.nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return module.attention(q, k, v) + 1

    length = torch.export.Dim("length", min=2, max=64)
    shapes = [{2: length}, {2: length}, {2: length}]
    program = torch.export.export(Model(), inputs(rows=9, keys=9), dynamic_shapes=tuple(shapes))
    assert "exported_plain.attention" in str(program.graph)
    other = inputs(rows=31, keys=31)
    torch.testing.assert_close(program.module()(*other), module.attention(*other) + 1)


def test_autocast_casts_each_tensor_before_dtypes_are_compared(module: ModuleType):
    q, k, v = inputs()
    k, v = k.bfloat16(), v.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = scaled_dot_product_attention(q, k, v)
        torch.testing.assert_close(module.attention(q, k, v), expected)
        torch.testing.assert_close(module.scaled_dot_product_attention(q, k, v), expected)
        compiled = torch.compile(module.attention, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(q, k, v), expected)


def test_the_output_of_projections_is_viewed_as_they_left_it(module: ModuleType):
    q, k, v = (each.transpose(1, 2) for each in (normal(2, 9, 4, 16), normal(2, 11, 4, 16), normal(2, 11, 4, 16)))
    for compute in (module.attention, module.scaled_dot_product_attention):
        joined = compute(q, k, v).transpose(1, 2).view(2, 9, 64)
        torch.testing.assert_close(joined, scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 9, 64))
    torch.library.opcheck(torch.ops.exported_plain.attention.default, (q, k, v, False, None))
    torch.library.opcheck(torch.ops.exported_plain.attention.default, (q, k, v, True, None))


@pytest.mark.long  # several builds
def test_damaged_libraries_are_built_again(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What a full disk or a power cut leaves: a part of a file, nothing of it, no file, an empty folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # libraries that this process has not loaded
    build = importlib.import_module("exported_plain._build")
    built = build.libraries()
    kernel, folder = built.kernels[0], built.binding.parent
    whole = {path: path.stat().st_size for path in (kernel, built.binding)}
    damages = [
        lambda: kernel.write_bytes(kernel.read_bytes()[:1000]),
        lambda: built.binding.write_bytes(b""),
        lambda: kernel.unlink(),
        lambda: [each.unlink() for each in folder.iterdir()],
    ]
    for damage in damages:
        damage()
        assert build.libraries() == built
        assert {path: path.stat().st_size for path in whole} == whole
        assert [each.name for each in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row.pop("source"), "is no row of the table .*source"),
        pytest.param(lambda row: row.update(dtype="float8"), "is no row of the table .*float8", marks=pytest.mark.long),
        pytest.param(lambda row: row.update(query_length=[1]), "is no row of the table", marks=pytest.mark.long),
    ],
)
def test_a_table_that_was_edited_wrongly_is_an_error_at_every_call(
    tmp_path: Path, cache: Path, change: Any, words: str, request: pytest.FixtureRequest
):
    name = f"exported_edited_{request.node.callspec.indices['change']}"
    folder = write(cpu_winner(name), tmp_path / "out")
    table = folder / name / "kernels.json"
    document = json.loads(table.read_text())
    change(document["kernels"][0])
    table.write_text(json.dumps(document))
    module = load(name, folder)
    for _ in range(2):
        with pytest.raises(ValueError, match=words):
            module.attention(*inputs())


def test_several_kernels_share_a_package(tmp_path: Path, cache: Path):
    """The winner takes its own lengths only; the second takes the others, but for those that it declines."""
    plain = cpu_winner("exported_two")
    general = replace(plain, source=plain.source.replace("kDeclinedRows = 7", "kDeclinedRows = 8"), cases=("65x4099",))
    winner = replace(plain, cases=("mission seed 42",), others=(general,))
    assert (winner.sizes, general.sizes, plain.sizes) == ("its own", "any", "some")
    folder = write(winner, tmp_path / "out")
    module = load("exported_two", folder)
    first, second = [name for name in module.stats() if name != "SDPA"]
    for rows, keys, expected in ((24, 24, first), (24, 25, second), (7, 7, second), (8, 8, "SDPA")):
        q, k, v = inputs(rows=rows, keys=keys)
        before = module.stats()
        agrees(module, q, k, v)
        assert module.stats() == {**before, expected: before[expected] + 1}
        assert module.explain(q, k, v).splitlines()[-1] == f"{expected} computes"
    assert module.info()["others"][0]["source"] == "kernel_2.cpp"
    assert "24 queries and 24 keys only" in (folder / "README.md").read_text()
    assert (
        "| plain, kernel_2.cpp | 2x4x24x16 float32 | float32 | 16 | none | any |" in (folder / "README.md").read_text()
    )
    assert importlib.import_module("exported_two.selftest").main() == 0
    write(plain, tmp_path / "out")  # replaces an export with more files
    assert not list((tmp_path / "out").rglob("kernel_2*"))


def test_the_operator_is_well_formed(module: ModuleType):
    op = torch.ops.exported_plain.attention.default
    q, k, v = inputs(kv_heads=2)
    torch.library.opcheck(op, (q, k, v, False, None))
    torch.library.opcheck(op, (q.transpose(0, 1).contiguous().transpose(0, 1), k, v, True, 0.3))


def test_uses_no_more_threads_than_pytorch(tmp_path: Path, cache: Path):
    """The kernel of this test writes how many its OpenMP runtime allows it."""
    plain = cpu_winner("exported_threads")
    source = f"#include <omp.h>\n{plain.source}".replace(
        "out[d] = float(total / sum)", "out[d] = omp_get_max_threads()"
    )
    module = load("exported_threads", write(replace(plain, source=source), tmp_path / "out"))
    before = torch.get_num_threads()
    try:
        for threads in (1, 3, 2):
            torch.set_num_threads(threads)
            assert set(module.attention(*inputs()).flatten().tolist()) == {threads}
    finally:
        torch.set_num_threads(before)


def test_a_family_is_right_with_fewer_threads_than_its_genome_says(tmp_path: Path, cache: Path):
    target, problem = targets.detect("cpu"), AttentionProblem.of(1, 3, 40, 16, dtype="float32")
    space = load_family("cpu_flash").space([problem], target.facts)
    rng = random.Random(0)
    genome = next(each for each in (space.sample(rng) for _ in range(1000)) if each["threads"] == 2)
    source = flatten(load_family("cpu_flash").render(genome, problem, target.facts).text)
    winner = replace(cpu_winner("exported_family"), source=source, problem=problem)
    module = load("exported_family", write(winner, tmp_path / "out"))
    q, k, v = inputs(batch=1, heads=3, kv_heads=3, rows=40, keys=40)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            agrees(module, q, k, v)
            assert module.stats()["SDPA"] == 0
    finally:
        torch.set_num_threads(before)


def test_threads_may_call_at_once(module: ModuleType):
    cases = [inputs(rows=rows) for rows in range(20, 28)]
    expected = [module.attention(*case) for case in cases]
    outputs: dict[int, Tensor] = {}
    threads = [threading.Thread(target=lambda i=i: outputs.update({i: module.attention(*cases[i])})) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(outputs[i], expected[i]) for i in range(8))


def test_builds_at_once_end_in_one_library(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build = importlib.import_module("exported_plain._build")
    built: list[Any] = []
    threads = [threading.Thread(target=lambda: built.append(build.libraries())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 2
    assert [path.parent for path in (tmp_path / "exported_plain").glob("*/kernel.so")] == [built[0].kernels[0].parent]
    assert list((tmp_path / "exported_plain").iterdir()) == [built[0].binding.parent]


def test_warns_once_and_falls_back_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    module = load("exported_uncompiled", write(cpu_winner("exported_uncompiled"), tmp_path / "out"))
    q, k, v = inputs()
    monkeypatch.setenv("EXPORTED_UNCOMPILED_STRICT", "1")
    with pytest.raises(RuntimeError, match=r"'no-such-compiler' cannot be run .* install g\+\+"):
        module.attention(q, k, v)
    monkeypatch.delenv("EXPORTED_UNCOMPILED_STRICT")
    with pytest.warns(RuntimeWarning, match=r"no-such-compiler.*EXPORTED_UNCOMPILED_STRICT=1"):
        agrees(module, q, k, v)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agrees(module, q, k, v)
    assert not module.is_supported(q, k, v)
    selftest = importlib.import_module("exported_uncompiled.selftest")
    assert selftest.main() == 1


def test_a_compiler_of_c_is_refused(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "gcc -m64")
    folder = write(cpu_winner("exported_by_gcc"), tmp_path / "out")
    build = importlib.import_module(f"{load('exported_by_gcc', folder).__name__}._build")
    with pytest.raises(build.BuildError, match=r"CXX=gcc -m64 is a C compiler; use g\+\+"):
        build.libraries()
    assert list((cache / "exported_by_gcc").iterdir()) == []


@pytest.mark.long  # it builds
def test_errors_are_written_where_the_library_has_a_standard_library_of_its_own(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    """As compilers of some clusters link it. Streams of it and of PyTorch's took numbers for what they are not."""
    monkeypatch.setenv("CXX", "g++ -static-libstdc++")
    module = load("exported_static", write(cpu_winner("exported_static"), tmp_path / "out"))
    q, k, v = inputs()
    agrees(module, q, k, v)
    operators = importlib.import_module("exported_static._operators")
    with pytest.raises(RuntimeError, match=r"^q, k and v do not fit together$"):
        operators.attention(q, k, v[:, :, :3], False, None)
    with pytest.raises(RuntimeError, match=r"^there is no kernel 7$"):
        operators.attention_by(q, k, v, False, None, None, -1, -1, False, 0.0, None, None, 7)


def test_what_a_killed_build_left_is_removed_a_day_later(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write(cpu_winner("exported_again"), tmp_path / "out")
    build = importlib.import_module(f"{load('exported_again', folder).__name__}._build")
    running, abandoned = (cache / "exported_again" / f"0123.{name}" for name in ("running", "abandoned"))
    for each in (running, abandoned):
        (each / "build").mkdir(parents=True)
        (each / "build" / "kernel.cpp").touch()
    os.utime(abandoned, (0, time.time() - 100_000))
    monkeypatch.setattr(build, "_run_ninja", lambda folder: (folder / "kernel.so").touch())  # and no binding.so
    with pytest.raises(build.BuildError, match=r"cannot build"):
        build.libraries()
    assert list((cache / "exported_again").iterdir()) == [running]


def test_a_source_that_does_not_compile_says_why(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write(cpu_winner("exported_broken"), tmp_path / "out")
    (folder / "exported_broken" / "kernel.cpp").write_text("int main( {")
    build = importlib.import_module(f"{load('exported_broken', folder).__name__}._build")
    with pytest.raises(build.BuildError, match=r"(?s)compiler fails on .*kernel\.cpp.*error:"):
        build.libraries()
    assert list((cache / "exported_broken").iterdir()) == []
