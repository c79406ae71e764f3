"""`evoflash record` and `evoflash convert` on evaluations that a function makes up."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evoflash.api.prepared import PreparedSearch
from evoflash.cli.main import app
from evoflash.replay.formats import read
from tests.helpers import SHAPE, TINY
from tests.made_up import MadeUpToolchain, made_up_search


@pytest.fixture(autouse=True)
def made_up(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        PreparedSearch,
        "search",
        lambda self, store, progress: made_up_search(self.plans, self.device, MadeUpToolchain(), store, progress),
    )


def called(*arguments: str, code: int = 0):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result


def recorded(*more: str, code: int = 0):
    return called(
        "record", "tiny", "--templates", str(TINY), "--shape", SHAPE, "--target", "cpu", "--out", "space.t4.json.gz",
        "--set", "work=1,2", "--set", "comment=false", *more, code=code,
    )  # fmt: skip


def test_what_is_recorded_is_shown_replayed_and_converted():
    result = recorded()
    assert "32 points in" in result.stdout
    assert "everything has been measured" in result.stdout
    assert "candidates a minute; busy" in result.stderr
    found = json.loads(recorded("--json").stdout)
    assert found["new"] == 0
    (family,) = found["families"]
    assert (family["family"], family["points"]) == ("tiny", 32)
    assert sum(found["statuses"].values()) == 32
    replayed = called("replay", "space.t4.json.gz", "--strategy", "random", "--repeats", "2", "--jobs", "1", "--json")
    assert json.loads(replayed.stdout)["repeats"] == 2
    called("convert", "space.t4.json.gz", "--out", "cache.json")
    ours, theirs = read_both("space.t4.json.gz", "cache.json")
    assert ours == theirs


def read_both(*names: str):
    """Of each file the times by configuration, and how many failed."""
    for name in names:
        found = read(Path(name))
        (space,) = found.spaces.values()
        times = {genome.digest: found.results[space.family, genome.digest].fitness_us for genome in space.genomes()}
        yield {digest: None if time is None else round(time, 6) for digest, time in times.items()}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--set", "work"), "--set 'work' is no list of values; write NAME=VALUE,VALUE"),
        (("--set", "work=9"), "work=9 is not one of"),
        (("--shape", "mission,bert"), "--shape names 2 shapes"),
    ],
)
def test_a_mistake_is_named(more, says):
    assert says in recorded(*more, code=2).output


def test_a_cache_has_one_family_and_a_name_of_its_own():
    recorded()
    assert "write a .json file" in called("convert", "space.t4.json.gz", "--out", "cache.csv", code=2).output
    words = ("convert", "space.t4.json.gz", "--family", "tny", "--out", "cache.json")
    assert "unknown family 'tny'; did you mean 'tiny'" in called(*words, code=2).output
