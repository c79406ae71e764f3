"""The benchmark of calls: every way to a kernel is timed beside the others, on the same inputs."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from evoflash.export.package import write
from evoflash.problems.attention import AttentionProblem
from evoflash.problems.function.description import describe

from .conftest import load
from .test_python_kernels import FILE, KERNEL, winner_of

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import call_cost

SHAPE = AttentionProblem.of(2, 4, 24, 16, dtype="float32")


@pytest.mark.slow
def test_times_every_way_to_a_kernel(module: ModuleType, tmp_path: Path):
    loop = call_cost.built("cpu", tmp_path)
    before = module.stats()
    row = call_cost.row_of("plain", SHAPE, [module], loop, "cpu", rounds=5)
    assert list(row["us"]) == ["attention", "drop-in", "SDPA", "operator", "bare"]
    assert all(0.1 < low <= middle <= high for middle, low, high in row["us"].values())
    assert row["package"] == "exported_plain"
    assert row["by"].endswith(" computes")
    assert row["by"] != "SDPA computes"
    (name,) = before.keys() - {"SDPA"}
    assert module.stats()[name] > before[name]
    assert module.stats()["SDPA"] == before["SDPA"]
    table = call_cost.table([row]).splitlines()
    assert len(table) == 3
    assert table[0] == "| shape | attention | drop-in | SDPA | operator | bare | attention over SDPA | over bare |"


def test_a_function_is_timed_beside_itself(tmp_path: Path):
    problem = describe(FILE.name, FILE.read_text(), {}, "cpu")
    package = load("python_timed", write(winner_of("python_timed", problem, KERNEL), tmp_path / "out"))
    row = call_cost.row_of_function(package, None, "cpu", rounds=3)
    assert list(row["us"]) == ["scaled_rows", "eager", "operator"]  # what is Python has no launcher for C++
    assert row["by"].startswith("rows ")
    header = call_cost.table([row]).splitlines()[0]
    assert header == "| shape | scaled_rows | eager | operator | scaled_rows over eager |"


def test_a_shape_that_no_kernel_computes_is_refused(module: ModuleType):
    inputs = AttentionProblem.of(1, 1, 8, 48, dtype="float32").inputs(0, "normal", "cpu")
    with pytest.raises(SystemExit, match=r"export one that does:\nnot plain .*\nSDPA computes"):
        call_cost.kernel_of([module], inputs, False)
