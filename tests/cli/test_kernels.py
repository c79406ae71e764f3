"""`evoflash render`: what is compiled, what is read, and what an editor opens."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evoflash.cli.main import app
from evoflash.flattening import flatten

CLANGD = shutil.which("clangd")
SHAPE = "b=2,h=8,kv=2,s=512,d=64,causal"
FAMILIES = [
    *(pytest.param(name, marks=pytest.mark.nvcc) for name in ("scalar", "wmma", "mma", "split", "decode", "hopper")),
    "cpu_flash",
]


def call(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["render", *arguments, "--shape", SHAPE])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_rendering_prints_what_is_compiled_or_what_is_read():
    compiled, flat = call("cpu_flash", "--seed", "3"), call("cpu_flash", "--seed", "3", "--flat")
    assert '#include "' not in compiled
    assert flatten(compiled) == flat
    assert len(flat) < len(compiled)


def test_a_text_to_read_includes_no_headers(tmp_path: Path):
    result = CliRunner().invoke(app, ["render", "cpu_flash", "--flat", "--compile-commands", str(tmp_path)])
    assert result.exit_code == 2
    assert "give one of them" in result.output


def complaints(file: str, folder: Path) -> list[str]:
    """What clangd finds wrong with a file."""
    assert CLANGD is not None
    command = [CLANGD, f"--check={file}", "--check-locations=false", f"--compile-commands-dir={folder}"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert "All checks completed" in answer.stderr
    return [f"{file}: {line}" for line in answer.stderr.splitlines() if line.startswith("E[")]


@pytest.mark.slow
@pytest.mark.skipif(CLANGD is None, reason="there is no clangd")
@pytest.mark.parametrize("family", FAMILIES)
def test_clangd_opens_a_kernel(family: str, tmp_path: Path):
    kernel = call(family, "--compile-commands", str(tmp_path / "editor")).strip()
    assert json.loads((tmp_path / "editor" / "compile_commands.json").read_text())[0]["file"] == kernel
    assert not complaints(kernel, tmp_path / "editor")


@pytest.mark.long
@pytest.mark.nvcc
@pytest.mark.timeout(1800)
@pytest.mark.skipif(CLANGD is None, reason="there is no clangd")
def test_clangd_opens_each_header_by_itself(tmp_path: Path):
    folders: dict[str, Path] = {}  # each header, as the first family that has it opens it
    for family in ("scalar", "wmma", "mma", "split", "decode", "hopper", "cpu_flash"):
        call(family, "--compile-commands", str(tmp_path / family))
        for entry in json.loads((tmp_path / family / "compile_commands.json").read_text())[1:]:
            folders.setdefault(entry["file"], tmp_path / family)
    found = [complaint for file, folder in folders.items() for complaint in complaints(file, folder)]
    assert not found, "\n".join(found)
