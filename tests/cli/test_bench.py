"""`evoflash bench`: what a person names, and the document that comes out."""

import json
import sys

import pytest
import typer
from typer.testing import CliRunner

from evoflash import config
from evoflash.cli import bench as command
from evoflash.core.status import Status
from evoflash.errors import NotFoundError, NothingCorrectError, StorageError, UsageError
from evoflash.export.package import write
from evoflash.store import RunStore
from tests.cli.printed import printed
from tests.export.conftest import cpu_winner, cuda_winner, inlined
from tests.store import runs
from tests.test_bench import CHANGES, EVERY_LAUNCH, HEAD, PROBLEM

SHAPE = "b=1,h=2,s=24,d=16,dtype=fp32"

app = typer.Typer()
app.command()(command.bench)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("builds")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a run of a right candidate (1) and a wrong one (2), and an export."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVOFLASH_DB", raising=False)
    right = inlined("plain_attention.cpp")
    wrong = right.replace(HEAD, f"{HEAD} {EVERY_LAUNCH} {CHANGES['wrong']}")
    with RunStore.open("runs/evoflash.db", write=True) as store:
        run = runs.begin(store, problem=PROBLEM)
        store.record(run, runs.candidate(0), runs.ok(1.0), right, "c++")
        store.record(run, runs.candidate(1), runs.ok(2.0), wrong, "c++")
        store.record(run, runs.candidate(2), runs.failed(), None)
    write(cpu_winner("exported_plain"), tmp_path / "exported")
    return tmp_path


def call(*arguments: str):
    result = CliRunner().invoke(app, ["--target", "cpu", *arguments])
    if result.exception is not None:
        raise result.exception
    return result


def test_the_document_of_a_bench(place, cache, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evoflash", "bench", "--all"])
    result = call(
        "--shape", SHAPE, "--kernel", "latest", "--kernel", "2", "--kernel", "exported", "--iters", "4",
        "--warmup", "0", "--cache", str(cache), "--out", "results/bench.json",
    )  # fmt: skip
    document = printed("bench", (place / "results" / "bench.json").read_text())
    assert document["environment"].keys() >= {
        "device", "driver", "torch", "cuda", "cudnn", "nvcc", "cxx", "git", "python", "evoflash", "date", "command",
    }  # fmt: skip
    assert document["environment"]["command"] == ["evoflash", "bench", "--all"]
    assert document["environment"]["git"] is None
    shape = document["shapes"][0]
    assert (shape["shape"], shape["flops"], shape["min_bytes"]) == (SHAPE, PROBLEM.flops, PROBLEM.min_bytes)
    assert shape["problem"] == PROBLEM.to_dict()
    kernels = {entry["name"]: entry for entry in shape["kernels"]}
    assert {name: (entry["origin"], entry["status"]) for name, entry in kernels.items()} == {
        "candidate 1": ("latest", "ok"),
        "candidate 2": ("2", "wrong"),
        "exported_plain": ("exported", "ok"),
    }
    assert kernels["candidate 1"]["genome"]["rows"] == 16
    assert kernels["candidate 1"]["vs_best"].keys() == {"value", "low", "high"}
    assert kernels["candidate 1"]["build"]["binary_digest"] == kernels["exported_plain"]["build"]["binary_digest"]
    assert shape["failures"] == {"candidate 2": kernels["candidate 2"]["reason"]}
    lines = [line for line in result.stdout.splitlines() if line.startswith("  candidate 2")]
    assert lines[0].split()[2] == "wrong:"
    assert "sdpa-math" in result.stdout


def test_calls_from_python_of_what_was_right(place, cache):
    result = call(
        "--shape", SHAPE, "--kernel", "2", "--kernel", "exported", "--iters", "2", "--warmup", "0",
        "--cache", str(cache), "--calls", "--out", "bench.json",
    )  # fmt: skip
    (found,) = json.loads((place / "bench.json").read_text())["calls"].values()
    assert list(found) == ["exported_plain"]
    assert list(found["exported_plain"]["us"]) == ["attention", "scaled_dot_product_attention", "SDPA"]
    assert "calls from Python, us" in result.stdout


def test_the_fifteen_cases_are_declined_by_a_kernel_of_another_head_size(place, cache):
    with pytest.raises(NothingCorrectError, match="no kernel was timed on any shape: exported_plain"):
        call("--shape", "b=1,h=1,s=8,d=64,dtype=fp32", "--kernel", "exported", "--fifteen", "--cache", str(cache),
             "--iters", "2", "--out", "bench.json")  # fmt: skip
    tally = json.loads((place / "bench.json").read_text())["cases"][0]
    assert (tally["kernel"], tally["of"], len(tally["declined"])) == ("exported_plain", "float32", 15)
    assert tally["passed"] == []


@pytest.mark.slow
def test_a_family_passes_the_fifteen_cases(place, cache):
    result = call(
        "--shape", "tiny", "--kernel", "cpu_flash", "--fifteen", "--json", "--iters", "5", "--cache", str(cache)
    )
    document = json.loads(result.stdout)
    tally = document["cases"][0]
    assert (len(tally["passed"]), tally["failed"], tally["declined"]) == (15, {}, [])
    assert 0 < tally["worst_rms_ratio"] <= 1
    assert document["shapes"][0]["kernels"][0]["status"] == Status.OK


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--shape", "tiny,missoin"], NotFoundError, "did you mean 'mission'"),
        (["--shape", "b=1,h=1"], UsageError, "'s' is missing"),
        (["--kernel", "cpu_flush"], NotFoundError, "did you mean 'cpu_flash'"),
        (["--kernel", "99"], NotFoundError, "no candidate 99"),
        (["--kernel", "3"], NotFoundError, "has no source; `evoflash show 3`"),
        (["--kernel", "run:7"], NotFoundError, "choose from: 1"),
        (["--kernel", "no/such/folder"], NotFoundError, "evoflash export"),
        (["--kernel", "scalar"], UsageError, "is for cuda; add --target cuda"),
        (["--kernel", "1", "--kernel", "run:1"], UsageError, "both called 'candidate 1'"),
        (["--cases", "some"], UsageError, "choose from: base, all"),
        (["--dtype", "fp8"], NotFoundError, "unknown dtype"),
        (["--out", "runs"], StorageError, "choose another --out"),
    ],
)
def test_what_does_not_exist_is_told_before_anything_is_timed(place, arguments, error, words):
    with pytest.raises(error, match=words):
        call(*arguments)


def test_an_export_for_the_other_target_or_spoilt_is_refused(place):
    write(cuda_winner("exported_cuda"), place / "for_cuda")
    with pytest.raises(UsageError, match="for_cuda is for cuda"):
        call("--kernel", "for_cuda")
    (place / "exported" / "exported_plain" / "provenance.json").write_text('{"name": "x"}')
    with pytest.raises(UsageError, match="export it again"):
        call("--kernel", "exported")


def test_shapes_by_commas_or_all(place):
    assert list(command._chosen(None, ["tiny,small", SHAPE], False, None, [], config.load(), "cpu")) == [
        "tiny",
        "small",
        SHAPE,
    ]
    assert list(command._chosen(None, None, False, None, [], config.load(), "cpu")) == ["mission"]
    assert {"mission", "long_16k"} <= command._chosen(None, None, True, None, [], config.load(), "cpu").keys()
    (tiny,) = command._chosen(None, ["tiny"], False, "bf16", [], config.load(), "cpu").values()
    assert tiny.label.endswith("bfloat16")
    with pytest.raises(UsageError, match="are the shapes of attention"):
        command._chosen("rms_norm", None, True, None, [], config.load(), "cpu")
