"""The decode family without a GPU: its kernels run on an emulated device, its space yields what compiles."""

import random
import re
import shlex
import subprocess
from itertools import product

import pytest

from evoflash.codegen.template import load
from evoflash.core.genome import Genome
from evoflash.problems import attention
from evoflash.problems.attention import AttentionProblem
from evoflash.targets import cuda
from evoflash.targets.base import cxx
from tests.emulation import emulate
from tests.spread import build_all, spread

LONG = AttentionProblem.of(1, 32, 1, 128, kv_heads=8, seq_kv=32768, dtype="bfloat16")
USUAL = {
    "rows": 8, "warps": 4, "warp_keys": 32, "stages": 3, "load": "copies", "query": "registers", "blocks": 1,
    "cluster": 1, "waves": 1, "order": "runs", "dependent": False, "early": False,
}  # fmt: skip
HEAD_DIMS = (64, 72, 96, 128, 256)


def device(arch: str = "sm_90a") -> dict[str, object]:
    return dict(cuda.of_arch(arch).facts)


def render(problem: AttentionProblem = LONG, arch: str = "sm_90a", **genes: object) -> str:
    genome = Genome({**USUAL, **genes})
    template = load("decode")
    assert template.space([problem], device(arch)).violations(genome) == []
    return template.render(genome, problem, device(arch)).text


# Whether they are valid for the shape is no matter here: kernels are for all lengths.
EMULATED = [
    ("b=1,h=1,kv=1,s=1,t=1,d=64,dtype=fp16", {"warps": 1, "waves": 0, "stages": 1}, "normal"),
    ("b=2,h=8,kv=2,s=2,t=777,d=128,dtype=bf16", {}, "normal"),
    (
        "b=1,h=4,kv=1,s=2,t=900,d=32,dtype=fp16",
        {"load": "bulk", "warps": 1, "waves": 4, "order": "turns"},
        "outlier_last",
    ),
    (
        "b=1,h=8,kv=1,s=1,t=1100,d=64,dtype=bf16",
        {"load": "bulk", "cluster": 4, "waves": 0, "query": "shared"},
        "gapped",
    ),
    (
        "b=1,h=8,kv=1,s=1,t=1500,d=64,dtype=fp16",
        {"cluster": 2, "waves": 4, "warps": 2, "stages": 2},
        "infinite_keys_first",
    ),
    (
        "b=1,h=2,kv=1,s=12,t=130,d=72,dtype=bf16,causal",
        {"rows": 16, "waves": 0, "warps": 2, "warp_keys": 16},
        "nan_key",
    ),
    ("b=1,h=4,kv=1,s=9,t=333,d=96,dtype=fp16,causal", {"rows": 32, "load": "bulk", "warps": 2, "stages": 2}, "packed"),
    ("b=1,h=2,kv=2,s=1,t=600,d=256,dtype=bf16", {"load": "bulk", "cluster": 8, "waves": 0, "warps": 1}, "logits_x10"),
    ("b=1,h=4,kv=2,s=5,t=300,d=64,dtype=bf16,causal,align=bottom_right", {"waves": 2, "warp_keys": 16}, "normal"),
    ("b=1,h=4,kv=1,s=9,t=400,d=64,dtype=fp16,window=100:3,align=bottom_right", {"load": "bulk", "waves": 0}, "nan_key"),
    ("b=1,h=2,kv=1,s=16,t=9,d=64,dtype=fp16,causal,align=bottom_right", {"rows": 32, "waves": 0}, "normal"),
    ("b=1,h=8,kv=1,s=1,t=1500,d=64,dtype=bf16", {"cluster": 2, "waves": 4, "warps": 2}, "huge_negative_scores"),
    ("b=3,h=8,kv=2,s=1,t=777,d=64,dtype=bf16,lengths=777+0+33,page=16", {}, "gapped"),
    (
        "b=9,h=4,kv=2,s=3,t=300,d=64,dtype=fp16,lengths=300+1+16+17+0+15,page=16,causal",
        {"load": "bulk", "warps": 1, "stages": 2, "warp_keys": 64},
        "packed",
    ),
    (
        "b=2,h=8,kv=2,s=8,t=500,d=64,dtype=bf16,lengths=500+333,page=32,causal,window=100",
        {"rows": 32, "warp_keys": 16, "waves": 0, "cluster": 4, "order": "turns"},
        "outlier_last",
    ),
    ("b=1,h=4,kv=2,s=9,t=333,d=96,dtype=fp16,causal,kv_dtype=fp8", {"rows": 32, "load": "bulk", "stages": 2}, "packed"),
    ("b=1,h=4,kv=2,s=2,t=300,d=80,dtype=bf16,kv_dtype=fp8", {}, "uneven_scales"),
    (
        "b=3,h=4,kv=2,s=1,t=250,d=128,dtype=bf16,lengths=250+0+33,page=16,kv_dtype=fp8",
        {"load": "bulk", "query": "shared"},
        "nan_bytes",
    ),
    ("b=1,h=4,kv=2,s=1,t=200,d=64,dtype=fp16,kv_dtype=fp8", {"cluster": 2, "waves": 0}, "zero_scales"),
    ("b=1,h=4,kv=2,s=1,t=200,d=48,dtype=bf16,kv_dtype=fp8", {"waves": 0, "query": "shared"}, "subnormal_bytes"),
    ("b=1,h=4,kv=2,s=1,t=700,d=256,dtype=bf16,kv_dtype=fp8", {"waves": 0, "warps": 2}, "huge_scores"),
]


