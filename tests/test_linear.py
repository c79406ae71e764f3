"""The families of the problem fused_linear: on an emulated device, on this machine, and as nvcc compiles them."""

import ctypes
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from evoflash.codegen.source import Source
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.genome import Genome
from evoflash.problems.function.description import describe
from evoflash.problems.function.problem import FunctionProblem
from evoflash.problems.function.signature import Size
from evoflash.problems.sizes import fields_of
from evoflash.targets import cpu, cuda
from tests.emulation import emulate
from tests.emulation.kernel import shortfall
from tests.spread import Sources, build_all, spread

FILE = Path(__file__).parent.parent / "problems" / "fused_linear.py"
MUTANTS = yaml.safe_load((Path(__file__).parent / "mutants" / "fused_linear.yaml").read_text())
FAMILIES = ("linear_wgmma", "linear_mma", "linear_rows", "cpu_linear")

WGMMA = {
    "tile_m": 128, "tile_n": 64, "warpgroups": 2, "schedule": "cooperative", "stages": 2, "epilogue_buffers": 1,
    "cluster_m": 1, "cluster_n": 1, "split": 1, "persistent": True, "raster": "rows", "group": 2, "blocks": 1,
    "producer_registers": 40, "early": False,
}  # fmt: skip
MMA = {
    "tile_m": 64, "tile_n": 64, "tile_k": 64, "stages": 3, "warps_m": 2, "warps_n": 2, "split": 1, "merge": "grid",
    "store_bytes": 16, "raster": "rows", "group": 1, "blocks": 1, "early": False,
}  # fmt: skip
ROWS = {"rows": 16, "columns": 32, "warps": 4, "unroll": 1, "cluster": 1, "blocks": 1, "early": False}
BLOCKED = {
    "threads": 2, "schedule": "static", "kernel": "blocked", "rows": 6, "vectors": 2, "columns": 1, "row_blocks": 2,
    "panels": 2, "depth": 64, "unroll": 2, "prefetch": 0, "widen": "at_pack", "bf16_dot": False,
}  # fmt: skip
STREAMED = {**BLOCKED, "kernel": "streamed", "rows": 4, "vectors": 1, "columns": 4, "row_blocks": 1, "panels": 1}
STREAMED |= {"unroll": 1, "prefetch": 2}


def problem(**sizes: Size) -> FunctionProblem:
    return describe(FILE.name, FILE.read_text(), sizes, "cpu")


def task(family: str, genome: Mapping[str, Any], m: int, n: int, k: int, **more: Any) -> dict[str, Any]:
    shape = {"m": m, "n": n, "k": k, **{name: more.pop(name) for name in ("dtype", "activation") if name in more}}
    return {"problem": "fused_linear", "family": family, "genome": dict(genome), "shape": shape, **more}


PING_PONG = {**WGMMA, "schedule": "ping_pong", "cluster_m": 2, "epilogue_buffers": 2}
IN_CLUSTER = {**MMA, "tile_m": 32, "tile_n": 128, "tile_k": 128, "stages": 2, "warps_m": 1, "warps_n": 4, "split": 4}
IN_CLUSTER |= {"merge": "cluster"}

