"""`evoflash verify`: what a person names, the verdict, and the exit code."""

import sys
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from evoflash import targets
from evoflash.cli import verify as command
from evoflash.cli.main import app as whole
from evoflash.codegen.template import load
from evoflash.core.genome import Genome
from evoflash.errors import MissingError, NotFoundError, RefusedError, UsageError
from evoflash.evaluator import sanitizers
from evoflash.export.package import write
from evoflash.problems.attention import AttentionProblem
from evoflash.store import RunStore
from tests.cli.printed import printed
from tests.export.conftest import cpu_winner
from tests.helpers import BROKEN, PROBLEM
from tests.store import runs

FUNCTIONS = "tests.mutants.functions"
SHAPE = "b=1,h=2,s=32,d=16,dtype=fp32"

app = typer.Typer()
app.command()(command.verify)


def rendered(fault: str) -> str:
    template, facts = load("broken", [BROKEN]), targets.detect("cpu").facts
    return template.render(Genome({"fault": fault, "work": 1}), PROBLEM, facts).text


def test_a_function_of_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "mymod.py").write_text(
        "import torch\n\ndef attention(q, k, v, is_causal=False, scale=None, enable_gqa=False):\n"
        "    return torch.nn.functional.scaled_dot_product_attention(\n"
        "        q, k, v, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa)\n"
    )
    (tmp_path / "torch.py").write_text("raise ImportError('not the library')\n")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["mymod:attention", "--shape", SHAPE, "--target", "cpu", "--json"])
    assert result.exception is None, result.output
    (verdict,) = printed("verify", result.stdout)["verdicts"]
    assert verdict["accepted"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("builds")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run of a right candidate (1) and a wrong one (2), an export, and a source file."""
    folder = tmp_path_factory.mktemp("place")
    right, wrong = (rendered(fault) for fault in ("none", "misses_a_key"))
    with RunStore.open(str(folder / "runs.db"), write=True) as store:
        run = runs.begin(store, problem=PROBLEM)
        store.record(run, runs.candidate(0), runs.ok(1.0), right, "c++")
        store.record(run, runs.candidate(1), runs.ok(2.0), wrong, "c++")
    write(replace(cpu_winner("exported_plain"), source=right, problem=PROBLEM), folder / "exported")
    (folder / "mine.cpp").write_text(right)
    return folder


@pytest.fixture(autouse=True)
def few_cases(monkeypatch):
    """Some of the cases: all of them take a minute, and have their test in `python -m tests.mutants.report`."""
    known, fresh = AttentionProblem.cases, AttentionProblem.random_cases
    chosen = ("tiny seed 0", "mission seed 0", "31x33", "203 gapped", "203 nan_value")
    monkeypatch.setattr(
        AttentionProblem, "cases", lambda self: tuple(each for each in known(self) if each.name in chosen)
    )
    monkeypatch.setattr(AttentionProblem, "random_cases", lambda self, seed: fresh(self, seed)[:2])


def call(place, cache, *arguments: str):
    fixed = ("--target", "cpu", "--db", str(place / "runs.db"), "--cache", str(cache))
    result = CliRunner().invoke(app, [*fixed, *arguments])
    if result.exception is not None:
        raise result.exception
    return result


def test_a_right_candidate_is_accepted_and_the_document_says_by_how_much(place, cache, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evoflash", "verify", "1"])
    document = printed("verify", call(place, cache, "1", "--seed", "5", "--sanitize", "--json").stdout)
    (verdict,) = document["verdicts"]
    assert verdict["accepted"]
    assert (verdict["gate"], verdict["reason"], verdict["seed"]) == (None, "", 5)
    assert 0 < verdict["worst_share"] < 1
    assert verdict["floor_us"] < verdict["p50_us"]
    assert "no errors on" in verdict["sanitized"]["address and undefined"]
    outcomes = {each["case"]: each["outcome"] for each in verdict["checks"]}
    assert outcomes["fresh seed 5"] == outcomes["203 gapped"] == outcomes["timed"] == "passed"
    assert outcomes["mission seed 0"] == "declined"  # another head size
    assert document["environment"]["device"]


def test_a_wrong_candidate_is_refused_with_the_reason_and_how_to_see_it_again(place, cache):
    with pytest.raises(RefusedError, match=r"candidate 2 by \w+ \(.+\).*--seed 9") as raised:
        call(place, cache, "2", "--seed", "9")
    assert raised.value.exit_code == 1


def test_an_export_and_a_source_file_are_verified_together(place, cache):
    shown = call(place, cache, str(place / "exported"), str(place / "mine.cpp"), "--shape", SHAPE).stdout
    lines = [line.split() for line in shown.partition("\nverdicts\n")[2].splitlines()]
    assert [line[:2] for line in lines if line and line[0] in ("exported_plain", "mine")] == [
        ["exported_plain", "accepted"],
        ["mine", "accepted"],
    ]


def test_a_function_of_others_is_accepted_or_refused(place, cache):
    shown = call(place, cache, f"{FUNCTIONS}:right", "--shape", "tiny", "--dtype", "bf16").stdout
    assert "accepted" in shown
    with pytest.raises(RefusedError, match=r"alias \(tiny seed 0: the output shares memory with input 0"):
        call(place, cache, f"{FUNCTIONS}:returns_an_input", "--shape", "tiny")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["99"], NotFoundError, "99"),
        (["cpu_flush"], NotFoundError, "cpu_flash"),
        (['cpu_flash:{"no_such_gene": "%s"}' % ("longer than a file's name, " * 20)], UsageError, "no_such_gene"),
        (["nowhere.cpp"], UsageError, "cannot read"),
        (["no_such_module:attention"], UsageError, "no_such_module"),
        ([f"{FUNCTIONS}:absent"], UsageError, "absent"),
        (["cpu_flash", "scalar"], UsageError, "separately"),
        (["1", "--shape", "b=1"], UsageError, "missing"),
        (["1", "--shape", "b=1,h=1,s=1,d=8,scale=1e300"], UsageError, r"scale \(1e\+300\) must be 0 or between"),
        (["1", "--shape", "b=3000000000,h=1,s=1,d=8"], UsageError, "batch: Input should be less than"),
    ],
)
def test_what_cannot_be_verified_says_what_to_do(place, cache, arguments, error, words):
    with pytest.raises(error, match=words):
        call(place, cache, *arguments)


def test_a_sanitizer_that_is_asked_for_and_missing_is_an_error_of_the_environment(place, cache, monkeypatch):
    def missing(target):
        raise MissingError("install one")

    monkeypatch.setattr(sanitizers, "require", missing)
    with pytest.raises(MissingError):
        call(place, cache, "1", "--sanitize")


def test_the_exit_code_of_the_whole_command(place):
    refused = CliRunner().invoke(whole, ["verify", "7", "--db", str(place / "runs.db")])
    assert refused.exit_code == 2
