"""Other forms of an export: each is built or loaded by what it is made for, where that is installed."""

import ast
import importlib.util
import json
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from evoflash.errors import UsageError
from evoflash.export.formats import FORMATS
from evoflash.export.formats.kernelbench import raw_literal
from evoflash.export.winner import Winner
from evoflash.problems.attention import AttentionProblem

from .conftest import cpu_winner, cuda_winner, featured_winner

GROUPED = AttentionProblem.of(2, 4, 40, 16, kv_heads=2, dtype="float32")
WINNERS = [
    pytest.param(cpu_winner("formatted"), id="cpu"),
    pytest.param(replace(cpu_winner("formatted"), problem=GROUPED), id="cpu, grouped"),
    pytest.param(cuda_winner("formatted"), id="sm_90a"),
    pytest.param(cuda_winner("formatted", 80), id="sm_80"),
]
# A kernel for sm_90a may have instructions that sm_90 lacks, so a build for sm_90 beside it would fail.
NEEDS_90A = """
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#error "built for another architecture than sm_90a"
#endif
"""
HOPPER = replace(cuda_winner("formatted"), source=cuda_winner("formatted").source + NEEDS_90A)
CUDA = [
    pytest.param(cuda_winner("formatted", 80), id="sm_80", marks=pytest.mark.long),
    pytest.param(HOPPER, id="sm_90a"),
]

# Of kernel-builder's header of this name, what a binding uses.
REGISTRATION = """\
#include <Python.h>
#define TORCH_LIBRARY_EXPAND(NAME, MODULE) TORCH_LIBRARY(NAME, MODULE)
#define REGISTER_EXTENSION(NAME)
"""
OPERATORS = """\
import torch

torch.ops.load_library({library!r})
ops = torch.ops.{namespace}


def add_op_namespace_prefix(name):
    return f"{namespace}::{{name}}"
"""

# Prints what example.c makes of each 16-bit pattern, and of that number again.
CONVERSIONS = """\
#define main example_main
#include "example.c"
#undef main
size_t evoflash_workspace_bytes(const Attention *problem) { return problem == NULL; }
int evoflash_launch(const Attention *problem, void *stream) { return problem == stream; }
int main(void) {
  for (unsigned i = 0; i < 65536; i++) {
    const double value = to_double((Element)i);
    printf("%a %u\\n", value, isfinite(value) ? to_element(value) : 0u);
  }
  return 0;
}
"""


def written(name: str, winner: Winner, folder: Path) -> Path:
    for path, text in FORMATS[name](winner).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return folder


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def inputs(problem: AttentionProblem) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in problem.input_shapes()]


@pytest.mark.parametrize("winner", WINNERS)
@pytest.mark.parametrize("name", FORMATS)
def test_is_pure_and_holds_the_source_unchanged(name: str, winner: Winner):
    other = replace(winner, source=winner.source + "// another\n")
    files = FORMATS[name](replace(winner, others=(other,)))
    assert files == FORMATS[name](winner)
    texts = [*files.values()]
    if name == "flashinfer-bench":
        (solution,) = (json.loads(text) for path, text in files.items() if path.startswith("solutions/"))
        texts = [source["content"] for source in solution["sources"]]
    assert any(winner.source in text for text in texts)


@pytest.mark.parametrize("winner", WINNERS)
@pytest.mark.parametrize("name", FORMATS)
def test_python_and_line_lengths_are_in_order(name: str, winner: Winner, tmp_path: Path):
    winner = replace(winner, source="int short_lines;\n")  # those of a kernel are its own
    written(name, winner, tmp_path)
    if name == "flashinfer-bench":
        (solution,) = tmp_path.rglob("solution.json")
        main, _ = json.loads(solution.read_text())["sources"]
        (tmp_path / main["path"]).write_text(main["content"])
    assert importlib.util.find_spec("ruff") is not None
    run(sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "120", "--select", "E,F,W", tmp_path)
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.suffix not in (".json", ".jsonl") and "build" not in file.parts:
            assert max(map(len, file.read_text().splitlines())) <= 120, file


@pytest.fixture(scope="module")
def cmake() -> str:
    found = shutil.which("cmake")
    if found is None:
        pytest.skip("cmake is not installed")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("problem", [cpu_winner("formatted").problem, GROUPED], ids=["plain", "grouped"])
