"""The commands on a function in a file: templates list, verify, export, warm start and replay; one small build."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evoflash import targets
from evoflash.cli.main import app
from evoflash.codegen.template import load
from evoflash.core.candidate import Candidate
from evoflash.core.genome import Genome
from evoflash.errors import UsageError
from evoflash.export.runs import export_runs
from evoflash.export.sweep import Sweep
from evoflash.problems import FunctionProblem
from evoflash.problems.function.description import describe
from evoflash.run import warm_start
from evoflash.run.shapes import Shape
from evoflash.store import RunStore
from tests.cli.printed import printed
from tests.helpers import plan
from tests.store import runs

FIXTURES = Path(__file__).parents[1] / "fixtures" / "function"
FILE = FIXTURES / "scaled_rows.py"
DEVICE = "test device"


def described(**sizes) -> FunctionProblem:
    return describe(FILE.name, FILE.read_text(), sizes, "cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a database: run 1 at 6 x 8, run 2 at 48 x 8; three candidates each, of which the first is best."""
    folder = tmp_path_factory.mktemp("function")
    target = targets.detect("cpu")
    template = load("rows", [FIXTURES])
    with RunStore.open(str(folder / "runs.db"), write=True) as store:
        for problem in (described(), described(rows=48)):
            wanted = plan(target, "rows", FIXTURES, shapes=(Shape(name=problem.label, problem=problem),))
            run = runs.begin(store, plan=wanted.model_dump(mode="json"), problem=problem)
            for index, sums in enumerate((1, 2, 4)):
                genome = Genome({"sums": sums})
                source = template.render(genome, problem, target.facts).text
                store.record(run, Candidate(index, "rows", genome, "random"), runs.ok(20.0 + index), source, "c++")
            made = runs.finals((0, 20.0), (1, 21.0))
            passed = tuple(runs.accuracy(case.name) for case in problem.cases())
            finalists = tuple(each.model_copy(update={"accuracy": passed}) for each in made.finalists)
            store.record_finals(run, made.model_copy(update={"finalists": finalists}))
            store.finish_run(run, status="done", reason="the budget is spent", elapsed_s=1.0)
    return folder


def called(place, monkeypatch, *words: str) -> str:
    monkeypatch.chdir(place)
    result = CliRunner().invoke(app, [*words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_export_of_several_runs_and_its_verification(place, monkeypatch):
    with RunStore.open(str(place / "runs.db")) as store:
        folder = export_runs(store, [1, 2], place / "out", name="rows_package")
        with pytest.raises(UsageError, match="--sweep measures attention"):
            export_runs(store, [1], place / "swept", sweep=Sweep())
    rows = json.loads((folder / "rows_package" / "kernels.json").read_text())["kernels"]
    assert [row["inputs"]["x"]["size"] for row in rows] == [["rows", "columns"]]  # both runs found the same source
    provenance = json.loads((folder / "rows_package" / "provenance.json").read_text())
    assert list(provenance["problem"]["sizes"].items())[:2] == [("rows", 6), ("columns", 8)]
    readme = (folder / "README.md").read_text()
    assert "evoflash search --problem scaled_rows.py --shape rows=6,columns=8" in readme
    (place / "mine.py").write_text(
        FILE.read_text() + "\n\ndef wrong(x, weight, bias, factor, times, kind):\n    return x\n"
    )
    words = ["verify", "out", "mine:scaled_rows", "mine:wrong", "--problem", str(FILE), "--shape", "rows=3,columns=12"]
    words += ["--target", "cpu", "--db", "runs.db", "--cache", "builds", "--json", "--templates", str(FIXTURES)]
    monkeypatch.chdir(place)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1, result.output
    package, function, wrong = json.loads(result.stdout)["verdicts"]
    assert package["accepted"]
    assert function["accepted"]
    assert not wrong["accepted"]
    assert "rows=6 columns=8" in package["problem"]
    assert "rows=3 columns=12" in function["problem"]


def test_the_families_that_take_it(place, monkeypatch):
    monkeypatch.setattr("evoflash.cli.templates.one", lambda *asked: described())
    words = ["templates", "list", "--problem", str(FILE), "--templates", str(FIXTURES), "--json"]
    families = printed("templates list", called(place, monkeypatch, *words))["families"]
    listed = {each["family"]: each for each in families}
    assert listed["rows"]["refusals"] == []
    assert listed["scalar"]["refusals"] == ["it computes attention, not scaled_rows"]


def test_a_run_warms_those_of_like_sizes_of_the_same_function(place):
    with RunStore.open(str(place / "runs.db")) as store:
        near = warm_start.nearest(store, described(rows=40), DEVICE, "cpu")
        assert near is not None
        assert near.id == 2
        near = warm_start.nearest(store, described(rows=7), DEVICE, "cpu")
        assert near is not None
        assert near.id == 1
        assert warm_start.nearest(store, described().model_copy(update={"name": "another"}), DEVICE, "cpu") is None
        assert len(warm_start.best_of(store, near)) == 3


def test_a_run_is_replayed_and_exported_for_other_tuners(place, monkeypatch):
    called(place, monkeypatch, "runs", "export-t4", "1", "--db", "runs.db", "--out", "run.json")
    words = ["--repeats", "1", "--evaluations", "2", "--strategy", "random", "--json"]
    assert json.loads(called(place, monkeypatch, "replay", "1", "run.json", "--db", "runs.db", *words))
