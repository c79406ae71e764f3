"""The CUDA families of RMSNorm and cross-entropy without a GPU: what compiles, what is computed, what cannot be."""

from pathlib import Path

import pytest

from evoflash.codegen.template import load
from evoflash.core.genome import Genome
from evoflash.problems.function import FunctionProblem, Number, Signature, Tensor
from evoflash.targets import cuda
from tests.emulation import emulate
from tests.spread import build_all, spread

FEW_REGISTERS = 8
PROBLEMS = Path(__file__).parent.parent.parent / "problems"
FACTS = cuda.of_arch("sm_90a").facts
RMS = {
    "row_threads": 128, "block_rows": 1, "cluster": 1, "vector": 8, "held": 4, "load": "direct", "weight": "early",
    "total": "early", "loads": "cached", "stores": "cached", "blocks": 2, "persistent": False, "early": False,
}  # fmt: skip
ENTROPY = {
    "threads": 1024, "cluster": 2, "vector": 8, "held": 1, "staged": 7, "ahead": True, "step": 1, "loads": "cached",
    "stores": "cached", "blocks": 1, "persistent": True, "early": False,
}  # fmt: skip


def rms_norm(rows: int, columns: int, dtype: str = "bfloat16", quantize: str = "none") -> FunctionProblem:
    """The problem as `describe` makes it, without running the function."""
    x, residual = (Tensor(name=name, dtype=dtype, shape=(rows, columns)) for name in ("x", "residual"))
    outs = [Tensor(name="total", dtype=dtype, shape=(rows, columns))]
    if quantize != "none":
        outs.insert(0, Tensor(name="scale", dtype="float32", shape=(rows,)))
    out = {"none": dtype, "int8": "int8", "fp8": "float8_e4m3fn"}[quantize]
    return _problem(
        "rms_norm",
        {"rows": rows, "columns": columns, "dtype": dtype, "quantize": quantize},
        (x, residual, Tensor(name="weight", dtype=dtype, shape=(columns,))),
        (Tensor(name="out", dtype=out, shape=(rows, columns)), *outs),
        (Number(name="eps", value=1e-6),),
    )


def cross_entropy(rows: int, vocabulary: int, dtype: str = "bfloat16") -> FunctionProblem:
    """The problem as `describe` makes it, without running the function."""
    logits, grad = (Tensor(name=name, dtype=dtype, shape=(rows, vocabulary)) for name in ("logits", "grad"))
    target, loss = (
        Tensor(name=name, dtype=kind, shape=(rows,)) for name, kind in (("target", "int64"), ("loss", "float32"))
    )
    sizes = {"rows": rows, "vocabulary": vocabulary, "dtype": dtype}
    return _problem("cross_entropy", sizes, (logits, target), (loss, grad), ())


def _problem(name: str, sizes, inputs, outputs, numbers) -> FunctionProblem:
    signature = Signature(inputs=inputs, outputs=outputs, numbers=numbers)
    source = (PROBLEMS / f"{name}.py").read_text(encoding="utf-8")
    return FunctionProblem(
        name=name, file=f"{name}.py", source=source, sizes=tuple(sizes.items()), signature=signature, counted_flops=1
    )


RMS_PROBLEMS = [
    rms_norm(8192, 8192),
    rms_norm(16, 4096),
    rms_norm(300, 16384, "float32"),
    rms_norm(2048, 1000, "float16", "int8"),
]
ENTROPY_PROBLEMS = [
    cross_entropy(4096, 128256),
    cross_entropy(64, 32000, "float32"),
    cross_entropy(8, 50257, "float16"),
]


@pytest.mark.nvcc
@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("arch", ["sm_80", "sm_89", "sm_90a"])
@pytest.mark.parametrize(
    ("family", "shown"), [("rms_norm_rows", RMS_PROBLEMS), ("cross_entropy_rows", ENTROPY_PROBLEMS)]
)
def test_of_what_the_space_yields_nine_in_ten_compile_almost_without_spills(family, shown, arch, tmp_path):
    target = cuda.of_arch(arch)
    fp8 = [rms_norm(512, 4096, quantize="fp8")] if family == "rms_norm_rows" and arch != "sm_80" else []
    # What only Hopper has, clusters and early launches, no draw shows on others.
    sources = spread(family, shown + fp8, target.facts, missing_is_fine=arch != "sm_90a")
    builds = build_all(sources, target, tmp_path)
    # A thread that stores and loads a few bytes for a row does not show beside the row.
    lossy = [where for where, each in builds.items() if each.report.spill_bytes > 4 * FEW_REGISTERS]
    assert len(lossy) <= len(builds) // 10, lossy


