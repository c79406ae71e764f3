"""The guide's family as printed: it builds, and a search of it ends with a kernel that passes the finals."""

import hashlib
import json
import random
import re
import shutil
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evoflash.cli.main import app
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Toolchain
from evoflash.core.status import Status
from evoflash.evaluator.shape_evaluator import ShapeEvaluator
from evoflash.flattening import flatten
from evoflash.store import RunStore
from evoflash.targets import cpu
from tests.cli.command import WAIT_S, start
from tests.helpers import PROBLEM, TINY

GUIDE = Path(__file__).parents[1] / "docs" / "writing-a-template.md"
FILE = re.compile(r"^`((?:templates|search_spaces)/[\w./]*naive[\w./]*)`:\n\n((?:    .*\n|\n)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    files = FILE.findall(GUIDE.read_text())
    assert len(files) == 4
    for path, text in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(textwrap.dedent(text))
    return folder


def test_the_guides_family_reads_as_it_says(folder: Path):
    template = load("naive", [folder])
    space = template.space([PROBLEM], cpu.detect().facts)
    genomes = {space.sample(random.Random(seed)) for seed in range(40)}
    texts = {genome: template.render(genome, PROBLEM, cpu.detect().facts).text for genome in genomes}
    assert len(set(texts.values())) == len(genomes) > 8
    for genome, text in texts.items():
        flat = flatten(text)
        assert "if constexpr" not in flat
        assert ("each / row_sum" in flat) == (genome["divide"] == "early")


def test_the_guides_commands_that_need_no_device_work_as_printed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    commands = re.findall(r"^    evoflash ((?:render|build) naive .*?) *#", GUIDE.read_text(), re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        result = CliRunner().invoke(app, command.split())
        assert result.exit_code == 0, f"{command}: {result.output}"
    assert (folder / "editor" / "kernel.cpp").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("sums", ["double", "float"])
def test_sums_that_lose_digits_are_found_out_in_the_search(folder: Path, tmp_path: Path, sums: str):
    family = tmp_path / "family"
    shutil.copytree(folder, family)
    header = family / "templates" / "include" / "naive" / "attend_row.h"
    header.write_text(header.read_text().replace("double", sums))
    target = cpu.detect()
    template = load("naive", [family])
    genome = template.space([PROBLEM], target.facts).sample(random.Random(0))
    build = Toolchain(target, tmp_path / "cache").build(template.render(genome, PROBLEM, target.facts))
    evaluator = ShapeEvaluator(PROBLEM, target, samples=3, quick_samples=2)
    try:
        first = evaluator.examine(build, None)
        behind = evaluator.examine(build, 1e-3)
    finally:
        evaluator.close()
    assert behind.status is Status.OK  # it would not lead, so it is not asked
    if sums == "double":
        assert first.status is Status.OK
    else:
        assert first.status is Status.WRONG
        assert "65x4099" in first.reason


@pytest.mark.long
def test_the_guides_family_is_searched_as_printed(folder: Path):
    shape = "b=1,h=4,kv=2,s=64,d=32,causal,dtype=fp32"
    options = [
        "--templates",
        ".",
        "--templates",
        str(TINY),
        "--family",
        "naive",
        "--target",
        "cpu",
        "--shape",
        shape,
        "--effort",
        "least",
        "--budget",
        "4",
    ]
    command = start(folder, "search", *options, "--jobs", "2", "--out", "best")
    output, _ = command.communicate(timeout=4 * WAIT_S)
    assert command.returncode == 0, output
    with RunStore.open(str(folder / "runs.db")) as store:
        finals = store.finals(1)
        assert finals is not None
        assert finals.winner is not None, output
        source = store.candidate(store.candidate_id(1, finals.winner.index)).source
    assert source is not None
    (kernel,) = (folder / "best").rglob("kernel.cpp")
    assert kernel.read_text() == flatten(source)  # what ships is the text to read
    provenance = json.loads((kernel.parent / "provenance.json").read_text())
    assert provenance["source_sha256"] == hashlib.sha256(kernel.read_bytes()).hexdigest()
    assert provenance["compiled_sha256"] == hashlib.sha256(source.encode()).hexdigest()
