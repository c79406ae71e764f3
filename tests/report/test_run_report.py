"""The report of a run asks the database as much for many candidates as for few."""

from sqlalchemy import event

from evoflash.report.runs import best, report
from evoflash.store import RunStore
from tests.store import runs
from tests.store.runs import candidate, failed, ok


def test_queries_do_not_grow_with_the_run(tmp_path):
    with RunStore.open(str(tmp_path / "runs.db"), write=True) as store:
        counts = []
        for size in (2, 80):
            run = runs.begin(store)
            for index in range(size):
                parents = (index // 2,) if index else ()
                store.record(run, candidate(index, *parents), failed() if index % 3 == 1 else ok(100.0 - index), None)
            store.record_finals(run, runs.finals((0, 9.0), (1, 10.0)))
            sent: list[str] = []
            event.listen(store._engine, "before_cursor_execute", lambda *call, sent=sent: sent.append(call[2]))
            found = report(store, run)
            best(store, run)
            counts.append(len(sent))
        assert sum(share.candidates for share in found.operators) == 80
        assert found.convergence[-1].best_us == 100.0 - 78
    assert counts[0] == counts[1]
