"""The fields of a problem in the families on tensor cores, without a GPU: what compiles, and what is computed."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from evoflash.codegen.template import load
from evoflash.problems import attention
from evoflash.targets import cuda
from tests.emulation import emulate
from tests.spread import build_all

FACTS = cuda.of_arch("sm_90a").facts
FAMILIES = ("hopper", "mma", "split")
HOPPER = {
    "warpgroups": 2, "step_keys": 64, "stages": 2, "blocks": 1, "producer_registers": 24, "overlap": True,
    "late_wait": False, "bridge": False, "query_stages": 1, "early": False, "ping_pong": False, "handover": 0,
    "rescale_threshold": 0, "polynomial": 0, "schedule": "tiles", "order": "heads", "edge": "filled", "section_mib": 32,
    "cluster": 1, "share": "rows", "split": 1, "split_tiles": "all", "merge": "float", "store": "direct",
    "weights": "registers", "retain": False,
}  # fmt: skip
SPLIT = {
    "warpgroup_rows": 64, "row_groups": 1, "key_groups": 2, "split": 1, "slice_keys": 64, "softmax": "online",
    "rescale_threshold": 0, "polynomial": 0, "stages": 1, "query": "registers", "parts": 2, "maximum": "whole",
    "merge": "float", "blocks": 1, "specialised": False, "longest_first": False, "early": False,
}  # fmt: skip

MMA = {
    "rows": 32, "row_warps": 1, "warp_keys": 16, "key_warps": 2, "split": 1, "split_by": "grid", "softmax": "online",
    "rescale_threshold": 0, "polynomial": 0, "load": "copies", "load_groups": 1, "stages": 2, "waits": "apart",
    "chunks": 1, "values_late": False, "query": "registers", "merge": "float", "totals": "late", "store_bytes": 8,
    "blocks": 1, "persistent": False, "specialised": False, "longest_first": False, "early": False,
}  # fmt: skip

PERSISTENT = {"persistent": True}

# Family, what all fields together come to, and genes that need what the others do not.
COMPILED = [
    ("hopper", "b=1,h=16,s=4096,d=128,causal,window=1024,softcap=30,bias=hqk,alibi,sinks,dtype=bf16"),
    ("hopper", "b=1,h=16,s=4096,d=192,v=128,mask=bk,dtype=bf16"),
    ("split", "b=1,h=8,s=512,d=64,v=128,window=100:20,softcap=30,mask=qk,alibi"),
    ("mma", "b=1,h=8,s=512,d=192,v=128,causal,dtype=bf16"),
]

# A window of which a warpgroup's later rows do not see the first step, and a bias; rows that stand at the last keys, of
# which a mask hides some, read by pairs.
EMULATED = [
    (
        "hopper",
        "b=1,h=1,s=150,d=64,v=72,causal,window=40,softcap=2,bias=hqk,sinks,dtype=bf16",
        {"store": "bulk", "ping_pong": True},
        "infinite_bias",
    ),
    ("split", "b=1,h=1,s=70,t=150,d=64,v=72,window=60:9,align=bottom_right,mask=qk,softcap=2,sinks", {}, "normal"),
    ("mma", "b=5,h=2,kv=1,s=70,t=90,d=64,causal,lengths=41+90+0+1+33,layout=packed", PERSISTENT, "nan_neighbours"),
]
USUAL = {"hopper": HOPPER, "split": SPLIT, "mma": MMA}
MERGED = {**MMA, "warp_keys": 32, "key_warps": 1, "split": 2, "split_by": "cluster", "merge": "half", "store_bytes": 4}
MERGED |= {"rescale_threshold": 8}
DECODE = {
    "rows": 8, "warps": 2, "warp_keys": 16, "stages": 1, "load": "copies", "query": "registers", "blocks": 1,
    "cluster": 1, "waves": 1, "order": "runs", "dependent": False, "early": False,
}  # fmt: skip
# Maxima that are measured once, and merged by their offsets.
WHOLE = {**SPLIT, "key_groups": 1, "split": 2, "softmax": "one_shot", "merge": "half"}


@pytest.mark.nvcc
@pytest.mark.timeout(600)
def test_kernels_with_features_compile_without_spills(tmp_path):
    rng, sources = random.Random(2), {}
    for family, shape in COMPILED:
        template, problem = load(family), attention.parse(shape)
        assert template.refusals(problem, FACTS) == []
        genome = template.space([problem], FACTS).sample(rng)
        sources[problem, genome] = template.render(genome, problem, FACTS)
    target = cuda.of_arch("sm_90a")
    for where, build in build_all(sources, target, tmp_path).items():
        assert build.report.spill_bytes == 0, where
        assert target.warnings(build.report.log) == (), where


@pytest.mark.nvcc
@pytest.mark.long
def test_a_softmax_over_all_keys_at_once_is_right_for_huge_scores():
    """And is not with offsets that lack what 2^x makes infinite."""
    task = {"family": "split", "shape": "b=1,h=1,s=70,t=120,d=64,dtype=bf16", "genome": WHOLE}
    right = [{**task, "variant": variant} for variant in ("huge_negative_scores", "huge_last_scores")]
    wrong = {**right[0], "replaced": [["kVeryLargeOffset = 0x1p27f", "kVeryLargeOffset = 0x1p127f"]]}
    *told, shown = (each["wrong"] for each in emulate([*right, wrong]))
    assert told == ["", ""]
    assert shown


@pytest.mark.nvcc
@pytest.mark.slow
def test_kernels_with_features_are_right_on_an_emulated_device():
    """And one is wrong that skips a step too many, as is one whose packed sequences end with the longest."""
    tasks = []
    for family, shape, genes, variant in EMULATED:
        genome = {**USUAL[family], **genes}
        space = load(family).space([attention.parse(shape)], FACTS)
        assert space.violations(genome) == []
        tasks.append({"family": family, "shape": shape, "genome": genome, "variant": variant})
    correct = "(step_begin<Traits>(args.problem, row) - coord.first_key)"
    mistake = "(step_begin<Traits>(args.problem, row) - coord.first_key + 63)"
    wrong = {**tasks[0], "replaced": [[correct, mistake]]}
    longest = [["own.diagonal = own.seq_kv - own.seq_q;", "own.diagonal = problem.seq_kv - problem.seq_q;"]]
    shifted = {**tasks[-1], "replaced": longest}
    *right, skips, shifts = (each["wrong"] for each in emulate([*tasks, wrong, shifted]))
    assert right == [""] * len(tasks)
    assert skips
    assert shifts


# Blocks that compute tile after tile, on a device that runs few at once.
FEW = {"multiprocessors": 2}
TURNS = {**HOPPER, "schedule": "persistent", "late_wait": True, "ping_pong": True, "handover": 1}
IDLE = {**TURNS, "warpgroups": 3, "query_stages": 2, "edge": "first", "order": "longest_first", "store": "bulk"}
# Tiles of 192 rows, of which the first warpgroup, or the first two, have none.
SHORT_LAST = {**IDLE, "schedule": "dynamic", "order": "short_last"}
FIVE_TILES = "b=1,h=3,s=840,d=64,causal,dtype=bf16"
TWO_OF_THREE, ONE_ROW = "b=2,h=4,s=100,d=64,causal,dtype=bf16", "b=1,h=3,s=1,d=64,causal,dtype=bf16"


def on_few(shape: str, genes: Mapping[str, Any], *replaced: tuple[str, str]) -> dict[str, Any]:
    """A task of `emulate`."""
    space = load("hopper").space([attention.parse(shape)], {**FACTS, **FEW})
    assert space.violations(genes) == []
    return {"family": "hopper", "shape": shape, "genome": genes, "device": FEW, "replaced": replaced}


@pytest.mark.nvcc
@pytest.mark.slow
def test_hopper_is_right_where_the_next_queries_are_loaded_ahead_on_an_emulated_device():
    """And is not where a tile waits for queries at the barrier of those of the tile before."""
    mistake = ("smem.q_full(smem.q_number(warpgroup, n))", "smem.q_full(warpgroup)")
    right, wrong = (each["wrong"] for each in emulate([on_few(TWO_OF_THREE, IDLE, *each) for each in ((), (mistake,))]))
    assert right == ""
    assert wrong


@pytest.mark.nvcc
@pytest.mark.long
def test_hopper_is_right_where_blocks_compute_tile_after_tile_on_an_emulated_device():
    """Of a causal mask, longest tiles first, or shortest last; of the tiles that are left over, whose keys are split;
    of tiles that not all warpgroups have rows of, which are drawn, have one step each, or a window before the first
    step."""
    free = {"ping_pong": False, "handover": 0, "stages": 4}
    tasks = [
        on_few("b=1,h=3,s=150,d=64,causal,dtype=bf16", {**TURNS, "order": "longest_first", "store": "bulk"}),
        on_few(FIVE_TILES, SHORT_LAST),
        on_few(ONE_ROW, {**SHORT_LAST, **free}),
        on_few("b=2,h=4,kv=2,s=600,d=64,causal,dtype=bf16", {**SHORT_LAST, "warpgroups": 2, "edge": "filled"}),
        on_few("b=2,h=4,s=600,d=64,causal", {**SHORT_LAST, "schedule": "tiles", "query_stages": 1, "edge": "last"}),
        on_few("b=1,h=3,s=72,t=150,d=64", {**TURNS, "split": 2, "split_tiles": "rest"}),
        on_few("b=1,h=3,s=72,t=150,d=64", {**TURNS, "query_stages": 2, "split": 2, "split_tiles": "rest"}),
        on_few(ONE_ROW, {**IDLE, "query_stages": 1, "retain": True}),
        on_few(TWO_OF_THREE, {**IDLE, "schedule": "dynamic", "overlap": True}),
        on_few(ONE_ROW, {**IDLE, **free, "schedule": "dynamic"}),
        on_few(ONE_ROW, {**IDLE, **free, "edge": "last", "store": "direct", "overlap": False, "late_wait": False}),
        on_few(
            "b=1,h=3,s=170,d=64,causal,window=40",
            {**IDLE, "retain": True, "warpgroups": 2, "cluster": 2, "producer_registers": 32},
        ),
    ]
    assert [each["wrong"] for each in emulate(tasks)] == [""] * len(tasks)


# What is wrong, the shape, genes beside IDLE, and texts of the device code with what stands in their place.
MISTAKES = [
    (
        "a tile's second warpgroup overwrites partial outputs of the first",
        "b=1,h=3,s=72,t=150,d=64",
        {**TURNS, "split": 2, "split_tiles": "rest"},
        [("coord.first_partial += number * Traits::kWarpgroupM;", "coord.first_partial += 0;")],
    ),
    (
        "an output begins before its head, where TMA stores nothing",
        ONE_ROW,
        {},
        [
            ("(args.seq_q + kWarpgroupM - 1) / kWarpgroupM;", "0;"),
            ("warpgroups * kWarpgroupM;", "args.seq_q;"),
            ("return own.first_row < 0;", "return own.first_row + 64 <= 0;"),
        ],
    ),
    (
        "a warpgroup without rows does not give back a stage that the others have read",
        TWO_OF_THREE,
        {},
        [("skip_steps_from(coord, k_state, v_state, 0);", "skip_steps_from(coord, k_state, v_state, 1);")],
    ),
    (
        "the short tiles of a head are not its first ones",
        FIVE_TILES,
        SHORT_LAST,
        [("place.nth += args.m_blocks.divisor - ", "place.nth += args.m_blocks.divisor - 1 - ")],
    ),
    (
        "a tile's queries are given back when it begins",
        TWO_OF_THREE,
        {},
        [("release_q(smem.q_number(warpgroup, n - 1));", "release_q(smem.q_number(warpgroup, n));")],
    ),
    (
        "the next queries are loaded over an output that has not left",
        TWO_OF_THREE,
        {},
        [("      if (threadIdx.x % 128 == 0) tma_store_wait();\n    }\n    release_q", "    }\n    release_q")],
    ),
    (
        "a block ends before its last output has left",
        TWO_OF_THREE,
        {},
        [("if constexpr (Traits::kIsLateRelease && Traits::kIsTmaStore) {", "if constexpr (false) {")],
    ),
]


@pytest.mark.nvcc
@pytest.mark.long
def test_an_emulated_device_shows_what_is_wrong_with_tile_after_tile():
    tasks = [on_few(shape, {**IDLE, **genes}, *replaced) for _, shape, genes, replaced in MISTAKES]
    for (what, *_), each in zip(MISTAKES, emulate(tasks), strict=True):
        assert each["wrong"], what


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_of_keys_and_values_are_multiples_of_eight_up_to_256(family):
    def refused(features: str) -> bool:
        return load(family).refusals(attention.parse(f"b=1,h=2,s=64,{features}"), FACTS) != []

    assert not refused("d=192,v=128")
    assert not refused("d=8,v=256")
    assert refused("d=64,v=60")
    assert refused("d=64,v=264")


def test_short_tiles_come_last_only_where_tiles_differ_and_blocks_take_the_next_one():
    def violations(shape: str, **genes: Any) -> list[Any]:
        genome = {**HOPPER, "order": "short_last", **genes}
        return load("hopper").space([attention.parse(shape)], FACTS).violations(genome)

    assert violations("b=1,h=16,s=4096,d=128,causal") == []
    assert violations("b=1,h=16,s=4096,d=128,causal", schedule="dynamic") == []
    assert violations("b=1,h=16,s=4096,d=128,causal", schedule="persistent")
    assert violations("b=1,h=16,s=4096,d=128")


def test_warpgroups_that_share_rows_of_a_window_have_no_bridge():
    """They are at different steps when a tile ends."""
    genes = {**HOPPER, "bridge": True, "schedule": "persistent"}
    space = load("hopper").space([attention.parse("b=8,h=16,s=2048,d=64,window=100:100")], FACTS)
    assert len(space.violations(genes)) == 1
    assert space.violations({**genes, "bridge": False}) == []


@pytest.mark.parametrize("family", ["mma", "split"])
def test_a_softmax_over_all_keys_at_once_takes_no_sinks(family):
    template = load(family)
    space = template.space([attention.parse("b=1,h=2,s=64,d=64,sinks")], FACTS)
    rng = random.Random(1)
    assert {space.sample(rng)["softmax"] for _ in range(20)} == {"online"}


@pytest.mark.nvcc
@pytest.mark.slow
def test_a_merge_over_splits_merges_their_log_sum_exp():
    """Over a cluster, with a window beyond which later rows see no first key; over shares, of which one has no key."""
    tasks = [
        {"family": "mma", "genome": MERGED, "shape": "b=1,h=2,s=70,d=32,causal,window=20,sinks,lse"},
        {"family": "decode", "genome": DECODE, "shape": "b=3,h=4,kv=2,s=1,t=130,d=32,lengths=7+0+130,page=16,lse"},
    ]
    for task in tasks:
        space = load(task["family"]).space([attention.parse(task["shape"])], FACTS)
        assert space.violations(task["genome"]) == []
    assert [each["wrong"] for each in emulate(tasks)] == ["", ""]
