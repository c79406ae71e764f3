"""`evoflash search` over several shapes: killed and resumed with real builds, one shape of which no kernel is right."""

import json
import shutil
import signal

import pytest

from evoflash.core.status import Status
from evoflash.run.plan import Plan
from evoflash.store import RunStore
from tests.cli.command import WAIT_S, start, wait_until
from tests.helpers import TINY

GOOD, BAD, OTHER = (f"b=1,h=2,s={length},d=16,dtype=fp32" for length in (32, 48, 40))
BUDGET = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A family whose kernels decline one length."""
    folder = tmp_path_factory.mktemp("several")
    shutil.copytree(TINY, folder / "own")
    kernel = folder / "own" / "templates" / "tiny" / "kernel.cpp.j2"
    text = kernel.read_text()
    head = text.index("{", text.index("evoflash_launch(")) + 1
    kernel.write_text(f"{text[:head]}\n  if (problem->q.size[2] == 48) return -1;{text[head:]}")
    return folder


def arguments(*more: str, own: str = "own") -> list[str]:
    return [
        "search",
        "--templates",
        own,
        "--family",
        "tiny",
        "--target",
        "cpu",
        "--jobs",
        "2",
        "--effort",
        "least",
        *more,
    ]


def recorded(folder, run: int):
    try:
        with RunStore.open(str(folder / "runs.db")) as store:
            return store.recorded(run)
    except Exception:
        return []  # not begun yet


@pytest.mark.long  # three quarters of a minute
def test_two_shapes_are_killed_and_resumed_and_the_one_that_works_is_exported(folder):
    first = start(folder, *arguments("--shape", f"{GOOD},{BAD}", "--budget", str(BUDGET), "--out", "lost"))
    wait_until(lambda: len(recorded(folder, 2)) >= 2, first)
    first.kill()
    first.communicate(timeout=WAIT_S)
    assert first.returncode == -signal.SIGKILL
    before = [recorded(folder, run) for run in (1, 2)]
    assert sum(map(len, before)) < BUDGET

    second = start(folder, "resume", "--json", "--out", "winners")
    said, _ = second.communicate(timeout=WAIT_S)
    assert second.returncode == 1, said
    assert f"nothing correct was found in run 2 ({BAD}, {BUDGET} candidates tried)" in said
    with RunStore.open(str(folder / "runs.db")) as store:
        found = store.runs()
        after = [dict(store.recorded(run)) for run in (1, 2)]
        finals = store.finals(1)
    assert [(run.status, run.candidates, run.group_id) for run in found] == [("done", BUDGET // 2, 1)] * 2
    for old, new in zip(before, after, strict=True):
        assert all(new[candidate] == evaluation for candidate, evaluation in old)
    assert {evaluation.status for evaluation in after[1].values()} <= {Status.LAUNCH_FAILED, Status.DUPLICATE}
    assert finals is not None
    assert finals.winner is not None
    document = json.loads(said[said.index("{\n") : said.rindex("}") + 1])["results"]
    assert [(each["shape"], each["run"]) for each in document] == [(GOOD, 1)]
    assert [path.name for path in (folder / "winners").iterdir()] == [f"evoflash_attention_{_label(GOOD)}"]


@pytest.mark.long  # what is asked of several shapes is tested in tests/test_several_shapes.py, too
def test_one_kernel_for_two_shapes(folder):
    process = start(
        folder, *arguments("--shape", GOOD, "--shape", OTHER, "--score", "robust", "--budget", "3", "--calls")
    )
    said, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, said
    assert "on each shape" in said
    assert "a call from Python: attention " in said
    assert len(list(folder.glob("runs/exports/*/README.md"))) == 1
    assert "a call of `attention` from Python" in next(folder.glob("runs/exports/*/README.md")).read_text()
    with RunStore.open(str(folder / "runs.db")) as store:
        run = store.run()
        recorded, finals = store.recorded(run.id), store.finals(run.id)
    assert list(Plan.model_validate(run.plan).problems) == [GOOD, OTHER]
    best = next(evaluation for _, evaluation in recorded if evaluation.status is Status.OK)
    assert {each.shape for each in best.timings} == {"", GOOD, OTHER}
    assert finals is not None
    assert finals.winner is not None
    assert {each.shape for each in finals.winner.by_shape} == {GOOD, OTHER}
    assert finals.winner.cases > 20


def _label(shape: str) -> str:
    return shape.replace("=", "_").replace(",", "_")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--shape", f"{GOOD},b=1,h=2,s=32,d=24,dtype=fp32"], "no family takes 1x2x32x24 float32"),
        (["--shape", f"{GOOD},nowhere"], "unknown shape 'nowhere'"),
        (["--shape", f"{GOOD},b=1"], "'h' is missing"),
        (["--shape", f"{GOOD},{GOOD},causal", "--score", "robust"], "cannot serve shapes that differ in causal"),
        (["--shape", GOOD, "--score", "robust"], "is one kernel for several shapes"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_said_and_nothing_begins(folder, more, says):
    (folder / "empty").mkdir(exist_ok=True)
    process = start(folder / "empty", *arguments(*more, own=str(folder / "own")))
    said, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2, said
    assert says in said
    assert not (folder / "empty" / "runs.db").exists()
