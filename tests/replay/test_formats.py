import gzip
import json

import pytest

from evoflash.core.candidate import Proposal
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.errors import UsageError
from evoflash.replay import simulate
from evoflash.replay.formats import read, t4
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
    (tmp_path / "renamed.json").write_bytes(gzip.compress(json.dumps(T4).encode()))
    (tmp_path / "unpacked.json.gz").write_text(json.dumps(T4))  # as browsers save what a server sends packed
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["csv.csv", "zipped.csv.gz", "cache.json", "open.json", "t4.json.gz", "renamed.json", "unpacked.json.gz"],
)
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
        ("keys.json", "{}", r"neither 'results' \(T4\) nor 'cache' \(Kernel Tuner\); use T4 results"),
        ("list.json", "[]", "no mapping with 'results'"),
        ("entries.json", '{"tune_params_keys": ["x"], "cache": {"1": {"time": 1}}}', "entry '1' has no parameter 'x'"),
        ("cache.json", '{"tune_params_keys": ["x"]}', "the file has no 'cache'; fix the file"),
        ("names.json", '{"cache": {}}', "the file has no 'tune_params_keys'"),
        ("results.json", '{"results": [{"times": {}}]}', "result 0 has no 'configuration'"),
        ("result.json", '{"results": [1]}', "result 0 is 1, not a mapping"),
        ("newer.json", '{"schema_version": "2.0.0", "results": []}', r"is 2\.0\.0, and only 1\.x"),
        ("deep.json", '{"results": ' + "[" * 100_000, "nested too deeply"),
        ("digits.json", '{"results": ' + "1" * 5000 + "}", "not valid JSON"),
        ("flag.json", '{"tune_params_keys": ["x"], "cache": {"1": {"x": 1, "time": true}}}', "is True, not a number"),
        ("times.csv", "rows,time_ms\n1,fast\n", "'time_ms' of row 1 is 'fast', not a number; fix the file"),
        ("column.csv", "rows,time\n1,2\n", "no column 'time_ms'"),
        ("twice.csv", "rows,rows,time_ms\n1,2,3\n", "the same name"),
        ("short.csv", "rows,time_ms\n1\n", "row 1 has 1 fields and the header 2"),
        ("empty.csv", "", "no column 'time_ms'"),
        ("quote.csv", f'rows,time_ms\n"{"x" * 140_000}",1\n', "field larger than field limit"),
        ("name.csv", "rows per block,time_ms\n1,2\n", "'rows per block' is no name"),
        ("word.csv", f"rows,time_ms\n{'x' * 201},1\n", "no name or value of a parameter"),
        ("none.csv", "time_ms\n1\n", "no name or value of a parameter"),
        ("nan.csv", "rows,time_ms\n1,nan\n2,inf\n3,1e999\n", "no configuration with a time"),
        (
            "huge.json",
            '{"tune_params_keys": ["x"], "cache": {"1": {"x": 1, "time": 1' + "0" * 400 + "}}}",
            "with a time",
        ),
        ("digits.csv", f"rows,time_ms\n{'1' * 400},1\n", "is no name or value of a parameter"),
        ("t1.json", '{"General": {}, "ConfigurationSpace": {}, "KernelSpecification": {}}', "is a T1 description"),
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
    (tmp_path / "t4.json").write_text(json.dumps(t4.document(pairs, {})))
    found = read(tmp_path / "t4.json")
    assert {family: set(space.parameters) for family, space in found.spaces.items()} == {
        "wide": {"rows", "split"},
        "deep": {"stages"},
    }
    assert {family for family, _ in found.results} == {"wide", "deep"}
    assert sorted(each.fitness_us or 0.0 for each in found.results.values()) == [10.0, 11.0]


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "space.csv.gz"
    data = bytearray(gzip.compress(CSV.encode()))
    for place in range(10, len(data)):
        path.write_bytes(bytes([*data[:place], data[place] ^ 255, *data[place + 1 :]]))
        with pytest.raises(UsageError, match=r"cannot read .*space\.csv\.gz"):
            read(path)


def cache(objective, values):
    entries = {str(number): {"x": number, **values_of} for number, values_of in enumerate(values)}
    return json.dumps({"tune_params_keys": ["x"], **({"objective": objective} if objective else {}), "cache": entries})


def best_of(recording):
    (space,) = recording.spaces.values()
    times = {genome["x"]: recording.results[space.family, genome.digest].fitness_us for genome in space.genomes()}
    return min((time, x) for x, time in times.items() if time is not None)[1]


