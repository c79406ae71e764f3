"""Kernels that are launched before the kernel ahead of them has ended: they wait before they read anything of its."""

import random
import re
import subprocess

import pytest

from evoflash.codegen.template import load
from evoflash.problems import attention
from evoflash.targets import cuda

# All threads read a head's sink, and a sequence's length.
SINKS = "b=1,h=2,s=200,d=64,sinks"
LENGTHS = "b=2,h=8,kv=2,s=1,t=900,d=64,lengths=uniform,page=16"
WAIT, BEGIN_NEXT = "griddepcontrol.wait", "griddepcontrol.launch_dependents"
# What reads or writes global memory. The parameters of a launch are there when it begins.
GLOBAL = r"ld\.global|st\.global|ld\.const|cp\.async\.(ca|cg|bulk)|atom\.|red\."


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("family", "shape"),
    [
        ("split", SINKS),
        ("decode", LENGTHS),
        pytest.param("mma", SINKS, marks=pytest.mark.long),
        pytest.param("hopper", SINKS, marks=pytest.mark.long),
    ],
)
def test_an_early_kernel_waits_before_it_reads(family, shape, tmp_path):
    target, template, problem = cuda.of_arch("sm_90a"), load(family), attention.parse(shape)
    space = template.space([problem], target.facts)
    genome = space.repair({"early": True, "specialised": False, "dependent": False}, random.Random(0))
    for early in (True, False):
        text = template.render(genome.replace(early=early), problem, target.facts).text
        (tmp_path / "kernel.cu").write_text(text)
        command = [cuda.nvcc(), "-arch=sm_90a", "-std=c++17", "-DEVOFLASH_DEVICE_ONLY", "-ptx", "kernel.cu"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
        ptx = (tmp_path / "kernel.ptx").read_text()
        if not early:
            assert WAIT not in ptx
            assert BEGIN_NEXT not in ptx
            continue
        kernel = ptx[ptx.index(".entry attention_kernel") :]
        first = re.search(GLOBAL, kernel)
        assert first is not None
        assert kernel.index(WAIT) < first.start()
        assert kernel.index(WAIT) < kernel.index(BEGIN_NEXT)
