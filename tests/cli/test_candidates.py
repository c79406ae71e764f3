"""`evoflash lineage`, `show` and `diff`."""

import json
import math
import sys

import pytest
import typer
from typer.testing import CliRunner

from evoflash.cli import candidates as commands
from evoflash.core.status import Stage, Status
from evoflash.errors import NotFoundError, UsageError
from evoflash.store import RunStore
from tests.store import runs
from tests.store.runs import candidate, failed, ok, source

app = typer.Typer()
for command in (commands.lineage, commands.show, commands.diff):
    app.command()(command)


@pytest.fixture(autouse=True)
def database(tmp_path, monkeypatch):
    path = tmp_path / "runs.db"
    monkeypatch.setenv("EVOFLASH_DB", str(path))
    with RunStore.open(str(path), write=True) as store:
        runs.small_run(store)
    return path


def call(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_lineage_in_lines():
    lines = call("lineage", "7").splitlines()
    assert [(len(line) - len(line.lstrip())) // 2 for line in lines] == [0, 1, 2, 3, 4, 4, 2]
    assert [line.split()[0] for line in lines] == ["7", "6", "4", "3", "1", "2", "3"]
    assert "by crossover: 20.00 us; from 4: rows 64 → 96" in lines[1]
    assert ", 1.25x; from 3: rows 48 → 96" in lines[1]
    assert "family cpu_simple → cpu_flash, rows 32 → 48" in lines[3]
    assert lines[6].endswith("(see above)")
    assert (
        call("lineage", "5").splitlines()[0].startswith("5 cpu_flash by mutation: build_failed; from 4: rows 64 → 80")
    )


def test_lineage_nested():
    tree = json.loads(call("lineage", "7", "--json"))
    (parent,) = tree["parents"]
    assert (tree["candidate"], parent["candidate"]) == (7, 6)
    assert parent["changes"][0] == {
        "parent": 4,
        "genes": {"rows": [64, 96], "scale": [0.1 * 3, 0.5]},
        "speedup": 1.25,
    }
    first, second = parent["parents"]
    assert (first["candidate"], first["repeated"]) == (4, False)
    assert (second["candidate"], second["repeated"], second["parents"]) == (3, True, [])
    assert first["parents"][0]["parents"][1]["family"] == "cpu_simple"


def test_a_lineage_deeper_than_pythons_stack(database):
    depth = sys.getrecursionlimit() + 200
    with RunStore.open(str(database), write=True) as store:
        run = runs.begin(store)
        for index in range(depth):
            parents = (index - 1,) if index else ()
            store.record(run, candidate(index, *parents), failed(build=None), None)
    last = str(8 + depth)
    assert len(call("lineage", last).splitlines()) == depth
    before = sys.getrecursionlimit()
    assert call("lineage", last, "--json").count('"candidate":') == depth
    assert sys.getrecursionlimit() == before


def test_show_tells_everything():
    text = call("show", "6")
    for told in (
        "ok at full",
        "parents       4, 3",
        "registers      64",
        "mission seed 42",
        "113x203 causal",
        "warm",
        "eager",
    ):
        assert told in text
    assert "build_failed at build" in call("show", "5")
    assert "the compiler refused it" in call("show", "5")


def test_source_and_log_come_alone():
    assert call("show", "6", "--source") == source(5)
    assert call("show", "5", "--log") == "kernel.cpp:3: error: ünknown `type`\n"
    with pytest.raises(UsageError, match="choose one"):
        call("show", "5", "--log", "--json")


def test_show_as_json_has_no_nan():
    text = call("show", "8", "--json")
    found = json.loads(text, parse_constant=pytest.fail)
    assert found["evaluation"]["accuracy"][0]["max_error"] is None
    assert (found["candidate"], found["run"], found["index"], found["parents"]) == (8, 1, 7, [6])
    assert found["source"] == source(7)
    assert json.loads(call("show", "6", "--json"))["final"]["cases"] == 41


def test_a_candidate_that_was_not_rendered(database):
    with RunStore.open(str(database), write=True) as store:
        run = runs.begin(store)
        bare = failed(Status.BUILD_FAILED, stage=Stage.BUILD, reason="no such variable\nin line 3", build=None)
        one = store.record(run, candidate(0), bare, None)
        nan = ok(1.0, accuracy=(runs.accuracy(error=math.nan),))
        two = store.record(run, candidate(1), nan, source(1), "cpp")
    with pytest.raises(NotFoundError, match="has no source"):
        call("show", str(one), "--source")
    assert call("show", str(one), "--log") == ""
    assert "no such variable / in line 3" in call("show", str(one))
    assert "nan" in call("show", str(two))
    assert "+int rows = 1;" in call("diff", str(one), str(two))


def test_diff():
    text = call("diff", "4", "6")
    assert "rows" in text
    assert "\n--- candidate-4\n+++ candidate-6\n" in text
    assert "-// candidate 3\n-int rows = 3;\n+// candidate 5\n+int rows = 5;\n" in text
    assert text.endswith("candidate 6 is 1.25x as fast as candidate 4 (25.00 us and 20.00 us)\n")
    assert "candidate 5 is build_failed" in call("diff", "4", "5")
    assert "the sources are equal" in call("diff", "6", "7")
    found = json.loads(call("diff", "4", "6", "--json"))
    assert (found["a"], found["b"], found["speedup"], found["p50_us"]) == (4, 6, 1.25, [25.0, 20.0])
    assert found["genes"]["rows"] == [64, 96]


@pytest.mark.parametrize(
    "arguments", [["lineage", "99"], ["show", "99"], ["diff", "1", "99"], ["show", "99", "--json"]]
)
def test_ids_that_do_not_exist(arguments):
    with pytest.raises(NotFoundError, match="no candidate 99"):
        call(*arguments)
