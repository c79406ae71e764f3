"""Exports that bring their libraries: without a compiler, on another processor, with other sources, as a wheel."""

import importlib
import json
import os
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evoflash.errors import WorkerError
from evoflash.export.package import write
from evoflash.export.prebuilt import prebuild, wheel

from . import fresh
from .conftest import cpu_winner, cuda_winner, load

# Calls the package where there is neither a compiler nor ninja, and prints what has computed.
CALL = """
import sys
sys.modules["ninja"] = None
import torch
torch.__version__ = {torch} or torch.__version__
import {name} as module
q = k = v = torch.randn(1, 2, 8, 16)
out = module.attention(q, k, v)
torch.testing.assert_close(out, torch.nn.functional.scaled_dot_product_attention(q, k, v))
print(module.stats())
"""


@pytest.fixture(scope="module")
def prebuilt(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    winner = replace(cpu_winner("exported_prebuilt"), prebuilt=True)
    folder = write(winner, tmp_path_factory.mktemp("prebuilt") / "out")
    prebuild(folder, winner.name)
    return folder


@pytest.fixture
def copied(prebuilt: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prebuilt, tmp_path / "copied"))


def called(folder: Path, cache: Path, torch: str | None = None) -> subprocess.CompletedProcess[str]:
    """The package of a folder, called without a compiler, with an empty cache, and with another version of torch."""
    environment = {**os.environ, "CXX": "no-compiler", "XDG_CACHE_HOME": str(cache)}
    return fresh.run(CALL.format(name="exported_prebuilt", torch=repr(torch)), folder, environment)


def computes(done: subprocess.CompletedProcess[str]) -> str:
    """ "kernel" or "SDPA", by the counts that were printed."""
    return "SDPA" if "'SDPA': 1" in done.stdout else "kernel"


def test_needs_no_compiler(copied: Path, tmp_path: Path):
    assert computes(called(copied, tmp_path / "cache")) == "kernel"
    assert not (tmp_path / "cache").exists()


def test_a_read_only_package_needs_no_compiler(copied: Path, tmp_path: Path):
    for each in (copied, *copied.rglob("*")):
        each.chmod(0o555 if each.is_dir() else 0o444)
    assert computes(called(copied, tmp_path / "cache")) == "kernel"
    for each in (copied, *copied.rglob("*")):
        each.chmod(0o755)


@pytest.mark.parametrize("change", ["processor", "machine", "source", "library", "facts", "missing"])
def test_libraries_that_are_not_for_here_are_not_loaded(copied: Path, tmp_path: Path, change: str):
    folder = copied / "exported_prebuilt"
    facts = folder / "prebuilt" / "prebuilt.json"
    document = json.loads(facts.read_text())
    if change == "processor":
        document["processor"].append("avx4096")
    elif change == "machine":
        document["machine"] = "pdp11"
    elif change == "source":
        (folder / "kernel.cpp").write_text((folder / "kernel.cpp").read_text() + "// another\n")
    elif change == "library":
        (folder / "prebuilt" / "kernel.so").write_bytes(b"half a library")
    facts.write_text("[" if change == "facts" else json.dumps(document))
    if change == "missing":
        (folder / "prebuilt" / "binding.so").unlink()
    done = called(copied, tmp_path / "cache")
    assert computes(done) == "SDPA"
    assert "'no-compiler' cannot be run" in done.stderr


def test_an_older_torch_loads_no_libraries_of_the_stable_abi(copied: Path, tmp_path: Path):
    done = called(copied, tmp_path / "cache", torch="2.9.0")
    assert computes(done) == "SDPA"
    assert done.stderr.count("RuntimeWarning") == 1
    assert "'no-compiler' cannot be run" in done.stderr


def test_an_older_torch_prebuilds_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    load("exported_older", write(replace(cpu_winner("exported_older"), prebuilt=True), tmp_path / "out"))
    build = importlib.import_module("exported_older._build")
    monkeypatch.setattr(torch, "__version__", "2.9.0")
    with pytest.raises(build.BuildError, match=r"torch 2\.9\.0 serve no other version; install torch>=2\.10"):
        build.prebuild()
    assert not (tmp_path / "out" / "exported_older" / "prebuilt").exists()


def test_dependencies_are_torch_alone(copied: Path):
    assert 'dependencies = ["torch>=2.9"]\n' in (copied / "pyproject.toml").read_text()
    assert "needs no compiler" in (copied / "README.md").read_text()


def test_an_export_over_a_prebuilt_one_replaces_it(copied: Path):
    write(cpu_winner("exported_prebuilt"), copied)
    assert not (copied / "exported_prebuilt" / "prebuilt").exists()


def test_what_cannot_be_built_here_is_an_error(tmp_path: Path, cache: Path):
    broken = replace(cpu_winner("exported_broken"), source="no kernel\n", prebuilt=True)
    folder = write(broken, tmp_path / "out")
    with pytest.raises(WorkerError, match=r"cannot be prebuilt: .*; export it without --prebuilt"):
        prebuild(folder, "exported_broken")


@pytest.mark.nvcc
def test_a_cuda_package_is_prebuilt_without_a_gpu(tmp_path: Path, cache: Path):
    folder = write(replace(cuda_winner("exported_cuda_prebuilt"), prebuilt=True), tmp_path / "out")
    prebuild(folder, "exported_cuda_prebuilt")
    names = sorted(each.name for each in (folder / "exported_cuda_prebuilt" / "prebuilt").iterdir())
    assert names == ["binding.so", "kernel.so", "prebuilt.json"]
    load("exported_cuda_prebuilt", folder)
    build = load("exported_cuda_prebuilt._build", folder)
    assert build.libraries().binding.parent.name == "prebuilt"


@pytest.mark.slow
def test_a_wheel_has_the_platforms_tag_and_the_libraries(copied: Path, tmp_path: Path):
    """Made by pip, which brings setuptools."""
    made = wheel(copied, "exported_prebuilt")
    assert "none-linux_" in made.name
    with zipfile.ZipFile(made) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    assert {f"exported_prebuilt/prebuilt/{name}" for name in ("kernel.so", "binding.so", "prebuilt.json")} <= names
    assert computes(called(tmp_path / "installed", tmp_path / "cache")) == "kernel"