def test_c_example_is_within_its_bound(problem: AttentionProblem, tmp_path: Path, cmake: str):
    folder = written("c", replace(cpu_winner("formatted"), problem=problem), tmp_path)
    flags = "-DCMAKE_C_FLAGS=-Wall -Wextra -Wpedantic -Werror"
    run(cmake, "-B", folder / "build", "-S", folder, flags)
    run(cmake, "--build", folder / "build")
    assert ", within the bound of" in run(folder / "build" / "example")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("score * p->scale", "score * p->scale * 1.01f", "NOT within"),
        ("out[d] = float(total / sum)", "(void)total", "error in 192 of 192 rows: nan"),
        ("if (p->q.size[3] != kHeadSize", "if (p->q.size[3] == kHeadSize", "declines"),
    ],
)
def test_c_example_finds_a_wrong_kernel(right: str, wrong: str, says: str, tmp_path: Path, cmake: str):
    winner = cpu_winner("formatted")
    assert right in winner.source
    folder = written("c", replace(winner, source=winner.source.replace(right, wrong)), tmp_path)
    run(cmake, "-B", folder / "build", "-S", folder)
    run(cmake, "--build", folder / "build")
    done = subprocess.run([folder / "build" / "example"], capture_output=True, text=True)
    assert done.returncode == 1
    assert says in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("features", ["lengths=24+0,page=4,causal", "page=5", "latent,v=8"])