@pytest.mark.nvcc
@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen", [pytest.param(EMULATED[1::16], id="some"), pytest.param(EMULATED, id="all", marks=pytest.mark.long)]
)
def test_kernels_are_right_on_an_emulated_device(chosen):
    tasks = [
        {"family": "decode", "shape": shape, "genome": {**USUAL, **genes}, "variant": variant}
        for shape, genes, variant in chosen
    ]
    assert [each["wrong"] for each in emulate(tasks)] == [""] * len(tasks)


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("mistake", "correct", "variant"),
    [
        ("cp_async_wait<2 * Traits::kStages>()", "cp_async_wait<2 * Traits::kStages - 1>()", "normal"),
        ("acc_s[n][m][i] = 0;", "acc_s[n][m][i] = -INFINITY;", "normal"),
        ("max(0, coord.some.end)", "coord.some.end - key", "normal"),
        ("kLargeOffset = 0x1p127f;", "kLargeOffset = 4096;", "huge_scores"),
    ],
)
def test_the_emulated_device_shows_mistakes(mistake, correct, variant):
    shape = "b=1,h=4,kv=1,s=1,t=333,d=64,dtype=bf16"
    task = {"family": "decode", "shape": shape, "genome": {**USUAL, "waves": 0}, "replaced": [[correct, mistake]]}
    (told,) = emulate([{**task, "variant": variant}])
    assert told["wrong"]


@pytest.mark.nvcc
def test_the_emulated_device_shows_mistakes_of_eight_bits():
    mistakes = [
        (["0, 0x3120)", "0, 0x3210)"], "normal"),
        (["kLeastScale = 0x1p-126f", "kLeastScale = 0"], "zero_scales"),
        (["v / Traits::kWeightFactor", "v"], "normal"),
    ]
    task = {"family": "decode", "shape": "b=1,h=2,kv=2,s=1,t=77,d=32,dtype=bf16,kv_dtype=fp8"}
    genome = {**USUAL, "waves": 0, "warps": 1, "stages": 2}
    told = emulate([{**task, "genome": genome, "replaced": [pair], "variant": variant} for pair, variant in mistakes])
    assert [each["replaced"] for each in told if not each["wrong"]] == []


@pytest.mark.nvcc
@pytest.mark.timeout(600)
@pytest.mark.parametrize("arch", ["sm_80", "sm_89", "sm_90a"])
def test_what_the_space_yields_compiles_without_spills(arch, tmp_path):
    target = cuda.of_arch(arch)
    template, rng = load("decode"), random.Random(3)
    shapes = [
        AttentionProblem.of(1, 32, seq_q, head_dim, kv_heads=8, seq_kv=32768, dtype=dtype, causal=causal)
        for head_dim, (seq_q, dtype, causal) in product(
            HEAD_DIMS, ((1, "bfloat16", False), (8, "float16", arch == "sm_80"))
        )
    ]
    shapes.append(attention.parse("decode_fp8"))
    if arch == "sm_90a":
        sources = spread("decode", shapes, target.facts)
    else:
        genomes = {shape: template.space([shape], target.facts).sample(rng) for shape in shapes[::2]}
        sources = {(shape, each): template.render(each, shape, target.facts) for shape, each in genomes.items()}
    for where, build in build_all(sources, target, tmp_path).items():
        assert build.report.spill_bytes == 0, where


