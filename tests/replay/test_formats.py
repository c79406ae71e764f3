import gzip
import json

import pytest

from evoflash.core.candidate import Proposal
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.errors import UsageError
from evoflash.replay import t4
from evoflash.replay.formats import read
from tests.helpers import right

CSV = """rows,layout,time_ms,status,compile_ms,bench_ms
16,a,2.5,ok,100,20
32,a,,CompilationFailedConfig,50,
32,b,1.5,ok,100,10
64,b,,RuntimeFailedConfig,100,5
"""

CACHE = {
    "device_name": "D",
    "kernel_name": "k",
    "tune_params_keys": ["rows", "layout"],
    "tune_params": {"rows": [16, 32, 64], "layout": ["a", "b"]},
    "cache": {
        "16,a": {"rows": 16, "layout": "a", "time": 2.5, "compile_time": 100, "benchmark_time": 20},
        "32,a": {"rows": 32, "layout": "a", "time": "CompilationFailedConfig", "compile_time": 50},
        "32,b": {"rows": 32, "layout": "b", "time": 1.5, "compile_time": 100, "benchmark_time": 10},
        "64,b": {"rows": 64, "layout": "b", "__error__": "RuntimeFailedConfig", "compile_time": 100},
    },
}


def t4_row(rows, layout, invalidity, time_ms=None):
    measured = [] if time_ms is None else [{"name": "time", "value": time_ms, "unit": "ms"}]
    return {
        "configuration": {"rows": rows, "layout": layout},
        "times": {"compilation_time": 100, "runtimes": [20]},
        "objectives": ["time"],
        "invalidity": invalidity,
        "correctness": int(invalidity == "correct"),
        "measurements": measured,
    }


T4 = {
    "schema_version": "1.0.0",
    "results": [
        t4_row(16, "a", "correct", 2.5),
        t4_row(32, "a", "compile"),
        t4_row(32, "b", "correct", 1.5),
        t4_row(64, "b", "runtime"),
    ],
}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "csv.csv").write_text(CSV)
    (tmp_path / "zipped.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    (tmp_path / "cache.json").write_text(json.dumps(CACHE))
    unfinished = json.dumps(CACHE, indent="")[:-4].rstrip() + ","  # as a session leaves it that was cut off
    (tmp_path / "open.json").write_text(unfinished)
    (tmp_path / "t4.json.gz").write_bytes(gzip.compress(json.dumps(T4).encode()))
    return tmp_path


@pytest.mark.parametrize("name", ["csv.csv", "zipped.csv.gz", "cache.json", "open.json", "t4.json.gz"])
def test_every_format_gives_the_same_recording(files, name):
    found = read(files / name)
    assert found.name == name.partition(".")[0]
    (space,) = found.spaces.values()
    assert {each: parameter.kind for each, parameter in space.parameters.items()} == {
        "layout": "categorical",
        "rows": "ordinal",
    }
    assert space.parameters["rows"].values == (16, 32, 64)
    outcomes = {
        (genome["rows"], genome["layout"]): found.results[space.family, genome.digest] for genome in space.genomes()
    }
    assert {key: each.fitness_us for key, each in outcomes.items()} == {
        (16, "a"): 2500.0,
        (32, "a"): None,
        (32, "b"): 1500.0,
        (64, "b"): None,
    }
    assert outcomes[32, "a"].status is Status.BUILD_FAILED
    assert outcomes[64, "b"].status is Status.LAUNCH_FAILED
    assert found.optimum_us == 1500.0
    assert not space.is_valid(Genome({"rows": 64, "layout": "a"}))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("other.txt", "x", "unknown format"),
        ("broken.json", "{", "fix the file"),
        ("keys.json", "{}", "fix the file"),
        ("times.csv", "rows,time_ms\n1,fast\n", "fix the file"),
        ("failed.csv", "rows,time_ms,status\n1,,failed\n", "no configuration with a time"),
        ("missing.csv", None, "check the path"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=says):
        read(tmp_path / name)


def test_families_of_unlike_parameters_are_read_as_they_were_written(tmp_path):
    """`runs export-t4` writes the family beside the genes."""
    genomes = {"wide": Genome({"rows": 16, "split": 2}), "deep": Genome({"stages": 3})}
    pairs = [
        (Proposal(family, genome, "made up").numbered(number), right(10.0 + number))
        for number, (family, genome) in enumerate(genomes.items())
    ]
    (tmp_path / "t4.json").write_text(json.dumps(t4.document(pairs)))
    found = read(tmp_path / "t4.json")
    assert {family: set(space.parameters) for family, space in found.spaces.items()} == {
        "wide": {"rows", "split"},
        "deep": {"stages"},
    }
    assert {family for family, _ in found.results} == {"wide", "deep"}
    assert sorted(each.fitness_us or 0.0 for each in found.results.values()) == [10.0, 11.0]
