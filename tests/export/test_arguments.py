"""The launcher's arguments are declared in several languages; a launcher that is given a shorter structure reads on."""

import ctypes
import re
import shlex
import subprocess
from pathlib import Path

from evoflash.problems.attention.arguments import AttentionArguments
from evoflash.targets.base import cxx

REPOSITORY = Path(__file__).parents[2]
SKELETONS = REPOSITORY / "evoflash" / "export" / "skeletons"


def test_all_declarations_of_the_arguments_are_of_one_layout(tmp_path):
    table = re.search(r"struct Problem \{.*?\n\};", (SKELETONS / "attention" / "table.h").read_text(), re.DOTALL)
    assert table is not None
    names = [name for name, *_ in AttentionArguments._fields_]
    pairs = (f"offsetof(EvoflashAttention, {each}), offsetof(Problem, {each})" for each in names)
    offsets = "".join(f'printf("%zu %zu ", {pair});' for pair in pairs)
    sizes = 'printf("%zu %zu", sizeof(EvoflashAttention), sizeof(Problem));'
    text = f'#include <stdio.h>\n#include "attention.h"\n{table[0]}\nint main() {{ {offsets}{sizes} }}'
    (tmp_path / "layout.cpp").write_text(text)
    command = [*shlex.split(cxx()), f"-I{REPOSITORY / 'templates' / 'include'}", "layout.cpp", "-o", "layout"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    told = subprocess.run([tmp_path / "layout"], check=True, capture_output=True, text=True, timeout=60).stdout
    own = [getattr(AttentionArguments, each).offset for each in names] + [ctypes.sizeof(AttentionArguments)]
    assert [int(each) for each in told.split()] == [each for each in own for _ in range(2)]

    jit = (SKELETONS / "formats" / "jit.py.j2").read_text().partition("@functools.cache")[0]
    made: dict[str, type[ctypes.Structure]] = {}
    exec(jit, {"ctypes": ctypes}, made)
    assert made["_Attention"]._fields_ == AttentionArguments._fields_
