"""`evoflash replay`: from files to tables."""

import csv
import json

import pytest
import typer
from typer.testing import CliRunner

from evoflash.cli import replay as commands
from evoflash.errors import NotFoundError, UsageError
from evoflash.store import RunStore
from tests.store import runs

app = typer.Typer()
app.command()(commands.replay)

ROWS = [(x, y, 1 + (x - 5) ** 2 + (y - 3) ** 2 + x / 10) for x in range(9) for y in range(6)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVOFLASH_DB", raising=False)
    for name, factor in (("one", 1.0), ("two", 2.5)):
        lines = [f"{x},{y},{factor * time:.4f}" for x, y, time in ROWS]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,y,time_ms", *lines]))
    return tmp_path


def call(*arguments: str):
    result = CliRunner().invoke(app, [*arguments, "--jobs", "1"])
    if result.exception is not None:
        raise result.exception
    return result


BOTH = ("one.csv", "two.csv", "--strategy", "evolution,random", "--repeats", "3", "--evaluations", "30")


def test_one_object_a_strategy(folder):
    first, second = json.loads(call(*BOTH, "--json").stdout)["standings"]
    assert (first["strategy"], second["strategy"]) == ("evolution", "random")
    assert set(first["medians"]) == {"25"}
    assert set(first["by_space"]) == {"one", "two"}
    assert first["score"] > second["score"]
    assert 0 < first["ev95"] <= 45
    assert first["p_value"] is None
    assert 0 <= second["p_value"] <= 1


def test_the_same_command_prints_the_same(folder):
    again = [json.loads(call(*BOTH, "--json").stdout)["standings"] for _ in range(2)]
    for found in again:
        for each in found:
            each.pop("proposal_ms")
    assert again[0] == again[1]


def test_a_table_and_curves(folder):
    text = call(*BOTH, "--out", "race").stdout
    assert "2 spaces, 30 evaluations" in text
    assert [line.split()[0] for line in text.splitlines()[2:4]] == ["evolution", "random"]
    with (folder / "race" / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 30
    assert all(0 < float(row["lower_quartile"]) <= float(row["median"]) <= float(row["upper_quartile"]) for row in rows)


def test_a_run_of_the_database_is_a_space(folder):
    with RunStore.open("runs.db", write=True) as store:
        run = runs.small_run(store)
    words = [str(run), "--db", "runs.db", "--strategy", "random", "--repeats", "2", "--evaluations", "8"]
    (found,) = json.loads(call(*words, "--json").stdout)["standings"]
    assert list(found["by_space"]) == [f"run-{run}"]
    assert found["strategy"] == "random"


def test_synthetic_spaces_are_named_by_their_seeds(folder):
    words = ["synthetic:0-1", "--strategy", "random", "--repeats", "1", "--evaluations", "5"]
    (found,) = json.loads(call(*words, "--json").stdout)["standings"]
    assert list(found["by_space"]) == ["synthetic-0", "synthetic-1"]
    with pytest.raises(UsageError, match="synthetic:5-3 names no seed; write the smaller one first"):
        call("synthetic:5-3")
    with pytest.raises(UsageError, match="synthetic:1 has only times; leave out --objective"):
        call("synthetic:1", "--objective", "energy")


def test_what_does_not_exist_is_named(folder):
    with pytest.raises(NotFoundError, match="did you mean 'evolution'"):
        call("one.csv", "--strategy", "evolutoin")
    with pytest.raises(NotFoundError, match="setting of evolution"):
        call("one.csv", "--strategy", "evolution:crosover=no")
    with pytest.raises(UsageError, match="check the path"):
        call("three.csv")
    with pytest.raises(UsageError, match="two spaces have the name one"):
        call("one.csv", "one.csv")


def test_a_score_that_may_be_negative(folder):
    """The tuning of hyper-parameters: the highest score is the best, and some are negative."""
    scores = {f"{x},{y}": {"x": x, "y": y, "score": 20 - time, "time": 1.0} for x, y, time in ROWS}
    cache = {"tune_params_keys": ["x", "y"], "objective": "score", "cache": scores}
    (folder / "cache.json").write_text(json.dumps(cache))
    run = ("cache.json", "--strategy", "evolution,random", "--repeats", "3", "--evaluations", "30", "--json")
    first, second = json.loads(call(*run).stdout)["standings"]
    assert first["score"] > second["score"]
    assert json.loads(call(*run, "--minimize").stdout)["standings"] != [first, second]
    assert json.loads(call(*run, "--objective", "time").stdout)["standings"][0]["medians"] == {"25": 1.0}
    with pytest.raises(UsageError, match=r"cache\.json: unknown objective 'energy'"):
        call(*run, "--objective", "energy")
    with pytest.raises(UsageError, match="run 1 has only times; leave out --objective"):
        call("1", "--maximize")


def test_a_description_of_a_problem_is_no_recording(folder):
    (folder / "t1.json").write_text(json.dumps({"General": {}, "ConfigurationSpace": {"TuningParameters": []}}))
    with pytest.raises(UsageError, match=r"t1\.json is a T1 description .* no measurements; use T4 results"):
        call("t1.json")
