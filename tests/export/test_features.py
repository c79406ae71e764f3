"""Exports of kernels with masks, windows, soft caps, ALiBi, sinks and values of another size: called, beside a plain one."""

import importlib
import itertools
import json
import math
import random
import subprocess
import sys
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

from evoflash import problems, targets
from evoflash.codegen.template import load as load_family
from evoflash.export import rendering
from evoflash.export.package import write
from evoflash.export.winner import Winner
from evoflash.flattening import flatten
from evoflash.problems import AttentionProblem

from .conftest import cpu_winner, inlined, load
from .test_module import inputs, normal

SIZES = "b=2,h=4,s=24,d=16,dtype=fp32"
HEADS = 4

# By name: the problem that a kernel is for, and keywords of `attention` for it.
KERNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("", {}),
    "mask": ("mask=bk", {"attn_mask": "bool"}),
    "bias": ("bias=hqk", {"attn_mask": "float"}),
    "window": ("window=5:2", {"window_size": (5, 2)}),
    "causal_mask": ("mask=bqk,causal", {"attn_mask": "bool", "causal": True}),
    "cap": ("softcap=3", {"softcap": 3.0}),
    "alibi": ("alibi,causal,align=bottom_right", {"alibi_slopes": "slopes", "causal": True, "align": "bottom_right"}),
    "sinks": ("sinks,causal", {"sinks": "sinks", "causal": True}),
    "values": ("v=8", {}),
    "all": (
        "causal,window=7,softcap=2,mask=bqk,alibi,sinks",
        {
            "causal": True,
            "window_size": (7, 0),
            "softcap": 2.0,
            "attn_mask": "bool",
            "alibi_slopes": "slopes",
            "sinks": "sinks",
        },
    ),
}


def winner_of(name: str, features: str) -> Winner:
    """A winner for a problem with features."""
    problem = problems.parse(f"{SIZES},{features}" if features else SIZES)
    facts = problem.facts()
    flags = {
        "BANDED": facts["banded"],
        "CAUSAL": facts["causal"],
        "MASKED": facts["masked"],
        "BIASED": facts["biased"],
        "CAPPED": facts["capped"],
        "SLOPES": facts["alibi"],
        "SINKS": facts["sinks"],
        "VALUE_SIZE": facts["value_dim"],
    }
    defined = "".join(f"#define {flag} {int(value)}\n" for flag, value in flags.items())
    source = defined + inlined("featured_attention.cpp")
    return replace(cpu_winner(name), source=source, problem=problem, cases=())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    first, *others = (winner_of("exported_features", features) for features, _ in KERNELS.values())
    return write(replace(first, others=tuple(others)), tmp_path_factory.mktemp("features") / "out")


@pytest.fixture(scope="module")
def module(folder: Path, cache: Path) -> ModuleType:
    return load("exported_features", folder)


def tensors_of(name: str, rows: int = 9, keys: int = 11, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = inputs(batch=batch, heads=HEADS, kv_heads=2, rows=rows, keys=keys)
    return q, k, v[..., :8] if name == "values" else v


def options_of(name: str, rows: int = 9, keys: int = 11, batch: int = 2) -> dict[str, Any]:
    made = {
        "bool": lambda: normal(batch, 1, rows, keys) > -0.5,
        "float": lambda: normal(HEADS, rows, keys),
        "slopes": lambda: 2.0 ** -torch.arange(1.0, HEADS + 1),
        "sinks": lambda: normal(HEADS),
    }
    return {word: made[each]() if isinstance(each, str) and each in made else each for word, each in KERNELS[name][1].items()}


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
    return problem.reference((q, k, v, *others)).float()


def computed_by(module: ModuleType, call: Any) -> tuple[Tensor, str]:
    """What a call gives, and the index of the kernel that has computed; "SDPA" where none has."""
    before = module.stats()
    out = call()
    (found,) = [name for name, count in module.stats().items() if count != before[name]]
    return out, found


def kernel_name(name: str) -> str:
    return f"plain {winner_of('exported_features', KERNELS[name][0]).source_sha256[:8]}"


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("rows", "keys"), [(9, 11), (11, 9), (1, 13), (3, 1)])
def test_a_kernel_computes_what_it_is_made_for(module: ModuleType, name: str, rows: int, keys: int):
    q, k, v = tensors_of(name, rows, keys)
    options = options_of(name, rows, keys)
    for more in ({}, {"scale": 0.3}):
        out, by = computed_by(module, lambda more=more: module.attention(q, k, v, **options, **more))
        torch.testing.assert_close(out, exact(q, k, v, **options, **more))
        assert by == kernel_name(name) or (name != "values" and keys == 1), by
        assert module.is_supported(q, k, v, **options, **more)
        assert module.explain(q, k, v, **options, **more).endswith(f"{by} computes")
