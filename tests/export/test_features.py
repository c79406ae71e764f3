"""Exports of kernels with masks, windows, soft caps, ALiBi, sinks and values of another size, beside a plain one."""

import importlib
import itertools
import json
import math
import random
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

from evoflash.problems.attention import AttentionProblem

from .conftest import FEATURED, featured_winner
from .test_module import inputs, normal

HEADS = 4

# Keywords of `attention` for the kernels of `FEATURED`, by name.
KEYWORDS: dict[str, dict[str, Any]] = {
    "all": {
        "causal": True,
        "window_size": (7, 0),
        "softcap": 2.0,
        "attn_mask": "bool",
        "alibi_slopes": "slopes",
        "sinks": "sinks",
    },
    "plain": {},
    "causal": {"causal": True},
    "mask": {"attn_mask": "bool"},
    "bias": {"attn_mask": "float"},
    "window": {"window_size": (5, 2)},
    "cap": {"softcap": 3.0, "attn_mask": "bool"},
    "alibi": {"alibi_slopes": "slopes", "causal": True, "align": "bottom_right"},
    "sinks": {"sinks": "sinks", "causal": True},
}


@pytest.fixture(scope="module")
def module(featured: ModuleType) -> ModuleType:
    return featured


def tensors_of(name: str, rows: int = 9, keys: int = 11, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = inputs(batch=batch, heads=HEADS, kv_heads=2, rows=rows, keys=keys)
    return q, k, v[..., :8] if name == "all" else v


def options_of(name: str, rows: int = 9, keys: int = 11, batch: int = 2) -> dict[str, Any]:
    made = {
        "bool": lambda: normal(batch, 1, rows, keys) > -0.5,
        "float": lambda: normal(HEADS, rows, keys),
        "slopes": lambda: 2.0 ** -torch.arange(1.0, HEADS + 1),
        "sinks": lambda: normal(HEADS),
    }
    return {
        word: made[each]() if isinstance(each, str) and each in made else each for word, each in KEYWORDS[name].items()
    }


def exact(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """The reference of the search, in float64."""
    mask = options.get("attn_mask")
    fields: dict[str, Any] = {
        "window": options.get("window_size"),
        "softcap": options.get("softcap", 0.0),
        "alibi": "alibi_slopes" in options,
        "sinks": "sinks" in options,
    }
    others = []
    if mask is not None:
        whole = (q.shape[0], q.shape[1], q.shape[2], k.shape[2])
        mask = mask.reshape(*(1,) * (4 - mask.dim()), *mask.shape)
        fields["mask" if mask.dtype == torch.bool else "bias"] = "".join(
            letter for letter, size, all_of_it in zip("bhqk", mask.shape, whole, strict=True) if size == all_of_it
        )
        others.append(mask)
    others += [options[name] for name in ("alibi_slopes", "sinks") if name in options]
    causal, align = options.get("causal", False), options.get("align", "top_left")
    if fields["window"] is not None:
        fields["window"] = [None if side == -1 else side for side in fields["window"]]
    problem = AttentionProblem(
        batch=q.shape[0],
        heads=q.shape[1],
        kv_heads=k.shape[1],
        seq_q=q.shape[2],
        seq_kv=k.shape[2],
        head_dim=q.shape[3],
        value_dim=v.shape[3],
        dtype="float32",
        causal=causal,
        align=align if causal or fields["window"] or fields["alibi"] else "top_left",
        scale=options.get("scale"),
        **fields,
    )
    return problem.reference((q, k, v, *others))[0].float()


def computed_by(module: ModuleType, call: Any) -> tuple[Tensor, str]:
    """What a call gives, and the index of the kernel that has computed; "SDPA" where none has."""
    before = module.stats()
    out = call()
    (found,) = [name for name, count in module.stats().items() if count != before[name]]
    return out, found


def kernel_name(name: str) -> str:
    return f"plain {featured_winner('exported_features', FEATURED[name]).source_sha256[:8]}"


@pytest.mark.parametrize("name", KEYWORDS)
@pytest.mark.parametrize(("rows", "keys"), [(9, 11), (11, 9), (1, 13), (3, 1)])
def test_a_kernel_computes_what_it_is_made_for(module: ModuleType, name: str, rows: int, keys: int):
    q, k, v = tensors_of(name, rows, keys)
    options = options_of(name, rows, keys)
    for more in ({}, {"scale": 0.3}):
        out, by = computed_by(module, lambda more=more: module.attention(q, k, v, **options, **more))
        torch.testing.assert_close(out, exact(q, k, v, **options, **more))
        assert by == kernel_name(name) or keys == 1, by
        assert module.is_supported(q, k, v, **options, **more)
        assert module.explain(q, k, v, **options, **more).endswith(f"{by} computes")


MASKS = {
    "a mask for all": lambda: normal(9, 11) > 0,
    "of keys": lambda: normal(1, 11) > 0,
    "of batches": lambda: normal(2, 1, 1, 11) > 0,
    "of heads": lambda: normal(4, 9, 1) > 0,
    "expanded": lambda: (normal(2, 1, 1, 11) > 0).expand(2, 4, 9, 11),
    "turned": lambda: (normal(2, 1, 11, 9) > 0).transpose(2, 3),
    "every other": lambda: (normal(2, 4, 9, 22) > 0)[..., ::2],
    "rows that see nothing": lambda: torch.arange(9)[:, None] > torch.arange(11),
}


@pytest.mark.parametrize("make", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("kind", ["mask", "bias"])
def test_masks_are_broadcast_as_by_sdpa(module: ModuleType, make: Any, kind: str):
    q, k, v = tensors_of(kind)
    mask = make()
    if kind == "bias":
        mask = torch.where(mask, mask.cos(), -math.inf)
    expected = scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    for call in (
        lambda: module.attention(q, k, v, attn_mask=mask),
        lambda: module.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True),
        lambda: module._operators.attend_like_sdpa(q, k, v, False, None, True, mask),
    ):
        out, by = computed_by(module, call)
        assert by == kernel_name(kind)
        torch.testing.assert_close(out, expected)


def test_windows_and_alignments_that_the_lengths_make_plain_go_to_plain_kernels(module: ModuleType):
    q, k, v = tensors_of("plain", rows=1, keys=13)
    for options in ({"causal": True, "align": "bottom_right"}, {"window_size": (12, 12)}, {"window_size": (-1, None)}):
        wide, by = computed_by(module, lambda options=options: module.attention(q, k, v, **options))
        expected = exact(
            q, k, v, **{name: value for name, value in options.items() if name == "causal"}, align="bottom_right"
        )
        if options.get("window_size") == (12, 12):
            assert by == kernel_name("plain")  # it stands before the one with a window
        torch.testing.assert_close(wide, expected)
    q, k, v = tensors_of("sinks", rows=11)
    options = options_of("sinks", rows=11)
    out, by = computed_by(module, lambda: module.attention(q, k, v, **options, align="bottom_right"))
    assert by == kernel_name("sinks")  # as many rows as keys
    torch.testing.assert_close(out, exact(q, k, v, **options))
    out, by = computed_by(module, lambda: module.attention(q, k, v, **options, window_size=(10, 4)))
    assert by == kernel_name("sinks")
    torch.testing.assert_close(out, exact(q, k, v, **options))


def combinations() -> Iterator[dict[str, Any]]:
    """Keywords that no kernel takes in this combination, among others."""
    choices = {
        "causal": (False, True),
        "align": ("top_left", "bottom_right"),
        "window_size": (None, (4, 3)),
        "attn_mask": (None, "bool", "float"),
        "alibi_slopes": (None, "slopes"),
        "sinks": (None, "sinks"),
        "softcap": (0.0, 2.0),
    }
    drawn = random.Random(0).sample(list(itertools.product(*choices.values())), 40)
    for values in drawn:
        yield {name: value for name, value in zip(choices, values, strict=True) if value or name == "causal"}


def test_whatever_is_combined_is_computed(module: ModuleType):
    q, k, v = tensors_of("plain")
    made = {**options_of("all"), "float": options_of("bias")["attn_mask"]}
    ways = set()
    for words in combinations():
        options = {
            name: {
                "bool": made["attn_mask"],
                "float": made["float"],
                "slopes": made["alibi_slopes"],
                "sinks": made["sinks"],
            }.get(value, value)
            if isinstance(value, str) and name != "align"
            else value
            for name, value in words.items()
        }
        out, by = computed_by(module, lambda options=options: module.attention(q, k, v, **options))
        torch.testing.assert_close(out, exact(q, k, v, **options), msg=lambda text, words=words: f"{words}: {text}")
        said = module.explain(q, k, v, **options).splitlines()[-1]
        assert said.startswith("PyTorch computes" if by == "SDPA" and ({"softcap", "sinks"} & words.keys()) else by)
        ways.add(by)
    assert "SDPA" in ways
    assert len(ways) > 2


@pytest.mark.parametrize("name", ["mask", "bias", "window", "alibi", "sinks", "all"])
def test_gradients_are_those_of_the_definition(module: ModuleType, name: str):
    found = []
    for compute in (module.attention, written_out):
        leaves = [each.clone().requires_grad_() for each in tensors_of(name, rows=4, keys=5)]
        options = options_of(name, rows=4, keys=5)
        for each in options.values():
            if isinstance(each, Tensor) and each.is_floating_point():
                leaves.append(each.requires_grad_())
        before = module.stats()
        out = compute(*leaves[:3], **options)
        if compute is module.attention:
            assert module.stats() == {**before, kernel_name(name): before[kernel_name(name)] + 1}
        found.append(torch.autograd.grad(out, leaves, torch.cos(out.detach())))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def written_out(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """The definition, for gradients."""
    k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for each in (k, v))
    scores = q @ k.mT / math.sqrt(q.shape[3])
    if "softcap" in options:
        scores = options["softcap"] * torch.tanh(scores / options["softcap"])
    shift = k.shape[2] - q.shape[2] if options.get("align") == "bottom_right" else 0
    distance = torch.arange(k.shape[2]) - torch.arange(q.shape[2])[:, None] - shift
    seen = distance <= 0 if options.get("causal") else torch.ones_like(distance, dtype=torch.bool)
    if "window_size" in options:
        left, right = options["window_size"]
        seen = seen & (distance >= -left) & (distance <= right)
    mask = options.get("attn_mask")
    if mask is not None:
        seen, scores = (seen & mask, scores) if mask.dtype == torch.bool else (seen, scores + mask)
    if "alibi_slopes" in options:
        scores = scores - options["alibi_slopes"][:, None, None] * distance.abs()
    weights = torch.where(seen, scores, -math.inf).exp()
    total = weights.sum(dim=-1, keepdim=True)
    if "sinks" in options:
        total = total + options["sinks"].exp()[:, None, None]
    return weights / total.clamp(min=1e-30) @ v


@pytest.mark.parametrize("name", ["bias", pytest.param("all", marks=pytest.mark.long)])
def test_torch_compile_sees_one_operator_or_what_it_can_differentiate(module: ModuleType, name: str):
    torch.compiler.reset()
    compiled = torch.compile(module.attention, backend="aot_eager", fullgraph=True, dynamic=True)
    for rows, keys in ((9, 11), (12, 8)):
        q, k, v = tensors_of(name, rows, keys)
        options = options_of(name, rows, keys)
        out, by = computed_by(module, lambda q=q, k=k, v=v, options=options: compiled(q, k, v, **options))
        assert by == kernel_name(name)
        torch.testing.assert_close(out, exact(q, k, v, **options))
    q.requires_grad_()
    ours, theirs = (
        torch.autograd.grad(each(q, k, v, **options).sum(), [q])[0] for each in (compiled, module.attention)
    )
    torch.testing.assert_close(ours, theirs)


def test_the_drop_in_under_compile_keeps_its_mask(module: ModuleType):
    torch.compiler.reset()
    q, k, v = tensors_of("mask")
    mask = normal(2, 1, 9, 11) > 0
    with module.patched():
        compiled = torch.compile(
            lambda q, k, v, mask: torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True),
            backend="aot_eager",
            fullgraph=True,
        )
        out, by = computed_by(module, lambda: compiled(q, k, v, mask))
    assert by == kernel_name("mask")
    torch.testing.assert_close(out, scaled_dot_product_attention(q, k, v, mask, enable_gqa=True))


@pytest.mark.parametrize("name", ["bias", "all"])
def test_the_operator_is_well_formed_and_fakes_are_made(module: ModuleType, name: str):
    options = options_of(name)
    terms = module._reference.terms_of(
        *({**module._reference.DEFAULTS, **options}[each] for each in module._reference.DEFAULTS)
    )
    arguments = (*tensors_of(name), options.get("causal", False), None, *terms)
    torch.library.opcheck(torch.ops.exported_features.attention.terms, arguments)
    with FakeTensorMode() as mode:
        faked = {word: mode.from_tensor(each) if isinstance(each, Tensor) else each for word, each in options.items()}
        q, k, v = (mode.from_tensor(each) for each in tensors_of(name))
        assert module.attention(q, k, v, **faked).shape == (*q.shape[:3], v.shape[3])
        assert not module.is_supported(q, k, v, **faked)
    on_meta = {word: each.to("meta") if isinstance(each, Tensor) else each for word, each in options.items()}
    q, k, v = (each.to("meta") for each in tensors_of(name))
    assert module.attention(q, k, v, **on_meta).shape == (*q.shape[:3], v.shape[3])


def test_vmap_folds_masks_into_the_batch(module: ModuleType):
    q, k, v = (torch.stack([each, each * 0.5, each - 1]) for each in tensors_of("mask"))
    masks = normal(3, 9, 11) > 0
    looped = torch.stack([module.attention(*each, attn_mask=mask) for *each, mask in zip(q, k, v, masks, strict=True)])
    mapped = torch.vmap(lambda q, k, v, mask: module.attention(q, k, v, attn_mask=mask))(q, k, v, masks)
    torch.testing.assert_close(mapped, looped)
    whole = normal(2, 1, 9, 11) > 0
    looped = torch.stack([module.attention(*each, attn_mask=whole) for each in zip(q, k, v, strict=True)])
    mapped = torch.vmap(lambda q, k, v: module.attention(q, k, v, attn_mask=whole))(q, k, v)
    torch.testing.assert_close(mapped, looped)
    q, k, v = tensors_of("sinks")
    with pytest.raises(NotImplementedError, match="loop over them"):
        torch.vmap(lambda sinks: module.attention(q, k, v, sinks=sinks))(normal(3, 4))


def test_autocast_casts_masks_of_numbers(module: ModuleType):
    q, k, v = tensors_of("bias")
    for mask in (normal(9, 11), normal(9, 11) > 0):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = module.attention(q, k, v, attn_mask=mask)
            expected = scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attn_mask": torch.ones(3, 3, dtype=torch.bool)}, "broadcast"),
        ({"attn_mask": torch.ones(9, 11, dtype=torch.int64)}, "boolean"),
        ({"window_size": (-2, 0)}, "side of window_size"),
        ({"window_size": 4}, "must be"),
        ({"align": "left"}, "align must be"),
        ({"softcap": -1.0}, "softcap"),
        ({"sinks": torch.zeros(3)}, "must be \\(heads,\\)"),
        ({"alibi_slopes": torch.zeros(2, 4)}, "must be \\(heads,\\)"),
    ],
)
def test_options_that_mean_nothing_are_refused(module: ModuleType, options: dict[str, Any], words: str):
    q, k, v = tensors_of("plain")
    for call in (module.attention, module.explain):
        with pytest.raises((ValueError, TypeError), match=words):
            call(q, k, v, **options)


