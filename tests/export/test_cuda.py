"""The exported CUDA module: its build everywhere that nvcc is, its calls on a GPU."""

import importlib
import random
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evoflash.codegen.template import load as load_family
from evoflash.export.package import write
from evoflash.export.winner import Winner
from evoflash.flattening import flatten
from evoflash.problems import attention
from evoflash.targets import cuda, nvrtc

from .conftest import cuda_winner, load


@pytest.mark.nvcc
@pytest.mark.parametrize("arch", [80, 90])
def test_builds_in_the_two_steps_of_the_search(arch: int, tmp_path: Path, cache: Path):
    name = f"exported_cuda_{arch}"
    load(name, write(cuda_winner(name, arch), tmp_path / "out"))
    build = importlib.import_module(f"{name}._build")
    commands = [
        shlex.split(found.replace("$$", "$"))
        for found in re.findall(r"command = (.*)", build._rules())
        if "binding" not in found
    ]
    own = str(build.NVRTC_SCRIPT)
    steps = [step.command.replace(nvrtc.__file__, own) for step in cuda.of_arch(str(arch)).steps()]
    steps = [step.replace(cuda.LAUNCHER_FLAGS, cuda.PACKAGED_LAUNCHER_FLAGS) for step in steps]
    searched = [shlex.split(step.replace(cuda.fast_linker(), "")) for step in steps]  # whoever has none builds, too
    assert [sorted(command[1:]) for command in commands] == [sorted(command[1:]) for command in searched]
    assert build.libraries().kernels[0].stat().st_size > 0


@pytest.mark.nvcc
def test_builds_several_kernels(tmp_path: Path, cache: Path):
    first = cuda_winner("exported_cuda_two")
    second = replace(first, source=first.source + "// another\n")
    load(first.name, write(replace(first, others=(second,)), tmp_path / "out"))
    kernels = importlib.import_module("exported_cuda_two._build").libraries().kernels
    assert [each.name for each in kernels] == ["kernel.so", "kernel_2.so"]
    assert all(each.is_file() for each in kernels)


FEATURES = (
    "mask=bk",
    "mask=bhqk,causal",
    "bias=hqk",
    "causal,window=40",
    "window=30:20,align=bottom_right",
    "causal,align=bottom_right",
    "softcap=3,causal",
    "alibi,causal,align=bottom_right",
    "sinks,causal",
    "causal,window=40,softcap=2,mask=bqk,alibi,sinks",
)
# Of sequences with lengths, pages, or values that are columns of keys, by the families that take them.
OF_SEQUENCES = (
    ("decode", "lengths=uniform"),
    ("decode", "lengths=uniform,page=16"),
    ("decode", "page=16"),
    ("decode", "lengths=uniform,page=16,causal,window=40"),
    ("scalar", "lengths=uniform,page=8,causal"),
    ("scalar", "latent,v=32"),
    ("latent", "latent,v=64"),
)
KINDS = (*((family, features) for family in ("scalar", "mma") for features in FEATURES), *OF_SEQUENCES)


def featured_winner(name: str, family: str, features: str, arch: int) -> Winner:
    """A kernel of a family, drawn for a problem with features."""
    problem = attention.parse(f"b=2,h=4,kv=2,s=128,d=64,{features}")
    facts, template = cuda.of_arch(str(arch)).facts, load_family(family)
    genome = template.space([problem], facts).sample(random.Random(0))
    source = flatten(template.render(genome, problem, facts).text)
    return replace(
        cuda_winner(name, arch), family=family, genome=dict(genome), source=source, problem=problem, cases=()
    )


@pytest.mark.nvcc
def test_builds_a_kernel_with_features(tmp_path: Path, cache: Path):
    winner = featured_winner("exported_cuda_mask", "scalar", "mask=bk", 90)
    module = load(winner.name, write(winner, tmp_path / "out"))
    assert importlib.import_module("exported_cuda_mask._build").libraries().kernels[0].stat().st_size > 0
    assert module._operators.table()[0]["attn_mask"] == "bool"


def test_inputs_on_the_cpu_go_to_sdpa(tmp_path: Path):
    module = load("exported_cuda_on_cpu", write(cuda_winner("exported_cuda_on_cpu"), tmp_path / "out"))
    q = k = v = torch.randn(1, 2, 8, 64, dtype=torch.float16)
    assert not module.is_supported(q, k, v)
    torch.testing.assert_close(module.attention(q, k, v), torch.nn.functional.scaled_dot_product_attention(q, k, v))


def test_says_what_to_install_without_a_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    load("exported_no_toolkit", write(cuda_winner("exported_no_toolkit"), tmp_path / "out"))
    build = importlib.import_module("exported_no_toolkit._build")
    monkeypatch.setattr(build.Path, "is_file", lambda path: False)
    with pytest.raises(build.BuildError, match=r"no CUDA toolkit .* CUDA_HOME"):
        build.libraries()


@pytest.mark.gpu
def test_launches_on_the_current_stream_and_in_a_graph(tmp_path: Path, cache: Path):
    """The trivial kernel clears the first sixteen numbers of its output; of a float16 tensor, the first thirty-two."""
    major, minor = torch.cuda.get_device_capability()
    name = "exported_cuda_launched"
    module = load(name, write(cuda_winner(name, 10 * major + minor), tmp_path / "out"))
    q = torch.randn(1, 1, 1, 64, dtype=torch.float16, device="cuda")
    assert module.is_supported(q, q, q)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        assert not module.attention(q, q, q)[..., :32].any()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = module.attention(q, q, q)
    out.fill_(1)
    graph.replay()
    assert not out[..., :32].any()
    assert out[..., 32:].all()


@pytest.mark.gpu
@pytest.mark.parametrize(("family", "features"), KINDS)
def test_kernels_with_features_compute_on_a_gpu(family: str, features: str, tmp_path: Path, cache: Path):
    major, minor = torch.cuda.get_device_capability()
    name = f"exported_{family}_{KINDS.index((family, features))}"
    module = load(name, write(featured_winner(name, family, features, 10 * major + minor), tmp_path / "out"))
    selftest = importlib.import_module(f"{name}.selftest")
    assert selftest.main() == 0
    case = selftest.CASES[0]
    assert selftest.check(case).by_kernel
    (q, k, v), options = case.inputs(), case.options()
    expected = module.attention(q, k, v, **options)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = module.attention(q, k, v, **options)
    out.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(out, expected)
    compiled = torch.compile(module.attention, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(q, k, v, **options), expected)
    gradients = []
    for compute in (module.attention, selftest.by_pytorch):
        leaves = [each.detach().requires_grad_() for each in (q, k, v)]
        gradients.append(torch.autograd.grad(compute(*leaves, **options).square().sum(), leaves))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)
