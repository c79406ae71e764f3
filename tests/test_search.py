"""The loop itself, on evaluations that a function makes up: order, duplicates, budget, interruption, resumption."""

import gc
import shutil

import pytest
from sqlalchemy import update

from evoflash import targets
from evoflash.core.candidate import Origin
from evoflash.core.genome import Genome
from evoflash.core.status import Stage, Status
from evoflash.errors import SpaceError, StorageError
from evoflash.report.lineage import of_candidate
from evoflash.report.lineage_drawings import walk
from evoflash.run import warm_start
from evoflash.run.plan import Plan
from evoflash.search import Search
from evoflash.store import RunStore
from evoflash.store.models import RunRow
from tests.helpers import TINY, Quiet, plan
from tests.made_up import Interrupting, MadeUpToolchain, made_up_search, story

WINDOW = 4  # proposals in flight, as `plan` has it


@pytest.fixture(scope="module")
def target():
    return targets.detect("cpu")


@pytest.fixture
def begin(target, tmp_path):
    """Makes a search on made-up evaluations; a run's id goes on with it."""
    stores = []

    def make(run_id: int | None = None, progress=None, name: str = "runs.db", toolchain=None, **changes) -> Search:
        for store in stores:
            store.close()
        stores[:] = [RunStore.open(str(tmp_path / name), write=True)]
        wanted = changes.pop("plan", None) or plan(
            target, "tiny", TINY, **{"budget": 40, "strategy": "evolution", **changes}
        )
        run_ids = () if run_id is None else (run_id,)
        return made_up_search([wanted], target, toolchain or MadeUpToolchain(), stores[0], progress or Quiet(), run_ids)

    yield make
    for store in stores:
        store.close()


def evaluator(search):
    (only,) = search.scheduler.examiners[0].evaluators[0].shapes.values()
    return only


def test_a_budget_is_spent_and_everything_is_recorded(begin):
    search = begin()
    (outcome,) = search.run()
    recorded = search.store.recorded(outcome.run_id)
    assert [candidate.index for candidate, _ in recorded] == list(range(40))
    assert outcome.reason == "40 candidates tried"
    summary = search.store.run(outcome.run_id)
    assert (summary.status, summary.stop_reason, summary.candidates) == ("done", "40 candidates tried", 40)
    assert {Status.OK, Status.WRONG, Status.OVER_BUDGET, Status.DUPLICATE} >= {each.status for _, each in recorded}
    for candidate, _ in recorded:
        assert search.store.candidate(search.store.candidate_id(outcome.run_id, candidate.index)).source
    assert len(evaluator(search).threads) == 1  # one examination at a time
    assert evaluator(search).closed
    assert search.scheduler.toolchain.stopped


def test_what_exists_before_a_search_is_no_garbage_until_its_end(begin):
    class Watching(MadeUpToolchain):
        def build(self, source):
            self.frozen = gc.get_freeze_count()
            return super().build(source)

    search = begin(toolchain=Watching())
    search.run()
    assert search.scheduler.toolchain.frozen > 0
    assert gc.get_freeze_count() == 0


def test_the_best_is_the_fastest_right_one(begin):
    progress = Quiet()
    search = begin(progress=progress)
    search.run()
    times = {candidate.index: time_us for candidate, status, time_us in story(search) if status is Status.OK}
    assert search.tasks[0].archive.best is not None
    assert search.tasks[0].archive.best.candidate.index == min(times, key=lambda index: (times[index], index))
    bests = [times[index] for index in progress.bests]
    assert bests == sorted(bests, reverse=True)
    assert bests[-1] == min(times.values())


@pytest.mark.parametrize("strategy", ["evolution", "random", "tpe"])
def test_proposals_do_not_depend_on_who_finishes_first(begin, strategy):
    stories = []
    for builders in (1, 2, 5):
        search = begin(
            name=f"{builders}.db",
            toolchain=MadeUpToolchain(jitter=True),
            builders=builders,
            window=7,
            strategy=strategy,
        )
        search.run()
        stories.append(story(search))
    assert stories[0] == stories[1] == stories[2]


def test_another_seed_and_another_window_propose_otherwise(begin):
    stories = []
    for number, changes in enumerate(({"seed": 0}, {"seed": 1}, {"seed": 0, "window": 1})):
        search = begin(name=f"{number}.db", **changes)
        search.run()
        stories.append([candidate.genome for candidate, *_ in story(search)])
    assert stories[0] != stories[1]
    assert stories[0] != stories[2]


def test_a_space_that_is_exhausted_ends_the_run(begin):
    search = begin(budget=1000, strategy="random", window=20)
    (outcome,) = search.run()
    assert outcome.reason == "every genome has been tried"
    candidates = [candidate for candidate, *_ in story(search)]
    assert len(candidates) == len({candidate.key for candidate in candidates}) == 168


