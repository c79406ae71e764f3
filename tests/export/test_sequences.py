"""Exports of kernels for sequences of their own lengths, for keys and values in pages, and for latent attention."""

import importlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from evoflash.problems import attention

from .conftest import FEATURED, featured_winner
from .test_features import computed_by
from .test_module import normal

SIZES = "b=3,h=4,kv=2,t=24,d=16,dtype=fp32"
ASKED = {name: FEATURED[name].replace("24+7", "11+0+24") for name in ("lengths", "paged", "pages", "latent")}
# Operators by which PyTorch waits for a device, to look at what is there.
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::masked_select")


@pytest.fixture(scope="module")
def module(featured: ModuleType) -> ModuleType:
    return featured


def kernel_name(name: str) -> str:
    return f"plain {featured_winner('exported_features', FEATURED[name]).source_sha256[:8]}"


def call_of(features: str, rows: int = 1) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any], Tensor]:
    """What `attention` takes for a problem with features, NaN in what no sequence has, and the search's reference."""
    problem = attention.parse(",".join(filter(None, (SIZES, f"s={rows}", features))))
    assert isinstance(problem, attention.AttentionProblem)
    inputs = problem.inputs(0, "normal", "cpu")
    q, k, v = problem.qkv(inputs)
    if problem.page_size is not None:
        k, v = k.transpose(1, 2), v.transpose(1, 2)
    named = {"mask": "attn_mask", "bias": "attn_mask", "slopes": "alibi_slopes"}
    options: dict[str, Any] = {named.get(name, name): each for name, each in problem.extras(inputs).items()}
    options |= {"causal": True} if problem.causal else {}
    options |= {"align": problem.align, "softcap": problem.softcap}
    if problem.window is not None:
        options["window_size"] = tuple(-1 if side is None else side for side in problem.window)
    return (q, k, v), options, problem.reference(inputs)[0].float()


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", ASKED)
def test_a_kernel_computes_what_it_is_made_for(module: ModuleType, name: str, rows: int):
    tensors, options, expected = call_of(ASKED[name], rows)
    by_position = (tensors[0].transpose(1, 2).contiguous().transpose(1, 2), *tensors[1:])
    long = {word: each.long() if word in ("lengths", "block_table") else each for word, each in options.items()}
    for given, words in ((tensors, options), (by_position, options), (tensors, long)):
        out, by = computed_by(module, lambda given=given, words=words: module.attention(*given, **words))
        torch.testing.assert_close(out, expected)
        assert by == kernel_name(name)
        assert (out.transpose(1, 2) if given is by_position else out).is_contiguous()
        assert module.is_supported(*given, **words)
        assert module.explain(*given, **words).endswith(f"{by} computes")


def combinations() -> Iterator[tuple[str, ...]]:
    """Features that no kernel has together, among others."""
    of_sequences = ("lengths=11+0+24", "lengths=3+1+17,page=4", "page=4", "lengths=24+24+2,page=3")
    of_rows = ("", "causal", "window=5:2", "window=4:0,causal", "alibi")
    of_scores = ("", "softcap=2", "sinks", "mask=bk", "bias=hqk")
    for sequences, rows, scores in itertools.product(of_sequences, of_rows, of_scores):
        align = "align=bottom_right" if rows and len(scores) % 2 else ""  # which lengths say by themselves
        yield tuple(filter(None, (sequences, rows, scores, align)))


def test_whatever_is_combined_is_computed(module: ModuleType):
    ways = set()
    for features in combinations():
        tensors, options, expected = call_of(",".join(features), rows=2)
        out, by = computed_by(module, lambda tensors=tensors, options=options: module.attention(*tensors, **options))
        torch.testing.assert_close(out, expected, msg=lambda text, features=features: f"{features}: {text}")
        lacking = {"lengths", "block_table", "sinks"} & options.keys() or options["softcap"]
        last = "PyTorch computes, written out" if lacking else "SDPA computes"
        said = module.explain(*tensors, **options).splitlines()[-1]
        assert said.startswith(last if by == "SDPA" else by), (features, said)
        ways.add(by)
    assert ways == {"SDPA", *map(kernel_name, ("lengths", "paged", "pages"))}


