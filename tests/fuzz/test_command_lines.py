"""Shapes, genomes and command lines, whatever is typed: a result, or one message and a promised exit code."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from evoflash.cli.main import app
from evoflash.errors import UsageError
from evoflash.problems import attention
from evoflash.store import RunStore
from tests.helpers import TINY
from tests.store import runs

CODES = {0, 1, 2, 3}
relaxed = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

keys = st.sampled_from(["b", "h", "kv", "s", "t", "d", "dtype", "causal", "scale", "x", "", " b"])
amounts = st.integers(-2, 10**20).map(str) | st.sampled_from(
    ["", "fp16", "bf16", "nan", "inf", "1e3", "0x10", "true", "½"]
)
fields = st.lists(st.tuples(keys, amounts).map("=".join) | st.text(max_size=6), max_size=8).map(",".join)
shapes = fields | st.tuples(fields, st.text(max_size=4)).map("=".join) | st.sampled_from(attention.shape_names())


@settings(relaxed, max_examples=200)
@given(shapes, st.none() | st.sampled_from(["fp16", "bf16", "fp32", "fp8", ""]))
def test_any_shape_is_a_problem_or_refused(text, dtype):
    try:
        problem = attention.parse(text, dtype)
    except UsageError:
        return
    assert problem.batch >= 1
    assert problem.flops > 0
    assert problem.label


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    with RunStore.open(str(folder / "runs.db"), write=True) as store:
        runs.small_run(store)
    return folder


words = st.text(max_size=10) | st.sampled_from(
    ["1", "0", "-1", "99", "99999999999999999999999", "--json", "--all", "--help", "--seed", "tiny", "cpu_flash", "nan"]
)
genomes = st.text(max_size=20) | st.dictionaries(
    st.sampled_from(["work", "split", "layout", "comment", "unused", "x"]),
    st.integers(-1, 9) | st.booleans() | st.text(max_size=4) | st.none() | st.lists(st.integers(), max_size=1),
    max_size=6,
).map(json.dumps)
reading = st.sampled_from([["runs", "list"], ["runs", "show"], ["runs", "best"], ["runs", "insights"], ["lineage"],
                           ["show"], ["diff"], ["runs", "export-t4"], ["templates", "list"]])  # fmt: skip


def call(place, arguments: list[str]):
    result = CliRunner().invoke(
        app, arguments, env={"EVOFLASH_DB": str(place / "runs.db"), "EVOFLASH_CACHE": str(place)}
    )
    assert result.exit_code in CODES, (arguments, result.output, result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
    assert "Traceback" not in result.output
    return result


@settings(relaxed, max_examples=100)
@given(reading, st.lists(words, max_size=3))
def test_reading_commands(place, monkeypatch, command, rest):
    monkeypatch.chdir(place)
    call(place, [*command, *rest])


@settings(relaxed, max_examples=100)
@given(shapes, genomes, st.none() | words, st.lists(words, max_size=1))
def test_rendering(place, monkeypatch, shape, genome, arch, rest):
    monkeypatch.chdir(place)
    chosen = ["--arch", arch] if arch is not None else []
    arguments = ["--templates", str(TINY), "--shape", shape, "--dtype", "fp32", "--genome", genome, *chosen]
    call(place, ["render", *(rest or ["tiny"]), *arguments])


options_of_search = st.sampled_from([
    "--shape", "--dtype", "--target", "--strategy", "--effort", "--budget", "--minutes", "--patience", "--warm-start",
    "--family", "--jobs", "--max-shared-kib", "--seed",
])  # fmt: skip


@settings(relaxed, max_examples=60)
@given(st.lists(st.tuples(options_of_search, words | shapes), min_size=1, max_size=3))
def test_a_search_that_cannot_begin(place, monkeypatch, options):
    """Each has one option more that no search takes, so none begins, however sensible the others are."""
    monkeypatch.chdir(place)
    flat = [part for option in options for part in option]
    result = call(place, ["search", *flat, "--strategy", "no-such-strategy"])
    assert result.exit_code != 0 or "--help" in flat