@pytest.mark.parametrize("comments_count", [True, False])
def test_duplicates_take_over_the_times_of_their_originals(begin, comments_count):
    toolchain, progress, sources = MadeUpToolchain(comments_count=comments_count), Quiet(), []
    progress.note = lambda text: sources.append(list(toolchain.sources))  # the finals build again, for other cases
    search = begin(toolchain=toolchain, progress=progress, budget=1000, strategy="random", builders=1)
    search.run()
    recorded = dict(search.store.recorded(search.tasks[0].run_id))
    members = {candidate.index: (candidate, evaluation) for candidate, evaluation in recorded.items()}
    assert len(sources[0]) == len(set(sources[0])) == 84
    duplicates = [each for each in members.values() if each[1].status is Status.DUPLICATE]
    assert len(duplicates) == 168 - len(set(evaluator(search).examined)) - _over_budget(members.values())
    for candidate, evaluation in duplicates:
        original_candidate, original = members[evaluation.duplicate_of]
        assert original_candidate.index < candidate.index
        assert evaluation.timings == original.without_details().timings  # the samples stay with the original
        assert evaluation.fitness_us == original.fitness_us or original.status is not Status.OK
        assert f"as candidate {original_candidate.index} (" in evaluation.reason
        changes = set(candidate.genome.changes_from(original_candidate.genome))
        assert changes <= ({"unused"} if comments_count else {"unused", "comment"})
        assert (evaluation.stage is Stage.BUILD) == ("the same source" in evaluation.reason)
    assert len(evaluator(search).examined) == len(set(evaluator(search).examined))


def _over_budget(members) -> int:
    return sum(evaluation.status is Status.OVER_BUDGET for _, evaluation in members)


