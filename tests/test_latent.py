"""The latent family without a GPU: its kernels run on an emulated device, its space yields what compiles."""

import re
import subprocess

import pytest

from evoflash.codegen.template import load
from evoflash.core.genome import Genome
from evoflash.problems import attention
from evoflash.problems.attention import AttentionProblem
from evoflash.targets import cuda
from tests.spread import build_all, spread
from tests.test_decode import device, emulate, splits

MLA = attention.parse("b=1,h=16,kv=1,s=1,t=8192,d=576,v=512,latent,dtype=bf16")
USUAL = {
    "rows": 16, "step_keys": 32, "warps": 8, "depth_warps": 4, "query": "registers", "blocks": 1, "load": "copies",
    "stages": 2, "cluster": 1, "half_waves": 2, "merge": "float",
    "dependent": False,
    "early": False,
}  # fmt: skip
NARROW = {**USUAL, "warps": 4, "depth_warps": 2}  # for 64 columns of values


def render(problem: AttentionProblem = MLA, arch: str = "sm_90a", **genes: object) -> str:
    genome = Genome({**USUAL, **genes})
    template = load("latent")
    assert template.space([problem], device(arch)).violations(genome) == []
    return template.render(genome, problem, device(arch)).text


# Whether they are valid for the shape is no matter here: kernels are for all lengths.
EMULATED = [
    ("b=1,h=16,kv=1,s=1,t=70,d=576,v=512,latent,dtype=bf16", USUAL, "normal"),
    (
        "b=2,h=12,kv=2,s=2,t=210,d=96,v=64,latent,dtype=fp16,causal,align=bottom_right",
        {**NARROW, "load": "bulk", "early": True, "stages": 3},
        "packed",
    ),
    (
        "b=1,h=40,kv=1,s=1,t=270,d=160,v=128,latent,dtype=bf16",
        {
            **NARROW,
            "rows": 32,
            "load": "bulk",
            "cluster": 4,
            "query": "shared",
            "step_keys": 64,
            "merge": "half",
            "half_waves": 8,
        },
        "infinite_keys_first",
    ),
    (
        "b=1,h=4,kv=1,s=9,t=200,d=160,v=128,latent,dtype=bf16,window=60:3,align=bottom_right",
        {**NARROW, "rows": 64, "dependent": True, "merge": "half", "depth_warps": 1, "step_keys": 128},
        "gapped",
    ),
]


# Text of the device code, and what it becomes.
MISTAKE = ["producer.load(step - 1 + Traits::kStages, older_stage)", "producer.load(step - 1 + Traits::kStages, stage)"]


@pytest.mark.nvcc
@pytest.mark.slow
@pytest.mark.parametrize(
    "chosen", [pytest.param(EMULATED[::3], id="some"), pytest.param(EMULATED, id="all", marks=pytest.mark.long)]
)
def test_kernels_are_right_on_an_emulated_device_and_a_mistake_shows(chosen):
    right = [
        {"family": "latent", "shape": shape, "genome": genome, "variant": variant} for shape, genome, variant in chosen
    ]
    shape = "b=1,h=5,kv=1,s=1,t=300,d=96,v=64,latent,dtype=fp16"
    wrong = {"family": "latent", "shape": shape, "genome": {**NARROW, "half_waves": 0}, "replaced": [MISTAKE]}
    *told, shown = emulate([*right, wrong])
    assert [each["wrong"] for each in told] == [""] * len(right)
    assert shown["wrong"]


@pytest.mark.nvcc
@pytest.mark.timeout(600)
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_what_the_space_yields_compiles_without_spills(arch, tmp_path):
    shapes = [
        MLA,
        attention.parse("b=1,h=128,kv=1,s=1,t=8192,d=576,v=512,latent,dtype=fp16"),
        attention.parse("b=2,h=16,kv=1,s=4,t=4096,d=288,v=256,latent,dtype=bf16,causal,align=bottom_right"),
    ]
    target = cuda.of_arch(arch)
    if arch == "sm_90a":
        sources = spread("latent", shapes, target.facts)
    else:
        narrow = {"warps": 4, "step_keys": 32, "query": "shared"}
        genome = Genome({**USUAL, **narrow})
        assert load("latent").space(shapes[:1], target.facts).violations(genome) == []
        sources = {(MLA, genome): load("latent").render(genome, MLA, target.facts)}
    for where, build in build_all(sources, target, tmp_path).items():
        assert build.report.spill_bytes == 0, where


