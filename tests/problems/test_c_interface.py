"""The C interface that all problems have in common: one layout in C, C++ and ctypes, and no call of another."""

import ctypes
import json
import subprocess
from pathlib import Path

import pytest

from evoflash import targets
from evoflash.bench.entrants import FixedEntrant, of_source
from evoflash.codegen.amalgamation import self_contained
from evoflash.codegen.source import Source
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.genome import Genome
from evoflash.errors import UsageError
from evoflash.evaluator import sanitizers
from evoflash.flattening import flatten
from evoflash.problems.attention import AttentionProblem, parse
from evoflash.problems.attention.members import ATTENTION
from evoflash.problems.c_interface import CInterface
from evoflash.problems.c_interface.arguments import EvoflashTensor, arguments, structure
from evoflash.problems.c_interface.header import header
from evoflash.worker.kernel import Kernel
from evoflash.worker.launch import LaunchError
from tests.helpers import TINY
from tests.problems.files import INTERFACE

PROBLEM = AttentionProblem.of(1, 2, 32, 16, dtype="float32")
COPY = """\
#include "attention.h"
extern "C" size_t evoflash_workspace_bytes(const Attention *) { return 0; }
extern "C" int evoflash_launch(const Attention *p, void *) {
  *static_cast<float *>(p->out.data) = float(p->scale);
  return 0;
}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Toolchain:
    return Toolchain(targets.detect("cpu"), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of a kernel that writes one number."""
    path = tmp_path_factory.mktemp("copy") / "kernel.cpp"
    path.write_text(COPY)
    return self_contained(path, PROBLEM)


@pytest.mark.parametrize("compiler", [["gcc", "-std=c99"], ["g++", "-std=c++17"]], ids=str)
def test_the_struct_of_attention_is_the_same_in_c_and_ctypes(tmp_path: Path, compiler: list[str]):
    made = structure(ATTENTION)
    names = [name for name, *_ in made._fields_]
    told = "".join(f'  printf("%zu, ", offsetof(Attention, {name}));\n' for name in names)
    program = f'#include <stdio.h>\n#include "attention.h"\nint main(void) {{\n  printf("[");\n{told}'
    program += '  printf("%zu, \\"%s\\"]", sizeof(Attention), evoflash_interface);\n  return 0;\n}\n'
    (tmp_path / "attention.h").write_text(header(ATTENTION))
    source = tmp_path / ("layout.c" if compiler[0] == "gcc" else "layout.cpp")
    source.write_text(program)
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{INTERFACE}"]
    subprocess.run([*compiler, *flags, str(source), "-o", str(tmp_path / "layout")], check=True, timeout=60)
    layout = json.loads(subprocess.run([tmp_path / "layout"], check=True, capture_output=True, timeout=60).stdout)
    assert layout == [*(getattr(made, each).offset for each in names), ctypes.sizeof(made), ATTENTION.signature]


def test_a_header_fits_the_page_and_says_what_members_are():
    text = header(ATTENTION)
    assert max(map(len, text.splitlines())) <= 120
    assert "  EvoflashTensor slopes; /* float32 (heads) */" in text
    assert "  EvoflashTensor q; /* (batch, heads, rows, head size) */" in text
    bare = header(CInterface.of("copy", ["x"], ["y"]))
    assert '    "1 copy: x, y";' in bare


def test_what_a_call_does_not_have_is_absent():
    torch = pytest.importorskip("torch")
    q = torch.zeros(1, 2, 3, 4)
    made = arguments(ATTENTION, {"q": q, "scale": 2, "causal": True})
    assert (made.q.data, made.q.rank, made.q.size[:4], made.q.stride[:4]) == (
        q.data_ptr(),
        4,
        [1, 2, 3, 4],
        [24, 12, 4, 1],
    )
    assert (made.scale, made.causal, made.banded) == (2.0, 1, 0)
    absent = [each.name for each in ATTENTION.tensors if each.name != "q"]
    assert len(absent) == 14
    assert all((getattr(made, name).data, getattr(made, name).rank) == (None, 0) for name in absent)
    with pytest.raises(ValueError, match="attention has no member 'queries'"):
        arguments(ATTENTION, {"queries": q})


