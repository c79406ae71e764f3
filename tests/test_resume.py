"""The command itself: interrupted, killed and resumed, with real builds, a real worker and a real database."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evoflash import proposers, targets
from evoflash.archive import Archive
from evoflash.plan import Plan
from evoflash.store import RunStore
from evoflash.template import load
from tests.helpers import SHAPE, TINY

BUDGET = 30
WAIT_S = 120  # how long a test waits for what must happen; nothing here is about how soon


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "evoflash.cli.main", *arguments, "--db", "runs.db", "--cache", "builds"]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EVOFLASH_")}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    return subprocess.Popen(
        command(*arguments), cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_until(condition, process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it took too long"
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.3)  # each look reads the whole database, beside the run that it watches


def recorded(folder: Path):
    if not (folder / "runs.db").exists():
        return []
    try:
        with RunStore.open(str(folder / "runs.db")) as store:
            return store.recorded(1)
    except Exception:
        return []  # its schema is being made


def processes_in(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "cwd").startswith(str(folder)):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            pass  # gone, or another user's
    return found


def replayed(plan: Plan, results):
    """What a run that nobody disturbed would have proposed on these results."""
    target, problem = targets.detect(plan.target), plan.make_problem()
    spaces = {family: load(family, plan.templates).space(problem, target.facts) for family in plan.families}
    proposer, archive, proposed = proposers.create(plan.strategy, spaces, plan.seed), Archive(), []

    def fill():
        while len(proposed) - len(archive) < plan.window and len(proposed) < plan.effort.budget:
            proposal = proposer.ask(archive)
            assert proposal is not None
            proposed.append(proposal.numbered(len(proposed)))
            archive.propose(proposal.family, proposal.genome)

    fill()
    while len(archive) < len(proposed):
        proposer.tell(archive.add(proposed[len(archive)], results[len(archive)][1]))
        fill()
    return proposed


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A run that is interrupted, resumed, killed, and resumed again."""
    folder = tmp_path_factory.mktemp("resume")
    arguments = ["--templates", str(TINY), "--family", "tiny", "--shape", SHAPE, "--target", "cpu", "--jobs", "2"]
    first = start(folder, "search", *arguments, "--effort", "quick", "--budget", str(BUDGET), "--seed", "3")
    wait_until(lambda: len(recorded(folder)) >= 4, first)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=WAIT_S)
    yielded = {"interrupted": (first.returncode, said, recorded(folder))}
    with RunStore.open(str(folder / "runs.db")) as store:
        yielded["interrupted_status"] = store.run(1).status
    wait_until(lambda: not processes_in(folder))

    second = start(folder, "resume")
    wait_until(lambda: len(recorded(folder)) >= 12, second)
    second.kill()
    second.communicate(timeout=WAIT_S)
    wait_until(lambda: not processes_in(folder))
    yielded["killed"] = (second.returncode, "", recorded(folder))
    with RunStore.open(str(folder / "runs.db")) as store:
        yielded["killed_status"] = store.run(1).status

    third = start(folder, "resume", "--out", "winner")
    said, _ = third.communicate(timeout=WAIT_S)
    yielded["done"] = (third.returncode, said, recorded(folder))
    with RunStore.open(str(folder / "runs.db")) as store:
        yielded["summary"] = store.run(1)
        yielded["runs"] = len(store.runs())
    yielded["left"] = processes_in(folder)
    yielded["folder"] = folder
    return yielded


def test_ctrl_c_leaves_a_run_that_can_be_resumed(story):
    code, said, found = story["interrupted"]
    assert code == 130, said
    assert story["interrupted_status"] == "interrupted"
    assert "evoflash resume 1" in said
    assert "Traceback" not in said
    assert 4 <= len(found) < BUDGET


def test_a_killed_run_keeps_what_was_finished(story):
    code, _, found = story["killed"]
    assert code == -signal.SIGKILL
    assert story["killed_status"] == "interrupted"
    assert 12 <= len(found) < BUDGET


def test_every_recorded_candidate_is_still_there_once(story):
    code, said, found = story["done"]
    assert code == 0, said
    assert [candidate.index for candidate, _ in found] == list(range(BUDGET))
    after = dict(found)
    for stage in ("interrupted", "killed"):
        for candidate, evaluation in story[stage][2]:
            assert after[candidate] == evaluation
    assert story["runs"] == 1
    assert (story["summary"].status, story["summary"].candidates) == ("done", BUDGET)


def test_the_proposals_are_those_of_an_undisturbed_run(story):
    _, _, found = story["done"]
    assert [candidate for candidate, _ in found] == replayed(Plan.model_validate(story["summary"].plan), found)


def test_it_ends_with_finals_and_a_package(story):
    with RunStore.open(str(story["folder"] / "runs.db")) as store:
        finals = store.finals(1)
    assert finals is not None
    assert finals.winner is not None
    assert finals.winner.cases > 20
    assert any((story["folder"] / "winner").rglob("*.py"))
    assert story["left"] == []
