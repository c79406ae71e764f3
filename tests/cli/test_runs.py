"""`evoflash runs`: what a person and a pipe read."""

import json

import pytest
import typer
from typer.testing import CliRunner

from evoflash.cli import runs as commands
from evoflash.core.status import Status
from evoflash.errors import NotFoundError, NothingCorrectError, UsageError
from evoflash.replay.formats import read
from evoflash.store import RunStore
from tests.store import runs
from tests.store.runs import candidate, failed, ok

app = typer.Typer()
app.add_typer(commands.app, name="runs")


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVOFLASH_DB", raising=False)
    return tmp_path / "runs" / "evoflash.db"


@pytest.fixture
def recorded(path):
    with RunStore.open(str(path), write=True) as store:
        runs.small_run(store)
        runs.small_run(store, with_finals=False)
    return path


def call(*arguments: str):
    result = CliRunner().invoke(app, ["runs", *arguments])
    if result.exception is not None:
        raise result.exception
    return result


def test_list(recorded):
    lines = call("list").stdout.splitlines()
    assert lines[0] == "runs"
    assert lines[1].split()[:3] == ["run", "begun", "status"]
    assert [line.split()[0] for line in lines[2:4]] == ["1", "2"]
    assert "1x2x64x64 float16" in lines[2]
    found = json.loads(call("list", "--json").stdout)
    assert [(run["id"], run["status"], run["correct"], run["best_us"]) for run in found["runs"]] == [
        (1, "done", 5, 20.0),
        (2, "done", 5, 20.0),
    ]


def test_the_database_is_chosen_by_option_and_environment(recorded, monkeypatch, tmp_path):
    elsewhere = tmp_path / "other.db"
    with RunStore.open(str(elsewhere), write=True):
        pass
    assert json.loads(call("list", "--json", "--db", str(elsewhere)).stdout) == {"runs": []}
    monkeypatch.setenv("EVOFLASH_DB", str(elsewhere))
    result = call("list")
    assert result.stdout == ""
    assert "evoflash search" in result.stderr
    assert len(json.loads(call("list", "--json", "--db", str(recorded)).stdout)["runs"]) == 2


@pytest.mark.parametrize("arguments", [["list"], ["show"], ["best"], ["show", "--json"]])
def test_nothing_recorded_yet(path, arguments):
    with pytest.raises(NotFoundError, match="evoflash search"):
        call(*arguments)
    assert not path.exists()


def test_show_counts_and_converges(recorded):
    found = json.loads(call("show", "1", "--json").stdout)
    assert found["run"]["id"] == 1
    assert found["run"]["plan"]["budget"] == 10
    assert found["statuses"] == {"ok": 5, "build_failed": 1, "duplicate": 1, "wrong": 1}
    families = {each["name"]: (each["candidates"], each["correct"], each["best_us"]) for each in found["families"]}
    assert families == {"cpu_flash": (7, 4, 20.0), "cpu_simple": (1, 1, 50.0)}
    operators = {each["name"]: each["improvements"] for each in found["operators"]}
    assert operators == {"seed": 1, "mutation": 1, "crossover": 2}
    assert [(each["after"], each["index"], each["best_us"]) for each in found["convergence"]] == [
        (1, 0, 40.0),
        (3, 2, 30.0),
        (4, 3, 25.0),
        (6, 5, 20.0),
    ]
    assert found["finals"]["finalists"][0]["index"] == 5
    assert found["insights"][0]["text"] == "cpu_flash leads"


def test_show_in_plain_lines_draws_and_cuts_nothing(recorded):
    text = call("show", "1").stdout
    assert text.isascii()
    for told in (
        "the budget is spent",
        "test device",
        "build_failed",
        "rms above its bound on 1x1",
        "sdpa-cudnn",
        "leads",
    ):
        assert told in text
    finals = text[text.index("finals, 9 rounds") :].splitlines()
    assert [line.split()[0] for line in finals[2:7]] == ["candidate", "candidate", "sdpa", "eager", "candidate"]
    assert finals[2].split()[:3] == ["candidate", "6", "ok"]


def test_show_takes_the_latest_run(recorded):
    assert json.loads(call("show", "--json").stdout)["run"]["id"] == 2
    with pytest.raises(NotFoundError, match="choose from: 1, 2"):
        call("show", "7")


