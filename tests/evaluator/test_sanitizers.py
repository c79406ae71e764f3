"""What the sanitizers say, read; and what is launched under them."""

from dataclasses import replace

import pytest

from evoflash import targets
from evoflash.errors import MissingError
from evoflash.evaluator import sanitizers
from evoflash.evaluator.sanitizers import read_cpu, read_cuda
from evoflash.problems import AttentionProblem
from evoflash.targets.cuda import CudaTarget
from evoflash.template import load
from evoflash.toolchain import Toolchain
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


def test_a_complaint_of_compute_sanitizer_refuses_and_a_warning_is_kept():
    found = read_cuda("memcheck", MEMCHECK, 86)
    assert (found.clean, found.summary) == (False, "Invalid __global__ read of size 2 bytes")
    found = read_cuda("racecheck", RACES, 0)
    assert (found.clean, found.summary) == (True, "nothing on 4 problems")
    assert found.warnings == ("Warning: Race reported between Write access at attention_kernel+0x50",)
    assert "1 warnings" in str(found)
    hazard = read_cuda("racecheck", RACES.replace("0 errors, 1 warning", "2 errors, 0 warnings"), 86)
    assert not hazard.clean


@pytest.mark.parametrize("output", ["", "no such tool", "========= COMPUTE-SANITIZER\n"])
def test_a_tool_that_failed_is_no_clean_bill(output):
    assert not read_cuda("memcheck", output, 1).clean


def test_a_kernel_that_was_never_launched_is_not_called_clean_for_it():
    silent = "========= COMPUTE-SANITIZER\nlaunched 0 of 3\n========= ERROR SUMMARY: 0 errors\n"
    assert "not watched" in read_cuda("memcheck", silent, 0).summary
    assert not read_cpu("address", "killed", -9).clean


def test_words_of_address_and_undefined_behaviour_sanitizer():
    output = "==7==ERROR: AddressSanitizer: heap-buffer-overflow on address 0x60 at pc 0x7f\nREAD of size 32 at 0x60\n"
    assert read_cpu("address", output, 86).summary == "AddressSanitizer: heap-buffer-overflow, READ of size 32"
    undefined = read_cpu("undefined", "kernel.cpp:12:3: runtime error: shift exponent 40\nlaunched 1 of 1\n", 0)
    assert (undefined.clean, undefined.summary) == (False, "runtime error: shift exponent 40")


def test_a_right_kernel_is_clean(tmp_path):
    target = targets.detect("cpu")
    space = load("tiny", [TINY]).space(PROBLEM, target.facts)
    source = load("tiny", [TINY]).render(next(iter(space.genomes())), PROBLEM, target.facts)
    (found,) = sanitizers.run(target, Toolchain(target, tmp_path), source, PROBLEM)
    assert found.clean, found
    assert "nothing on" in found.summary


def test_only_small_problems_of_the_kernels_own_kind_are_launched():
    large = AttentionProblem.of(1, 8, 4096, 64, dtype="bfloat16", causal=True)
    chosen = sanitizers.problems_of(large)
    assert chosen
    assert large not in chosen
    assert all(each.flops <= sanitizers.LARGEST_FLOPS and each.causal and each.dtype == "bfloat16" for each in chosen)
    assert any(each.kv_heads < each.heads for each in chosen)


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
