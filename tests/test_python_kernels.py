"""Families of Python kernels, as Triton's are, and of kernels that include other libraries' headers."""

from __future__ import annotations

import importlib.util
import random
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from evoflash import targets
from evoflash.bench.entrants import FixedEntrant
from evoflash.cli.search import search
from evoflash.codegen.source import Source
from evoflash.codegen.template import Template, load
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.genome import Genome
from evoflash.core.status import Gate, Status
from evoflash.errors import UsageError
from evoflash.problems import Case
from evoflash.problems.attention import parse
from evoflash.problems.function import FunctionProblem
from evoflash.problems.function.description import describe
from evoflash.verify.verification import Verification
from evoflash.worker import correctness
from evoflash.worker.kernel import load as load_kernel
from evoflash.worker.launch import LaunchError
from evoflash.worker.references import References, WrongResultError

torch = pytest.importorskip("torch")

PROBLEM = parse("b=1,h=1,s=5,d=8,dtype=fp32")
RIGHT = """
import torch

def launch(q, k, v, out, scale, causal):
    out.copy_(torch.softmax(scale * q @ k.transpose(-1, -2), -1) @ v)
"""
SPACE = (
    "family: own\nparameters:\n  scale: {kind: ordinal, values: [1, 2], about: a factor}\nconstraints: []\nseeds: []\n"
)


@pytest.fixture(scope="module")
def toolchain(tmp_path_factory):
    return Toolchain(targets.detect("cpu"), tmp_path_factory.mktemp("cache"))


def family(folder: Path, source: str, text: str, more: str = "") -> Template:
    (folder / "templates" / "own").mkdir(parents=True)
    (folder / "search_spaces").mkdir()
    manifest = f"family: own\nsummary: one of the user's\nproblem: attention\ntarget: cpu\nsource: {source}\n{more}"
    (folder / "templates" / "own" / "template.yaml").write_text(manifest)
    (folder / "templates" / "own" / source).write_text(text)
    (folder / "search_spaces" / "own.yaml").write_text(SPACE)
    return load("own", [folder])


def check(toolchain: Toolchain, text: str):
    build = toolchain.build(Source(text, "python"))
    assert build.library is not None, build.reason
    case = Case(name="own", problem=PROBLEM)
    return correctness.check(load_kernel(build.library), case, References("cpu").of(case), lambda: None)


def test_a_template_that_ends_with_py_is_rendered_to_a_module_and_passes_the_gates(tmp_path, toolchain):
    template = family(tmp_path, "kernel.py.j2", RIGHT.replace("scale *", "scale * {{ genome.scale }} *"))
    source = template.render(Genome({"scale": 1}), PROBLEM, toolchain.target.facts)
    assert source.language == "python"
    assert check(toolchain, source.text).max_error < 1e-6
    wrong = template.render(Genome({"scale": 2}), PROBLEM, toolchain.target.facts)
    with pytest.raises(WrongResultError) as raised:
        check(toolchain, wrong.text)
    assert raised.value.gate is Gate.ERROR


def test_a_module_that_is_no_python_is_a_failed_build_with_its_line(toolchain):
    build = toolchain.build(Source("import torch\ndef launch(:\n", "python"))
    assert (build.status, build.library) == (Status.BUILD_FAILED, None)
    assert build.reason.startswith("line 2: ")


def test_the_same_module_comes_from_the_cache_and_a_changed_one_is_made_again(toolchain):
    first, second = (toolchain.build(Source(RIGHT + "# once\n", "python")) for _ in range(2))
    assert (first.report.cached, second.report.cached) == (False, True)
    assert first.library is not None
    first.library.write_text("raise SystemExit")
    assert not toolchain.build(Source(RIGHT + "# once\n", "python")).report.cached


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module\n", "the module does not load: ModuleNotFoundError: No module named 'no_such_module'"),
        ("run = 1\n", "the module has no function launch"),
        ("def launch(q): ...\n", r"launch raises TypeError: launch\(\) got an unexpected keyword argument 'k'"),
        ("def launch(**_): return -1\n", "launch returned -1: unsupported problem"),
        ("def launch(**_): return 7\n", "launch returned 7: a code of its own"),
    ],
)
def test_a_module_that_cannot_be_launched_says_why(toolchain, text, words):
    with pytest.raises(LaunchError, match=words):
        check(toolchain, text)


