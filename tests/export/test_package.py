"""What an export writes, and where it refuses to."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import tomllib
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from evoflash.errors import StorageError, UsageError
from evoflash.export import package, rendering, table
from evoflash.export.package import write
from evoflash.export.winner import Winner
from evoflash.problems import attention
from evoflash.problems.attention import AttentionProblem
from evoflash.targets import cpu, cuda

from .conftest import FEATURED, cpu_winner, cuda_winner, featured_winner

MISSION = "evoflash_attention_mission"
BANDED = AttentionProblem.of(1, 8, 512, 64, causal=True, window=(127, 0), align="bottom_right", bias="hqk")
WINNERS = [
    cpu_winner(MISSION),
    cuda_winner(MISSION),
    cuda_winner(MISSION, 80),
    featured_winner(MISSION, FEATURED["all"]),
    featured_winner(MISSION, FEATURED["mask"]),
    replace(cuda_winner(MISSION), problem=BANDED),
]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_source_is_written_byte_for_byte_and_named_by_its_hash(tmp_path: Path):
    winner = replace(cpu_winner("exported_bytes"), source="// é\r\nint x;\n")
    folder = write(winner, tmp_path / "out")
    source = (folder / "exported_bytes" / "kernel.cpp").read_bytes()
    provenance = json.loads((folder / "exported_bytes" / "provenance.json").read_text())
    assert source == winner.source.encode()
    assert provenance["source_sha256"] == hashlib.sha256(source).hexdigest()
    assert provenance["genome"] == {"rows": 8, "fast": True}
    assert provenance["run"] == "r1"


def test_writing_twice_gives_the_same_files_and_leaves_nothing_beside_them(tmp_path: Path):
    winner = cpu_winner("exported_twice")
    first = contents(write(winner, tmp_path / "out"))
    second = contents(write(winner, tmp_path / "out"))
    assert first == second
    assert set(first) < rendering.paths("exported_twice")
    assert os.listdir(tmp_path) == ["out"]


def test_replaces_an_earlier_export_of_another_name(tmp_path: Path):
    write(cuda_winner("exported_before"), tmp_path / "out")
    (tmp_path / "out" / "exported_before" / "__pycache__").mkdir()
    write(cpu_winner("exported_after"), tmp_path / "out")
    assert not (tmp_path / "out" / "exported_before").exists()
    assert (tmp_path / "out" / "exported_after" / "kernel.cpp").is_file()


@pytest.mark.parametrize("foreign", ["notes.txt", ".git/HEAD", "exported_mine/extra.py"])
def test_keeps_its_hands_off_what_is_not_an_exports(tmp_path: Path, foreign: str):
    for winner in (None, cpu_winner("exported_mine")):
        out = tmp_path / f"out{winner is None}"
        if winner:
            write(winner, out)
        (out / foreign).parent.mkdir(parents=True, exist_ok=True)
        (out / foreign).write_text("mine")
        before = contents(out)
        with pytest.raises(UsageError, match=foreign):
            write(cpu_winner("exported_mine"), out)
        assert contents(out) == before


def test_refuses_a_file_and_a_folder_of_empty_folders(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        write(cpu_winner("exported_mine"), tmp_path / "file")
    (tmp_path / "out" / "build").mkdir(parents=True)
    with pytest.raises(UsageError, match="'build'"):
        write(cpu_winner("exported_mine"), tmp_path / "out")


def test_an_earlier_export_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = write(cpu_winner("exported_old"), tmp_path / "out")
    before = contents(out)
    real = os.rename

    def fails(source: Path, target: Path) -> None:
        if Path(source).name == "fresh":
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(package.os, "rename", fails)
    with pytest.raises(StorageError, match="No space left"):
        write(cpu_winner("exported_new"), out)
    assert contents(out) == before
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["", "1st", "a-b", "class", "torch", "json", "_x", "x_", "a.b", "évo", "x\n"])
def test_refuses_a_name_that_no_package_can_have(name: str):
    with pytest.raises(UsageError):
        cpu_winner(name)


@pytest.mark.parametrize("change", [{"target": "cuda"}, {"arch": 90}, {"family": 'x"""'}])
def test_refuses_a_winner_that_contradicts_itself(change: dict):
    with pytest.raises(UsageError):
        replace(cpu_winner("exported_odd"), **change)


