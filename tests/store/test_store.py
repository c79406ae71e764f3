"""What is recorded comes back exactly, in a fixed number of queries."""

import math
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from evoflash.core.evaluation import Evaluation
from evoflash.core.profile import Profile
from evoflash.core.status import Stage, Status
from evoflash.errors import NotFoundError, StorageError
from evoflash.store import RunStore, writing
from tests.store import runs
from tests.store.runs import candidate, failed, ok, source


@pytest.fixture
def store(url):
    with RunStore.open(url, write=True) as opened:
        yield opened


@contextmanager
def queries(store):
    """Counts the statements that the store sends."""
    sent: list[str] = []

    def note(_connection, _cursor, statement, *_):
        sent.append(statement)

    event.listen(store._engine, "before_cursor_execute", note)
    yield sent
    event.remove(store._engine, "before_cursor_execute", note)


def exact(value) -> str:
    """A text that tells NaN from NaN-free, 1 from 1.0 and every bit of a float apart."""
    return repr(value)


EVALUATIONS = {
    "ok": ok(12.345678901234567),
    "bare": Evaluation(status=Status.CRASHED, stage=Stage.CORRECTNESS),
    "failed": failed(reason="line one\nline two: ‘ünïcode’ \U0001f525"),
    "not a number": failed(
        Status.WRONG, accuracy=(runs.accuracy(error=math.nan), runs.accuracy(error=math.inf, worst=()))
    ),
    "strange times": ok(
        math.inf, timings=(runs.timing(math.inf), runs.timing(math.nan, "cold"), runs.timing(5e-324, "odd", samples=0))
    ),
    "duplicate": ok(3.0, status=Status.DUPLICATE, duplicate_of=0),
    "quick": ok(99.0, quick=True, stage=Stage.QUICK, seconds=math.nan),
    "many samples": ok(7.0, timings=(runs.timing(7.0, samples=1000),)),
}


@pytest.mark.parametrize("evaluation", EVALUATIONS.values(), ids=EVALUATIONS)
def test_an_evaluation_comes_back_exactly(store, evaluation):
    run = runs.begin(store)
    store.record(run, candidate(0), ok(1.0), source(0), "cpp")
    child = candidate(3, 0, operator="crossover", ratio=0.1 + 0.2, whole=1.0, big=2**40, flag=False, one=1)
    store.record(run, child, evaluation, source(3), "cpp")
    (_, _), (found, result) = store.recorded(run)
    assert exact(result) == exact(evaluation)
    assert found == child
    assert exact(found.genome) == exact(child.genome)
    assert store.recorded(run + 1) == []


def test_the_digest_of_a_source_is_taken_from_who_has_it(store):
    run = runs.begin(store)
    for index, given in enumerate((None, None, "known")):
        store.record(run, candidate(index), ok(1.0), source(0), "cpp", source_digest=given)
    own = writing.source_digest(source(0))
    assert [stored.source_digest for stored in store.stored(run)] == [own, own, "known"]


def test_results_that_are_written_together_are_stored_completely_or_not_at_all(store):
    run = runs.begin(store)

    def write(*indices: int) -> None:
        with store.together():
            for index in indices:
                store.record(run, runs.candidate(index), Evaluation(status=Status.OK, stage=Stage.FULL), "text")

    write(0, 1)
    assert store.run(run).candidates == 2
    with pytest.raises(StorageError, match="already recorded"):
        write(2, 1)
    assert store.run(run).candidates == 2
    store.record(run, runs.candidate(2), Evaluation(status=Status.OK, stage=Stage.FULL), "text")
    assert store.run(run).candidates == 3


def test_fitness_that_is_no_number_is_never_the_best(store):
    run = runs.begin(store)
    for index, p50 in enumerate((math.nan, -math.inf, 5.0)):
        store.record(run, candidate(index), ok(p50), None)
    assert (store.run(run).best_us, store.run(run).best_index) == (5.0, 2)


def test_finals_come_back_exactly(store):
    run = runs.small_run(store, with_finals=False)
    assert store.finals(run) is None
    assert not store.run(run).has_finals
    first, second = runs.finals((5, 19.0), (3, 24.0), (0, 40.0)), runs.finals((2, 18.0), (5, 20.0))
    store.record_finals(run, first)
    assert exact(store.finals(run)) == exact(first)
    store.record_finals(run, second)  # a resumed run has its finals again
    assert exact(store.finals(run)) == exact(second)
    store.record_insight(run, 0, "sanitizers", "candidate 5: memcheck: no errors", {})  # as early versions did
    assert exact(store.finals(run)) == exact(second)
    before = ok(20.0)
    assert (
        store.candidate(store.candidate_id(run, 5)).evaluation == before
    )  # finals are no part of the search's evidence


def test_a_run_is_summed_up(store):
    run = runs.small_run(store)
    summary = store.run()
    assert (summary.id, summary.status, summary.stop_reason) == (run, "done", "the budget is spent")
    assert (summary.candidates, summary.correct, summary.best_us, summary.best_index) == (8, 5, 20.0, 5)
    assert summary.best_id == store.candidate_id(run, 5)
    assert summary.problem == runs.PROBLEM.to_dict()
    assert summary.plan["limit"] == "Infinity"  # JSON has no infinity; pydantic reads this text back as one
    assert (summary.elapsed_s, summary.has_finals, summary.machine) == (12.5, True, runs.MACHINE)
    assert store.insights(run)[0].data == {"share": 0.75, "best": "NaN"}
    store.reopen_run(run)
    assert (store.run().status, store.run().finished_at, store.run().elapsed_s) == ("running", None, 12.5)


