"""The mma family without a GPU: its space yields what compiles without spills; a flag that is off leaves no trace."""

import random
import re
import shlex
import subprocess
from itertools import product
from pathlib import Path

import pytest

from evoflash.codegen.template import load
from evoflash.core.genome import Genome
from evoflash.problems.attention import AttentionProblem
from evoflash.targets import cuda
from evoflash.targets.base import cxx
from tests.spread import build_all, spread

HEAD_DIMS = (8, 64, 72, 80, 96, 128, 256)
MISSION = AttentionProblem.of(1, 8, 512, 64, dtype="float16")
DECODE = AttentionProblem.of(2, 8, 1, 128, kv_heads=2, seq_kv=8192, dtype="bfloat16")
USUAL = {
    "rows": 32, "row_warps": 1, "warp_keys": 64, "key_warps": 8, "split": 1, "split_by": "grid", "softmax": "one_shot",
    "rescale_threshold": 0, "polynomial": 0, "load": "copies", "load_groups": 1, "stages": 1, "waits": "apart",
    "chunks": 1, "values_late": False, "query": "registers", "merge": "float", "totals": "late", "store_bytes": 8,
    "blocks": 1, "persistent": False, "specialised": False, "longest_first": False, "early": False,
}  # fmt: skip

ENGINE = "bulk copies need Hopper, and complete in the order in which they are issued"


def device(arch: str = "sm_90a") -> dict[str, object]:
    return dict(cuda.of_arch(arch).facts)


def render(problem: AttentionProblem = MISSION, arch: str = "sm_90a", **genes: object) -> str:
    genome = Genome({**USUAL, **genes})
    template = load("mma")
    assert template.space([problem], device(arch)).violations(genome) == []
    return template.render(genome, problem, device(arch)).text


