"""The seam between driver and workers: what crosses it, several devices behind it, and a device that is lost."""

import itertools
import pickle
from dataclasses import replace

import pytest

from evoflash import targets
from evoflash.codegen.template import load
from evoflash.codegen.toolchain import Build
from evoflash.core.candidate import Candidate
from evoflash.core.evaluation import BuildReport
from evoflash.core.finals import Final, Finals, contestant
from evoflash.core.genome import Genome
from evoflash.core.status import Status
from evoflash.errors import WorkerError
from evoflash.evaluator import Evaluator
from evoflash.report.run_sheets import run_sheets
from evoflash.report.runs import report
from evoflash.run import examiner
from evoflash.run.jobs import Beginning, Entrant, Examination, Job
from evoflash.run.local_scheduler import LocalScheduler
from evoflash.search import Search
from evoflash.store import RunStore
from evoflash.targets.devices import State
from tests.helpers import PROBLEM, TINY, Quiet, plan, right
from tests.helpers import SHAPE as TITLE
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


class OneOfMany(MadeUpEvaluator):
    """A device that takes some multiple of the time of others, and fails after so many examinations."""

    def __init__(self, *own, after: int | None, slowness: float):
        super().__init__(*own)
        self.after = after
        self.slowness = slowness
        self.bests: list[float] = []
        self.loses_finals = False

    def baselines(self, rounds: int = 10, *, with_rivals: bool = True):
        return {name: self.slowness * time_us for name, time_us in super().baselines().items()}

    def examine(self, build, best_us, further=()):
        if len(self.examined) == self.after:
            raise WorkerError("the device fails, not a kernel")
        self.bests += [] if best_us is None else [best_us]
        found = super().examine(build, best_us, further)
        return found if found.fitness_us is None else right(self.slowness * found.fitness_us, build=build.report)

    def finals(self, finalists, rounds):
        """All pass; the later, the slower, unless this device is slow itself: then the other way round."""
        if self.loses_finals:
            raise WorkerError("the device fails in the finals")
        sign = 1 if self.slowness < 2 else -1
        times_us = {each.index: self.slowness * (10 + sign * place) for place, each in enumerate(finalists)}
        passed = [
            Final(index=index, status=Status.OK, time=contestant(f"candidate {index}", [time_us] * rounds), cases=1)
            for index, time_us in sorted(times_us.items(), key=lambda pair: pair[1])
        ]
        baselines = tuple(contestant(name, [time_us] * rounds) for name, time_us in self.baselines().items())
        return Finals(finalists=tuple(passed), baselines=baselines, rounds=rounds)


@pytest.fixture
def begin(target, tmp_path):
    """A made-up search on several devices, of which some are lost after so many examinations."""
    stores = []

    def make(
        devices: int,
        lost: dict[int, int] | None = None,
        name: str = "runs.db",
        slow: dict[int, float] | None = None,
        run_ids=(),
        **changes,
    ) -> Search:
        stores.append(RunStore.open(str(tmp_path / name), write=True))
        toolchain = MadeUpToolchain(jitter=True)
        wanted = plan(target, "tiny", TINY, **{"budget": 60, "strategy": "evolution", "window": 7, **changes})
        after, slowness, made = lost or {}, slow or {}, []

        def make_evaluator(plan, target):
            number = len(made)
            own = OneOfMany(PROBLEM, toolchain, after=after.get(number), slowness=slowness.get(number, 1.0))
            made.append(own)
            return Evaluator({plan.title: own})

        scheduler = LocalScheduler(
            [wanted], [replace(target, number=n) for n in range(devices)], toolchain, make_evaluator
        )
        return Search([wanted], target, scheduler, stores[-1], Quiet(), run_ids)

    yield make
    for store in stores:
        store.close()


def evaluators(search):
    return [each for own in search.scheduler.examiners for each in own.evaluators[0].shapes.values()]


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


def test_a_slow_device_is_told_and_its_times_are_corrected(begin):
    plain = begin(1, name="plain.db")
    plain.run()
    search = begin(3, slow={1: 2.0})
    own = evaluators(search)
    (outcome,) = search.run()
    assert story(search) == story(plain)
    assert [note for note in search.progress.notes if "peers" in note] == [
        "cpu:1 is 100.0% slower than its peers; its times are corrected by its baselines"
    ]
    recorded = [each for _, each in search.store.recorded(outcome.run_id) if each.device]
    assert {(each.device, each.clock_ratio) for each in recorded} == {("cpu:0", 1.0), ("cpu:1", 2.0), ("cpu:2", 1.0)}
    assert len(recorded) == sum(len(each.examined) for each in own)
    best_us = min(each.fitness_us for each in recorded if each.fitness_us is not None)
    assert min(own[1].bests) >= 2 * best_us  # it gives up by its own clock
    devices = search.store.devices(outcome.run_id)
    assert [(each.device, each.count, each.clock_ratio) for each in devices] == [
        (f"cpu:{number}", len(each.examined), own[number].slowness) for number, each in enumerate(own)
    ]
    assert sum(each.failed for each in devices) == sum(each.status is not Status.OK for each in recorded)
    (sheet,) = [each for each in run_sheets(report(search.store, outcome.run_id)) if each.title == "by device"]
    assert len(sheet.rows) == 3


