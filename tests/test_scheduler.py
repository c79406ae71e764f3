"""The seam between driver and workers: what crosses it, several devices behind it, and a device that is lost."""

import pickle

import pytest

from evoflash import targets
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Build
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import BuildReport
from evoflash.core.genome import Genome
from evoflash.errors import WorkerError
from evoflash.evaluator import Evaluator
from evoflash.run.jobs import Beginning, Entrant, Examination, Job
from evoflash.run.local_scheduler import LocalScheduler
from evoflash.search import Search
from evoflash.store import RunStore
from tests.helpers import PROBLEM, TINY, Quiet, plan, right
from tests.made_up import MadeUpEvaluator, MadeUpToolchain, story


@pytest.fixture(scope="module")
def target():
    return targets.detect("cpu")


def test_all_that_crosses_the_seam_can_be_pickled(target, tmp_path):
    genome = Genome({"work": 1, "split": 1, "layout": "rows", "comment": False, "unused": False})
    source = load("tiny", [TINY]).render(genome, PROBLEM, target.facts)
    job = Job(0, Candidate(1, "tiny", genome, "random", (0,)), source)
    build = Build(BuildReport(binary_digest="0"), tmp_path / "kernel.so")
    case = next(iter(PROBLEM.cases()))
    crossing = (
        plan(target, "tiny", TINY),
        target,
        job,
        Examination(job, build, 3.0, source),
        Entrant(job, build, [(case, source, build)]),
        Beginning({"torch": "2"}, {"sdpa": 30.0}, {"other": "no"}, {"other": 1.0}),
        right(1.0),
    )
    again = pickle.loads(pickle.dumps(crossing))
    assert again == crossing
    assert again[2].candidate.key == job.candidate.key
    assert again[2].source.digest == source.digest


class Lost(MadeUpEvaluator):
    """A device that fails after so many examinations."""

    def __init__(self, *own, after: int):
        super().__init__(*own)
        self.after = after

    def examine(self, build, best_us):
        if len(self.examined) == self.after:
            raise WorkerError("the device fails, not a kernel")
        return super().examine(build, best_us)


@pytest.fixture
def begin(target, tmp_path):
    """A made-up search on several devices, of which some are lost after so many examinations."""
    stores = []

    def make(devices: int, lost: dict[int, int] | None = None, name: str = "runs.db", **changes) -> Search:
        stores.append(RunStore.open(str(tmp_path / name), write=True))
        toolchain = MadeUpToolchain(jitter=True)
        wanted = plan(target, "tiny", TINY, **{"budget": 60, "strategy": "evolution", "window": 7, **changes})
        after, made = lost or {}, []

        def make_evaluator(plan, target):
            number = len(made)
            own = (
                Lost(PROBLEM, toolchain, after=after[number])
                if number in after
                else MadeUpEvaluator(PROBLEM, toolchain)
            )
            made.append(own)
            return Evaluator({plan.title: own})

        scheduler = LocalScheduler([wanted], [target] * devices, toolchain, make_evaluator)
        return Search([wanted], target, scheduler, stores[-1], Quiet())

    yield make
    for store in stores:
        store.close()


def evaluators(search):
    return [each for examiner in search.scheduler.examiners for each in examiner.evaluators[0].shapes.values()]


def test_proposals_do_not_depend_on_the_number_of_devices(begin):
    stories = []
    for devices in (1, 2, 5):
        search = begin(devices, name=f"{devices}.db")
        own = evaluators(search)
        search.run()
        stories.append(story(search))
        assert all(each.examined for each in own)
        libraries = [library for each in own for library in each.examined]
        assert len(libraries) == len(set(libraries))  # each is examined once
    assert stories[0] == stories[1] == stories[2]


def test_a_device_that_is_lost_is_left_out_and_its_work_is_done_by_another(begin):
    whole = begin(1, name="whole.db")
    whole.run()
    search = begin(3, {1: 4, 0: 9})
    own = evaluators(search)
    (outcome,) = search.run()
    assert story(search) == story(whole)
    assert [len(each.examined) for each in own[:2]] == [9, 4]
    assert [each.closed for each in own] == [True] * 3
    assert len(search.scheduler.examiners) == 1
    left_out = [note for note in search.progress.notes if "left out" in note]
    assert len(left_out) == 2
    assert "the device fails, not a kernel" in left_out[0]
    assert outcome.reason == "60 candidates tried"


def test_the_last_device_that_is_lost_ends_the_search_which_can_be_resumed(begin):
    search = begin(2, {0: 5, 1: 8})
    with pytest.raises(WorkerError, match="the device fails"):
        search.run()
    run = search.store.run()
    assert run.status == "failed"
    assert 0 < run.candidates < 60
