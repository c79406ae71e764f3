"""Targets: what a compiler's words are read as, and that the shipped CUDA families compile."""

import os
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from evoflash import targets
from evoflash.codegen.template import load, load_all
from evoflash.codegen.toolchain import Toolchain
from evoflash.errors import MissingError, NotFoundError, UsageError
from evoflash.problems.attention import AttentionProblem
from evoflash.targets import cpu, cuda
from evoflash.targets.base import Figures, compiler_version, find_compiler

ARCHITECTURES = ("sm_80", "sm_89", "sm_90a")

TWO_KERNELS = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'attention_kernel' for 'sm_90a'
ptxas info    : Function properties for attention_kernel
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 96 registers, used 1 barriers, 16 bytes cumulative stack size, 5632 bytes smem, 544 bytes cmem[0]
ptxas info    : Compile time = 21.006 ms
ptxas info    : Compiling entry function 'merge_kernel' for 'sm_90a'
ptxas info    : Function properties for merge_kernel
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 128 registers, used 0 barriers
ptxas info    : Compile time = 3.1 ms
"""
PLAIN = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'attention_kernel' for 'sm_80'
ptxas info    : Function properties for attention_kernel
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, 400 bytes cmem[0]
"""


def _target(arch: int = 90) -> cuda.CudaTarget:
    return cuda.CudaTarget(device="none", facts={"arch": arch}, details={})


@pytest.mark.parametrize(("log", "figures"), [(TWO_KERNELS, Figures(128, 5632, 20, 16)), (PLAIN, Figures(40, 0, 0, 0))])
def test_what_ptxas_says(log, figures):
    assert _target().figures(log) == figures


def test_what_ptxas_warns_of():
    log = """\
ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored; unable to determine register count at entry.
ptxas info    : (C7517) warpgroup.wait is injected in around line 709 by compiler
kernel.cu(55): warning #177-D: variable "kPanelRowBytes" was declared but never referenced
ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async instructions are serialized due to insufficient \
register resources for the function 'attention_kernel'
"""
    assert _target().warnings(log + PLAIN) == (
        "'setmaxnreg' ignored; unable to determine register count at entry",
        "wgmma.mma_async instructions are serialized due to insufficient register resources for the function "
        "'attention_kernel'",
    )
    assert _target().warnings(PLAIN) == ()


@pytest.mark.parametrize("text", ["sm_90a", "sm_90", "compute_90", "9.0", "90", " 90 "])
def test_an_architecture_in_every_spelling(text):
    assert cuda.parse_arch(text) == 90


@pytest.mark.parametrize(
    ("arch", "flag"), [(80, "sm_80"), (89, "sm_89"), (90, "sm_90a"), (100, "sm_100a"), (120, "sm_120a")]
)
def test_the_flag_of_an_architecture(arch, flag):
    assert cuda.flag(arch) == flag
    assert cuda.parse_arch(flag) == arch


@pytest.mark.parametrize("text", ["sm_42", "hopper", "", "9.0.0", "sm90", "-90"])
def test_an_architecture_that_is_none(text):
    with pytest.raises(UsageError, match="choose from: sm_60"):
        cuda.parse_arch(text)


def test_an_unknown_target():
    with pytest.raises(NotFoundError, match="unknown target 'cudaa'; did you mean 'cuda'"):
        targets.detect("cudaa")


def test_a_missing_compiler_says_what_to_install():
    with pytest.raises(MissingError, match="no thing found; install it"):
        find_compiler("thing", (None, "surely-not-installed"), "install it")


def test_this_machines_cpu():
    found = cpu.detect()
    assert found.facts["cores"] >= 1
    assert found.facts["vector_bytes"] in (16, 32, 64)
    assert found.facts["l1d_bytes"] < found.facts["l2_bytes"]
    assert found.facts == cpu.detect().facts
    assert found.toolchain_digest == cpu.detect().toolchain_digest
    assert found.toolchain_digest != cpu.detect(debug=True).toolchain_digest


@pytest.mark.nvcc
def test_the_architecture_is_part_of_the_toolchain():
    digests = {cuda.of_arch(arch).toolchain_digest for arch in ARCHITECTURES}
    assert len(digests) == len(ARCHITECTURES)
    assert "release" in compiler_version(cuda.nvcc())


@pytest.mark.nvcc
@pytest.mark.timeout(600)
def test_each_shipped_cuda_family_compiles(tmp_path):
    """Two random genomes of each family for each architecture; what the compiler reports is what it is held to."""
    problem = AttentionProblem.of(1, 8, 512, 64)
    jobs = {}
    for arch in ARCHITECTURES:
        target = cuda.of_arch(arch)
        toolchain = Toolchain(target, tmp_path / arch, deadline_s=300)
        for family in sorted(load_all()):
            template = load(family)
            if template.manifest.target != "cuda" or template.refusals(problem, target.facts):
                continue
            space = template.space([problem], target.facts)
            rng = random.Random(7)  # its own: what a family draws does not depend on the spaces of others
            for genome in (space.sample(rng), space.sample(rng)):
                jobs[family, arch, genome] = (toolchain, template.render(genome, problem, target.facts))
    assert {(family, arch) for family, arch, _ in jobs} >= {(f, a) for f in ("scalar", "wmma") for a in ARCHITECTURES}
    with ThreadPoolExecutor(targets.base.usable_cores()) as pool:
        builds = dict(zip(jobs, pool.map(lambda job: job[0].build(job[1]), jobs.values()), strict=True))
    for (family, arch, genome), build in builds.items():
        where = f"{family} {arch} {genome}"
        assert build.library is not None, f"{where}: {build.reason}"
        report = build.report
        assert 16 <= (report.registers or 0) <= 255, where
        assert report.spill_bytes == 0, where
        source = jobs[family, arch, genome][1]
        assert report.shared_bytes is not None, where
        assert report.shared_bytes >= (source.shared_bytes or 0), where


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("family", "genes"),
    [
        ("mma", {"split": 2, "split_by": "grid", "specialised": True}),
        ("mma", {"split": 1, "specialised": False}),
        ("hopper", {"split": 2}),
        ("split", {"split": 2}),
        ("wmma", {}),
        ("scalar", {}),
    ],
)
def test_nvcc_compiles_device_code_too(family, genes, tmp_path):
    """NVRTC takes whatever is not marked for device code, nvcc does not."""
    target, problem = cuda.of_arch("sm_90a"), AttentionProblem.of(1, 8, 512, 64)
    template, rng = load(family), random.Random(3)
    space = template.space([problem], target.facts)
    drawn = (space.sample(rng) for _ in range(2000))
    genome = next(each for each in drawn if all(each[name] == value for name, value in genes.items()))
    (tmp_path / "kernel.cu").write_text(template.render(genome, problem, target.facts).text)
    command = [cuda.nvcc(), "-ptx", "-std=c++17", "-DEVOFLASH_DEVICE_ONLY", "-arch=sm_90a", "kernel.cu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_linker_that_does_not_work_is_not_used(tmp_path, monkeypatch):
    for name in ("ld.lld", "ld.gold"):
        (tmp_path / name).write_text("#!/bin/sh\necho cannot open libstdc++.so >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CXX", f"{cuda.cxx()} -B{tmp_path}")  # where the compiler looks first
    assert cuda.fast_linker.__wrapped__() == ""
