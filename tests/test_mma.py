"""The mma family without a GPU: its space yields what compiles without spills; a flag that is off leaves no trace."""

import random
from itertools import product

import pytest

from evoflash.codegen.template import load
from evoflash.core.genome import Genome
from evoflash.problems import AttentionProblem
from evoflash.targets import cuda
from tests.spread import build_all, spread

HEAD_DIMS = (32, 64, 96, 128, 256)
MISSION = AttentionProblem.of(1, 8, 512, 64, dtype="float16")
DECODE = AttentionProblem.of(2, 8, 1, 128, kv_heads=2, seq_kv=8192, dtype="bfloat16")
USUAL = {
    "rows": 32, "row_warps": 1, "warp_keys": 64, "key_warps": 8, "split": 1, "split_by": "grid", "softmax": "one_shot",
    "rescale_threshold": 0, "polynomial": 0, "load": "copies", "load_groups": 1, "stages": 1, "waits": "apart",
    "chunks": 1, "values_late": False, "query": "registers", "merge": "float", "totals": "late", "store_bytes": 8,
    "blocks": 1, "persistent": False, "specialised": False, "longest_first": False,
}  # fmt: skip

ENGINE = "bulk copies need Hopper, and complete in the order in which they are issued"


def device(arch: str = "sm_90a") -> dict[str, object]:
    return dict(cuda.of_arch(arch).facts)


def render(problem: AttentionProblem = MISSION, arch: str = "sm_90a", **genes: object) -> str:
    genome = Genome({**USUAL, **genes})
    template = load("mma")
    assert template.space([problem], device(arch)).violations(genome) == []
    return template.render(genome, problem, device(arch)).text


def kernel_of(text: str) -> str:
    """The kernel itself, without what it includes."""
    return text.split("using namespace evoflash;")[1].split("#ifndef EVOFLASH_DEVICE_ONLY")[0]


@pytest.mark.nvcc
@pytest.mark.timeout(600)
@pytest.mark.parametrize("arch", ["sm_80", "sm_89", "sm_90a"])
def test_what_the_space_yields_compiles_without_spills(arch, tmp_path):
    target = cuda.of_arch(arch)
    kinds = [("float16", False), ("bfloat16", True)] if arch == "sm_90a" else [("float16", True)]
    shapes = [
        AttentionProblem.of(1, 8, 128 if dtype == "float16" else 777, head_dim, kv_heads=4, dtype=dtype, causal=causal)
        for head_dim, (dtype, causal) in product(HEAD_DIMS, kinds)
    ]
    template = load("mma")
    if arch == "sm_90a":
        sources = spread("mma", shapes, target.facts)
    else:
        rng = random.Random(5)
        genomes = {shape: template.space([shape], target.facts).sample(rng) for shape in shapes}
        sources = {(shape, each): template.render(each, shape, target.facts) for shape, each in genomes.items()}
    for where, build in build_all(sources, target, tmp_path).items():
        assert build.report.spill_bytes == 0, where


def test_lengths_become_constants_only_where_the_genome_asks_for_it():
    text = render(specialised=True)
    assert "constexpr int kSeqQ = 512, kSeqKv = 512;" in text
    assert "hide(" not in kernel_of(text)  # whole tiles: nothing to mask
    assert "problem->seq_kv != kSeqKv" in text
    longer = MISSION.model_copy(update={"seq_q": 500, "seq_kv": 500})
    assert render() == render(longer)
    assert "hide(" in kernel_of(render(longer, specialised=True))


@pytest.mark.parametrize(
    ("genes", "traces"),
    [
        ({}, ()),
        ({"load": "bulk"}, ("mbarrier", "load_box", "elected")),
        ({"totals": "early"}, ("mbarrier", "elected", "stats_barrier")),
        (
            {"split": 2, "split_by": "cluster", "key_warps": 4},
            ("mbarrier", "elected", "cluster", "store_remote", "kSplit"),
        ),
        ({"split": 2, "split_by": "grid", "key_warps": 4, "store_bytes": 4}, ("kSplit", "out_stats", "merge_kernel")),
        ({"persistent": True}, ("problem.units",)),
        ({"chunks": 2}, ("kChunks", "unrolled")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_flag_that_is_off_leaves_no_trace(genes, traces):
    every = {"mbarrier", "load_box", "elected", "stats_barrier", "cluster", "store_remote", "kSplit", "out_stats"}
    every |= {"merge_kernel", "problem.units", "kChunks", "unrolled"}
    kernel = kernel_of(render(**genes))
    assert all(trace in kernel for trace in traces)
    allowed = {*traces, *(("stats_barrier",) if "cluster" in traces else ())}
    assert not [word for word in every - allowed if word in kernel]


def test_one_slice_a_block_merges_by_columns_and_several_by_rows():
    one = render(split=4, split_by="cluster", key_warps=1, warp_keys=128)
    assert "kOwnedTiles" in one
    assert "kMergedRows" not in one
    several = render(split=2, split_by="cluster", key_warps=4)
    assert "kMergedRows" in several
    assert "kOwnedTiles" not in several


@pytest.mark.parametrize("arch", ["sm_80", "sm_86", "sm_89", "sm_90a"])
def test_few_queries_split_the_keys_over_the_grid_everywhere(arch):
    genes = {"rows": 16, "key_warps": 4, "split": 8, "softmax": "online", "warp_keys": 16, "stages": 2}
    text = render(DECODE, arch, **genes, merge="half")
    assert "merge_kernel" in text
    assert "kPartialRowBytes = kHeadDim * 2" in text
    assert "kPartialRowBytes = kHeadDim * 4" in render(DECODE, arch, **genes, store_bytes=4)


@pytest.mark.parametrize("arch", ["sm_80", "sm_86", "sm_89"])
@pytest.mark.parametrize("head_dim", HEAD_DIMS)
def test_every_head_size_has_genomes_where_shared_memory_is_small(arch, head_dim):
    problem = AttentionProblem.of(1, 8, 512, head_dim, dtype="float16")
    space, rng = load("mma").space([problem], device(arch)), random.Random(0)
    genomes = {space.sample(rng) for _ in range(12)}
    assert len(genomes) > 6
    assert {each["load"] for each in genomes} == {"copies"}
    assert {each["split_by"] for each in genomes} == {"grid"}


@pytest.mark.parametrize(
    ("changes", "arch", "why"),
    [
        ({"load": "bulk"}, "sm_80", ENGINE),
        (
            {"load": "bulk", "values_late": True},
            "sm_90a",
            ENGINE,
        ),
        (
            {"split": 8, "split_by": "cluster", "warp_keys": 32, "key_warps": 2},
            "sm_90a",
            "clusters need Hopper, and each of their blocks merges at least eight rows",
        ),
        ({"warp_keys": 32}, "sm_90a", "one_shot processes all keys in one step, and never rescales"),
        ({"load_groups": 2}, "sm_90a", "only a thread that issues all bulk copies can group the slices"),
        ({"split": 2, "key_warps": 4, "persistent": True}, "sm_90a", "keys are only split if there are too few tiles"),
        ({"split": 2, "key_warps": 4}, "sm_90a", "float rows are stored to the workspace 4 bytes at a time"),
    ],
)
def test_what_cannot_be_is_known_before_it_is_built(changes, arch, why):
    broken = load("mma").space([MISSION], device(arch)).violations(Genome({**USUAL, **changes}))
    assert why in [each.why for each in broken]
