"""Kernels that are launched before the kernel ahead of them has ended: they wait before they read anything of its."""

import random
import re
import subprocess

import pytest

from evoflash import problems
from evoflash.codegen.template import load
from evoflash.targets import cuda

SHAPE = problems.parse("b=1,h=2,s=200,d=64,sinks")  # a head's sink is read by all threads
WAIT, BEGIN_NEXT = "griddepcontrol.wait", "griddepcontrol.launch_dependents"
# What reads or writes global memory. The parameters of a launch are there when it begins.
GLOBAL = r"ld\.global|st\.global|ld\.const|cp\.async\.(ca|cg|bulk)|atom\.|red\."


@pytest.mark.nvcc
@pytest.mark.parametrize(
    "family", ["split", pytest.param("mma", marks=pytest.mark.long), pytest.param("hopper", marks=pytest.mark.long)]
)
def test_an_early_kernel_waits_before_it_reads(family, tmp_path):
    target = cuda.of_arch("sm_90a")
    template, rng = load(family), random.Random(0)
    space = template.space([SHAPE], target.facts)
    genome = space.repair({"early": True, "specialised": False}, rng)
    for early in (True, False):
        text = template.render(genome.replace(early=early), SHAPE, target.facts).text
        (tmp_path / "kernel.cu").write_text(text)
        command = [cuda.nvcc(), "-arch=sm_90a", "-std=c++17", "-DEVOFLASH_DEVICE_ONLY", "-ptx", "kernel.cu"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
        ptx = (tmp_path / "kernel.ptx").read_text()
        if not early:
            assert WAIT not in ptx
            assert BEGIN_NEXT not in ptx
            continue
        first = re.search(GLOBAL, ptx)
        assert first is not None
        assert ptx.index(WAIT) < ptx.index(BEGIN_NEXT) < first.start()