def test_a_resumed_run_keeps_the_times_by_which_its_devices_are_compared(begin):
    search = begin(2, {0: 5, 1: 8}, slow={1: 2.0}, budget=40)
    with pytest.raises(WorkerError):
        search.run()
    search.store.close()
    run_ids = [search.tasks[0].run_id]
    again = begin(1, slow={0: 4.0}, run_ids=run_ids, budget=40)
    again.run()
    whole = begin(1, name="whole.db", budget=40)
    whole.run()
    assert story(again) == story(whole)
    assert {each.clock_ratio for _, each in again.store.recorded(run_ids[0]) if each.device} == {1.0, 2.0, 4.0}


def test_finals_on_each_device_are_told_apart(begin):
    search = begin(4, slow={1: 1.04, 2: 1.01, 3: 2.0}, finals_on="each")
    evaluators(search)[2].loses_finals = True
    (outcome,) = search.run()
    finals = search.store.finals(outcome.run_id)
    assert finals == outcome.finals
    assert [each.conditions.device for each in (finals, *finals.elsewhere)] == ["cpu:0", "cpu:1", "cpu:3"]
    first, *others = [each.index for each in finals.finalists]
    assert [each.winner.index for each in finals.elsewhere] == [first, others[-1]]
    ahead = 10 / (10 - len(others)) - 1  # of the last on the slow device, where the order is the other way round
    assert [note for note in search.progress.notes if "cpu:" in note and "peers" not in note] == [
        f"finals of {TITLE}: candidate #{first} takes 4.0% longer on cpu:1 than on cpu:0",
        f"finals of {TITLE}: cpu:3 has another winner: candidate #{others[-1]}, there {ahead:.1%} faster than "
        f"candidate #{first}",
        f"finals of {TITLE}: candidate #{first} takes 100.0% longer on cpu:3 than on cpu:0",
        "cpu:2 is left out: the device fails in the finals",
    ]
    found = report(search.store, outcome.run_id)
    sheets = {each.title: each for each in run_sheets(found)}
    assert [title for title in sheets if title.startswith("finals")] == [
        *(f"finals on cpu:{number}, 2 rounds" for number in (0, 1, 3)),
        "finals by device",
    ]
    rows = sheets["finals by device"].rows
    assert [row[0] for row in rows] == ["cpu:0", "cpu:1", "cpu:3"]
    assert rows[0][-1] == ""
    assert "takes 4.0% longer on cpu:1" in rows[1][-1]


def test_finals_are_on_the_first_device_unless_they_are_to_be_on_each(begin):
    search = begin(3)
    (outcome,) = search.run()
    assert (outcome.finals.conditions.device, outcome.finals.elsewhere) == ("cpu:0", ())
    alone = begin(1, name="alone.db", finals_on="each")
    (outcome,) = alone.run()
    assert (outcome.finals.conditions.device, outcome.finals.elsewhere) == ("", ())


def test_temperatures_and_clocks_are_on_record_by_device(begin, monkeypatch):
    search = begin(2)
    states = {0: itertools.cycle([State(50, 1980), State(60, 1900)]), 1: itertools.repeat(State())}
    monkeypatch.setattr(examiner, "STATE_S", 0.0)
    monkeypatch.setattr(type(search.target), "state", property(lambda target: next(states[target.number])))
    (outcome,) = search.run()
    first, second = search.store.devices(outcome.run_id)
    assert (first.lowest_c, first.highest_c, first.lowest_mhz, first.highest_mhz) == (50, 60, 1900, 1980)
    assert 1900 < first.mean_mhz < 1980
    assert (second.highest_c, second.mean_mhz) == (None, None)
    (sheet,) = [each for each in run_sheets(report(search.store, outcome.run_id)) if each.title == "by device"]
    assert {each.clock_mhz for _, each in search.store.recorded(outcome.run_id) if each.device == "cpu:0"} == {
        1900,
        1980,
    }
    assert [row[-3:] for row in sheet.rows] == [("50 to 60", "1900 to 1980", ""), ("-", "-", "")]


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
