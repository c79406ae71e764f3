"""Headers in place of includes."""

import random
import subprocess
import time
from pathlib import Path

import pytest

from evoflash.codegen.amalgamation import Amalgamation
from evoflash.codegen.template import load, load_all
from evoflash.errors import SpaceError
from evoflash.targets import cpu
from tests.helpers import BROKEN_CUDA, PROBLEM, TINY
from tests.test_template import H100, render, write


def joined(text: str, **headers: str) -> str:
    return Amalgamation(lambda name: headers[name]).of(text)


def test_each_header_stands_once_where_it_is_first_named():
    text = joined('a\n#include "x"\nb\n  #  include "x" // again\n#include "y"\nc\n', x="X\n", y='#include "x"\nY')
    assert text == "a\nX\nb\nY\nc\n"


def test_headers_include_others_and_even_themselves():
    headers = {"x": '#pragma once\n\n#include "y"\nX\n', "y": '#pragma once\n#include "z/z.cuh"\nY\n'}
    headers["z/z.cuh"] = '#include "x"\nZ\n'
    assert joined('#include "x"\n#include "z/z.cuh"\n', **headers) == "Z\nY\nX\n"
    assert Amalgamation(headers.__getitem__).names('#include "x"\n') == ["x", "y", "z/z.cuh"]


def test_the_compilers_headers_stay():
    assert joined('#include <math.h>\n#include "x"\n', x="#include <cuda.h>\n") == (
        "#include <math.h>\n#include <cuda.h>\n"
    )


@pytest.mark.parametrize("defined", [[], ["A"], ["B"], ["A", "B"]])
def test_a_header_inside_of_a_condition_is_not_there_outside_of_it(tmp_path: Path, defined: list[str]):
    source = '#ifndef A\n#include "x"\n#if defined B\n#include "x"\n#endif\n#else\nint e;\n#endif\n'
    source += '#ifndef B\n#include "x"\nint i = X;\n#endif\n'
    header = "enum { X };\n"
    text = joined(source, x="#pragma once\n" + header)
    (tmp_path / "x").write_text("#pragma once\n" + header)
    (tmp_path / "included.c").write_text(source)
    (tmp_path / "joined.c").write_text(text)
    command = ["g++", "-E", "-P", "-x", "c", f"-I{tmp_path}", *(f"-D{each}" for each in defined)]
    one, two = (
        subprocess.run([*command, tmp_path / name], capture_output=True, text=True, check=True).stdout
        for name in ("included.c", "joined.c")
    )
    assert one.split() == two.split()
    assert text.count(header) == 2


def test_a_header_that_is_nowhere_is_named(tmp_path: Path):
    with pytest.raises(SpaceError, match=r'template own: #include "nowhere\.h": no include folder has this header'):
        render(write(tmp_path, '#include "nowhere.h"\n'))


@pytest.mark.parametrize("name", ["../secret.h", "x/../../secret.h", "{}"])
def test_a_header_outside_of_the_include_folders_is_refused(tmp_path: Path, name: str):
    root = write(tmp_path / "root", f'#include "{name}"\n'.replace("{}", str(tmp_path / "secret.h")))
    (root / "templates" / "include" / "x").mkdir(parents=True)
    for folder in (tmp_path, root, root / "templates"):
        (folder / "secret.h").write_text("secret\n")
    with pytest.raises(SpaceError, match=r"secret\.h.*no include folder has this header"):
        render(root)


def test_headers_are_no_templates_and_a_users_go_first(tmp_path: Path):
    root = write(tmp_path, '#include "log2e.h"\n')
    assert "kLog2E" in render(root).text
    (root / "templates" / "include").mkdir()
    (root / "templates" / "include" / "log2e.h").write_text("int {{ 3 }}\n")
    assert render(root).text == "int {{ 3 }}\n"


def test_a_family_that_is_all_jinja_is_still_one():
    for folder, family, facts in ((TINY, "tiny", cpu.detect().facts), (BROKEN_CUDA, "broken_cuda", H100)):
        template = load(family, [folder])
        genome = template.space([PROBLEM], facts).sample(random.Random(0))
        text = template.render(genome, PROBLEM, facts).text
        assert "Attention" in text
        assert '#include "' not in text


def test_the_folder_that_holds_it_is_an_include_folder_too(tmp_path: Path):
    root = write(tmp_path, '#include "own.h"\n')
    (root / "templates" / "own" / "own.h").write_text("mine\n")
    assert render(root).text == "mine\n"
    assert load("own", [root]).headers('#include "own.h"\n', PROBLEM) == {"own.h": root / "templates" / "own" / "own.h"}


def test_rendering_is_quick():
    """A proposal is rendered between two launches: what is read or split once must not be again."""
    slowest = {}
    for family, template in load_all().items():
        facts = cpu.detect().facts if template.manifest.target == "cpu" else H100
        problem = PROBLEM.model_copy(update={"dtype": "bfloat16" if family == "cpu_amx" else "float16", "head_dim": 64})
        if template.refusals(problem, facts):
            continue
        genome = template.space([problem], facts).sample(random.Random(0))
        template.render(genome, problem, facts)
        times = []
        for _ in range(5):
            start = time.thread_time()
            template.render(genome, problem, facts)
            times.append(time.thread_time() - start)
        slowest[family] = min(times)
    assert max(slowest.values()) < 0.01, slowest
