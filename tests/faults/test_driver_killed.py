"""`kill -9` of the driver, at random moments, fifty times in all: nothing that was told is lost, nothing is half there.

Forty-seven kills hit searches that make their results up (the loop and the database are the real ones), three the whole
command with its compilers and its worker; the test marked long kills that one fifty times.
"""

import json
import multiprocessing
import random
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from evoflash import proposers, targets
from evoflash.codegen.template import load
from evoflash.core.archive import Archive
from evoflash.core.status import Status
from evoflash.report.runs import improvements
from evoflash.run.plan import Plan
from evoflash.store import RunStore
from tests.faults import driver
from tests.faults.command import Run, recorded, require_all_reported, require_nothing_left, resume, search

BUDGET = 120


@pytest.fixture(scope="module")
def processes():
    """Makes processes out of one that has everything imported and no thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.driver"])
    return context


def reported(said: Path) -> list[dict]:
    lines = said.read_text().splitlines(keepends=True) if said.exists() else []
    events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}\n")]
    return [each for each in events if each["event"] == "candidate"]


def story(folder: Path):
    with RunStore.open(str(folder / "runs.db")) as store:
        return [
            (candidate, each.status, each.reason, each.fitness_us, each.build) for candidate, each in store.recorded(1)
        ]


def finish(processes, folder: Path, said: str, changes) -> None:
    process = processes.Process(target=driver.drive, args=(folder, said, changes))
    process.start()
    process.join(120)
    assert process.exitcode == 0, (folder / said).read_text()


@pytest.mark.parametrize(
    ("strategy", "kills", "longest_s"),
    [pytest.param("random", 40, 0.25, marks=pytest.mark.long), ("evolution", 7, 1.5)],
)
def test_a_search_that_is_killed_again_and_again_ends_as_if_undisturbed(
    processes, tmp_path, strategy, kills, longest_s
):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    whole.mkdir()
    torn.mkdir()
    changes = {"strategy": strategy, "budget": BUDGET, "seed": 7}
    finish(processes, whole, "said", changes)
    undisturbed = story(whole)
    assert len(undisturbed) == BUDGET

    rng = random.Random(strategy)
    midway = 0
    for number in range(kills):
        process = processes.Process(target=driver.drive, args=(torn, f"said-{number}", changes))
        process.start()
        process.join(rng.uniform(0.02, longest_s))
        midway += process.exitcode is None
        process.kill()
        process.join()
        told = reported(torn / f"said-{number}")
        if not told:
            continue
        found = {candidate.index: (candidate, status, fitness) for candidate, status, _, fitness, _ in story(torn)}
        for event in told:
            candidate, status, fitness = found[event["index"]]
            assert (dict(candidate.genome), status, fitness) == (event["genome"], event["status"], event["p50_us"])
    assert midway >= kills // 2  # else the searches were over before they could be disturbed

    finish(processes, torn, "said", changes)
    assert story(torn) == undisturbed
    with sqlite3.connect(torn / "runs.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)


def replayed(plan: Plan, results):
    """What a run that nobody disturbed would have proposed on these results."""
    target, problem = targets.detect(plan.target), plan.shapes[0].problem
    spaces = {family: load(family, plan.templates).space([problem], target.facts) for family in plan.families}
    proposer, archive, proposed = proposers.create(plan.strategy, spaces, plan.seed), Archive(), []
    for index in range(plan.effort.budget):
        while len(proposed) - len(archive) < plan.window and len(proposed) < plan.effort.budget:
            proposal = proposer.ask(archive)
            assert proposal is not None
            proposed.append(proposal.numbered(len(proposed)))
            archive.propose(proposal.family, proposal.genome)
        proposer.tell(archive.add(proposed[index], results[index][1]))
    return proposed


def jumping_clock(folder: Path) -> dict[str, str]:
    """Variables under which the wall clock of a command goes back by an hour again and again."""
    library = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    return {"LD_PRELOAD": str(library)}


def kill_often(folder: Path, kills: int, budget: int, **variables: str) -> list[Run]:
    """The whole command, killed at random moments until it was killed often enough, then left to end."""
    rng = random.Random(kills)
    runs = [search(folder, "--budget", str(budget), "--strategy", "evolution", "--seed", "3", **variables)]
    runs[0].until(lambda: runs[0].events())
    share = budget // (kills + 2)  # results that one of them may add: none gets to the end, however fast the machine is
    for _ in range(kills):
        wanted = rng.randint(0, share)
        if wanted:
            runs[-1].until(lambda wanted=wanted: len(runs[-1].events()) >= wanted)
        # Of a start the first seconds are imports. A kill within them is as good as any other, but gets nowhere.
        time.sleep(rng.uniform(0.0, 0.05 if wanted else 2.0))
        runs[-1].kill()
        require_nothing_left(folder)
        runs.append(resume(folder, **variables))
    assert runs[-1].end() == 0, runs[-1].said
    return runs


def check_killed(folder: Path, kills: int, budget: int, **variables: str) -> None:
    start = time.monotonic()
    runs = kill_often(folder, kills, budget, **variables)
    require_nothing_left(folder)
    require_all_reported(folder, *runs)
    found = recorded(folder)
    assert [candidate.index for candidate, _ in found] == list(range(budget))
    assert {evaluation.status for _, evaluation in found} <= {Status.OK, Status.DUPLICATE}
    with RunStore.open(str(folder / "runs.db")) as store:
        summary, finals = store.run(1), store.finals(1)
        steps = improvements(store.improvements(1), summary.created_at)
    assert [candidate for candidate, _ in found] == replayed(Plan.model_validate(summary.plan), found)
    assert finals is not None
    assert finals.winner is not None
    assert finals.winner.cases > 20
    assert any((folder / "runs" / "exports").rglob("kernels.json"))
    assert (len(runs[0].events("baselines")), summary.status, summary.candidates) == (1, "done", budget)
    assert summary.elapsed_s is not None
    assert 0 < summary.elapsed_s < time.monotonic() - start
    seconds = [each.seconds for each in steps]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0


@pytest.mark.long
def test_the_whole_command_is_killed_while_its_clock_jumps_back(tmp_path):
    check_killed(tmp_path, kills=3, budget=30, **jumping_clock(tmp_path))
    with RunStore.open(str(tmp_path / "runs.db")) as store:
        moments = [each.finished_at for each in store.outcomes(1)]
    assert moments != sorted(moments), "the clock did not go back"


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_the_whole_command_is_killed_fifty_times(tmp_path):
    check_killed(tmp_path, kills=50, budget=160)