TRACES = {
    "copies": r"cp\.async\.cg[^;]*;(?s:.*)mma\.sync(?s:.*)cp\.async\.cg",
    "bulk": "cp.async.bulk.tensor.4d",
    "cluster": "st.async.weak.shared::cluster",
    "second kernel": ".entry merge_kernel",
    "dependent": "griddepcontrol.wait",
}


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("genes", "traces"),
    [
        ({"waves": 0}, {"copies"}),
        ({"waves": 0, "load": "bulk"}, {"bulk"}),
        ({"waves": 0, "cluster": 8}, {"copies", "cluster"}),
        ({}, {"copies", "second kernel"}),
        ({"dependent": True, "load": "bulk"}, {"bulk", "second kernel", "dependent"}),
    ],
    ids=["copies", "bulk", "cluster", "second kernel", "dependent"],
)
def test_a_gene_leaves_a_trace_only_where_it_is_on(genes, traces, tmp_path):
    (tmp_path / "kernel.cu").write_text(render(**genes))
    command = [cuda.nvcc(), "-arch=sm_90a", "-std=c++17", "-DEVOFLASH_DEVICE_ONLY", "-ptx", "kernel.cu"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    ptx = (tmp_path / "kernel.ptx").read_text()
    assert {name for name, text in TRACES.items() if re.search(text, ptx)} == traces


def splits(problem: AttentionProblem, text: str, folder, family: str = "decode") -> int:
    """What the launcher of a rendered kernel computes."""
    sizes = (problem.batch, problem.heads, problem.kv_heads, problem.seq_q, problem.seq_kv)
    fields = ("batch", "heads", "kv_heads", "seq_q", "seq_kv")
    given = "".join(f"problem.{name} = {size};" for name, size in zip(fields, sizes, strict=True))
    (folder / "device.cubin").write_bytes(b"none")
    main = f"""
    #include <stdio.h>
    int main() {{
      evoflash::AttentionProblem problem{{}};
      {given}
      printf("%lld", (long long)evoflash::{family}::Partition<Traits>(problem).num_splits);
    }}"""
    (folder / "kernel.cpp").write_text(text + main)
    options = [
        "-std=c++17",
        "-DEVOFLASH_HOST_ONLY",
        '-DEVOFLASH_CUBIN="device.cubin"',
        f"-I{cuda.toolkit() / 'include'}",
    ]
    command = [*shlex.split(cxx()), *options, "kernel.cpp", "-ldl", "-o", "partition"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return int(subprocess.run([folder / "partition"], check=True, capture_output=True, timeout=60).stdout)


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("problem", "genes", "wanted"),
    [
        (LONG, {}, 132 // 8),
        (LONG, {"blocks": 2, "stages": 1, "waves": 1}, 264 // 8),
        (LONG, {"cluster": 8, "waves": 2}, 264 // 64),
        (AttentionProblem.of(1, 32, 1, 128, kv_heads=8, seq_kv=1024, dtype="bfloat16"), {}, 1024 // 128),
    ],
    ids=str,
)
def test_splits_fill_the_device_and_leave_every_warp_a_step(problem, genes, wanted, tmp_path):
    genome = Genome({**USUAL, "stages": 1, **genes})
    space = load("decode").space([problem], {**device(), "multiprocessors": 132})
    assert space.violations(genome) == []
    assert space.derived(genome)["splits"] == wanted
    text = load("decode").render(genome, problem, {**device(), "multiprocessors": 132}).text
    assert splits(problem, text, tmp_path) == wanted


@pytest.mark.parametrize(
    ("problem", "changes", "arch", "why"),
    [
        (LONG, {"rows": 16}, "sm_90a", "more than half of the rows would be empty"),
        (LONG, {"load": "bulk"}, "sm_80", "bulk copies need Hopper"),
        (LONG, {"cluster": 2}, "sm_89", "clusters need Hopper"),
        (LONG, {"waves": 0, "dependent": True}, "sm_90a", "only a second kernel can be launched early, on Hopper"),
        (
            AttentionProblem.of(64, 32, 1, 128, kv_heads=8, seq_kv=1000, dtype="bfloat16"),
            {},
            "sm_90a",
            "with enough blocks the keys are not split further",
        ),
        (
            AttentionProblem.of(1, 32, 1, 128, kv_heads=8, seq_kv=100, dtype="bfloat16"),
            {"warps": 8},
            "sm_90a",
            "every warp needs a step",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_is_known_before_it_is_built(problem, changes, arch, why):
    broken = load("decode").space([problem], device(arch)).violations(Genome({**USUAL, **changes}))
    assert why in [each.why for each in broken]


@pytest.mark.parametrize(
    ("features", "changes", "why"),
    [
        ("lengths=uniform", {"cluster": 2}, "a share is a run of keys of one block"),
        ("page=1", {"warp_keys": 64}, "each lane of a warp has the number of one page"),
        ("page=8", {"load": "bulk"}, "bulk copies of less than 16 rows would cut the permutation of shared memory"),
    ],
)
def test_what_lengths_and_pages_rule_out_is_known(features, changes, why):
    problem = attention.parse(f"b=4,h=32,kv=8,s=1,t=8192,d=128,dtype=bf16,{features}")
    broken = load("decode").space([problem], device()).violations(Genome({**USUAL, **changes}))
    assert why in [each.why for each in broken]


def test_the_family_takes_pages_of_whole_steps():
    shape = "b=4,h=32,kv=8,s=1,t=8192,d=128,dtype=bf16,lengths=uniform,page="
    assert load("decode").refusals(attention.parse(f"{shape}16"), device()) == []
    refused = load("decode").refusals(attention.parse(f"{shape}48"), device())
    assert refused == ["a step has whole pages, or a page whole steps"]


@pytest.mark.parametrize(("arch", "refused"), [("sm_75", True), ("sm_80", False), ("sm_100", False)])
def test_the_family_needs_ampere(arch, refused):
    reasons = load("decode").refusals(LONG, device(arch))
    assert reasons == (["mma.sync m16n8k16 and cp.async need Ampere"] if refused else [])