def test_a_candidate_has_its_source_and_parents(store):
    run = runs.small_run(store)
    stored = store.candidate(store.candidate_id(run, 6))
    assert (stored.run_id, stored.candidate.index, stored.language) == (run, 6, "cpp")
    assert stored.source == source(5)  # duplicates share a source
    assert stored.source_digest == store.candidate(store.candidate_id(run, 5)).source_digest
    assert stored.parent_ids == (store.candidate_id(run, 5),)
    assert stored.fitness_us == 20.0
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sources").scalar() == 7


def test_indices_count_within_a_run_and_ids_across_runs(store):
    first, second = runs.small_run(store), runs.small_run(store)
    ids = {store.candidate_id(run, index) for run in (first, second) for index in range(8)}
    assert len(ids) == 16
    assert store.candidate(store.candidate_id(second, 5)).parent_ids == (
        store.candidate_id(second, 3),
        store.candidate_id(second, 2),
    )


def test_ancestry_of_a_diamond_has_each_ancestor_once(store):
    run = runs.small_run(store)
    found = {ancestor.stored.candidate.index: ancestor.depth for ancestor in store.ancestry(store.candidate_id(run, 7))}
    assert found == {7: 0, 5: 1, 3: 2, 2: 2, 0: 3, 1: 3}
    assert store.ancestry(store.candidate_id(run, 0))[0].depth == 0


def test_ancestry_of_a_ladder_of_diamonds_is_walked_once(store):
    """Sixty rungs have 2**60 paths."""
    run = runs.begin(store)
    for index in range(120):
        parents = () if index < 2 else (index - index % 2 - 2, index - index % 2 - 1)
        store.record(run, candidate(index, *parents), ok(1.0 + index), None)
    found = store.ancestry(store.candidate_id(run, 119))
    assert len(found) == 119
    assert max(ancestor.depth for ancestor in found) == 59


def test_reading_asks_as_much_for_many_as_for_few(store):
    counts = []
    for size in (3, 60):
        run = runs.begin(store)
        for index in range(size):
            parents = (index - 1, index // 2) if index > 1 else ()
            store.record(run, candidate(index, *parents), ok(1.0 + index), source(index))
        with queries(store) as sent:
            assert len(store.recorded(run)) == size
            assert len(store.ancestry(store.candidate_id(run, size - 1))) >= size - 1
            assert len(store.outcomes(run)) == size
            assert store.run(run).candidates == size
        counts.append(len(sent))
    assert counts[0] == counts[1]


def test_what_does_not_fit_is_refused_and_leaves_nothing(store):
    run = runs.small_run(store)
    before = exact(store.recorded(run))
    with pytest.raises(StorageError, match="already recorded"):
        store.record(run, candidate(3), ok(1.0), source(99))
    with pytest.raises(StorageError, match="candidate 50 of run 1 is not recorded"):
        store.record(run, candidate(60, 50), ok(1.0), source(99))
    with pytest.raises(NotFoundError, match="no run 9"):
        store.record(9, candidate(0), ok(1.0), source(99))
    with pytest.raises(StorageError, match="candidate 77"):
        store.record_finals(run, runs.finals((5, 1.0), (77, 2.0)))
    assert exact(store.recorded(run)) == before
    assert store.finals(run).winner.index == 5
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sources").scalar() == 7


def test_what_does_not_exist_is_named(store):
    with pytest.raises(NotFoundError, match="evoflash search"):
        store.run()
    runs.begin(store)
    runs.begin(store)
    with pytest.raises(NotFoundError, match="choose from: 1, 2"):
        store.run(3)
    for ask in (store.candidate, store.ancestry):
        with pytest.raises(NotFoundError, match="no candidate 5"):
            ask(5)
    with pytest.raises(NotFoundError, match="run 1 has no candidate 5"):
        store.candidate_id(1, 5)
    with pytest.raises(NotFoundError, match="no run 8"):
        store.finish_run(8, status="done", reason="", elapsed_s=0)


def test_the_latest_profile_of_a_candidate_comes_back_exactly(store):
    run = runs.begin(store)
    own = store.record(run, candidate(0), ok(1.0), source(0), "cpp")
    assert store.profile(own) is None
    store.record_profile(own, Profile(tool="clock", words=("first",)))
    latest = Profile(
        tool="ncu",
        device="test device",
        time_us=12.345678901234567,
        counters={"dram__bytes.sum": 2.5e9, "none": math.inf},
        floors_us={"memory": 1.25, "arithmetic": 7.0},
        words=("bound by memory", "ünïcode"),
    )
    store.record_profile(own, latest)
    assert exact(store.profile(own)) == exact(latest)
    with pytest.raises(NotFoundError, match="there is no candidate 7"):
        store.record_profile(7, latest)