def test_the_objective_and_its_direction(tmp_path):
    path = tmp_path / "cache.json"
    values = [{"time": 3.0, "GFLOP/s": 10.0, "loss": -1.0}, {"time": 2.0, "GFLOP/s": 30.0, "loss": -3.0},
              {"time": 1.0, "GFLOP/s": 20.0, "loss": 7.0}]  # fmt: skip
    path.write_text(cache(None, values))
    assert best_of(read(path)) == 2
    assert best_of(read(path, "GFLOP/s")) == 1
    assert best_of(read(path, "GFLOP/s", higher_is_better=False)) == 0
    assert best_of(read(path, "loss")) == 1
    assert best_of(read(path, "loss", higher_is_better=True)) == 2
    path.write_text(cache("GFLOP/s", values))
    found = read(path)
    assert best_of(found) == 1
    assert (found.optimum_us / found.descending_us).tolist() == pytest.approx([10 / 30, 20 / 30, 1.0])
    with pytest.raises(UsageError, match=r"cache\.json: unknown objective 'tine'; did you mean 'time'"):
        read(path, "tine")
    csv = tmp_path / "space.csv"
    csv.write_text("x,time_ms,score\n1,1,-5\n2,2,-4\n3,3,0\n")
    assert best_of(read(csv, "score")) == 3
    with pytest.raises(UsageError, match=r"space\.csv: unknown objective 'scor'; did you mean 'score'"):
        read(csv, "scor")


def test_t4_results_of_a_negative_score(tmp_path):
    """Hyper-parameter tuning writes a score of which the highest is the best, and which may be negative."""
    rows = [t4_row(rows, "a", "correct", 1.0) for rows in (16, 32, 64)]
    for row, score in zip(rows, (-0.5, 0.25, -2.0), strict=True):
        row["objectives"] = ["score"]
        row["measurements"].append({"name": "score", "value": score, "unit": ""})
    (tmp_path / "t4.json").write_text(json.dumps({"schema_version": "1.0.0", "results": rows}))
    found = read(tmp_path / "t4.json")
    (space,) = found.spaces.values()
    times = {genome["rows"]: found.results[space.family, genome.digest].fitness_us for genome in space.genomes()}
    assert times[32] == min(times.values()) == 1000.0
    assert times[16] == pytest.approx(1500.0)
    assert times[64] == pytest.approx(2500.0)
    assert read(tmp_path / "t4.json", "time").descending_us.tolist() == [1000.0] * 3


def test_values_that_python_takes_for_equal_are_different_genes(tmp_path):
    path = tmp_path / "cache.json"
    entries = {str(number): {"x": x, "y": y, "time": number + 1.0} for number, (x, y) in enumerate(
        [(1, 1), (True, 2), (1.0, 1), (0.0, 1), (False, 1), (10**300, 1), (float("inf"), 2), ("1", 1)])}  # fmt: skip
    path.write_text(json.dumps({"tune_params_keys": ["x", "y"], "cache": entries}))
    found = read(path)
    (space,) = found.spaces.values()
    assert len(space) == 8
    assert not space.is_valid({"x": True, "y": 1})
    for strategy in ("evolution", "tpe"):
        assert simulate(strategy, found, 0, 8).best_us[-1] == 1000.0


def test_a_file_may_have_any_name_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "GEMM on A100 (2).csv"
    path.write_text(CSV, encoding="utf-8-sig")
    found = read(path)
    assert found.name == "GEMM on A100 (2)"
    assert set(found.spaces) == {"GEMM_on_A100__2_"}


def test_a_failure_without_a_name_is_a_failure(tmp_path):
    rows = [t4_row(16, "a", "correct", 2.5), t4_row(32, "a", "", 1.5)]
    (tmp_path / "t4.json").write_text(json.dumps({"results": rows}))
    assert read(tmp_path / "t4.json").optimum_us == 2500.0
    (tmp_path / "cache.json").write_text(cache(None, [{"time": 3.0}, {"time": 1.0, "__error__": ""}, {"time": ""}]))
    assert read(tmp_path / "cache.json").descending_us.tolist() == [3000.0]


def test_a_parameter_may_have_more_values_than_16_bits_count(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("\n".join(["x,time_ms", *(f"{x},{x + 1}" for x in range(33_000))]))
    assert len(read(path).results) == 33_000