@pytest.mark.parametrize(
    "shape", ["b=1,h=2,s=9,d=8,causal", "b=2,h=4,kv=2,s=1,t=9,d=8,lengths=9,page=4,kv_dtype=fp8,lse"]
)
def test_members_of_every_form_have_places(shape: str):
    problem = parse(shape)
    inputs = problem.inputs(0, "normal", "cpu")
    outputs = tuple(each.empty("cpu") for each in problem.outputs())
    made = problem.arguments(inputs, outputs)
    for name, value in problem.named(inputs, outputs).items():
        given = getattr(made, name)
        assert (given.data if isinstance(given, EvoflashTensor) else given) == getattr(
            value, "data_ptr", lambda v=value: v
        )()


def test_values_of_latent_attention_are_columns_of_the_keys():
    problem = parse("b=1,h=2,kv=1,s=3,t=9,d=24,latent,v=16")
    inputs = problem.inputs(0, "normal", "cpu")
    made = problem.arguments(inputs, tuple(each.empty("cpu") for each in problem.outputs()))
    assert made.v.data == made.k.data
    assert made.v.stride[:4] == made.k.stride[:4]
    assert (made.k.size[3], made.v.size[3]) == (24, 16)


def test_a_source_says_what_it_takes_also_when_it_is_flattened(copies: str):
    target = targets.detect("cpu")
    for family, folders in (("cpu_flash", ()), ("tiny", (TINY,))):
        template = load(family, folders)
        genome = Genome(template.space([PROBLEM], target.facts).seeds[0].genome) if family == "cpu_flash" else None
        genome = genome or next(iter(template.space([PROBLEM], target.facts).genomes()))
        source = template.render(genome, PROBLEM, target.facts)
        assert source.interface == ATTENTION.signature
        assert Source(flatten(source.text), "c++").interface == ATTENTION.signature
    assert Source(copies, "c++").interface == ATTENTION.signature
    assert Source("int x;\n", "c++").interface is None


def test_a_library_that_takes_another_struct_is_not_called(cache: Toolchain, copies: str):
    torch = pytest.importorskip("torch")
    inputs = PROBLEM.inputs(0, "normal", "cpu")
    for changed, words in (
        (copies, ""),
        (copies.replace("double scale, ", ""), r"the library takes another struct than attention\.h"),
        (
            copies.replace("evoflash_interface", "evoflash_other"),
            r"the library has no evoflash_interface.*render it again",
        ),
    ):
        built = cache.build(Source(changed, "c++"))
        assert built.library is not None, built.reason
        out = torch.zeros(PROBLEM.output_shape())
        with Kernel(built.library) as kernel:
            if not words:
                kernel.bind(PROBLEM, inputs, (out,))()
            else:
                with pytest.raises(LaunchError, match=words):
                    kernel.bind(PROBLEM, inputs, (out,))
        assert bool(out.any()) == (not words)


@pytest.mark.slow
def test_nor_is_it_under_a_sanitizer(cache: Toolchain, copies: str):
    old = Source(copies.replace("double scale, ", ""), "c++")
    (found,) = sanitizers.run(targets.detect("cpu"), cache, old, PROBLEM)
    assert not found.clean
    assert "the library takes another struct than attention.h" in found.summary


def test_what_was_rendered_for_another_struct_does_not_take_part(copies: str):
    target = targets.detect("cpu")
    old = Source(copies.replace("double scale, ", ""), "c++")
    entrant = FixedEntrant("old", "old", "tiny", "cpu", old, {}, PROBLEM)
    assert entrant.kernel(PROBLEM, target) == (
        "it was rendered for another attention.h than this evoflash has; render it again"
    )


def test_a_file_of_ones_own_may_include_the_headers(tmp_path: Path):
    (tmp_path / "kernel.cpp").write_text(COPY.replace('#include "attention.h"', '#include "mine.h"'))
    (tmp_path / "mine.h").write_text('#pragma once\n#include "attention.h"\n#include "tensor_checks.h"\n')
    entrant = of_source(tmp_path / "kernel.cpp", PROBLEM)
    assert entrant.source.interface == ATTENTION.signature
    assert "is_vector" in entrant.source.text
    assert '#include "' not in entrant.source.text
    (tmp_path / "mine.h").unlink()
    with pytest.raises(UsageError, match=r'#include "mine\.h": neither its folder nor evoflash has this header'):
        of_source(tmp_path / "kernel.cpp", PROBLEM)
