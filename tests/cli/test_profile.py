"""`evoflash profile`, and the commands that a search's summary says to type next."""

import json
import shlex
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from evoflash.cli import main
from evoflash.cli import profile as command
from evoflash.core.profile import Profile
from evoflash.report.summary import Summary, next_commands, next_lines, summary_lines
from evoflash.store import RunStore
from tests.cli.command import WAIT_S, start
from tests.helpers import TINY
from tests.store import runs

app = typer.Typer()
app.command()(command.profile)
FOUND = Profile(tool="perf", device="a CPU", time_us=7.0, counters={"cycles": 9.0}, words=("memory bounds it", "so"))


class Profiled:
    """A profiler that only remembers what it was asked."""

    asked: list[tuple[str, str]] = []

    def __init__(self, *_: object) -> None: ...

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None: ...

    def profile(self, entrant, problem) -> Profile:
        self.asked.append((entrant.name, problem.label))
        return FOUND


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVOFLASH_DB", raising=False)
    monkeypatch.setattr(command, "Profiler", Profiled)
    monkeypatch.setattr(Profiled, "asked", [])
    with RunStore.open("runs/evoflash.db", write=True) as store:
        runs.small_run(store)
    return tmp_path


def call(*arguments: str):
    result = CliRunner().invoke(app, [*arguments, "--cache", "builds"])
    if result.exception is not None:
        raise result.exception
    return result


def stored(candidate: int) -> Profile | None:
    with RunStore.open("runs/evoflash.db") as store:
        return store.profile(candidate)


@pytest.mark.parametrize("word", ["6", "latest", "run:1"])
def test_the_profile_of_a_candidate_is_said_and_stored(path, word):
    lines = call(word).stdout.splitlines()
    assert lines[0].startswith("candidate 6, cpu_flash, 1x2x64x64 float16 on ")
    assert lines[1:] == ["  memory bounds it", "  so"]
    assert Profiled.asked == [("candidate 6", "1x2x64x64 float16")]
    assert stored(6) == FOUND


def test_on_another_shape_nothing_is_stored(path):
    document = json.loads(call("6", "--shape", "b=1,h=2,s=32,d=64,dtype=fp32", "--json").stdout)
    assert (document["candidate"], document["problem"], document["tool"]) == (6, "1x2x32x64 float32", "perf")
    assert document["words"] == ["memory bounds it", "so"]
    assert stored(6) is None


def test_a_family_needs_no_database(path):
    call("tiny", "--templates", str(TINY), "--shape", "b=1,h=2,s=32,d=16,dtype=fp32", "--db", "none.db")
    assert Profiled.asked[0][1] == "1x2x32x16 float32"
    assert not (path / "none.db").exists()


def test_a_profile_beside_a_search_is_said_but_not_stored(path):
    with RunStore.open("runs/evoflash.db", write=True):
        result = call("6")
    assert "memory bounds it" in result.stdout
    assert "the profile is not stored: another search is writing to" in result.stderr
    assert stored(6) is None


def test_the_summary_names_the_winner_every_baseline_and_what_mattered(path):
    with RunStore.open("runs/evoflash.db", write=True) as store:
        for kind, text in (("importance", "what decides alone: rows 60%"), ("failing", "rows=8 has failed")):
            data = {"family": "cpu_flash"}
            store.record_insight(1, 3, kind, f"cpu_flash: {text}", data)
            store.record_insight(1, 3, kind, f"cpu_simple: {text}", {"family": "cpu_simple"})
        found = Summary.of(store, 1, "mission")
    lines = [line.plain for line in summary_lines(found, 79)]
    assert all(len(line) <= 79 for line in lines)
    assert lines[0] == "mission: 8 candidates in 12.5 s, 5 correct"
    shown = "\n".join(lines)
    for words in (
        "winner     candidate 6, cpu_flash",
        "19.00 us a launch (median), right on 41 cases",
        "against    sdpa   1.58x [1.48, 1.68]      30.00 us",
        "eager  4.74x [4.64, 4.84]      90.00 us",
        "mattered   what decides alone: rows 60%",
        "rows=8 has failed",
    ):
        assert words in shown, f"{words} in\n{shown}"
    assert "cpu_simple" not in shown


def test_every_command_of_the_summary_works_as_printed(path):
    with RunStore.open("runs/evoflash.db") as store:
        found = Summary.of(store, 1, "mission")
    commands = next_commands([found, found], db="runs/evoflash.db", has_dashboard=False)
    printed = [line.plain for line in next_lines(commands, 60)]
    assert [line.removeprefix("next").strip() for line in printed] == [each for each, _ in commands]
    for line, _ in commands:
        if "profile" in line:
            continue  # it needs a kernel that builds: see below
        words = shlex.split(line)
        assert words.pop(0) == "evoflash"
        done = CliRunner().invoke(main.app, words)
        assert done.exit_code == 0, done.stderr
        assert done.stdout


@pytest.mark.long  # a search, and a profile of its winner: half a minute
def test_a_search_says_what_to_type_next(tmp_path):
    process = start(
        tmp_path,
        *("search", "--templates", str(TINY), "--family", "tiny", "--target", "cpu", "--effort", "quick"),
        *("--shape", "b=1,h=2,s=32,d=16,dtype=fp32", "--budget", "3", "--quiet"),
    )
    said, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, said
    assert "winner     candidate" in said
    assert " building, " not in said
    lines = [line for line in said.splitlines() if "evoflash " in line]
    commands = [line[line.index("evoflash ") :].split("  ")[0] for line in lines]
    commands = [each for each in commands if each.startswith(("evoflash show", "evoflash lineage", "evoflash profile"))]
    assert len(commands) == 3
    for line in commands:
        words = [*shlex.split(line)[1:]]
        done = subprocess.run(
            [sys.executable, "-m", "evoflash", *words], cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S
        )
        assert done.returncode == 0, done.stderr
    with RunStore.open(str(tmp_path / "runs.db")) as store:
        candidate = int(next(each for each in commands if "profile" in each).split()[2])
        found = store.profile(candidate)
    assert found is not None
    assert found.words[0].split(": ")[0].endswith("a launch")
    assert {"memory", "arithmetic"} <= set(found.floors_us)
