"""The family on AMX tiles: what it compiles to, where it is left out, and that random genomes of it are right.

Where the processor has AVX-512 but no tiles, fixtures/amx_tiles.h computes what they would.
"""

import functools
import random
import re
import shlex
import subprocess
from typing import Any

import pytest

from evoflash import targets
from evoflash.bench.entrants import FixedEntrant
from evoflash.codegen.source import Source
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.genome import Genome
from evoflash.problems import Problem, attention
from evoflash.targets.base import cxx
from evoflash.verify.verification import Verification
from tests.helpers import FIXTURES
from tests.mutants import corpus

FAMILY = load("cpu_amx")
XEON = {"cores": 2, "vector_bytes": 64, "l1d_bytes": 48 << 10, "l2_bytes": 2 << 20, "bf16_dot": True, "amx": True}
RIGHT = {
    "fp16": "b=1,h=4,kv=2,s=257,d=64",
    "bf16 causal": "b=1,h=2,s=300,d=128,dtype=bf16,causal",
    "bf16, a head size between": "b=1,h=2,s=130,d=72,dtype=bf16",
    "fp32 causal": "b=1,h=2,s=257,d=64,dtype=fp32,causal",
}
INCLUDE = '#include "cpu_vector.h"\n'  # after it, the two headers declare the same
INFINITE = {each.name: each for each in corpus.mutants("cpu") if each.name.startswith("tiles_infinity")}


@functools.cache
def knows_tiles() -> bool:
    """Whether the compiler does; the processor need not."""
    command = [*shlex.split(cxx()), "-march=sapphirerapids", "-E", "-x", "c++", "/dev/null"]
    return subprocess.run(command, capture_output=True).returncode == 0


def assembly(problem: Problem, genome: Genome) -> str:
    """What a compiler makes of a kernel; without loops unrolled or code that stands twice."""
    if not knows_tiles():
        pytest.skip("this compiler has no AMX tiles")
    source = FAMILY.render(genome, problem, XEON).text
    flags = "-std=c++17 -O1 -march=sapphirerapids -fopenmp -S -x c++ - -o -"
    command = [*shlex.split(cxx()), *flags.split()]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("dtype", "products"), [("bf16", 1), ("fp16", 3), ("fp32", 6)])
def test_a_number_is_as_many_parts_as_it_takes(dtype, products):
    found, whole = multiplications(dtype), multiplications("bf16")
    assert set(found) == {"%tmm2, %tmm1, %tmm0"}
    assert len(whole) >= 2  # of both matrix products
    assert len(found) == products * len(whole)


def multiplications(dtype: str) -> list[str]:
    problem = attention.parse(f"b=1,h=2,s=64,d=64,dtype={dtype}")
    ones = {"qk_rows": 1, "qk_columns": 1, "pv_rows": 1, "pv_columns": 1}
    genome = FAMILY.space([problem], XEON).repair(ones, random.Random(0))
    return re.findall(r"tdpbf16ps (.*)", assembly(problem, genome))


@pytest.mark.parametrize("seed", range(5))
def test_no_tile_register_is_used_that_there_is_not(seed):
    problem = attention.parse("mission")
    text = assembly(problem, FAMILY.space([problem], XEON).sample(random.Random(seed)))
    used = {int(number) for number in re.findall(r"tile\w+ .*%tmm(\d)", text)}
    assert 3 <= len(used) <= 8
    assert used == set(range(len(used)))


def test_a_processor_without_tiles_is_left_out():
    (reason,) = FAMILY.refusals(attention.parse("mission"), {**XEON, "amx": False})
    assert "AMX" in str(reason)


def one_quick(choices: dict[str, str], chosen: str) -> list[Any]:
    """The parameters of a test, of which all but one are long."""
    return [
        pytest.param(each, id=name, marks=() if name == chosen else pytest.mark.long) for name, each in choices.items()
    ]


