"""What the sanitizers say, read; and what is launched under them."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from evoflash import targets
from evoflash.codegen.amalgamation import self_contained
from evoflash.codegen.source import Source
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Toolchain
from evoflash.errors import MissingError
from evoflash.evaluator import sanitizers
from evoflash.evaluator.sanitizers import read_cpu, read_cuda
from evoflash.problems import dtypes
from evoflash.problems.attention import AttentionProblem
from evoflash.problems.function.description import describe
from evoflash.targets.cuda import CudaTarget
from evoflash.worker.sanitized_launch import PERIOD, elements, packed
from tests.helpers import PROBLEM, TINY

MEMCHECK = """\
========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 2 bytes
=========     at attention_kernel+0x120
=========     Address 0x7f is out of bounds
========= ERROR SUMMARY: 3 errors
"""
RACES = """\
========= COMPUTE-SANITIZER
launched 4 of 6
========= Warning: Race reported between Write access at attention_kernel+0x50
========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)
"""
ONLY_512 = """
#include "attention.h"
extern "C" size_t evoflash_workspace_bytes(const Attention *) { return 0; }
extern "C" int evoflash_launch(const Attention *p, void *) {
  if (p->q.size[2] != 512) return EVOFLASH_UNSUPPORTED;
  static_cast<volatile short *>(p->out.data)[p->q.size[0] * p->out.stride[0]] = 0;
  return 0;
}
"""


def test_a_complaint_of_compute_sanitizer_refuses_and_so_does_a_hazard_that_it_warns_of():
    found = read_cuda("memcheck", MEMCHECK, 86)
    assert (found.clean, found.summary) == (False, "Invalid __global__ read of size 2 bytes")
    found = read_cuda("racecheck", RACES, 0)
    assert not found.clean
    assert found.summary == "Warning: Race reported between Write access at attention_kernel+0x50"
    hazard = read_cuda("racecheck", RACES.replace("0 errors, 1 warning", "2 errors, 0 warnings"), 86)
    assert not hazard.clean


def test_any_other_warning_is_kept():
    output = MEMCHECK.replace("Invalid", "Warning: unaligned").replace("3 errors", "0 errors")
    found = read_cuda("memcheck", output.replace("=========     ", "") + "launched 4 of 6\n", 0)
    assert (found.clean, found.summary) == (True, "no errors on 4 problems")
    assert found.warnings == ("Warning: unaligned __global__ read of size 2 bytes",)
    assert "1 warnings" in str(found)


@pytest.mark.parametrize("output", ["", "no such tool", "========= COMPUTE-SANITIZER\n"])
def test_a_tool_that_failed_is_no_clean_bill(output):
    assert not read_cuda("memcheck", output, 1).clean


def test_a_kernel_that_was_never_launched_is_not_called_clean_for_it():
    silent = "========= COMPUTE-SANITIZER\nlaunched 0 of 3\n========= ERROR SUMMARY: 0 errors\n"
    assert "not checked" in read_cuda("memcheck", silent, 0).summary
    assert not read_cpu("address", "killed", -9).clean


def test_words_of_address_and_undefined_behaviour_sanitizer():
    output = "==7==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x60 at pc 0x7f\nREAD of size 32 at 0x60\n"
    assert read_cpu("address", output, 86).summary == "AddressSanitizer: heap-buffer-overflow, READ of size 32"
    undefined = read_cpu("undefined", "kernel.cpp:12:3: runtime error: shift exponent 40\nlaunched 1 of 1\n", 0)
    assert (undefined.clean, undefined.summary) == (False, "runtime error: shift exponent 40")


def test_a_right_kernel_is_clean(tmp_path):
    target = targets.detect("cpu")
    space = load("tiny", [TINY]).space([PROBLEM], target.facts)
    source = load("tiny", [TINY]).render(next(iter(space.genomes())), PROBLEM, target.facts)
    (found,) = sanitizers.run(target, Toolchain(target, tmp_path), source, PROBLEM)
    assert found.clean, found
    assert "no errors on" in found.summary


def test_the_problem_itself_and_small_ones_of_its_kind_are_launched():
    large = AttentionProblem.of(1, 8, 4096, 64, dtype="bfloat16", causal=True)
    chosen = sanitizers.problems_of(large, "cpu")
    assert chosen
    assert large not in chosen  # on a CPU; a GPU has done it before one sees that it began
    assert all(each.flops <= sanitizers.SMALL_FLOPS and each.causal and each.dtype == "bfloat16" for each in chosen)
    assert any(each.kv_heads < each.heads for each in chosen)
    assert sanitizers.problems_of(large, "cuda") == [large, *chosen][: sanitizers.MAX_PROBLEMS]


def test_a_kernel_that_takes_its_own_lengths_only_is_watched_too(tmp_path):
    mission, target = AttentionProblem.of(1, 8, 512, 64), targets.detect("cpu")
    (tmp_path / "only_512.cpp").write_text(ONLY_512)
    source = Source(self_contained(tmp_path / "only_512.cpp", mission), "c++")
    (found,) = sanitizers.run(target, Toolchain(target, tmp_path), source, mission)
    assert not found.clean
    assert "heap-buffer-overflow, WRITE" in found.summary


@pytest.mark.parametrize(("dtype", "width"), [("float16", 2), ("bfloat16", 2), ("float32", 4)])
def test_elements_of_a_large_tensor_repeat(dtype, width):
    some = elements(PERIOD + 5, dtype, random.Random(0))
    assert len(some) == width * (PERIOD + 5)
    assert some[: 5 * width] == some[PERIOD * width :] != some[5 * width : 10 * width]


def test_a_missing_sanitizer_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(sanitizers.cuda, "toolkit", lambda: tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="install the CUDA toolkit"):
        sanitizers.require(CudaTarget(device="none", facts={"arch": 90}, details={}))


def test_the_sanitized_build_is_another_than_the_plain_one(tmp_path):
    target = targets.detect("cpu")
    watched = replace(target, sanitize=True)
    assert "-fsanitize=address,undefined" in watched.steps()[0].command
    assert watched.toolchain_digest != target.toolchain_digest


SHIPPED = Path(__file__).parents[2] / "problems"


@pytest.mark.parametrize(
    ("name", "family", "sizes"),
    [
        ("rms_norm", "cpu_rms_norm", {"rows": 5, "columns": 200, "quantize": "int8"}),  # writes integers
        ("cross_entropy", "cpu_cross_entropy", {"rows": 5, "vocabulary": 200}),  # reads indices
    ],
)
def test_a_right_kernel_of_a_function_is_clean(tmp_path, name, family, sizes):
    alone = re.sub(r"(?m)^(vary|cases) = .*$", "", (SHIPPED / f"{name}.py").read_text())
    problem, target = describe(f"{name}.py", alone, sizes, "cpu"), targets.detect("cpu")
    template = load(family)
    genome = template.space([problem], target.facts).sample(random.Random(0))
    source = template.render(genome, problem, target.facts)
    (found,) = sanitizers.run(target, Toolchain(target, tmp_path), source, problem)
    assert (found.clean, found.summary) == (True, "no errors on 1 problems")


@pytest.mark.parametrize("dtype", list(dtypes.BYTES))
def test_elements_of_every_type_that_kernels_take_fill_a_tensor(dtype):
    if "float" in dtype or dtype == "bool":
        assert len(elements(17, dtype, random.Random(0))) == 17 * dtypes.BYTES[dtype]
    if "float" not in dtype:
        assert len(packed([0, 1], 17, dtype)) == 17 * dtypes.BYTES[dtype]