TRACES = {
    "copies": r"cp\.async\.cg[^;]*;(?s:.*)mma\.sync(?s:.*)cp\.async\.cg",
    "bulk": "cp.async.bulk.tensor.4d",
    "cluster": "st.async.weak.shared::cluster",
    "early": r"griddepcontrol\.wait(?s:.*)mma\.sync",
    "second kernel": ".entry merge_kernel",
    "dependent": "griddepcontrol.wait",
}


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("genes", "traces"),
    [
        ({"half_waves": 0}, {"copies"}),
        ({"load": "bulk", "cluster": 8}, {"bulk", "cluster", "second kernel"}),
        ({"early": True}, {"copies", "second kernel", "dependent", "early"}),
        ({"dependent": True, "load": "bulk"}, {"bulk", "second kernel", "dependent"}),
    ],
    ids=["one block", "cluster", "early", "dependent"],
)
def test_a_gene_leaves_a_trace_only_where_it_is_on(genes, traces, tmp_path):
    (tmp_path / "kernel.cu").write_text(render(**genes))
    command = [cuda.nvcc(), "-arch=sm_90a", "-std=c++17", "-DEVOFLASH_DEVICE_ONLY", "-ptx", "kernel.cu"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    ptx = (tmp_path / "kernel.ptx").read_text()
    assert {name for name, text in TRACES.items() if re.search(text, ptx)} == traces


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("genes", "wanted"), [({}, 132), ({"cluster": 8}, 132 // 8), ({"step_keys": 128, "depth_warps": 1}, 8192 // 128)]
)
def test_splits_fill_the_device_and_leave_every_block_a_step(genes, wanted, tmp_path):
    facts = {**device(), "multiprocessors": 132}
    genome = Genome({**USUAL, **genes})
    space = load("latent").space([MLA], facts)
    assert space.derived(genome)["splits"] == wanted
    assert splits(MLA, load("latent").render(genome, MLA, facts).text, tmp_path, "latent") == wanted


@pytest.mark.parametrize(
    ("changes", "arch", "why"),
    [
        ({"rows": 32}, "sm_90a", "more than half of the rows would be empty"),
        ({"load": "bulk"}, "sm_80", "bulk copies need Hopper"),
        ({"cluster": 2}, "sm_80", "clusters need Hopper"),
        ({"warps": 16}, "sm_90a", "every warp needs 16 keys"),
        ({"half_waves": 0, "dependent": True}, "sm_90a", "only a second kernel can be launched early"),
        ({"stages": 4, "step_keys": 64}, "sm_90a", "the tiles of a block must fit in shared memory"),
    ],
)
def test_what_cannot_be_is_known_before_it_is_built(changes, arch, why):
    broken = load("latent").space([MLA], device(arch)).violations(Genome({**USUAL, **changes}))
    assert why in [each.why for each in broken]


@pytest.mark.parametrize(
    ("shape", "arch", "reasons"),
    [
        ("b=1,h=16,kv=1,s=1,t=99,d=576,v=512,latent,dtype=bf16", "sm_80", []),
        (
            "b=1,h=16,kv=1,s=1,t=99,d=576,v=512,latent,dtype=bf16",
            "sm_75",
            ["mma.sync m16n8k16 and cp.async need Ampere"],
        ),
        ("b=1,h=16,kv=1,s=1,t=99,d=576,v=512,dtype=bf16", "sm_90a", ["values are read from the keys"]),
        ("b=1,h=16,kv=1,s=1,t=99,d=576,v=512,latent,dtype=bf16,sinks", "sm_90a", ["it lacks sinks"]),
    ],
)
def test_the_family_says_what_it_does_not_take(shape, arch, reasons):
    assert load("latent").refusals(attention.parse(shape), device(arch)) == reasons


def test_families_that_take_values_apart_decline_latent_attention():
    facts = device()
    refused = {name: load(name).refusals(MLA, facts) for name in ("mma", "hopper", "split", "wmma", "decode")}
    assert all(reasons and "latent" in reasons[0] for reasons in refused.values()), refused