def test_slopes_and_sinks_of_other_types_are_converted(module: ModuleType):
    q, k, v = tensors_of("sinks")
    options = options_of("sinks")
    for sinks in (options["sinks"].bfloat16(), options["sinks"].double(), options["sinks"].repeat_interleave(2)[::2]):
        out, by = computed_by(module, lambda sinks=sinks: module.attention(q, k, v, causal=True, sinks=sinks))
        assert by == kernel_name("sinks")
        torch.testing.assert_close(out, exact(q, k, v, causal=True, sinks=sinks.float()))


def test_three_dimensions_and_masks_go_to_sdpa(module: ModuleType):
    q, k, v = inputs(heads=4)
    mask = normal(9, 11) > 0
    expected = scaled_dot_product_attention(q[0], k[0], v[0], mask)
    torch.testing.assert_close(module.attention(q[0], k[0], v[0], attn_mask=mask), expected)
    with pytest.raises(ValueError, match="batch, heads"):
        module.attention(q[0], k[0], v[0], window_size=(3, 3))


def test_the_drop_in_does_with_odd_masks_what_sdpa_does(module: ModuleType):
    q, k, v = inputs()
    mask = normal(9, 11) > 0
    for call in (module.scaled_dot_product_attention, scaled_dot_product_attention):
        with pytest.raises(RuntimeError):
            call(q, k, v, mask[:, :4])
    expected = scaled_dot_product_attention(q, k, v, mask, is_causal=True)
    before = module.stats()
    torch.testing.assert_close(module.scaled_dot_product_attention(q, k, v, mask, is_causal=True), expected)
    assert module.stats() == before  # not even counted