def hold(folder: Path, text: str, *facts: str) -> bool:
    """Whether these facts, expressions over Traits, are true of a rendered kernel's constants."""
    end = "using Traits = evoflash::mma::KernelTraits<Config>;\n"
    assert text.count(end) == 1
    asserts = "".join(f"static_assert({fact});\n" for fact in facts)
    source = folder / "facts.cpp"
    source.write_text(f"{text.split(end)[0]}{end}using evoflash::mma::Merge;\n{asserts}")
    neither = ("-DEVOFLASH_HOST_ONLY", "-DEVOFLASH_DEVICE_ONLY")  # the constants are there for both
    command = [*shlex.split(cxx()), "-std=c++17", "-fsyntax-only", *neither, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 or "static assertion failed" in done.stderr, done.stderr
    return done.returncode == 0


def ptx_of(folder: Path, text: str) -> str:
    (folder / "kernel.cu").write_text(text)
    command = [cuda.nvcc(), "-arch=sm_90a", "-std=c++17", "-DEVOFLASH_DEVICE_ONLY", "-ptx", "kernel.cu"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    return (folder / "kernel.ptx").read_text()


@pytest.mark.nvcc
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "arch", [*(pytest.param(each, marks=pytest.mark.long) for each in ("sm_80", "sm_89")), "sm_90a"]
)
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


def test_lengths_become_constants_only_where_the_genome_asks_for_it(tmp_path):
    text = render(specialised=True)
    assert "constexpr int kSeqQ = 512, kSeqKv = 512;" in text
    assert hold(tmp_path, text, "Traits::kIsEvenM", "Traits::kIsEvenN", "!Traits::kMaySkip")  # nothing to mask
    longer = MISSION.model_copy(update={"seq_q": 500, "seq_kv": 500})
    assert render() == render(longer)
    assert hold(tmp_path, render(), "!Traits::kIsEvenM", "!Traits::kIsEvenN", "Traits::kSeqQ == 0")
    assert hold(tmp_path, render(longer, specialised=True), "!Traits::kIsEvenM", "!Traits::kIsEvenN")


@pytest.mark.nvcc
def test_a_kernel_of_whole_tiles_masks_nothing(tmp_path):
    masked = re.compile(r"selp\.f32\s+%f\d+, 0fFF800000|selp\.f32\s+%f\d+, %f\d+, 0fFF800000")
    assert not masked.search(ptx_of(tmp_path, render(specialised=True)))
    assert masked.search(ptx_of(tmp_path, render()))


TRACES = {
    "mbarrier": "mbarrier.init",
    "tma": "cp.async.bulk.tensor",
    "elect": "elect.sync",
    "cluster": "barrier.cluster.arrive",
    "remote": "st.async",
    "combine": ".entry merge_kernel",
    "persistent": "%nctaid.x",
}


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("genes", "traces"),
    [
        ({}, ()),
        ({"load": "bulk"}, ("mbarrier", "tma", "elect")),
        ({"totals": "early"}, ("mbarrier", "elect")),
        ({"split": 2, "split_by": "cluster", "key_warps": 4}, ("mbarrier", "elect", "cluster", "remote")),
        ({"split": 2, "split_by": "grid", "key_warps": 4, "store_bytes": 4}, ("combine",)),
        ({"persistent": True}, ("persistent",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_flag_that_is_off_leaves_no_trace(genes, traces, tmp_path):
    ptx = ptx_of(tmp_path, render(**genes))
    assert {name for name, instruction in TRACES.items() if instruction in ptx} == set(traces)


@pytest.mark.nvcc
@pytest.mark.parametrize(("head_dim", "wide", "narrow", "accumulators"), [(8, 0, 1, 1), (72, 4, 1, 9), (80, 5, 0, 10)])
def test_no_products_are_padded(head_dim, wide, narrow, accumulators, tmp_path):
    problem = MISSION.model_copy(update={"head_dim": head_dim})
    ptx = ptx_of(tmp_path, render(problem, warp_keys=16, key_warps=2, softmax="online", row_warps=2, query="shared"))
    of_scores = 2  # tiles of eight keys
    assert ptx.count("mma.sync.aligned.m16n8k8.") == narrow * of_scores
    assert ptx.count("mma.sync.aligned.m16n8k16.") == wide * of_scores + accumulators


@pytest.mark.parametrize(("head_dim", "taken"), [(8, True), (72, True), (256, True), (100, False), (264, False)])
def test_head_sizes_are_multiples_of_eight_up_to_256(head_dim, taken):
    refusals = load("mma").refusals(MISSION.model_copy(update={"head_dim": head_dim}), device())
    assert refusals == ([] if taken else ["rows are moved 16 bytes at a time, and the output is held in registers"])


@pytest.mark.nvcc
def test_chunks_are_waited_for_one_by_one(tmp_path):
    waits = [ptx_of(tmp_path, render(chunks=chunks)).count("cp.async.wait_group") for chunks in (1, 2)]
    assert waits == [3, 5]  # Q, and each chunk of K and of V


def test_one_slice_a_block_merges_by_columns_and_several_by_rows(tmp_path):
    assert hold(tmp_path, render(), "Traits::kMerge == Merge::kWarps")
    one = render(split=4, split_by="cluster", key_warps=1, warp_keys=128)
    assert hold(tmp_path, one, "Traits::kMerge == Merge::kClusterColumns")
    several = render(split=2, split_by="cluster", key_warps=4)
    assert hold(tmp_path, several, "Traits::kMerge == Merge::kClusterRows")
    assert not hold(tmp_path, several, "Traits::kMerge == Merge::kClusterColumns")


@pytest.mark.parametrize("arch", ["sm_80", "sm_86", "sm_89", "sm_90a"])
def test_few_queries_split_the_keys_over_the_grid_everywhere(arch, tmp_path):
    genes = {"rows": 16, "key_warps": 4, "split": 8, "softmax": "online", "warp_keys": 16, "stages": 2}
    half, whole = render(DECODE, arch, **genes, merge="half"), render(DECODE, arch, **genes, store_bytes=4)
    assert "merge_kernel" in half
    assert hold(tmp_path, half, "Traits::kIsSplitKv", "sizeof(Traits::ElementPartial) == 2")
    assert hold(tmp_path, whole, "Traits::kIsSplitKv", "sizeof(Traits::ElementPartial) == 4")


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