def test_best_is_the_winner_of_the_finals(recorded):
    result = call("best", "1", "--json")
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert list(found) == [
        "run", "candidate", "index", "family", "genome", "p50_us", "vs_best", "vs_best_interval", "best_baseline",
        "vs_math", "vs_math_interval", "baselines", "cases", "source_digest", "status",
    ]  # fmt: skip
    assert (found["run"], found["candidate"], found["index"], found["p50_us"]) == (1, 6, 5, 19.0)
    assert found["vs_best"] == pytest.approx(30 / 19)
    assert found["vs_best_interval"] == pytest.approx([30 / 19 - 0.1, 30 / 19 + 0.1])
    assert (found["best_baseline"], found["cases"], found["status"]) == ("sdpa", 41, "ok")
    assert found["baselines"] == {"sdpa": 30.0, "eager": 90.0}
    assert found["genome"]["rows"] == 96
    assert "1.58x [1.48, 1.68] sdpa" in call("best", "1").stdout


def test_best_without_finals_is_that_of_the_search_and_says_so(recorded):
    result = call("best", "--json")
    assert "no finals" in result.stderr
    found = json.loads(result.stdout)
    assert (found["run"], found["index"], found["p50_us"], found["cases"]) == (2, 5, 20.0, 2)
    assert found["vs_best"] is found["vs_math_interval"] is found["best_baseline"] is None
    assert found["baselines"] == {}


def test_best_passes_over_what_the_finals_refuted(path):
    with RunStore.open(str(path), write=True) as store:
        run = runs.small_run(store, with_finals=False)
        store.record_finals(run, runs.finals((5, 1.0)))  # the last of them is wrong
    assert json.loads(call("best", "--json").stdout)["index"] == 3


def test_best_of_a_run_with_nothing_correct(path):
    with RunStore.open(str(path), write=True) as store:
        run = runs.begin(store)
        with pytest.raises(NothingCorrectError, match="none at all"):
            call("best")
        store.record(run, candidate(0), failed(), None)
        store.record(run, candidate(1), failed(Status.HUNG), None)
        store.record(run, candidate(2), ok(1.0, status=Status.WRONG), None)
    with pytest.raises(NothingCorrectError, match=r"1 build_failed, 1 hung, 1 wrong.*evoflash show") as caught:
        call("best")
    assert caught.value.exit_code == 1
    assert "build_failed" in call("show").stdout


def test_insights_are_those_of_the_last_generation(recorded):
    with RunStore.open(str(recorded), write=True) as store:
        store.record_insight(1, 0, "throughput", "not an insight", {})
        store.record_insight(1, 3, "failing", "layout=b has failed in all 4 tries", {"gene": "layout"})
    found = json.loads(call("insights", "1", "--json").stdout)
    assert [(each["generation"], each["kind"]) for each in found["insights"]] == [(3, "failing")]
    every = json.loads(call("insights", "1", "--all", "--json").stdout)
    assert [each["kind"] for each in every["insights"]] == ["family", "failing"]
    assert "layout=b has failed" in call("insights", "1").stdout


def test_too_few_results_say_nothing(path):
    with RunStore.open(str(path), write=True) as store:
        runs.begin(store)
    result = call("insights")
    assert result.stdout == ""
    assert "too few results" in result.stderr


# Of https://github.com/odgaard/TuningSchema, results-schema 1.0.0: what an entry must have, and may have.
T4_REQUIRED = {"configuration", "times", "invalidity", "correctness"}
T4_INVALIDITY = {"timeout", "compile", "runtime", "correctness", "constraints", "correct"}


def test_a_run_as_t4_follows_the_schema_and_can_be_replayed(recorded, tmp_path):
    result = call("export-t4", "1", "--out", "run.json")
    assert "8 configurations" in result.stderr
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["schema_version"] == "1.0.0"
    for each in document["results"]:
        assert set(each) >= T4_REQUIRED
        assert each["invalidity"] in T4_INVALIDITY
        assert isinstance(each["correctness"], int)
        assert isinstance(each["times"]["compilation_time"], float)
        assert all(set(measured) == {"name", "value", "unit"} for measured in each["measurements"])
    found = read(tmp_path / "run.json")
    assert found.optimum_us == pytest.approx(20.0)
    assert {family: len(space) for family, space in found.spaces.items()} == {"cpu_flash": 7, "cpu_simple": 1}
    assert sum(each.fitness_us is None for each in found.results.values()) == 2
    assert json.loads(call("export-t4", "1").stdout) == document
    call("export-t4", "1", "--out", "run.json.gz")
    assert (tmp_path / "run.json.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert read(tmp_path / "run.json.gz").results == found.results
    with pytest.raises(UsageError, match=r"write a \.json or \.json\.gz file"):
        call("export-t4", "1", "--out", "run.csv")