def task(problem: FunctionProblem, genome: dict, variant: str = "normal", **facts: int) -> dict:
    assert load(f"{problem.name}_rows").space([problem], {**FACTS, **facts}).violations(Genome(genome)) == []
    return {
        "family": f"{problem.name}_rows", "genome": genome, "problem": problem.name, "shape": dict(problem.sizes),
        "variant": variant, "device": facts,
    }  # fmt: skip


# Rows of one block one after another, the next one copied meanwhile; a cluster whose rows begin anywhere, with vectors
# in registers, in shared memory, and read again.
FEW = [
    (rms_norm(9, 1000, "float16", "int8"), {**RMS, "load": "copies", "persistent": True, "held": 1, "weight": "kept"}),
    (cross_entropy(5, 5003), {**ENTROPY, "threads": 128, "staged": 1}),
]
MORE = [
    (rms_norm(5, 2048), {**RMS, "cluster": 4, "row_threads": 32, "held": 2, "total": "late", "early": True}),
    (rms_norm(7, 520, "float32", "fp8"), {**RMS, "vector": 4, "row_threads": 32, "block_rows": 4, "held": 4}),
    (rms_norm(7, 1001), {**RMS, "vector": 1, "held": 8}),
    (rms_norm(7, 1000), {**RMS, "held": 0, "weight": "late", "block_rows": 2}),
    (cross_entropy(5, 5003, "float16"), {**ENTROPY, "cluster": 1, "threads": 128, "held": 4, "staged": 1}),
    (cross_entropy(5, 3000, "float32"), {**ENTROPY, "vector": 4, "threads": 256, "staged": 1}),
    (
        cross_entropy(3, 9000),
        {**ENTROPY, "threads": 128, "held": 0, "staged": 0, "ahead": False, "step": 2, "persistent": False},
    ),
]


def test_rows_are_computed_right_on_an_emulated_device():
    tasks = [task(problem, genome, multiprocessors=2) for problem, genome in FEW]
    assert [told["wrong"] for told in emulate(tasks)] == [""] * len(tasks)


@pytest.mark.long
def test_rows_are_computed_right_in_every_way_and_whatever_they_hold():
    variants = ("large", "infinite", "nan", "strided")
    tasks = [task(*each, variant, multiprocessors=2) for each in (*FEW, *MORE) for variant in variants]
    assert [told["wrong"] for told in emulate(tasks)] == [""] * len(tasks)


@pytest.mark.parametrize(
    ("problem", "changes", "why"),
    [
        (RMS_PROBLEMS[2], {"vector": 8}, "a load moves at most 16 bytes"),
        (RMS_PROBLEMS[0], {"held": 12}, "no register stays empty in all threads"),
        (RMS_PROBLEMS[0], {"held": 1}, "to hold less than half of a row spares little"),
        (RMS_PROBLEMS[0], {"load": "copies"}, "a block with one row has none ahead, and keeps nothing for others"),
        (RMS_PROBLEMS[1], {"persistent": True}, "there are fewer rows than run at once"),
        (RMS_PROBLEMS[3], {"weight": "late"}, "a row's scale is that of its weighted elements"),
        (RMS_PROBLEMS[0], {"row_threads": 1024, "block_rows": 2}, "a block has no more threads"),
        (ENTROPY_PROBLEMS[0], {"persistent": False}, "the next row takes the place of this one in shared memory"),
        (ENTROPY_PROBLEMS[0], {"staged": 16}, "the blocks of a multiprocessor share its shared memory"),
        (ENTROPY_PROBLEMS[1], {"vector": 8}, "a load moves at most 16 bytes"),
        (ENTROPY_PROBLEMS[0], {"blocks": 3}, "the blocks of a multiprocessor share its threads"),
    ],
)
def test_what_cannot_be_is_known_before_it_is_built(problem, changes, why):
    usual = RMS if problem.name == "rms_norm" else ENTROPY
    broken = load(f"{problem.name}_rows").space([problem], FACTS).violations(Genome({**usual, **changes}))
    assert why in [each.why for each in broken]


@pytest.mark.parametrize("arch", ["sm_80", "sm_89", "sm_90a"])
def test_a_row_of_a_large_vocabulary_is_read_once_where_a_block_or_a_cluster_holds_it(arch):
    facts = cuda.of_arch(arch).facts
    whole = {**ENTROPY, "cluster": 1, "held": 3, "staged": 13} if arch == "sm_80" else ENTROPY
    space = load("cross_entropy_rows").space([ENTROPY_PROBLEMS[0]], facts)
    broken = [each.why for each in space.violations(Genome(whole))]
    if arch == "sm_90a":
        assert not broken
        derived = space.derived(Genome(whole))
        assert derived["kept_vectors"] >= derived["vectors"]
    else:
        assert "the blocks of a multiprocessor share its shared memory" in broken