def test_c_example_of_sequences_finds_a_wrong_kernel(features: str, tmp_path: Path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler (cc) is not installed")
    winner = featured_winner("formatted", features)
    right = "RAGGED ? static_cast<const int32_t *>(p->lengths.data)[b] : longest(p);"
    wrong = "int(std::fmax(0, (RAGGED ? static_cast<const int32_t *>(p->lengths.data)[b] : longest(p)) - 1));"
    assert right in winner.source
    for source, says in (
        (winner.source, ", within the bound of"),
        (winner.source.replace(right, wrong), "NOT within"),
    ):
        folder = written("c", replace(winner, source=source), tmp_path / says.strip(", "))
        flags = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
        run(compiler, *flags, "-c", "example.c", "-o", "example.o", cwd=folder)
        run("g++", "-std=c++17", "kernel.cpp", "example.o", "-o", "example", "-lm", cwd=folder)
        assert says in subprocess.run([folder / "example"], capture_output=True, text=True).stdout


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_c_example_converts_as_pytorch(dtype: str, tmp_path: Path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler (cc) is not installed")
    problem = AttentionProblem.of(1, 1, 1, 16, dtype=dtype)
    folder = written("c", replace(cpu_winner("formatted"), problem=problem), tmp_path)
    (folder / "conversions.c").write_text(CONVERSIONS)
    run(compiler, "-std=c99", "-o", folder / "conversions", folder / "conversions.c", "-lm")
    lines = [line.split() for line in run(folder / "conversions").splitlines()]
    bits = torch.arange(65536, dtype=torch.int32).to(torch.int16)
    values = bits.view(getattr(torch, dtype)).double()
    ours = torch.tensor([float.fromhex(value) for value, _ in lines], dtype=torch.float64)
    torch.testing.assert_close(ours, values, rtol=0, atol=0, equal_nan=True)
    is_normal = values.isfinite() & (values.abs() >= torch.finfo(getattr(torch, dtype)).smallest_normal)
    again = torch.tensor([int(element) for _, element in lines])
    assert torch.equal(again[is_normal], torch.arange(65536)[is_normal])


@pytest.mark.nvcc
@pytest.mark.slow
@pytest.mark.parametrize("winner", CUDA)
def test_c_builds_for_cuda(winner: Winner, tmp_path: Path, cmake: str):
    folder = written("c", winner, tmp_path)
    run(cmake, "-B", folder / "build", "-S", folder, "-DCMAKE_C_FLAGS=-Wall -Wextra -Wpedantic -Werror")
    run(cmake, "--build", folder / "build")
    assert (folder / "build" / "libformatted.so").is_file()
    assert (folder / "build" / "example").is_file()


@pytest.mark.parametrize("winner", WINNERS)
def test_hf_kernels_names_files_that_are_there(winner: Winner, tmp_path: Path):
    folder = written("hf-kernels", winner, tmp_path)
    build = tomllib.loads((folder / "build.toml").read_text())
    (kernel,) = build["kernel"].values()
    assert build["general"]["backends"] == [kernel["backend"]] == [winner.target]
    sources = [*build["torch"]["src"], *kernel["src"]]
    assert all((folder / source).is_file() for source in sources)
    assert (folder / kernel["src"][0]).read_text() == winner.source


def test_hf_kernels_refuses_a_name_that_no_repository_has():
    with pytest.raises(UsageError, match="choose a longer name"):
        FORMATS["hf-kernels"](cpu_winner("k"))


@pytest.mark.parametrize("winner", WINNERS)
def test_hf_kernels_is_valid_for_kernels(winner: Winner, tmp_path: Path):
    models = pytest.importorskip("kernels._rust", reason="Hugging Face's `kernels` is not installed")
    folder = written("hf-kernels", winner, tmp_path)
    models.Build.open(folder)
    variant = folder / "build" / f"torch-{winner.target}"
    metadata = models.Metadata.read_from_file(variant / "metadata.json")
    metadata.digest.validate(models.Digest.hash_variant(models.DigestAlgorithm.SHA256, variant))


@pytest.mark.slow
def test_hf_kernels_loads_and_computes(tmp_path: Path, cache: Path):
    kernels = pytest.importorskip("kernels", reason="Hugging Face's `kernels` is not installed")
    winner = replace(cpu_winner("Formatted_hub"), problem=GROUPED)
    module = kernels.get_local_kernel(written("hf-kernels", winner, tmp_path), backend="cpu")
    q, k, v = inputs(GROUPED)
    torch.testing.assert_close(module.attention(q, k, v), scaled_dot_product_attention(q, k, v, enable_gqa=True))
    assert module.stats()["SDPA"] == 0
    # Another kernel by the same name, in the same process.
    other = replace(winner, source=winner.source + "// another\n")
    second = kernels.get_local_kernel(written("hf-kernels", other, tmp_path / "other"), backend="cpu")
    assert second is not module
    torch.testing.assert_close(second.attention(q, k, v), module.attention(q, k, v))


@pytest.mark.long
def test_hf_kernels_binding_computes(tmp_path: Path):
    """As kernel-builder compiles it, with stand-ins for the two files that it adds."""
    winner = replace(cpu_winner("formatted_aot"), problem=GROUPED)
    folder = written("hf-kernels", winner, tmp_path)
    (folder / "registration.h").write_text(REGISTRATION)
    build = tomllib.loads((folder / "build.toml").read_text())
    (kernel,) = build["kernel"].values()
    torch_folder, namespace = Path(torch.__file__).parent, "_formatted_aot_cpu"
    include = torch_folder / "include"
    folders = [folder, sysconfig.get_paths()["include"], include, include / "torch/csrc/api/include"]
    defines = ["-DCPU_KERNEL", f"-DTORCH_EXTENSION_NAME={namespace}", *(f"-I{each}" for each in folders)]
    compiler = ["g++", "-std=c++20", "-fPIC", "-c"]
    run(*compiler, *defines, folder / "torch-ext" / "torch_binding.cpp", "-o", folder / "binding.o")
    run(*compiler, *kernel["cxx-flags"], folder / kernel["src"][0], "-o", folder / "kernel.o")
    library = folder / "operators.so"
    libraries = [f"-L{torch_folder / 'lib'}", "-ltorch_cpu", "-lc10"]
    run("g++", "-shared", "-o", library, folder / "binding.o", folder / "kernel.o", *libraries)
    package = folder / "torch-ext" / winner.name
    (package / "_ops.py").write_text(OPERATORS.format(library=str(library), namespace=namespace))
    spec = importlib.util.spec_from_file_location(winner.name, package / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[winner.name] = module
    spec.loader.exec_module(module)

    q, k, v = inputs(GROUPED)
    wanted = scaled_dot_product_attention(q, k, v, enable_gqa=True)
    torch.testing.assert_close(module.attention(q, k, v), wanted)
    compiled = torch.compile(module.attention, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(q, k, v), wanted)
    for size, options in ((40, {"causal": True}), (7, {})):  # by SDPA: of another mask, and declined by the launcher
        expected = scaled_dot_product_attention(
            q[:, :, :size], k, v, enable_gqa=True, is_causal=options.get("causal", False)
        )
        torch.testing.assert_close(module.attention(q[:, :, :size], k, v, **options), expected)
    assert module.attention(q.clone().requires_grad_(), k, v).requires_grad
    with pytest.raises(RuntimeError, match="failed with code 42"):  # at a length that the fixture fails at
        module.attention(q[:, :, :13], k, v)


@pytest.mark.slow
@pytest.mark.parametrize("cases", [(), ("mission seed 42",)], ids=["any lengths", "its own lengths"])
def test_flashinfer_bench_builds_and_agrees_with_the_definition(
    cases: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FIB_CACHE_PATH", str(tmp_path / "cache"))
    data = pytest.importorskip("flashinfer_bench.data", reason="flashinfer-bench is not installed")
    builders = pytest.importorskip("flashinfer_bench.compile.builders.python_builder")
    winner = replace(cpu_winner("formatted"), problem=GROUPED, cases=cases)
    traces = data.TraceSet.from_path(str(written("flashinfer-bench", winner, tmp_path / "traces")))
    (definition,) = traces.definitions.values()
    ((solution,),) = traces.solutions.values()
    ((trace,),) = traces.workloads.values()
    q, k, v = inputs(GROUPED)
    assert [list(shape) for shape in definition.get_input_shapes(trace.workload.axes)] == [
        list(tensor.shape) for tensor in (q, k, v)
    ]
    out = torch.empty_like(q)
    runnable = builders.PythonBuilder().build(definition, solution)
    runnable(q, k, v, out)
    runnable.cleanup()
    names: dict[str, Any] = {}
    exec(definition.reference, names)
    torch.testing.assert_close(out, names["run"](q, k, v))


@pytest.mark.parametrize("causal", [False, True])
def test_flashinfer_bench_reference_is_attention(causal: bool):
    problem = AttentionProblem.of(2, 4, 40, 16, kv_heads=2, dtype="float32", causal=causal)
    files = FORMATS["flashinfer-bench"](replace(cpu_winner("formatted"), problem=problem))
    (definition,) = (json.loads(text) for path, text in files.items() if path.startswith("definitions/"))
    names: dict[str, Any] = {}
    exec(definition["reference"], names)
    q, k, v = inputs(problem)
    wanted = scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    torch.testing.assert_close(names["run"](q, k, v), wanted)


def model_new(winner: Winner) -> dict[str, Any]:
    """The file's names. It is run from memory, as KernelBench does, so that it has no file of its own."""
    names: dict[str, Any] = {}
    exec(compile(FORMATS["kernelbench"](winner)["model_new.py"], "<string>", "exec"), names)
    return names


@pytest.mark.parametrize("problem", [cpu_winner("formatted").problem, GROUPED], ids=["plain", "grouped"])
def test_kernelbench_models_agree(problem: AttentionProblem):
    winner = replace(cpu_winner("formatted"), problem=problem)
    names = model_new(winner)
    assert names["SOURCE"] == winner.source
    tensors = names["get_inputs"]()
    assert tuple(tuple(tensor.shape) for tensor in tensors) == problem.input_shapes()
    ours, theirs = (names[each](*names["get_init_inputs"]()) for each in ("ModelNew", "Model"))
    torch.testing.assert_close(ours(*tensors), theirs(*tensors))


def test_kernelbench_says_what_the_kernel_does_not_take(monkeypatch: pytest.MonkeyPatch):
    names = model_new(cpu_winner("formatted"))
    q, k, v = names["get_inputs"]()
    model = names["ModelNew"]()
    with pytest.raises(ValueError, match=r"made for torch\.float32, not for torch\.float16"):
        model(q.half(), k.half(), v.half())
    with pytest.raises(ValueError, match="do not fit together"):
        model(q, k[:, :, 1:], v)
    with pytest.raises(ValueError, match="last stride"):
        model(q, k.transpose(1, 3).contiguous().transpose(1, 3), v)
    with pytest.raises(ValueError, match="declines"):
        model(q[:, :, :7], k, v)
    with pytest.raises(RuntimeError, match="fails with code 42"):
        model(q[:, :, :13], k, v)
    monkeypatch.setenv("CXX", "no-such-compiler")
    fresh = model_new(cpu_winner("formatted"))
    with pytest.raises(RuntimeError, match=r"no-such-compiler cannot be run .* install g"):
        fresh["ModelNew"]()(q, k, v)
    monkeypatch.delenv("CXX")
    broken = model_new(replace(cpu_winner("formatted"), source="this is no C++\n"))
    with pytest.raises(RuntimeError, match="this is no C"):
        broken["ModelNew"]()(q, k, v)


def test_kernelbench_uses_as_many_threads_as_pytorch(monkeypatch: pytest.MonkeyPatch):
    source = "#include <omp.h>\n" + cpu_winner("formatted").source.replace(
        "return 42", "return 100 + omp_get_max_threads()"
    )
    names = model_new(replace(cpu_winner("formatted"), source=source))
    q, k, v = names["get_inputs"]()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    with pytest.raises(RuntimeError, match="fails with code 103"):
        names["ModelNew"]()(q[:, :, :13], k, v)


@pytest.mark.nvcc
@pytest.mark.slow
@pytest.mark.parametrize("winner", CUDA)
def test_kernelbench_builds_for_cuda(winner: Winner):
    assert model_new(winner)["_library"]().evoflash_workspace_bytes(None) == 0


@pytest.mark.parametrize("text", ["a\nb\n", 'say """this"""\n', "back \\ slash\n", "…\n"])
def test_raw_literal_is_read_as_it_was(text: str):
    assert ast.literal_eval(raw_literal(text)) == text


@pytest.mark.parametrize("text", ["\"\"\" and '''", "a\r\nb\n", "\\"])
def test_raw_literal_refuses_what_would_change(text: str):
    with pytest.raises(UsageError, match="as a package"):
        raw_literal(text)
