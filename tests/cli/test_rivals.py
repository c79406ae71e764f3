"""--baseline: what it takes, and baselines of the user in a bench and a search."""

import json

import pytest
import typer
from typer.testing import CliRunner

from evoflash.api import rivals
from evoflash.cli import bench as command
from evoflash.cli import runs
from evoflash.cli.doctor import doctor
from evoflash.errors import MissingError, NotFoundError, UsageError
from evoflash.evaluator.messages import Probed
from evoflash.problems.attention.rivals import FlashAttention3, FlexAttention, Xformers
from evoflash.problems.rival import Rival
from evoflash.store import RunStore
from tests.cli.command import WAIT_S, start
from tests.cli.printed import printed
from tests.helpers import PROBLEM, SHAPE, TINY

app = typer.Typer()
app.command("bench")(command.bench)
app.command("doctor")(doctor)
app.add_typer(runs.app, name="runs")

MODULE = """__version__ = "4.2"
import torch

def attention(q, k, v, is_causal=False, scale=None, enable_gqa=False):
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa)

def wrong(q, k, v, **_):
    return q
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working directory with a module of the user's."""
    (tmp_path / "of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVOFLASH_DB", raising=False)
    return tmp_path


def call(*arguments: str):
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result


def installed(monkeypatch, *names: str) -> None:
    monkeypatch.setattr(Rival, "is_installed", property(lambda self: self.name in names))


# Which take part.


def test_what_is_installed_takes_part_by_itself(monkeypatch):
    installed(monkeypatch, "xformers", "flex-attention", "onednn-graph")
    assert rivals.chosen(None, [PROBLEM], "cuda") == ("xformers", "flex-attention")
    assert rivals.chosen(None, [PROBLEM], "cpu") == ("onednn-graph",)
    assert rivals.chosen(["flex-attention"], [PROBLEM], "cpu") == ("onednn-graph", "flex-attention")


def test_functions_of_the_user_come_last_and_none_leaves_packages_out(monkeypatch):
    installed(monkeypatch, "xformers")
    asked = ["m:f", "m.n:C.f", "m:f"]
    assert rivals.chosen(asked, [PROBLEM, PROBLEM], "cuda") == ("xformers", "m:f", "m.n:C.f")
    assert rivals.chosen(["none", "m:f"], [PROBLEM], "cuda") == ("m:f",)
    assert rivals.chosen(["none", "xformers"], [PROBLEM], "cuda") == ("xformers",)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("xformer", NotFoundError, "unknown baseline 'xformer'; did you mean 'xformers'"),
        ("flash-attn-3", MissingError, "not installed; pip install flash-attn-3"),
        ("mine.py:attention", UsageError, "write module:function, here mine:attention"),
        ("mine:2", UsageError, "names no function; write module:function"),
        (f"m:{'f' * 63}", UsageError, "more than 64 characters"),
    ],
)
def test_what_names_no_baseline_is_refused(monkeypatch, text, error, words):
    installed(monkeypatch)
    with pytest.raises(error, match=words):
        rivals.chosen([text], [PROBLEM], "cuda")


# In a bench.


def test_a_bench_beside_functions_of_the_user():
    document = json.loads(
        call(
            "bench", "--target", "cpu", "--shape", SHAPE, "--iters", "3", "--warmup", "0", "--json", "--baseline",
            "of_mine:attention", "--baseline", "of_mine:wrong", "--baseline", "none",
        ).stdout
    )  # fmt: skip
    (shape,) = document["shapes"]
    versions = {entry["name"]: entry["version"] for entry in shape["baselines"]}
    assert versions == {"sdpa": "", "sdpa-math": "", "eager": "", "of_mine:attention": "4.2"}
    assert shape["best_baseline"] in versions
    assert shape["failures"].keys() == {"of_mine:wrong"}
    assert "max error" in shape["failures"]["of_mine:wrong"]


def test_a_function_that_cannot_be_loaded_ends_the_bench():
    words = "--baseline absent:f cannot be imported: ModuleNotFoundError: No module named 'absent'; write"
    with pytest.raises(UsageError, match=words):
        call("bench", "--target", "cpu", "--shape", SHAPE, "--iters", "2", "--baseline", "absent:f")


# In a search.


@pytest.mark.long
def test_a_search_beside_a_function_of_the_user(place):
    arguments = (
        "search", "--templates", str(TINY), "--family", "tiny", "--target", "cpu", "--jobs", "2", "--effort", "least",
        "--shape", SHAPE, "--budget", "4", "--baseline", "of_mine:attention", "--baseline", "of_mine:wrong", "--json",
    )  # fmt: skip
    said, _ = start(place, *arguments).communicate(timeout=WAIT_S)
    assert f"{SHAPE}: no baseline of_mine:wrong: seed 0: max error" in said
    with RunStore.open(str(place / "runs.db")) as store:
        run, finals = store.run(1), store.finals(1)
    assert run.plan["rivals"] == ["onednn-graph", "of_mine:attention", "of_mine:wrong"]
    assert finals is not None
    assert finals.winner is not None
    assert finals.versions["of_mine:attention"] == "4.2"
    assert finals.baseline_failures.keys() == {"of_mine:wrong"}
    assert finals.winner.ratios.keys() == {"sdpa", "sdpa-math", "eager", "onednn-graph", "of_mine:attention"}
    assert finals.winner.best_baseline == finals.baselines[0].name
    assert finals.winner.vs_best == finals.winner.ratios[finals.baselines[0].name]
    (result,) = printed("search", said[said.index("{\n") : said.rindex("}") + 1])["results"]
    assert (result["shape"], result["run"], result["vs_best"]) == (SHAPE, 1, finals.winner.vs_best.value)
    shown = call("runs", "show", "--db", "runs.db").stdout
    (line,) = [line for line in shown.splitlines() if line.startswith("  of_mine:attention ")]
    assert line.split()[1] == "baseline"
    assert line.endswith("4.2")


# In the doctor's list.


def test_the_doctor_lists_the_rivals_of_the_target():
    found = {each["name"]: each for each in json.loads(call("doctor", "--target", "cpu", "--json").stdout)["rivals"]}
    assert found.keys() == {"flex-attention", "onednn-graph"}
    assert all(each["state"] == "installed" and each["version"] for each in found.values())


def test_what_to_do_for_a_rival_is_said(monkeypatch):
    installed(monkeypatch, "xformers", "flex-attention")
    monkeypatch.setattr(Rival, "version", "")
    probed = Probed(versions={"flex-attention": "2.13"}, failures={"xformers": "ImportError: no C++"})
    rows = rivals.sheet([FlashAttention3(), Xformers(), FlexAttention()], probed, "cpu").rows
    assert [row[1] for row in rows] == ["not installed", "unusable", "installed"]
    assert [row[2] for row in rows] == ["", "unknown", "2.13"]
    remarks = ["pip install flash-attn-3", "ImportError: no C++", "on request: --baseline flex-attention"]
    assert [row[4] for row in rows] == remarks
