"""The sweep of an export: which ranges a kernel is asked for, from times that are made up, and once from real ones."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from evoflash.errors import UsageError, WorkerError
from evoflash.export import rendering
from evoflash.export.package import write
from evoflash.export.sweep import Sweep

from .conftest import cpu_winner, load

FAST, SLOW = {"name": "fast"}, {"name": "slow"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    folder = write(cpu_winner("exported_sweep"), tmp_path_factory.mktemp("sweep") / "out")
    load("exported_sweep", folder)
    return load("exported_sweep.sweep", folder)


def asked(
    program: ModuleType,
    times: Callable[[int, int, int], dict[str, float]],
    lengths: tuple[int, ...] = (64, 128, 256),
    batches: tuple[int, ...] = (1, 2),
    causal: bool = False,
) -> list[tuple]:
    """Name, queries, keys and batch x heads of each row, for times by batch, queries and keys; SDPA takes 10 us."""

    class MadeUp(program.Sweep):
        def _measured(self, point) -> dict[str, float]:
            return {"SDPA": 10.0, **times(point.batch, point.queries, point.keys)}

    form = replace(importlib.import_module("exported_sweep.selftest").FORM, causal=causal)
    kind = program.Kind(form, heads=4, kv_heads=4)
    rows = {number: {**row, "searched": [100, 100]} for number, row in enumerate((FAST, SLOW))}
    found = MadeUp(kind, rows, end_s=float("inf")).ranges(list(lengths), list(batches))
    assert not any("searched" in row for row in found)
    return [(row["name"], *map(tuple, (row["query_length"], row["key_length"], row["batch_heads"]))) for row in found]


def test_a_kernel_that_is_faster_everywhere_has_a_row_for_each_kind_of_call(program: ModuleType):
    found = asked(program, lambda *_: {"fast": 4.0, "slow": 8.0})
    assert found == [
        ("fast", (100, 100), (100, 100), (4, 8)),
        ("fast", (64, 256), (64, 256), (4, 8)),
        ("fast", (1, 1), (64, 256), (4, 8)),
    ]


def test_sdpa_computes_where_no_kernel_is_faster_by_the_margin(program: ModuleType):
    assert asked(program, lambda *_: {"fast": 9.9}) == []
    mostly = asked(program, lambda b, q, k: {"fast": 4.0 if k < 256 else 10.1}, causal=True)
    assert mostly[1:] == [("fast", (64, 256), (64, 256), (4, 8))]
    assert len(asked(program, lambda b, q, k: {"fast": 4.0 if k < 256 else 10.3}, causal=True)[1:]) == 1
    found = asked(program, lambda b, q, k: {"fast": 4.0 if q == k == 100 else 20.0})
    assert found == [("fast", (100, 100), (100, 100), (4, 8))]


def test_ranges_end_where_the_kernel_was_measured_to_be_faster(program: ModuleType):
    found = asked(program, lambda b, q, k: {"fast": 4.0 if max(q, k) <= 128 else 20.0}, causal=True)
    assert found == [("fast", (100, 100), (100, 100), (4, 8)), ("fast", (64, 128), (64, 128), (4, 8))]


def test_neighbours_stay_apart_where_queries_and_keys_of_both_are_not_faster(program: ModuleType):
    found = asked(program, lambda b, q, k: {"fast": 4.0 if max(q, k) <= 2 * min(q, k) else 20.0}, causal=True)
    assert found[1:] == [("fast", (64, 128), (64, 128), (4, 8)), ("fast", (128, 256), (128, 256), (4, 8))]


def test_kernels_share_the_lengths_and_the_batches(program: ModuleType):
    found = asked(program, lambda b, q, k: {"fast": 4.0, "slow": 2.0 if k >= 128 else 9.0}, causal=True)
    assert found[1:] == [("fast", (64, 128), (64, 128), (4, 8)), ("slow", (128, 256), (128, 256), (4, 8))]
    found = asked(program, lambda b, q, k: {"fast": 4.0 if b == 1 else 20.0, "slow": 5.0}, causal=True)
    assert [row[0] for row in found] == ["slow", "slow"]
    found = asked(program, lambda b, q, k: {"fast": 4.0 if b == 1 else 6.0, "slow": 5.2}, causal=True)
    assert [row[0] for row in found] == ["fast", "fast"], "the faster one on the mean"
    found = asked(program, lambda b, q, k: {"fast": 4.0 if b < 4 else 20.0}, batches=(1, 2, 4), causal=True)
    assert [row[3] for row in found] == [(4, 8), (4, 8)]


def test_a_kernel_that_declines_a_corner_is_not_asked_there(program: ModuleType):
    found = asked(program, lambda b, q, k: {"fast": 4.0} if k < 256 else {}, causal=True)
    assert found[1:] == [("fast", (64, 128), (64, 128), (4, 8))]


def test_what_is_not_measured_in_time_is_sdpas(program: ModuleType):
    kind = program.Kind(importlib.import_module("exported_sweep.selftest").FORM, heads=4, kv_heads=4)
    late = program.Sweep(kind, {0: {**FAST, "searched": [100, 100]}}, end_s=0.0)
    assert late.ranges([64, 128], [1]) == []


def test_lengths_are_in_equal_ratios_with_both_ends(program: ModuleType):
    assert program.steps(64, 260, 2) == [64, 91, 128, 181, 256, 260]
    assert program.steps(181, 600, 2, 256) == [181, 256, 304, 362, 431, 512, 600]
    assert program.steps(1, 8, 1) == [1, 2, 4, 8]
    assert program.steps(5, 5, 2) == [5]


def test_measures_and_keeps_the_kernels_that_are_asked(tmp_path: Path, cache: Path):
    """The second kernel waits in each row, so it cannot be the fastest anywhere."""
    plain = cpu_winner("exported_swept")
    waits = plain.source.replace(" return 42;", " return 42;\n  for (volatile int i = 0; i < 100000; ++i) {}")
    assert waits != plain.source
    winner = replace(plain, others=(replace(plain, source=waits),))
    swept = Sweep.parse("lengths=2..4 batches=1 minutes=2").run(winner, tmp_path / "out", {})
    assert swept.sweep is not None
    assert {point["queries"] for point in swept.sweep["points"]} == {1, 2, 3, 4, 24}
    assert swept.others == ()
    folder = write(swept, tmp_path / "out")
    table = json.loads((folder / "exported_swept" / "kernels.json").read_text())["kernels"]
    assert table == swept.sweep["rows"]
    for row in table:  # none where this machine is busy: which kernels are asked is tested on made-up times
        assert row["batch_heads"] == [4, 4]
        assert row["source"] == "kernel.cpp"
    assert "## Against SDPA" in (folder / "README.md").read_text()
    module = load("exported_swept", folder)
    module.selftest = load("exported_swept.selftest", folder)
    assert module.selftest.changed() == []


def test_the_readme_says_what_a_kernel_gains_where_it_is_asked():
    row = {"name": "plain", "dtype": "float32", "head_size": 16, "causal": False, "source": "kernel.cpp"}
    ranges = {"query_length": [1, 1], "key_length": [64, 128], "batch_heads": [4, 8]}
    kind = {"dtype": "float32", "head_size": 16, "causal": False, "heads": 4, "kv_heads": 4, "batch": 2, "queries": 1}
    points = [
        {**kind, "keys": keys, "us": {"SDPA": 10.0, "plain": us}}
        for keys, us in ((64, 5.0), (128, 8.0), (256, 20.0))  # the last one is outside
    ]
    sweep = {"device": "a CPU", "torch": "2.13", "points": points, "rows": [row | ranges]}
    readme = rendering.files(replace(cpu_winner("exported_gains"), sweep=sweep))["README.md"]
    assert "Measured on a CPU" in readme
    assert "| 4 to 8 | 1 | 64 to 128 | plain | 1.25× to 2.00× |" in readme


def test_the_names_of_sources_follow_when_kernels_are_dropped():
    plain = cpu_winner("exported_dropped")
    second, third = (replace(plain, source=f"{plain.source}// {number}\n") for number in (2, 3))
    row = {"name": "plain", "dtype": "float32", "head_size": 16, "causal": False}
    ranges = {"query_length": [1, 2], "key_length": [1, 2], "batch_heads": [4, 4]}
    sweep = {"device": "CPU", "torch": "2.13", "points": [], "rows": [{**row, **ranges, "source": "kernel_3.cpp"}]}
    swept = replace(plain, others=(second, third)).swept({**sweep, "rows": sweep["rows"]})
    assert swept.source == third.source
    assert swept.sweep is not None
    assert swept.sweep["rows"][0]["source"] == "kernel.cpp"
    nothing = replace(plain, others=(second,)).swept({**sweep, "rows": []})
    assert (nothing.source, nothing.others) == (plain.source, ())
    assert json.loads(rendering.files(nothing)["exported_dropped/kernels.json"])["kernels"] == []


@pytest.mark.parametrize("text", ["lengths", "lengths=9..3", "lengths=0..3", "minutes=x", "depths=1..2", ""])
def test_says_how_a_sweep_is_written(text: str):
    with pytest.raises(UsageError, match=r"write e\.g\. lengths=64\.\.4096"):
        Sweep.parse(text)


def test_reads_what_is_written():
    assert Sweep.parse("lengths=1..2048,batches=2 minutes=.5") == Sweep((1, 2048), (2, 2), 0.5)


def test_a_package_that_does_not_run_here_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(WorkerError, match=r"the sweep fails: cannot sweep: .* 'no-such-compiler' cannot be run"):
        Sweep.parse("lengths=2..4").run(cpu_winner("exported_unbuilt"), tmp_path / "out", {})


def test_the_program_says_what_is_no_range(tmp_path: Path):
    folder = write(cpu_winner("exported_range"), tmp_path / "out")
    command = [sys.executable, "-m", "exported_range.sweep", "--lengths", "9..3"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'9..3' is no range; write FIRST..LAST" in done.stderr