@pytest.mark.parametrize("strategy", ["evolution", "random", "tpe", "nsga2", "cmaes"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(begin, strategy):
    whole = begin(name="whole.db", strategy=strategy)
    whole.run()
    search = begin(progress=Interrupting(13), strategy=strategy)
    with pytest.raises(KeyboardInterrupt):
        search.run()
    before = search.store.recorded(search.tasks[0].run_id)
    summary = search.store.run(search.tasks[0].run_id)
    assert summary.status == "interrupted"
    assert summary.candidates in range(13, 13 + WINDOW)  # what came together was recorded together
    again = begin(search.tasks[0].run_id, Interrupting(11), strategy=strategy)
    with pytest.raises(KeyboardInterrupt):
        again.run()
    recorded = again.store.run(search.tasks[0].run_id).candidates
    assert recorded in range(24, 24 + 2 * WINDOW)
    assert (
        len(again.scheduler.toolchain.sources) <= recorded - summary.candidates + WINDOW
    )  # what is known is not built
    last = begin(search.tasks[0].run_id, strategy=strategy)
    last.run()
    assert story(last) == story(whole)
    after = dict(last.store.recorded(search.tasks[0].run_id))
    assert all(after[candidate] == evaluation for candidate, evaluation in before)
    assert last.store.run(search.tasks[0].run_id).status == "done"


def test_a_run_of_an_earlier_evoflash_is_resumed(begin):
    whole = begin(name="whole.db")
    whole.run()
    broken = begin(progress=Interrupting(13))
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    plan = broken.store.run(1).plan
    (shape,) = plan.pop("shapes")
    old = {**plan, "shape": shape["name"], "problem": shape["problem"], "beside": []}
    with broken.store._engine.begin() as connection:
        connection.execute(update(RunRow).values(plan=old))
    search = begin(1, plan=Plan.model_validate(broken.store.run(1).plan))
    search.run()
    assert story(search) == story(whole)


def test_a_run_that_would_go_another_way_is_not_resumed(begin):
    search = begin(progress=Interrupting(9))
    with pytest.raises(KeyboardInterrupt):
        search.run()
    with pytest.raises(StorageError, match=r"cannot be resumed: candidate .* begin a new search"):
        begin(search.tasks[0].run_id, seed=4).run()


def test_minutes_are_spent_too(begin):
    search = begin(minutes=1e-9, window=3)
    (outcome,) = search.run()
    assert "minutes spent" in outcome.reason
    assert len(story(search)) <= 3


def test_before_the_finals_it_says_how_long_the_search_took(begin):
    progress = Quiet()
    begin(progress=progress, budget=12).run()
    (said,) = [note for note in progress.notes if "the search took" in note]
    assert "finals and export follow, which its minutes do not count" in said
    assert "finals of" in progress.notes[progress.notes.index(said) + 1]


def test_if_all_finalists_fall_the_next_ones_enter(begin):
    progress = Quiet()
    search = begin(progress=progress, budget=12, finalists=2)
    (outcome,) = search.run()
    ranking = [member.candidate.index for member in search.tasks[0].archive.ok()]
    entered = evaluator(search).entered
    ahead = {entered[2]} - {ranking[2]}  # the best that takes every size enters with the first two
    assert [each for each in entered if each not in ahead] == [each for each in ranking if each not in ahead]
    assert outcome.finals is None
    finals = search.store.finals(outcome.run_id)
    assert finals is not None
    assert sorted(final.index for final in finals.finalists) == sorted(ranking)
    said = [note for note in progress.notes if "finals of" in note and "on every case" in note]
    assert "none has passed" not in said[0]
    assert all("none has passed (made to fall)" in note for note in said[1:])
    assert len(said) == -(-len(ranking) // 2) > 1


def test_an_error_of_the_database_ends_the_run_and_is_said(begin, monkeypatch):
    search = begin()
    real, calls = search.store.record, []

    def record(*arguments, **named):
        calls.append(arguments)
        if len(calls) == 6:
            raise StorageError("the disk is full")
        return real(*arguments, **named)

    monkeypatch.setattr(search.store, "record", record)
    with pytest.raises(StorageError, match="the disk is full"):
        search.run()
    assert search.store.run(search.tasks[0].run_id).status == "failed"
    assert search.store.run(search.tasks[0].run_id).stop_reason == "the disk is full"
    assert evaluator(search).closed


def test_an_empty_space_is_said_before_anything_starts(begin, tmp_path):
    shutil.copytree(TINY, tmp_path / "empty")
    declaration = tmp_path / "empty" / "search_spaces" / "tiny.yaml"
    text = declaration.read_text()
    assert "split <= problem.head_dim" in text
    declaration.write_text(text.replace("split <= problem.head_dim", "split > problem.head_dim"))
    search = begin(templates=(tmp_path / "empty",))
    with pytest.raises(SpaceError, match=r"split > problem\.head_dim"):
        search.run()
    assert search.store.runs() == []


def test_patience_ends_a_search_and_a_resumed_one_at_the_same_place(begin):
    whole = begin(budget=1000, patience_percent=50)
    (outcome,) = whole.run()
    assert "for 20 results less than the 50 % of --patience" in outcome.reason
    assert len(story(whole)) < 168
    broken = begin(name="broken.db", budget=1000, patience_percent=50, progress=Interrupting(9))
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = begin(broken.tasks[0].run_id, name="broken.db", budget=1000, patience_percent=50)
    assert resumed.run()[0].reason == outcome.reason
    assert story(resumed) == story(whole)


def test_what_the_results_say_is_written_down_once_a_generation(begin):
    strategy = "evolution:population=map-elites"
    broken = begin(budget=120, strategy=strategy, progress=Interrupting(75))
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    search = begin(broken.tasks[0].run_id, budget=120, strategy=strategy)
    search.run()
    every = search.store.insights(search.tasks[0].run_id)
    assert next(each.data for each in every if each.kind == "baselines") == {"sdpa": 30.0}
    found = [each for each in every if each.generation > 0]
    assert {each.generation for each in found} == {1, 2, 3}
    assert {"importance", "population"} <= {each.kind for each in found}
    keys = [(each.generation, each.kind, each.text) for each in found]
    assert len(keys) == len(set(keys))


def test_a_second_search_begins_where_the_first_ended(begin):
    first = begin(budget=60)
    first.run()
    assert first.tasks[0].archive.best is not None
    with RunStore.open(str(first.store._url.database)) as store:
        warm = warm_start.best_of(store, store.run(1))
    assert warm[0].genome == dict(first.tasks[0].archive.best.candidate.genome)
    progress, built = Quiet(), []
    progress.note = lambda text: built.append(len(second.scheduler.toolchain.sources))  # the finals build again
    second = begin(budget=12, seed=5, warm=warm, reuse=True, progress=progress)
    second.run()
    found = [candidate for candidate, *_ in story(second)]
    assert [candidate.genome for candidate in found[: len(warm)]] == [Genome(each.genome) for each in warm]
    assert story(second)[0][2] == first.tasks[0].archive.best.fitness_us
    assert [candidate.origin for candidate in found[: len(warm)]] == [Origin(1, each.index) for each in warm]
    ancestry = second.store.ancestry(second.store.candidate_id(2, 0))
    assert [each.stored.run_id for each in ancestry][:2] == [2, 1]
    own, taken, *_ = walk(of_candidate(ancestry))
    assert taken.line.startswith(f"{ancestry[1].stored.id} of run 1 tiny by ")
    assert " of run " not in own.line
    assert built[0] <= 12 - len(warm)  # what the first had found was not built again


def test_a_run_that_takes_results_over_is_resumed_to_the_same_end(begin):
    begin(name="one.db", budget=60, seed=1).run()
    whole = begin(name="one.db", budget=60, seed=1, reuse=True)
    whole.run()
    begin(name="two.db", budget=60, seed=1).run()
    broken = begin(name="two.db", budget=60, seed=1, reuse=True, progress=Interrupting(20))
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = begin(broken.tasks[0].run_id, name="two.db", budget=60, seed=1, reuse=True)
    resumed.run()
    assert story(resumed) == story(whole)
