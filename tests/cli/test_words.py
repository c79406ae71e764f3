"""How runs and candidates are named: each word means the same in every command."""

import json

import pytest
from typer.testing import CliRunner

from evoflash.cli.entrants import entrant_of
from evoflash.cli.main import app
from evoflash.config import Settings
from evoflash.problems.attention import AttentionProblem
from evoflash.store import RunStore
from tests.store import runs
from tests.store.runs import candidate, ok, source

PACED = (20.0, 10.0, 15.0)  # the times of the winners of runs 1, 2 and 3: run 2 is the best, run 3 the latest
OTHER = AttentionProblem.of(1, 2, 128, 64)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with three runs of one problem, of two candidates each: 1 and 2, 3 and 4, 5 and 6."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVOFLASH_DB", raising=False)
    with RunStore.open("runs/evoflash.db", write=True) as store:
        for time in PACED:
            add(store, time)
    return tmp_path


def add(store: RunStore, time: float, **changes) -> None:
    """A run whose second candidate wins."""
    run = runs.begin(store, **changes)
    for index in (0, 1):
        store.record(run, candidate(index), ok(time + 1 - index), source(index), "c++")
    store.record_finals(run, runs.finals((1, time), (0, time + 1)))
    store.finish_run(run, status="done", reason="the budget is spent", elapsed_s=1.0)


def call(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 2, result.output
    return result.stderr


@pytest.mark.parametrize(("word", "run"), [("1", 1), ("run:1", 1), ("latest", 3), ("best", 2)])
def test_a_run(place, word, run):
    assert json.loads(call("runs", "show", word, "--json"))["run"]["id"] == run
    assert json.loads(call("runs", "best", word, "--json"))["run"] == run
    assert f"run {run} has too few results" in CliRunner().invoke(app, ["runs", "insights", word]).stderr
    assert f"run {run} is done" in refusal("resume", word)
    written = CliRunner().invoke(app, ["runs", "export-t4", word, "--out", "run.json"])
    assert f"run {run}: 2 configurations" in written.stderr


def test_an_export_takes_runs_or_a_candidate(place, monkeypatch):
    asked = []

    def export_runs(store, runs, out, candidate, *rest):
        asked.append((runs, candidate))
        return place

    monkeypatch.setattr("evoflash.api.exporting.export_runs", export_runs)
    call("export")
    call("export", "best", "latest", "run:1")
    call("export", "--candidate", "best")
    assert asked == [([3], None), ([2, 3, 1], None), ([2], 4)]


@pytest.mark.parametrize(("word", "id"), [("1", 1), ("run:1", 2), ("latest", 6), ("best", 4)])
def test_a_candidate(place, word, id):
    assert json.loads(call("show", word, "--json"))["candidate"] == id
    assert json.loads(call("lineage", word, "--json"))["candidate"] == id
    found = json.loads(call("diff", word, "3", "--json"))
    assert (found["a"], found["b"]) == (id, 3)
    assert entrant_of(word, Settings(), 0).name == f"candidate {id}"  # as in `bench --kernel` and `verify`


@pytest.mark.parametrize("command", [["show"], ["lineage"], ["diff", "1"], ["export", "--candidate"]])
@pytest.mark.parametrize("words", [["run"], ["run", "3"], ["run:"], ["newest"], ["1.5"]])
def test_what_names_no_candidate_says_what_does(place, command, words):
    said = refusal(*command, *words)
    assert f"{words[0]!r} names no candidate; write its id, or latest, best or run:N" in said


@pytest.mark.parametrize(
    "command", [["runs", "show"], ["runs", "best"], ["runs", "export-t4"], ["resume"], ["export"], ["export", "1"]]
)
def test_what_names_no_run_says_what_does(place, command):
    assert "'newest' names no run; write its number, latest or best" in refusal(*command, "newest")


def test_kernels_and_warm_starts_take_the_same_words(place):
    assert "'run:x' names no candidate" in refusal("bench", "--target", "cpu", "--kernel", "run:x")
    assert "'run' names no candidate" in refusal("verify", "run")
    assert "auto, none or a run (its number, latest or best), not 'newest'" in refusal(
        "search", "--target", "cpu", "--warm-start", "newest"
    )


def test_replay_takes_a_run_by_a_word_unless_there_is_such_a_file(place):
    call("replay", "latest", "--strategy", "random", "--repeats", "1", "--evaluations", "2", "--jobs", "1")
    (place / "latest").write_text("x")
    assert "latest has an unknown format" in refusal("replay", "latest")


def test_the_best_of_several_problems_is_to_be_chosen(place):
    with RunStore.open("runs/evoflash.db", write=True) as store:
        add(store, 25.0, problem=OTHER)
    assert json.loads(call("runs", "show", "latest", "--json"))["run"]["id"] == 4
    said = refusal("show", "best")
    assert "best is ambiguous" in said
    assert f"run:2 ({runs.PROBLEM.label} on test device, 3x)" in said
    assert f"run:4 ({OTHER.label} on test device, 1.2x)" in said
    assert json.loads(call("show", "run:4", "--json"))["candidate"] == 8


def test_the_best_of_two_devices_is_to_be_chosen(place):
    with RunStore.open("runs/evoflash.db", write=True) as store:
        add(store, 25.0, machine={"device": "another device"})
    assert "on another device, 1.2x" in refusal("export", "best")


def test_no_run_is_the_best_before_its_finals(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunStore.open("runs/evoflash.db", write=True) as store:
        runs.small_run(store, with_finals=False)
    assert "name one by latest or a number" in refusal("runs", "show", "best", "--db", "runs/evoflash.db")