def test_a_family_whose_module_is_not_installed_is_left_out(tmp_path, toolchain):
    template = family(tmp_path, "kernel.py.j2", RIGHT, "imports: [torch, no_such_module]\n")
    assert template.refusals(PROBLEM, toolchain.target.facts) == ["it needs no_such_module, which is not installed"]


def test_a_sanitizer_that_cannot_watch_a_family_is_refused_before_the_search(tmp_path):
    family(tmp_path, "kernel.py.j2", RIGHT)
    app = typer.Typer()
    app.command()(search)
    shape = ["--shape", "b=1,h=1,s=5,d=8,dtype=fp32", "--target", "cpu", "--family", "own", "--sanitize"]
    outcome = CliRunner().invoke(app, [*shape, "--templates", str(tmp_path), "--db", str(tmp_path / "runs.db")])
    assert isinstance(outcome.exception, UsageError)
    assert str(outcome.exception).startswith("--sanitize cannot watch the Python kernels of own")
    assert not (tmp_path / "runs.db").exists()


def test_headers_of_another_library_come_from_the_declared_folder(tmp_path, toolchain, monkeypatch):
    headers = tmp_path / "library" / "include"
    monkeypatch.setenv("OWN_HOME", str(headers.parent))
    text = '#include "attention.h"\n#include <own/answer.h>\nextern "C" int answer() { return ANSWER; }\n'
    template = family(tmp_path, "kernel.cpp.j2", text, "include_paths: [$OWN_HOME/include]\n")
    absent = template.refusals(PROBLEM, toolchain.target.facts)
    assert absent == ["it needs the headers in $OWN_HOME/include, which is no folder"]
    (headers / "own").mkdir(parents=True)
    (headers / "own" / "answer.h").write_text("#define ANSWER 42\n")
    assert template.refusals(PROBLEM, toolchain.target.facts) == []
    source = template.render(Genome({"scale": 1}), PROBLEM, toolchain.target.facts)
    assert source.include_paths == (headers,)
    assert toolchain.build(source).library is not None
    before = toolchain.key(source)
    (headers / "own" / "answer.h").write_text("#define ANSWER 43\n")
    assert toolchain.key(source) != before


def test_nvcc_compiles_what_includes_another_librarys_headers():
    device, host = targets.cuda.of_arch("sm_90a").steps(None, [Path("/opt/library include")])
    assert device.service is None
    assert device.command.split()[0].endswith("nvcc")
    assert all("-I'/opt/library include'" in step.command for step in (device, host))


def rms_norm(**sizes) -> FunctionProblem:
    file = Path(__file__).parent.parent / "problems" / "rms_norm.py"
    alone = re.sub(r"(?m)^(vary|cases) = .*$", "", file.read_text())
    return describe(file.name, alone, sizes, "cpu")


def test_tritons_family_is_rendered_without_a_gpu(toolchain):
    template, problem = load("rms_norm_triton"), rms_norm(rows=64, columns=4096)
    facts = targets.cuda.of_arch("sm_90a").facts
    space = template.space([problem], facts)
    for seed in range(3):
        source = template.render(space.sample(random.Random(seed)), problem, facts)
        assert (source.language, toolchain.build(source).status) == ("python", None)
    if importlib.util.find_spec("triton") is None:
        assert template.refusals(problem, facts) == ["it needs triton, which is not installed"]


@pytest.mark.gpu
def test_tritons_kernels_pass_every_gate(tmp_path):
    target, template = targets.detect("cuda"), load("rms_norm_triton")
    toolchain = Toolchain(target, tmp_path)
    with Verification(target, toolchain, lambda _: None, deadline_s=120) as verification:
        for seed, sizes in enumerate(
            ({"rows": 37, "columns": 1000}, {"rows": 16, "columns": 4096, "dtype": "float32"})
        ):
            problem = rms_norm(**sizes)
            genome = template.space([problem], target.facts).sample(random.Random(seed))
            source = template.render(genome, problem, target.facts)
            entrant = FixedEntrant(f"{seed}", "draw", template.family, target.name, source, dict(genome), problem)
            verdict = verification.kernel(entrant, problem, seed)
            assert verdict.accepted, verdict.reason
