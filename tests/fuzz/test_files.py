"""Damaged files of every kind: they are read, or refused in words that name them, and stay as they are.

`pytest -m long` tries 20,000.
"""

import csv
import gzip
import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evoflash import config, resources
from evoflash.codegen import template
from evoflash.errors import EvoflashError
from evoflash.problems import attention
from evoflash.replay import Recording
from evoflash.replay.formats import read
from evoflash.replay.objective import Objective
from evoflash.space import declaration
from tests.fuzz.damage import damaged, with_changed_bytes
from tests.helpers import TINY
from tests.replay.test_formats import CACHE, CSV, T4

relaxed = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
ROOT = resources.shipped()


def word(gene: Any) -> str:
    """A gene of a file or genome as text; numbers and words never look the same."""
    if isinstance(gene, str):
        return f"word {gene}"
    if isinstance(gene, bool):
        return str(gene)
    return json.dumps(gene + 0) if is_number(gene) else f"word {json.dumps(gene)}"


def is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(float(value))
    except OverflowError:
        return False


def agrees(recording: Recording, stated: list[tuple[dict[str, Any], Any]], name: str) -> None:
    """The recording has what the file states: each configuration once, and as its optimum the best value."""
    assert (recording.descending_us > 0).all()
    if any("family" in genes for genes, _ in stated):
        return  # perhaps not a gene, but the name of a family
    first: dict[Any, Any] = {}
    for genes, value in stated:
        first.setdefault(frozenset((gene, word(each)) for gene, each in genes.items()), value)
    assert len(recording.results) == len(first)
    right = [float(value) for value in first.values() if is_number(value)]
    assert len(recording.descending_us) == len(right)
    best = max(right) if Objective.of(name).higher_is_better else min(right)
    for (family, digest), evaluation in recording.results.items():
        if evaluation.fitness_us == recording.optimum_us:
            (genome,) = (each for each in recording.spaces[family].genomes() if each.digest == digest)
            assert first[frozenset((gene, word(each)) for gene, each in genome.items())] == pytest.approx(
                best, rel=1e-12
            )


def recorded(path: Path) -> None:
    recording = read(path)
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if ".csv" in path.name:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig").lstrip(), newline="")))
        assert len(recording.results) <= len(rows)
        assert len(recording.descending_us) <= sum(bool(row["time_ms"]) for row in rows)
        return
    text = data.decode("utf-8-sig").rstrip()
    content = json.loads(text.rstrip(",") + "}}" if text.endswith(",") else text)  # as an unfinished session leaves it
    if "results" in content:
        named = [name for each in content["results"] for name in each.get("objectives") or []]
        name = named[0] if named else "time"
        stated = [
            (each["configuration"], {m["name"]: m.get("value") for m in each.get("measurements") or []}.get(name)
             if each["invalidity"] == "correct" else None)
            for each in content["results"]
        ]  # fmt: skip
    else:
        name = content.get("objective") or "time"
        name = name[0] if isinstance(name, list) else name
        stated = [
            (
                {gene: each[gene] for gene in content["tune_params_keys"]},
                None if "__error__" in each else each.get(name),
            )
            for each in content["cache"].values()
        ]
    agrees(recording, stated, name)


def declared(path: Path) -> None:
    found = declaration.read(path)
    assert found.parameters
    assert all(parameter.values for parameter in found.parameters.values())


def manifest(path: Path) -> None:
    found = template.load("tiny", (path.parents[2],))
    assert found.manifest.family == "tiny"
    assert found.folder == path.parent


def efforts(path: Path) -> None:
    for name in ("quick", "standard", "thorough"):
        for target in ("cpu", "cuda"):
            assert config.effort(name, target, (path.parents[1],)).budget > 0


def shapes(path: Path) -> None:
    for name in ("tiny", "mission", "llama_gqa_2k"):
        assert attention.parse(name, folders=(path.parents[1],)).batch > 0


def own_settings(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)
    try:
        assert config.load().build_deadline_s > 0
    finally:
        os.chdir(before)


SETTINGS = b"db: runs.db\ncache: builds\njobs: 2\ntarget: cpu\ntemplates: [mine, yours]\nverbose: false\ndebug: no\n"
CACHE_TEXT, T4_TEXT = json.dumps(CACHE).encode(), json.dumps(T4).encode()
SCORES = json.loads(CACHE_TEXT)
for _number, _entry in enumerate(SCORES["cache"].values()):
    _entry["score"] = 0.5 - _number
SCORES_TEXT = json.dumps({**SCORES, "objective": "score"}).encode()
SPACE = (ROOT / "search_spaces" / "cpu_flash.yaml").read_bytes()

# path in a folder: the kind of text, a valid file and what reads it
FILES: dict[str, tuple[str, bytes, Callable[[Path], None]]] = {
    "space.csv": ("lines", CSV.encode(), recorded),
    "space.csv.gz": ("lines", CSV.encode(), recorded),
    "cache.json": ("json", CACHE_TEXT, recorded),
    "scores.json": ("json", SCORES_TEXT, recorded),
    "t4.json": ("json", T4_TEXT, recorded),
    "t4.json.gz": ("json", T4_TEXT, recorded),
    "search_spaces/cpu_flash.yaml": ("yaml", SPACE, declared),
    "templates/tiny/template.yaml": ("yaml", (TINY / "templates/tiny/template.yaml").read_bytes(), manifest),
    "configs/effort.yaml": ("yaml", (ROOT / "configs/effort.yaml").read_bytes(), efforts),
    "configs/shapes.yaml": ("yaml", (ROOT / "configs/shapes.yaml").read_bytes(), shapes),
    "evoflash.yaml": ("yaml", SETTINGS, own_settings),
}


def outcome(folder: Path, name: str, data: bytes) -> str:
    """Reads a damaged file; "read" or "refused". Anything but an error for the user is raised."""
    path = folder / name
    path.write_bytes(data)
    said = None
    try:
        FILES[name][2](path)
    except EvoflashError as error:
        said = str(error)
    assert path.read_bytes() == data
    if said is None:
        return "read"
    assert path.name.partition(".")[0] in said
    assert "Error(" not in said
    return "refused"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("files")
    for name in FILES:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
    (made / "templates/tiny/kernel.cpp.j2").write_bytes((TINY / "templates/tiny/kernel.cpp.j2").read_bytes())
    (made / "search_spaces/tiny.yaml").write_bytes((TINY / "search_spaces/tiny.yaml").read_bytes())
    return made


@st.composite
def files(draw: Any, name: str) -> bytes:
    """A damaged file; of a compressed one the text or the archive is damaged."""
    kind, data, _ = FILES[name]
    if not name.endswith(".gz"):
        return draw(damaged(kind, data))
    if draw(st.integers(0, 3)):
        return gzip.compress(draw(damaged(kind, data)), mtime=0)
    return with_changed_bytes(gzip.compress(data, mtime=0), draw)


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_read(folder, name):
    assert outcome(folder, name, gzip.compress(FILES[name][1]) if name.endswith(".gz") else FILES[name][1]) == "read"


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused(folder, name):
    @settings(relaxed, max_examples=60)
    @given(files(name))
    def trial(data):
        outcome(folder, name, data)

    trial()


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", FILES)
def test_twenty_thousand_damaged_files(folder, name):
    counts: Counter[str] = Counter()

    @settings(relaxed, max_examples=20_000 // len(FILES) + 1, derandomize=False)
    @given(files(name))
    def trial(data):
        counts[outcome(folder, name, data)] += 1

    trial()
    print(name, dict(counts))
    assert min(counts["read"], counts["refused"]) > 100