# Sizes have a tail each way; tiles are several, and so are rounds over the stages.
QUICK = [
    task("linear_wgmma", PING_PONG, 300, 200, 200, device={"multiprocessors": 4}),
    task("linear_wgmma", PING_PONG, 300, 200, 200, device={"multiprocessors": 4}, variant="infinite"),
    task("linear_mma", IN_CLUSTER, 33, 200, 520, dtype="float16"),
    task("linear_rows", {**ROWS, "cluster": 4, "rows": 8, "columns": 48}, 11, 72, 520, activation="silu"),
    task(
        "linear_rows", {**ROWS, "cluster": 4, "rows": 8, "columns": 48}, 11, 72, 520, activation="silu", variant="nan"
    ),
]
LONG = [
    task("linear_wgmma", PING_PONG, 300, 200, 200, variant="nan"),
    task("linear_rows", {**ROWS, "cluster": 4, "rows": 8, "columns": 48}, 11, 72, 520, variant="infinite"),
    task("linear_wgmma", {**WGMMA, "persistent": False}, 200, 136, 200, activation="none"),
    task(
        "linear_wgmma",
        {**WGMMA, "cluster_m": 2, "cluster_n": 2},
        600,
        264,
        200,
        activation="relu",
        device={"multiprocessors": 8},
    ),
    task("linear_wgmma", {**WGMMA, "tile_n": 192, "epilogue_buffers": 3}, 300, 400, 200, device={"multiprocessors": 2}),
    task("linear_wgmma", {**PING_PONG, "cluster_m": 1, "stages": 5}, 300, 264, 200, device={"multiprocessors": 1}),
    task(
        "linear_wgmma",
        {**WGMMA, "tile_m": 64, "warpgroups": 1, "split": 3, "persistent": False, "producer_registers": 0},
        100,
        72,
        520,
    ),
    task("linear_wgmma", {**WGMMA, "tile_m": 256, "tile_n": 128, "epilogue_buffers": 4, "group": 1}, 256, 256, 136),
    task("linear_wgmma", {**PING_PONG, "tile_m": 64, "raster": "columns", "epilogue_buffers": 1}, 200, 264, 328),
    task("linear_wgmma", WGMMA, 200, 136, 200, variant="strided", dtype="float16"),
    task("linear_mma", {**MMA, "group": 2}, 200, 136, 200, activation="none"),
    task("linear_mma", {**MMA, "split": 3}, 100, 200, 520, activation="relu"),
    task("linear_mma", {**MMA, "tile_k": 32, "stages": 2, "store_bytes": 8}, 100, 264, 328, variant="strided"),
    task("linear_mma", {**MMA, "tile_m": 16, "warps_m": 1, "warps_n": 4, "store_bytes": 4}, 17, 264, 72),
    task("linear_mma", {**MMA, "group": 2}, 200, 136, 200, variant="infinite"),
    task("linear_rows", ROWS, 16, 72, 520),
    task("linear_rows", {**ROWS, "rows": 24, "columns": 16, "warps": 8}, 30, 200, 1000, dtype="float16"),
    task("linear_rows", {**ROWS, "rows": 8, "unroll": 4, "columns": 64, "warps": 2, "cluster": 2}, 1, 200, 1000),
]


def test_kernels_on_an_emulated_device():
    unaligned = [{**each, "variant": "unaligned"} for each in QUICK if "variant" not in each]  # which they decline
    told = emulate([*QUICK, *unaligned])
    assert [each["wrong"] for each in told] == [""] * len(QUICK) + ["error -1"] * len(unaligned)


@pytest.mark.long  # 16 kernels
def test_more_kernels_on_an_emulated_device():
    assert [each["wrong"] for each in emulate(LONG)] == [""] * len(LONG)


@pytest.fixture(scope="module")
def small() -> FunctionProblem:
    return problem(m=16, n=64, k=64)


def resized(small: FunctionProblem, **sizes: Size) -> FunctionProblem:
    """The problem with other sizes, which nobody computes here."""
    return small.model_copy(update={"sizes": tuple({**dict(small.sizes), **sizes}.items())})


def test_tasks_are_of_the_spaces(small):
    facts = cuda.of_arch("sm_90a").facts
    for each in (*QUICK, *LONG):
        space = load(each["family"]).space([resized(small, **each["shape"])], facts)
        assert not space.violations(Genome(each["genome"])), each


@pytest.mark.parametrize("family", FAMILIES)
def test_seeds_are_of_the_spaces_of_their_shapes(family, small):
    facts = dict(cuda.of_arch("sm_90a").facts)
    if family.startswith("cpu"):
        facts = {"vector_bytes": 64, "l2_bytes": 1 << 20, "bf16_dot": True, "cores": 2}
    template = load(family)
    for seed in template.declaration.seeds:
        shape = fields_of([seed.note.partition(":")[0]]).popitem()[1]
        sizes = {name: value if name == "dtype" else int(value) for name, value in shape.items()}
        space = template.space([resized(small, **sizes)], facts)
        assert not space.violations(Genome(seed.genome)), seed.note


def test_sizes_that_are_refused(small):
    facts = cuda.of_arch("sm_90a").facts
    for family in FAMILIES[:3]:
        assert load(family).refusals(resized(small, n=20), facts) == ["rows are loaded in units of 16 bytes"]
    older = {**facts, "arch": 80}
    assert load("linear_wgmma").refusals(small, older) == ["wgmma and setmaxnreg are Hopper's alone (sm_90a)"]


def on_this_machine(source: Source, folder: Path) -> ctypes.CDLL:
    made = Toolchain(cpu.detect(), folder, deadline_s=300).build(source)
    assert made.library is not None, made.reason
    library = ctypes.CDLL(str(made.library))
    library.evoflash_workspace_bytes.restype = ctypes.c_size_t
    return library


def shortfalls(kernel: ctypes.CDLL, at: FunctionProblem) -> list[str]:
    """What is wrong on the cases of the finals, and on sizes that are no multiple of anything."""
    odd = problem(m=19, n=83, k=77, dtype=dict(at.sizes)["dtype"], activation=dict(at.sizes)["activation"])
    found = [shortfall(kernel, each.problem, each.seed, each.variant) for each in (*at.cases(), *at.random_cases(3))]
    return [*found, shortfall(kernel, odd)]


