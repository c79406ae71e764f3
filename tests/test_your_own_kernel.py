"""The tutorial: its files as printed are a problem and a family, its commands parse, and all of it works in order."""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import typer

from evoflash.cli.main import app
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.genome import Genome
from evoflash.problems import searched_cases
from evoflash.problems.function.description import describe
from evoflash.store import RunStore
from evoflash.targets import cpu
from evoflash.worker import correctness
from evoflash.worker.kernel import Kernel
from evoflash.worker.references import References, WrongResultError

GUIDE = Path(__file__).parents[1] / "docs" / "your-own-kernel.md"
FILE = re.compile(r"^`(?P<path>[\w./]+)`:\n\n(?P<text>(?:    .*\n|\n)+)", re.MULTILINE)
COMMAND = re.compile(r"^    evoflash (?P<command>.*)$", re.MULTILINE)


def steps() -> list[re.Match[str]]:
    """The files and commands in their order."""
    text = GUIDE.read_text()
    return sorted([*FILE.finditer(text), *COMMAND.finditer(text)], key=lambda each: each.start())


def write(folder: Path, step: re.Match[str]) -> None:
    path = folder / step["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(step["text"]).strip("\n") + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The files as printed, with the manifest that `evoflash new family` writes."""
    folder = tmp_path_factory.mktemp("tutorial")
    files = [each for each in steps() if each.re is FILE]
    assert [each["path"] for each in files] == [
        "add_norm.py",
        "templates/add_norm_rows/kernel.cpp.j2",
        "search_spaces/add_norm_rows.yaml",
    ]
    for each in files:
        write(folder, each)
    manifest = "family: add_norm_rows\nsummary: rows\nproblem: add_norm\ntarget: cpu\nsource: kernel.cpp.j2\n"
    (folder / "templates" / "add_norm_rows" / "template.yaml").write_text(manifest)
    return folder


@pytest.mark.parametrize("command", [each["command"] for each in steps() if each.re is COMMAND])
def test_a_command_parses(command):
    group = typer.main.get_command(app)
    words = shlex.split(command)
    context = group.make_context("evoflash", list(words), resilient_parsing=False)
    while hasattr(group, "resolve_command"):
        name, group, words = group.resolve_command(context, words)
        context = group.make_context(name, list(words), parent=context)
        words = context._protected_args + context.args if hasattr(group, "resolve_command") else []
    assert group.name is not None


def test_the_kernel_is_right_unless_it_adds_up_in_one_float(folder, tmp_path):
    source = (folder / "add_norm.py").read_text()
    problem = describe("add_norm.py", source, {"rows": "5", "columns": "100"}, "cpu")
    template, target, references = load("add_norm_rows", [folder]), cpu.detect(), References("cpu")
    space = template.space([problem], target.facts)
    assert len(list(space.genomes())) == 10
    general = problem.general_case
    assert general is not None
    for sums, wrong in ((32, False), (1, True)):
        genome = Genome({"sums": sums, "threads": False})
        build = Toolchain(target, tmp_path).build(template.render(genome, problem, target.facts))
        assert build.library is not None, build.reason
        with Kernel(build.library) as kernel:
            for case in (*searched_cases(problem), *(each for each in problem.cases() if each != general)):
                correctness.check(kernel, case, references.of(case), lambda: None)
            if wrong:
                with pytest.raises(WrongResultError, match=r"constant rows=.* max error"):
                    correctness.check(kernel, general, references.of(general), lambda: None)
            else:
                correctness.check(kernel, general, references.of(general), lambda: None)


@pytest.mark.long
def test_the_tutorial_works_as_printed(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVOFLASH_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    for step in steps():
        if step.re is FILE:
            assert (tmp_path / step["path"]).is_file()  # a command has written one that is replaced
            write(tmp_path, step)
            continue
        command = [sys.executable, "-m", "evoflash", *shlex.split(step["command"])]
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    with RunStore.open(str(tmp_path / "runs" / "evoflash.db")) as store:
        finals = store.finals(1)
    assert finals is not None
    assert finals.winner is not None
    assert (tmp_path / "add_norm_package" / "README.md").is_file()