@pytest.mark.parametrize("shape", one_quick(RIGHT, "bf16, a head size between"))
def test_random_genomes_are_right_on_every_case(shape, tmp_path):
    target = targets.detect("cpu")
    if not target.facts["amx"]:
        pytest.skip("this processor has no AMX tiles for bfloat16")
    problem = attention.parse(shape)
    genome = FAMILY.space([problem], target.facts).sample(random.Random(shape))
    source = FAMILY.render(genome, problem, target.facts)
    entrant = FixedEntrant("random", "cpu_amx", "cpu_amx", "cpu", source, dict(genome), problem)
    with Verification(target, Toolchain(target, tmp_path)) as verification:
        verdict = verification.kernel(entrant, problem, 5)
    assert verdict.accepted, verdict.reason
    assert verdict.worst is not None
    assert verdict.worst.share < 0.8


def emulated(source: Source) -> Source:
    """A kernel whose tiles are arrays."""
    header = FAMILY.folder.parent / "include" / "cpu_amx" / "tile_registers.h"
    real, arrays = (path.read_text().split(INCLUDE)[1].strip() for path in (header, FIXTURES / "amx_tiles.h"))
    assert source.text.count(real) == 1
    return Source(source.text.replace(real, arrays), source.language, source.shared_bytes)


@pytest.fixture(scope="module")
def verification(tmp_path_factory):
    target = targets.detect("cpu")
    if target.facts["vector_bytes"] != 64:
        pytest.skip("this processor has no AVX-512")
    with Verification(target, Toolchain(target, tmp_path_factory.mktemp("cache"))) as made:
        yield made


@pytest.mark.parametrize("dtype", one_quick({each: each for each in ("fp16", "bf16", "fp32")}, "fp16"))
@pytest.mark.parametrize("causal", ["", pytest.param(",causal", marks=pytest.mark.long)])
def test_what_is_infinite_huge_or_tiny_is_right(verification, dtype, causal):
    problem = attention.parse(f"b=1,h=4,kv=2,s=130,d=64{causal}", dtype)
    genome = FAMILY.space([problem], XEON).sample(random.Random(f"{dtype}{causal}"))
    entrant = FixedEntrant(
        "emulated", "cpu_amx", "cpu_amx", "cpu", emulated(FAMILY.render(genome, problem, XEON)), dict(genome), problem
    )
    special = {case.name for case in (*problem.cases(), *problem.random_cases(7)) if case.variant != "normal"}
    verdict = verification.kernel(entrant, problem, 7, special)
    assert verdict.accepted, verdict.reason
    assert {each.case for each in verdict.checks if each.outcome == "passed"} == special


@pytest.mark.long
def test_packed_sequences_are_right_beside_their_neighbours(verification):
    problem = attention.parse("b=3,h=4,kv=2,s=130,d=64,causal,lengths=uniform,layout=packed,dtype=bf16")
    genome = FAMILY.space([problem], XEON).sample(random.Random(4))
    source = emulated(FAMILY.render(genome, problem, XEON))
    entrant = FixedEntrant("emulated", "cpu_amx", "cpu_amx", "cpu", source, dict(genome), problem)
    cases = {case.name for case in problem.cases() if case.name.startswith("all rows of")}
    verdict = verification.kernel(entrant, problem, 7, cases)
    assert verdict.accepted, verdict.reason
    assert {each.case for each in verdict.checks if each.outcome == "passed"} == cases


@pytest.mark.parametrize("mutant", INFINITE.values(), ids=INFINITE.keys())
def test_an_infinity_in_another_part_is_refused(verification, mutant):
    source = emulated(FAMILY.render(Genome(mutant.base.genome), mutant.base.problem, XEON))
    text = source.text
    for old, new in mutant.patches:
        assert text.count(old) == 1
        text = text.replace(old, new)
    patched = Source(text, source.language, source.shared_bytes)
    entrant = FixedEntrant(
        mutant.name, "cpu_amx", "cpu_amx", "cpu", patched, dict(mutant.base.genome), mutant.base.problem
    )
    verdict = verification.kernel(entrant, mutant.base.problem, 7, {mutant.case})
    assert verdict.gate in mutant.gates, verdict.reason