@pytest.mark.parametrize("winner", WINNERS)
def test_every_file_parses_and_fits_the_page(winner: Winner):
    files = rendering.files(winner)
    for path, text in files.items():
        if path.endswith(".py"):
            ast.parse(text)
            assert max(map(len, text.splitlines())) <= 120, path
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["dependencies"] == ["torch>=2.9", "ninja>=1.11"]
    code = "".join(text for path, text in files.items() if path.endswith(".py"))
    assert "evoflash." not in code.replace('"evoflash.h"', "")


@pytest.mark.parametrize("winner", [WINNERS[0], WINNERS[1], *WINNERS[3:]])
def test_passes_ruff(winner: Winner, tmp_path: Path):
    folder = write(winner, tmp_path / "out")
    done = subprocess.run([shutil.which("ruff") or "ruff", "check", "--no-cache", "."], cwd=folder, check=False)
    assert done.returncode == 0


def test_builds_with_the_flags_of_the_search():
    on_cpu = rendering.files(cpu_winner("exported_flags"))["exported_flags/_build.py"]
    assert f'FLAGS = "{cpu.CPU_FLAGS}"\n' in on_cpu
    hopper = rendering.files(cuda_winner("exported_flags"))["exported_flags/_build.py"]
    assert f'NVCC_FLAGS = "{cuda.CUBIN_FLAGS} -arch=sm_90a"\n' in hopper
    assert f'HOST_FLAGS = "{cuda.PACKAGED_LAUNCHER_FLAGS}"\n' in hopper
    ampere = rendering.files(cuda_winner("exported_flags", 80))["exported_flags/_build.py"]
    assert '-arch=sm_80"' in ampere


def test_the_plot_has_a_bar_for_each_baseline_that_fits():
    plot = ElementTree.fromstring(rendering.files(cpu_winner("exported_plot"))["speed.svg"])
    space = "{http://www.w3.org/2000/svg}"
    words = [each.text for each in plot.iter(f"{space}text")]
    assert words == ["this kernel", "1.00×", "sdpa-cudnn", "2.77×", "sdpa-math", "18.00×"]
    widths = [float(each.attrib["width"]) for each in plot.iter(f"{space}rect") if each.attrib["width"] != "100%"]
    assert widths[1] / widths[0] == pytest.approx(2.77, rel=0.02)


def test_the_readme_says_how_fast_it_is_and_where():
    readme = rendering.files(cpu_winner("exported_readme"))["README.md"]
    speed = ("3.25 µs", "against sdpa-cudnn | 2.77× (95 % interval 2.70 to 2.80)", "18.00×")
    for said in (*speed, "2x4x24x16 float32", "EPYC", "113x203"):
        assert said in readme
    assert "evoflash bench --kernel . --shape b=2,h=4,kv=4,s=24,t=24,d=16,dtype=fp32`" in readme
    assert "(speed.svg)" in readme
    bare = replace(cpu_winner("exported_readme"), provenance={}, cases=())
    assert "speed.svg" not in rendering.files(bare)
    assert "No final timing was recorded." in rendering.files(bare)["README.md"]


@pytest.mark.parametrize(
    "features",
    [
        "",
        ",dtype=bf16,causal,scale=0.5",
        ",layout=bshd,v=16",
        ",window=127:0,align=bottom_right,softcap=30,bias=hqk,sinks",
        ",causal,window=9,mask=bk,alibi",
        ",lengths=uniform:3,page=16,causal",
    ],
)
def test_the_command_of_the_readme_searches_the_same_problem(features: str):
    problem = attention.parse(f"b=2,h=8,kv=2,s=5,t=40,d=64{features}")
    assert attention.parse(table.shape(replace(cpu_winner(MISSION), problem=problem))) == problem
    latent = attention.parse("b=2,h=8,kv=1,s=1,t=40,d=96,v=64,latent")
    assert attention.parse(table.shape(replace(cpu_winner(MISSION), problem=latent))) == latent