def test_the_table_and_the_readme_say_what_kernels_have(module: ModuleType):
    package = Path(module.__file__ or "").parent
    rows = json.loads((package / "kernels.json").read_text())["kernels"]
    known = dict(zip(FEATURED, rows, strict=True))
    assert not known["plain"].keys() & {"window", "attn_mask", "softcap", "alibi_slopes", "sinks", "value_size"}
    assert known["mask"]["attn_mask"] == "bool"
    assert known["all"]["value_size"] == 8
    assert (known["all"]["window"], known["all"]["softcap"], known["all"]["sinks"]) == (True, True, True)
    readme = (package.parent / "README.md").read_text()
    assert "| boolean mask |" in readme
    assert "| causal, window, boolean mask, soft cap, ALiBi, sinks |" in readme
    q, k, v = tensors_of("plain")
    said = module.explain(q.double(), k.double(), v.double(), window_size=(2, 2))
    assert said.endswith("SDPA computes")
    said = module.explain(q, k, v, window_size=(2, 2), sinks=options_of("sinks")["sinks"])
    assert "it is made for no window" in said or "it is made for no sinks" in said
    assert said.endswith("PyTorch computes, written out: SDPA has no sinks")


def test_the_package_tests_and_times_itself(module: ModuleType):
    """By its first kernel, which has everything at once."""
    selftest = importlib.import_module("exported_features.selftest")
    assert selftest.main() == 0
    assert all(selftest.check(case).by_kernel for case in selftest.CASES)
    found = importlib.import_module("exported_features.calls").measure()
    assert found["by"] == f"{kernel_name('all')} computes"
    assert list(found["us"]) == ["attention", "PyTorch, written out"]


def test_a_selftest_refuses_a_wrong_kernel(module: ModuleType, monkeypatch: pytest.MonkeyPatch):
    selftest = importlib.import_module("exported_features.selftest")
    case = selftest.CASES[3]
    assert selftest.check(case).ok
    for wrong in ({"window_size": (6, 0)}, {"softcap": 2.1}, {"sinks": torch.zeros(2)}):
        monkeypatch.setattr(
            selftest,
            "attention",
            lambda *tensors, wrong=wrong, **options: module.attention(*tensors, **options | wrong),
        )
        assert not selftest.check(case).ok


def test_a_sweep_compares_kernels_of_one_form(module: ModuleType):
    sweep = importlib.import_module("exported_features.sweep")
    form = replace(importlib.import_module("exported_features.selftest").FORM)
    row = next(row for row in module._operators.table() if row["name"] == kernel_name("all"))
    index = module._operators.table().index(row)
    here = sweep.Sweep(sweep.Kind(form, heads=4, kv_heads=2), {index: row}, end_s=math.inf)
    us = here.measure(sweep.Point(1, 8, 8))
    assert set(us) == {"SDPA", row["name"]}
