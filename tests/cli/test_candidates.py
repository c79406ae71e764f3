"""`evoflash lineage`, `show` and `diff`."""

import json
import math
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from evoflash.cli import candidates as commands
from evoflash.core.candidate import Origin
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


def test_lineage_as_json():
    found = json.loads(call("lineage", "7", "--json"))
    assert json.loads(call("lineage", "7", "--format", "json")) == found
    assert (found["candidate"], found["run"], found["left_out"]) == (7, 1, 0)
    members = {each["candidate"]: each for each in found["candidates"]}
    assert list(members) == [7, 6, 4, 3, 1, 2]
    assert members[6]["changes"][0] == {
        "parent": 4,
        "genes": {"rows": [64, 96], "scale": [0.1 * 3, 0.5]},
        "speedup": 1.25,
    }
    assert [each["parent"] for each in members[6]["changes"]] == [4, 3]
    assert members[2]["family"] == "cpu_simple"


def test_the_lineage_of_a_run_is_a_forest_of_descendants():
    lines = call("lineage", "7", "--full").splitlines()
    assert [((len(line) - len(line.lstrip())) // 2, line.split()[0]) for line in lines] == [
        (0, "1"), (1, "3"), (2, "4"), (3, "5"), (3, "6"), (4, "7"), (4, "8"), (0, "2"),
    ]  # fmt: skip
    found = json.loads(call("lineage", "7", "--full", "--json"))
    assert (found["candidate"], len(found["candidates"])) == (6, 8)
    assert found == json.loads(call("lineage", "latest", "--full", "--json"))


def test_a_limit_keeps_the_fastest_with_all_their_ancestors():
    result = CliRunner().invoke(app, ["lineage", "7", "--full", "--limit", "5", "--json"])
    found = json.loads(result.stdout)
    assert [each["candidate"] for each in found["candidates"]] == [1, 2, 3, 4, 6]
    assert found["left_out"] == 3
    assert result.stderr == "3 of 8 candidates are left out; --limit shows more\n"
    least = json.loads(call("lineage", "7", "--full", "--limit", "1", "--json"))
    assert least["candidates"] == found["candidates"]
    with pytest.raises(UsageError, match="--limit means nothing without --full"):
        call("lineage", "7", "--limit", "5")


def test_parents_in_another_run_are_shown_and_count_for_nothing(database):
    with RunStore.open(str(database), write=True) as store:
        run = runs.begin(store)
        copied = replace(candidate(0), origin=Origin(1, 5))
        store.record(run, copied, ok(30.0), None)
    found = json.loads(call("lineage", "run:2", "--full", "--json"))
    assert [(each["candidate"], each["run"]) for each in found["candidates"]] == [(6, 1), (9, 2)]
    assert (found["candidate"], found["left_out"]) == (9, 0)
    assert call("lineage", "run:2", "--full").startswith("6 of run 1 cpu_flash by crossover: 20.00 us\n  9 cpu_flash")


ODD = 'a "quoted" <b> #1 `x` & \\ \n line'


@pytest.fixture
def odd(database):
    """A lineage whose texts have the signs that DOT, Mermaid and HTML read as syntax."""
    with RunStore.open(str(database), write=True) as store:
        run = runs.begin(store)
        store.record(run, candidate(0), ok(30.0), None)
        store.record(run, candidate(1, 0, operator='step "two"', layout=ODD), ok(20.0), None)
        store.record(run, candidate(2, 1, 0), failed(), None)
    return database


MERMAID_LINE = re.compile(
    r"""flowchart\ TD
    | \ \ c\d+\["[^"]*"\]                          # a node
    | \ \ c\d+\ -->\|"[^"]*"\|\ c\d+               # an edge
    | \ \ style\ c\d+\ stroke-(width:4px|dasharray:\ 4)""",
    re.VERBOSE,
)


@pytest.mark.parametrize("arguments", [("7",), ("7", "--full"), ("11",), ("11", "--full")])
def test_mermaid_has_nothing_but_nodes_edges_and_styles(odd, arguments):
    lines = call("lineage", *arguments, "--format", "mermaid").splitlines()
    assert lines[0] == "flowchart TD"
    assert [line for line in lines if not MERMAID_LINE.fullmatch(line)] == []
    texts = " ".join(re.findall('"([^"]*)"', "\n".join(lines)))
    assert not re.search(r"[<>`&]|#(?!(35|96|quot|lt|gt|amp);)", texts.replace("<br/>", ""))
    nodes = set(re.findall(r"^  (c\d+)\[", "\n".join(lines), re.MULTILINE))
    edges = re.findall(r"^  (c\d+) -->\|[^|]*\| (c\d+)", "\n".join(lines), re.MULTILINE)
    assert {end for edge in edges for end in edge} <= nodes
    assert edges


DOT_STRING = r'"(?:[^"\\]|\\.)*"'
DOT_LINE = re.compile(
    rf"""digraph\ lineage\ {{ | }}
    | \ \ (node|edge)\ \[.*\];
    | \ \ \d+\ \[label={DOT_STRING}(,\ style=dashed)?(,\ penwidth=3)?\];
    | \ \ \d+\ ->\ \d+\ \[label={DOT_STRING}\];""",
    re.VERBOSE,
)


@pytest.mark.parametrize("arguments", [("7",), ("11", "--full")])
def test_dot_is_a_graph_that_graphviz_draws(odd, arguments):
    text = call("lineage", *arguments, "--format", "dot")
    assert [line for line in text.splitlines() if not DOT_LINE.fullmatch(line)] == []
    assert text.count("penwidth=3") == 1
    if (program := shutil.which("dot")) is not None:
        drawn = subprocess.run([program, "-Tplain"], input=text, capture_output=True, text=True, timeout=60)
        assert (drawn.returncode, drawn.stderr) == (0, "")
        kinds = [line.split()[0] for line in drawn.stdout.splitlines()]
        assert kinds.count("edge") == text.count(" -> ")
        assert kinds.count("node") == text.count("[label=") - text.count(" -> ")


def test_json_and_another_form_exclude_each_other():
    with pytest.raises(UsageError, match="--json and --format dot exclude each other"):
        call("lineage", "7", "--format", "dot", "--json")


def test_a_lineage_deeper_than_pythons_stack(database):
    depth = sys.getrecursionlimit() + 200
    with RunStore.open(str(database), write=True) as store:
        run = runs.begin(store)
        for index in range(depth):
            parents = (index - 1,) if index else ()
            store.record(run, candidate(index, *parents), failed(build=None), None)
    last = str(8 + depth)
    assert len(call("lineage", last).splitlines()) == depth
    assert len(call("lineage", last, "--full", "--limit", "2000").splitlines()) == depth
    assert len(json.loads(call("lineage", last, "--json"))["candidates"]) == depth


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
