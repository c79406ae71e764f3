"""Starting points: `evoflash new problem` and `new family` write what is right at once, or say what is missing."""

import random
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evoflash.cli.main import app
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.status import Gate
from evoflash.errors import UsageError
from evoflash.problems import searched_cases
from evoflash.problems.function.description import describe
from evoflash.scaffold import write_family, write_problem
from evoflash.scaffold.problem import is_as_written
from evoflash.targets import cpu, cuda
from evoflash.worker import correctness
from evoflash.worker.kernel import Kernel
from evoflash.worker.references import References, WrongResultError
from tests.problems.files import SCALE


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A fresh problem with a family for each target, and families of a problem that nobody knows."""
    folder = tmp_path_factory.mktemp("scaffold")
    source = write_problem("leaky", folder).read_text()
    fresh, other = describe("leaky.py", source, {}, "cpu"), describe("scale.py", SCALE, {}, "cpu")
    write_family("leaky_cpu", fresh, "leaky.py", "cpu", folder)
    write_family("leaky_cuda", fresh, "leaky.py", "cuda", folder)
    write_family("scale_cpu", other, "scale.py", "cpu", folder)
    return folder


def genomes(text: str) -> list[dict]:
    return eval(re.search(r"GENOMES = (\[.*?\n\])", text, re.DOTALL)[1])  # noqa: S307 - our own text


def test_a_fresh_familys_kernels_are_right(folder, tmp_path):
    problem = describe("leaky.py", (folder / "leaky.py").read_text(), {"rows": "3", "columns": "40"}, "cpu")
    template, target, references = load("leaky_cpu", [folder]), cpu.detect(), References("cpu")
    space = template.space([problem], target.facts)
    assert len(list(space.genomes())) == 6
    test = (folder / "tests" / "test_leaky_cpu.py").read_text()
    genome = next(each for each in space.genomes() if dict(each) == genomes(test)[1])
    build = Toolchain(target, tmp_path).build(template.render(genome, problem, target.facts))
    assert build.library is not None, build.reason
    with Kernel(build.library) as kernel:
        for case in (*searched_cases(problem), *problem.cases(), *problem.random_cases(0)):
            correctness.check(kernel, case, references.of(case), lambda: None)


def test_another_familys_kernel_computes_nothing_yet(folder, tmp_path):
    problem = describe("scale.py", SCALE, {}, "cpu")
    template, target = load("scale_cpu", [folder]), cpu.detect()
    kernel_text = (template.folder / "kernel.cpp.j2").read_text()
    assert "Your computation goes here" in kernel_text
    for line in ("p.weight: float32, 1 dimensions", "p.factor: double", "p.positive (bool, 2 dimensions)"):
        assert line in kernel_text
    genome = template.space([problem], target.facts).sample(random.Random(0))
    build = Toolchain(target, tmp_path).build(template.render(genome, problem, target.facts))
    assert build.library is not None, build.reason
    case = searched_cases(problem)[0]
    with Kernel(build.library) as kernel, pytest.raises(WrongResultError) as raised:
        correctness.check(kernel, case, References("cpu").of(case), lambda: None)
    assert raised.value.gate is Gate.UNWRITTEN


@pytest.mark.nvcc
def test_kernels_for_a_gpu_build(folder, tmp_path):
    target = cuda.of_arch("sm_90a")
    problem = describe("leaky.py", (folder / "leaky.py").read_text(), {}, "cpu")
    template = load("leaky_cuda", [folder])
    genome = template.space([problem], target.facts).sample(random.Random(0))
    build = Toolchain(target, tmp_path).build(template.render(genome, problem, target.facts))
    assert build.library is not None, build.report.log


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(app, ["new", "problem", "leaky", "--out", "mine"]).stdout.startswith("mine/leaky.py\n")
    (tmp_path / "scale.py").write_text(SCALE)
    result = runner.invoke(app, ["new", "family", "rows", "--problem", "scale.py", "--out", "mine"])
    assert result.exit_code == 0, result.output
    paths = ["templates/rows/kernel.cpp.j2", "templates/rows/template.yaml", "search_spaces/rows.yaml"]
    paths.append("tests/test_rows.py")
    assert result.stdout.splitlines()[:4] == [f"mine/{path}" for path in paths]
    assert all((tmp_path / "mine" / path).is_file() for path in paths)
    number = int(re.search(r"put the computation into mine/templates/rows/kernel.cpp.j2, line (\d+)", result.stdout)[1])
    assert "Your computation" in (tmp_path / "mine" / paths[0]).read_text().splitlines()[number - 1]
    assert '"--problem", "../scale.py"' in (tmp_path / "mine" / paths[3]).read_text()
    again = runner.invoke(app, ["new", "family", "rows", "--problem", "scale.py", "--out", "mine"])
    assert again.exit_code == 2
    assert "kernel.cpp.j2 exists already; choose another name or --out, or remove it" in again.stderr
    without = runner.invoke(app, ["new", "family", "rows"])
    assert (without.exit_code, without.stderr[:43]) == (2, "evoflash: no problem is given; name it by -")


@pytest.mark.parametrize("name", ["my-kernel", "1st", "double", "lambda", "_hidden", "größe", "../up", ""])
def test_names_that_python_or_c_do_not_take(name, tmp_path):
    with pytest.raises(UsageError, match="cannot be the name of a problem; use letters, digits and _"):
        write_problem(name, tmp_path)
    with pytest.raises(UsageError, match="is another header"):
        write_problem("attention", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_function_is_not_taken_for_the_fresh_one(tmp_path):
    text = write_problem("leaky", tmp_path).read_text()
    assert is_as_written("leaky", text.replace("rows: int = 256", "rows: int = 8"))
    assert not is_as_written("leaky", text.replace("shifted > 0", "shifted > 1"))
    assert not is_as_written("other", text)