@pytest.mark.parametrize("name", ASKED)
def test_nothing_of_lengths_and_pages_is_read_by_the_host(module: ModuleType, name: str):
    """By the operators, which compute where a mode watches; and by PyTorch's operations, where no kernel does."""

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
            assert not function.name().startswith(READS), function
            return function(*arguments, **(options or {}))

    tensors, options, expected = call_of(ASKED[name], rows=2)
    for more in ({}, {"softcap": 1e30}):  # which changes nothing, and has no kernel
        before = module.stats()
        with Watch():
            out = module.attention(*tensors, **options | more)
        torch.testing.assert_close(out, expected)
        assert module.stats()[kernel_name(name)] == before[kernel_name(name)] + (not more)


def test_rows_that_stand_elsewhere_are_computed_by_pytorch(module: ModuleType):
    (q, k, v), options, _ = call_of(ASKED["paged"], rows=3)
    options |= {"align": "top_left", "softcap": 0.0}
    out, by = computed_by(module, lambda: module.attention(q, k, v, **options))
    assert by == "SDPA"
    said = module.explain(q, k, v, **options)
    assert f"not {kernel_name('paged')}: it is made for rows at the end of their sequence" in said
    assert said.endswith("written out: SDPA has no lengths and no pages")
    lengths, pages = options["lengths"], options["block_table"]
    for number, length in enumerate(lengths.tolist()):
        own = (each[pages[number, : -(-length // 4)].long()].transpose(0, 1).flatten(1, 2) for each in (k, v))
        keys, values = (each[None, :, :length] for each in own)
        if length:
            expected = scaled_dot_product_attention(q[number, None], keys, values, is_causal=True, enable_gqa=True)[0]
            torch.testing.assert_close(out[number], expected)
        else:
            assert not out[number].any()


def test_a_kernel_of_one_page_size_takes_no_other(module: ModuleType):
    (q, k, v), options, _ = call_of("lengths=11+0+24,page=8,causal", rows=2)
    said = module.explain(q, k, v, **options)
    assert f"not {kernel_name('paged')}: it is made for pages of 4 keys" in said
    assert f"not {kernel_name('pages')}: it is made for no lengths" in said
    (q, k, v), options, _ = call_of("latent,v=8")
    apart = v.clone()
    assert f"not {kernel_name('latent')}: it is made for values that are the first columns of k" in module.explain(
        q, k, apart
    )
    torch.testing.assert_close(module.attention(q, k, apart), module.attention(q, k, v))


@pytest.mark.parametrize("name", ["paged", "latent"])
def test_torch_compile_sees_one_operator(module: ModuleType, name: str):
    torch.compiler.reset()
    compiled = torch.compile(module.attention, backend="aot_eager", fullgraph=True)
    tensors, options, expected = call_of(ASKED[name], rows=2)
    out, by = computed_by(module, lambda: compiled(*tensors, **options))
    assert by == kernel_name(name)
    torch.testing.assert_close(out, expected)


def test_the_operator_is_well_formed_and_fakes_are_made(module: ModuleType):
    (q, k, v), options, _ = call_of(ASKED["paged"], rows=2)
    known = {**module._reference.DEFAULTS, **options}
    terms = module._reference.terms_of(*(known[each] for each in module._reference.DEFAULTS))
    torch.library.opcheck(torch.ops.exported_features.attention.terms, (q, k, v, True, None, *terms))
    with FakeTensorMode() as mode:
        faked = {word: mode.from_tensor(each) if isinstance(each, Tensor) else each for word, each in options.items()}
        assert module.attention(*map(mode.from_tensor, (q, k, v)), **faked).shape == q.shape


@pytest.mark.parametrize("name", ["paged", "latent"])
def test_gradients_are_those_of_pytorch(module: ModuleType, name: str):
    (q, k, v), options, _ = call_of(ASKED[name], rows=2)
    k, v = (each.nan_to_num() for each in (k, v))
    found = []
    for compute in (module.attention, module._reference.attend):
        q, k = (each.detach().requires_grad_() for each in (q, k))
        v = k[..., :8] if name == "latent" else v.detach().requires_grad_()
        leaves = [q, k] if name == "latent" else [q, k, v]
        if compute is module.attention:
            out, by = computed_by(module, lambda q=q, k=k, v=v: module.attention(q, k, v, **options))
            assert by == kernel_name(name)
        else:
            known = {**module._reference.DEFAULTS, **options}
            terms = module._reference.terms_of(*(known[each] for each in module._reference.DEFAULTS))
            out = compute(q, k, v, options.get("causal", False), None, *terms)
        found.append(torch.autograd.grad(out, leaves, torch.cos(out.detach())))
    for ours, theirs in zip(*found, strict=True):
        assert ours.any()
        torch.testing.assert_close(ours, theirs)


def test_vmap_over_sequences_is_refused_by_name(module: ModuleType):
    (q, k, v), options, _ = call_of(ASKED["lengths"])
    with pytest.raises(NotImplementedError, match="vmap over sequences with lengths or pages"):
        torch.vmap(lambda q: module.attention(q, k, v, **options))(torch.stack([q, q]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lengths": torch.ones(2, dtype=torch.int32)}, "lengths must be \\(batch,\\)"),
        ({"lengths": torch.ones(3)}, "must be whole numbers"),
        ({"block_table": torch.ones(3, dtype=torch.int32)}, "block_table must be \\(batch, pages\\)"),
        ({"block_table": torch.ones(3, 2, dtype=torch.bool)}, "must be whole numbers"),
    ],
)
def test_what_is_no_lengths_and_no_table_is_refused(module: ModuleType, options: dict[str, Any], words: str):
    q, k, v = normal(3, 4, 1, 16), normal(3, 2, 24, 16), normal(3, 2, 24, 16)
    for call in (module.attention, module.explain):
        with pytest.raises((ValueError, TypeError), match=words):
            call(q, k, v, **options)


@pytest.mark.parametrize("features", [ASKED["lengths"], ASKED["paged"], "window=5:2,align=bottom_right", "softcap=3"])
def test_the_function_of_flash_attention_has_its_layout_and_meaning(module: ModuleType, features: str):
    (q, k, v), options, expected = call_of(features, rows=2)
    words = {name: options[name] for name in ("causal", "window_size", "softcap", "block_table") if name in options}
    caches = (each.transpose(1, 2) for each in (q, k, v))
    out = module.flash_attn_with_kvcache(*caches, cache_seqlens=options.get("lengths"), softmax_scale=0.25, **words)
    torch.testing.assert_close(out, expected.transpose(1, 2))  # 0.25 is the default for 16


def test_one_length_for_all_and_causal_rows_at_the_end(module: ModuleType):
    q, k, v = normal(2, 3, 4, 16), normal(2, 24, 2, 16), normal(2, 24, 2, 16)
    out = module.flash_attn_with_kvcache(q, k, v, cache_seqlens=7, causal=True)
    seen = torch.ones(3, 7, dtype=torch.bool).tril(4)
    own = (each.transpose(1, 2) for each in (q, k[:, :7], v[:, :7]))
    expected = scaled_dot_product_attention(*own, attn_mask=seen, enable_gqa=True)
    torch.testing.assert_close(out, expected.transpose(1, 2))


@pytest.mark.parametrize(
    "given",
    [
        {"k": torch.zeros(2, 1, 2, 16), "v": torch.zeros(2, 1, 2, 16)},
        {"rotary_cos": torch.zeros(24, 8), "rotary_sin": torch.zeros(24, 8)},
        {"cache_batch_idx": torch.zeros(2, dtype=torch.int32)},
        {"cache_leftpad": torch.zeros(2, dtype=torch.int32)},
        {"return_softmax_lse": True},
    ],
)
def test_what_the_function_of_flash_attention_also_does_is_refused_by_name(module: ModuleType, given: dict[str, Any]):
    q, k, v = normal(2, 1, 4, 16), normal(2, 24, 2, 16), normal(2, 24, 2, 16)
    with pytest.raises(NotImplementedError, match=f"^{', '.join(given)}: not in this package; write new keys"):
        module.flash_attn_with_kvcache(q, k, v, **given)
    with pytest.raises(NotImplementedError, match="alibi_slopes of each sequence"):
        module.flash_attn_with_kvcache(q, k, v, alibi_slopes=torch.zeros(2, 4))


def test_the_table_and_the_readme_say_what_kernels_have(module: ModuleType):
    package = Path(module.__file__ or "").parent
    rows = dict(zip(FEATURED, json.loads((package / "kernels.json").read_text())["kernels"], strict=True))
    kinds = {name: {key: rows[name].get(key) for key in ("lengths", "page_size", "latent")} for name in ASKED}
    assert kinds == {
        "lengths": {"lengths": True, "page_size": None, "latent": None},
        "paged": {"lengths": True, "page_size": 4, "latent": None},
        "pages": {"lengths": None, "page_size": 4, "latent": None},
        "latent": {"lengths": None, "page_size": None, "latent": True},
    }
    assert not rows["plain"].keys() & {"lengths", "page_size", "latent"}
    readme = (package.parent / "README.md").read_text()
    assert "| causal, aligned bottom-right, lengths of sequences, pages of 4 keys |" in readme
    assert "| values in the first columns of k |" in readme
    assert "flash_attn_with_kvcache" in readme


FORMS = {
    "lengths": {"lengths": True},
    "paged": {"lengths": True, "page_size": 4, "causal": True, "align": "bottom_right"},
    "pages": {"page_size": 4},
    "latent": {"latent": True, "value_size": 8},
}


@pytest.fixture
def selftest(module: ModuleType, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    """Of a package whose first kernel is that of `FORMS`."""
    found = importlib.import_module("exported_features.selftest")
    plain = {"causal": False, "window_size": None, "softcap": 0.0, "mask": "", "alibi": False, "sinks": False}
    monkeypatch.setattr(found, "FORM", replace(found.FORM, **{**plain, "value_size": 16, **FORMS[request.param]}))
    return found


@pytest.mark.parametrize(("selftest", "name"), [(name, name) for name in FORMS], indirect=["selftest"])
def test_a_package_tests_itself(module: ModuleType, selftest: ModuleType, name: str):
    for case in selftest.CASES:
        before = module.stats()[kernel_name(name)]
        found = selftest.check(case)
        assert found.ok, case
        assert found.by_kernel == (module.stats()[kernel_name(name)] == before + 1)
        assert found.by_kernel or name == "paged"


@pytest.mark.parametrize("selftest", ["paged"], indirect=True)
def test_a_selftest_refuses_a_wrong_kernel(module: ModuleType, selftest: ModuleType, monkeypatch: pytest.MonkeyPatch):
    case = selftest.CASES[3]
    assert selftest.check(case).ok
    options = case.options()
    for wrong in ({"lengths": options["lengths"] + 1}, {"block_table": options["block_table"].flip(1) % 8}):
        monkeypatch.setattr(
            selftest,
            "attention",
            lambda *tensors, wrong=wrong, **options: module.attention(*tensors, **options | wrong),
        )
        assert not selftest.check(case).ok


@pytest.mark.parametrize("selftest", ["paged"], indirect=True)
def test_a_sweep_compares_kernels_of_sequences(module: ModuleType, selftest: ModuleType):
    sweep = importlib.import_module("exported_features.sweep")
    row = next(row for row in module._operators.table() if row["name"] == kernel_name("paged"))
    index = module._operators.table().index(row)
    here = sweep.Sweep(sweep.Kind(selftest.FORM, heads=4, kv_heads=2), {index: row}, end_s=float("inf"))
    assert set(here.measure(sweep.Point(2, 2, 9))) == {"SDPA", row["name"]}
