"""The split family without a GPU: that a spread of its genomes compiles, and what its launcher refuses."""

import shlex
import subprocess
from itertools import product

import pytest

from evoflash.codegen.template import load
from evoflash.core.genome import Genome
from evoflash.problems.attention import AttentionProblem
from evoflash.targets import cuda
from evoflash.targets.base import cxx
from tests.spread import build_all, spread

SHAPES = [
    AttentionProblem.of(1, 8, 512, head_dim, kv_heads=4, dtype=dtype, causal=causal)
    for head_dim, (dtype, causal) in product((64, 128), (("float16", False), ("bfloat16", True)))
]
# Head sizes whose last panel of 64 columns, last step of 16 or last piece of a partial output is not full.
PARTLY_FILLED = [
    AttentionProblem.of(1, 4, 77, head_dim, seq_kv=333, causal=head_dim % 16 == 0)
    for head_dim in (8, 40, 72, 80, 96, 160, 192)
]
MISSION = AttentionProblem.of(1, 8, 512, 64, dtype="float16")
USUAL = {
    "warpgroup_rows": 64, "row_groups": 1, "key_groups": 1, "split": 2, "slice_keys": 256, "softmax": "one_shot",
    "rescale_threshold": 0, "polynomial": 0, "stages": 1, "query": "registers", "parts": 4, "maximum": "whole",
    "merge": "half", "blocks": 1, "specialised": False, "longest_first": False, "early": False,
}  # fmt: skip


def device(arch: str = "sm_90a") -> dict[str, object]:
    return dict(cuda.of_arch(arch).facts)


def render(problem: AttentionProblem = MISSION, **genes: object) -> str:
    genome = Genome({**USUAL, **genes})
    template = load("split")
    assert template.space([problem], device()).violations(genome) == []
    return template.render(genome, problem, device()).text


def holds(text: str, fact: str) -> bool:
    """What a rendered kernel's constants say: neither its device code nor its launcher is compiled."""
    options = "-x c++ -std=c++17 -fsyntax-only -DEVOFLASH_DEVICE_ONLY -DEVOFLASH_HOST_ONLY -"
    command = [*shlex.split(cxx()), *options.split()]
    compiled = [
        subprocess.run(command, input=f"{text}static_assert({each});\n", text=True, capture_output=True, check=False)
        for each in (fact, f"!({fact})")
    ]
    assert sorted(each.returncode == 0 for each in compiled) == [False, True], compiled[0].stderr
    return compiled[0].returncode == 0


@pytest.mark.nvcc
@pytest.mark.timeout(600)
def test_of_what_the_space_yields_nine_in_ten_compile_as_they_are_meant_to(tmp_path):
    target = cuda.of_arch("sm_90a")
    sources = spread("split", SHAPES + PARTLY_FILLED, target.facts)
    builds = build_all(sources, target, tmp_path)
    lossy = [where for where, each in builds.items() if each.report.spill_bytes or target.warnings(each.report.log)]
    assert len(lossy) <= len(builds) // 10, lossy


def test_lengths_become_constants_only_where_the_genome_asks_for_it():
    text = render(specialised=True)
    assert holds(text, "Traits::kHasFixedSizes && Traits::kSeqQ == 512 && Traits::kSeqKv == 512")
    assert holds(text, "Traits::kIsExactM && Traits::kIsExactN")  # whole tiles: nothing to mask
    longer = MISSION.model_copy(update={"seq_q": 500, "seq_kv": 500})
    assert render() == render(longer)
    assert holds(render(), "!Traits::kHasFixedSizes && !Traits::kIsExactN")
    assert render(specialised=True) != render(longer, specialised=True)
    assert holds(render(longer, specialised=True), "!Traits::kIsExactM && !Traits::kIsExactN")


def test_fixed_lengths_take_no_place_among_the_arguments():
    general, fixed = (render(specialised=each) for each in (False, True))
    assert holds(general, "__builtin_offsetof(Arguments, softmax_scale_log2) == 384 + 24 + 12")
    assert holds(fixed, "__builtin_offsetof(Arguments, softmax_scale_log2) == 384 + 24")


@pytest.mark.parametrize(
    ("genes", "merge"),
    [
        ({}, "kColumns"),
        ({"key_groups": 2, "slice_keys": 128, "parts": 2}, "kRows"),
        ({"split": 1, "key_groups": 2}, "kRows"),
        ({"split": 1, "key_groups": 1, "softmax": "online", "merge": "float"}, "kNone"),
    ],
)
def test_one_split_a_block_merges_by_columns_and_several_by_rows(genes, merge):
    text = render(**genes)
    assert holds(text, f"Traits::kMerge == evoflash::split::Merge::{merge}")
    assert holds(text, "Traits::kIsCluster") == (genes.get("split") != 1)
    assert ("__cluster_dims__" in text) == (genes.get("split") != 1)


@pytest.mark.nvcc
@pytest.mark.parametrize(
    "genes", [{}, {"split": 1, "key_groups": 2, "slice_keys": 64, "softmax": "online", "parts": 1}]
)
def test_nvcc_compiles_it_too(tmp_path, genes):
    (tmp_path / "kernel.cu").write_text(render(PARTLY_FILLED[2], **genes))
    command = [cuda.nvcc(), "-arch=sm_90a", "-std=c++17", "-DEVOFLASH_DEVICE_ONLY", "-cubin", "kernel.cu"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)


@pytest.mark.nvcc
@pytest.mark.timeout(300)
def test_partial_outputs_of_any_head_size_are_merged(tmp_path):
    target, template, sources = cuda.of_arch("sm_90a"), load("split"), {}
    ways = [
        {"split": 2},
        {"split": 4, "merge": "float", "slice_keys": 96, "parts": 1, "warpgroup_rows": 32},
        {"split": 1, "key_groups": 2, "merge": "float", "softmax": "online", "slice_keys": 64, "parts": 1},
        {"split": 2, "key_groups": 2, "softmax": "online", "slice_keys": 64, "parts": 1},
    ]
    for problem, genes in product([each for each in PARTLY_FILLED if each.head_dim in (72, 80)], ways):
        genome = Genome({**USUAL, **genes})
        assert template.space([problem], target.facts).violations(genome) == []
        sources[problem, genome] = template.render(genome, problem, target.facts)
    for where, build in build_all(sources, target, tmp_path).items():
        assert build.report.spill_bytes == 0, where


@pytest.mark.parametrize(("arch", "refused"), [("sm_80", True), ("sm_89", True), ("sm_100", True), ("sm_90", False)])
def test_the_family_is_hoppers(arch, refused):
    reasons = load("split").refusals(MISSION, device(arch))
    assert reasons == (["wgmma and distributed shared memory are Hopper's"] if refused else [])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"softmax": "one_shot", "slice_keys": 128, "parts": 2}, "one_shot processes all keys in one step"),
        ({"warpgroup_rows": 32, "query": "shared"}, "empty rows are zeros in registers"),
        ({"maximum": "running", "parts": 1}, "a running maximum needs several parts"),
        (
            {"split": 8, "slice_keys": 64, "parts": 1},
            "each block merges columns of two tiles, or the rows of a warp",
        ),
        ({"stages": 2}, "more stages than steps are unused"),
        ({"longest_first": True}, "without a mask all blocks have the same number of keys"),
    ],
)
def test_what_cannot_be_is_known_before_it_is_built(changes, why):
    broken = load("split").space([MISSION], device()).violations(Genome({**USUAL, **changes}))
    assert why in [each.why for each in broken]