CPU = [
    (BLOCKED, "float32", "gelu"),
    ({**STREAMED, "bf16_dot": True, "prefetch": 0}, "bfloat16", "gelu"),
]
MORE_CPU = [
    ({**BLOCKED, "bf16_dot": True}, "bfloat16", "silu"),
    (STREAMED, "float16", "none"),
    ({**BLOCKED, "widen": "at_use", "schedule": "dynamic"}, "bfloat16", "relu"),
    ({**BLOCKED, "rows": 12, "row_blocks": 1, "vectors": 1, "unroll": 1, "prefetch": 2}, "float32", "silu"),
    (STREAMED, "float32", "gelu"),
    ({**STREAMED, "columns": 3, "rows": 6}, "bfloat16", "relu"),
]


def check_on_this_machine(genomes: Sequence[tuple[dict[str, Any], str, str]], folder: Path) -> None:
    target = cpu.detect()
    for genome, dtype, activation in genomes:
        if genome["bf16_dot"] and not target.facts["bf16_dot"]:
            continue
        at = problem(m=37, n=200, k=136, dtype=dtype, activation=activation)
        kernel = on_this_machine(load("cpu_linear").render(Genome(genome), at, target.facts), folder)
        wrong = shortfalls(kernel, at)
        assert wrong == [""] * len(wrong), (genome, dtype, activation)


def test_kernels_on_this_machine(tmp_path):
    check_on_this_machine(CPU, tmp_path)


@pytest.mark.long  # 6 kernels
def test_more_kernels_on_this_machine(tmp_path):
    check_on_this_machine(MORE_CPU, tmp_path)


def mutant(name: str) -> tuple[Mapping[str, Any], FunctionProblem, Source]:
    """The base of a mutant, its problem, and the right source."""
    bases = MUTANTS["bases"]
    base = bases[MUTANTS["mutants"][name]["base"]]
    (sizes,) = fields_of([base["shape"]]).values()
    at = problem(**sizes)
    facts = cpu.detect().facts if base["target"] == "cpu" else cuda.of_arch("sm_90a").facts
    return base, at, load(base["family"]).render(Genome(base["genome"]), at, facts)


@pytest.mark.parametrize("name", MUTANTS["mutants"])
def test_a_mistake_stands_once_in_its_kernel(name):
    _, _, source = mutant(name)
    for correct, mistake in MUTANTS["mutants"][name]["patches"]:
        assert source.text.count(correct) == 1, correct
        assert correct != mistake


@pytest.mark.long  # 15 kernels
@pytest.mark.parametrize("name", MUTANTS["mutants"])
def test_a_mistake_shows(name, tmp_path):
    base, at, source = mutant(name)
    patches = [(correct, mistake) for correct, mistake in MUTANTS["mutants"][name]["patches"]]
    if base["target"] == "cpu":
        text = source.text
        for correct, mistake in patches:
            text = text.replace(correct, mistake)
        assert shortfall(on_this_machine(dataclasses.replace(source, text=text), tmp_path), at)
    else:
        shown = {"family": base["family"], "genome": base["genome"], "shape": dict(at.sizes), "problem": at.computes}
        (told,) = emulate([{**shown, "replaced": patches}])
        assert told["wrong"]


@pytest.mark.long  # some 40 kernels
@pytest.mark.nvcc
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("family", "arch"),
    [("linear_wgmma", "sm_90a"), ("linear_mma", "sm_90a"), ("linear_rows", "sm_90a")],
)
def test_a_spread_of_genomes_compiles(family, arch, small, tmp_path):
    shapes = [resized(small, m=m, n=4096, k=4096) for m in (16, 200, 4096)]
    target = cuda.of_arch(arch)
    taken = [each for each in shapes if not load(family).refusals(each, target.facts)]
    for where, made in build_all(spread(family, taken, target.facts, seed=3), target, tmp_path).items():
        assert target.warnings(made.report.log) == (), where
        if family == "linear_wgmma":
            assert made.report.spill_bytes == 0, where


@pytest.mark.nvcc
@pytest.mark.parametrize("arch", ["sm_80", "sm_89"])
def test_older_devices(arch, small, tmp_path):
    target = cuda.of_arch(arch)
    at = resized(small, m=200, n=136, k=200)
    sources: Sources = {
        (at, Genome(genome)): load(family).render(Genome(genome), at, target.facts)
        for family, genome in (("linear_mma", {**MMA, "split": 3}), ("linear_rows", ROWS))
    }
    build_all(sources, target, tmp_path)
