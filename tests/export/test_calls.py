"""The time of a call from Python: of an export, of a kernel that is exported for it, and where it cannot be had."""

from pathlib import Path

import pytest

from evoflash.errors import WorkerError
from evoflash.export import rendering
from evoflash.export.call_times import Calls
from evoflash.export.calls import measure, measure_kernel
from evoflash.export.package import package_in, write

from .conftest import cpu_winner

FUNCTIONS = ["attention", "scaled_dot_product_attention", "SDPA"]


def test_times_the_functions_of_a_package_beside_sdpa(folder: Path, cache: Path):
    calls = measure(folder, "exported_plain", {})
    assert list(calls.us) == FUNCTIONS
    assert all(0.1 < us < 1e6 for us in calls.us.values())
    median, low, high = calls.ratio
    assert low <= median <= high
    assert (calls.size, calls.by) == (
        "2x4(4)x24:24",
        f"plain {cpu_winner('exported_plain').source_sha256[:8]} computes",
    )
    assert str(calls).startswith("a call from Python: attention ")


def test_a_kernel_is_exported_for_it_and_nothing_is_left(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert measure_kernel(cpu_winner("exported_meanwhile"), {}).by.endswith("computes")
    assert list(tmp_path.iterdir()) == []


def test_says_why_there_is_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = write(cpu_winner("exported_unbuilt"), tmp_path / "out")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(WorkerError, match=r"cannot be timed: .*'no-such-compiler' cannot be run.*selftest"):
        measure(folder, "exported_unbuilt", {})


def test_the_readme_has_the_times_that_are_known():
    winner = cpu_winner("exported_timed")
    assert "of `attention` from Python" not in rendering.files(winner)["README.md"]
    us = dict(zip(FUNCTIONS, (2.5, 2.75, 5.0), strict=True))
    calls = Calls(size="1x1(1)x1:1", by="it computes", us=us, ratio=(2.0, 1.9, 2.1), torch="2.13")
    winner.provenance["calls"] = calls.model_dump(mode="json")
    readme = rendering.files(winner)["README.md"]
    assert "| a call of `attention` from Python | 2.50 µs |" in readme
    assert "| a call of `attention` against SDPA | 2.00× (quartiles 1.90 to 2.10) |" in readme


def test_knows_the_package_in_a_folder(folder: Path, tmp_path: Path):
    assert package_in(folder) == "exported_plain"
    assert package_in(tmp_path) is None
