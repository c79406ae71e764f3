"""`evoflash.open_run` and `Run`: what is on record, as records and as frames."""

import importlib
import math
import pickle
from pathlib import Path

import pytest

import evoflash
from evoflash.errors import MissingError, NotFoundError, NothingCorrectError, UsageError
from evoflash.store import RunStore
from tests.store import runs


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Two runs of eight candidates each, the first with finals; and one of nothing."""
    path = tmp_path_factory.mktemp("api") / "recorded.db"
    with RunStore.open(str(path), write=True) as store:
        runs.small_run(store)
        runs.small_run(store, with_finals=False)
        runs.begin(store)
    return path


@pytest.fixture
def run(path):
    return evoflash.open_run(1, db=path)


# Opening.


@pytest.mark.parametrize(
    ("word", "number"), [(1, 1), ("1", 1), ("run:2", 2), ("latest", 3), ("best", 1), (None, 3), ("database", 3)]
)
def test_a_run_is_opened_by_the_words_of_the_command_line(path, word, number):
    opened = (
        evoflash.open_run(path)
        if word == "database"
        else evoflash.open_run(db=path)
        if word is None
        else evoflash.open_run(word, db=path)
    )
    assert opened == evoflash.Run(number, str(path))


def test_the_database_is_that_of_the_settings_or_given_as_text(path, monkeypatch):
    monkeypatch.setenv("EVOFLASH_DB", str(path))
    assert evoflash.open_run(2).summary.id == 2
    assert evoflash.open_run(str(path)).id == 3
    assert evoflash.open_run(f"sqlite:///{path}").id == 3


@pytest.mark.parametrize(
    ("word", "error", "says"),
    [
        (9, NotFoundError, "there is no run 9; choose from: 1, 2, 3"),
        (-1, UsageError, "'-1' names no run"),
        ("newest", UsageError, "'newest' names no run"),
        (Path("other.db"), UsageError, "give one of them"),
    ],
)
def test_what_names_no_run_is_an_error_of_evoflash(path, word, error, says):
    with pytest.raises(error, match=says):
        evoflash.open_run(word, db=path)


def test_there_is_no_database(tmp_path):
    with pytest.raises(NotFoundError, match="evoflash search"):
        evoflash.open_run(tmp_path / "absent.db")


def test_a_run_is_a_value(run):
    assert pickle.loads(pickle.dumps(run)) == run
    assert repr(run) == f"Run(1, db={run.db!r})"
    assert len({run, evoflash.Run(1, run.db)}) == 1


# Records.


def test_best_and_finals_are_those_of_the_command(run):
    best = run.best
    assert (best.candidate, best.p50_us, best.best_baseline) == (6, 19.0, "sdpa")
    assert best.vs_best_interval == (30 / 19 - 0.1, 30 / 19 + 0.1)
    assert run.finals is not None
    assert run.finals.winner is not None
    assert run.summary.status == run.details.run.status == "done"
    assert run.siblings == ()
    assert run.source() == runs.source(5)
    assert run.source(1) == runs.source(0)


def test_the_best_of_nothing(path):
    empty = evoflash.open_run(3, db=path)
    assert empty.finals is None
    with pytest.raises(NothingCorrectError):
        _ = empty.best


def test_a_candidate_of_another_run_is_refused(run):
    for ask in (run.source, run.lineage, lambda key: run.export("nowhere", candidate=key)):
        with pytest.raises(NotFoundError, match="candidate 9 is of run 2"):
            ask(9)
    with pytest.raises(NotFoundError, match="no candidate 99"):
        run.lineage(99)


def test_exports_of_several_runs_are_of_one_database(run):
    with pytest.raises(UsageError, match="kernels of one database"):
        run.export("nowhere", others=[evoflash.Run(1, "other.db")])
    with pytest.raises(UsageError, match="exported alone"):
        run.export("nowhere", candidate=6, others=[evoflash.Run(2, run.db)])


# Frames.


def test_candidates(run):
    frame = run.candidates()
    assert list(frame.index) == list(range(1, 9))
    assert frame.loc[6, "parents"] == (4, 3)
    assert frame.loc[5, "status"] == "build_failed"
    assert math.isnan(frame.loc[5, "p50_us"])
    assert frame.loc[7, "duplicate_of"] == 5
    assert frame["gene.rows"].tolist() == [16 * number for number in range(1, 9)]
    assert frame.loc[1, "build.registers"] == 64
    assert str(frame.p50_us.dtype) == "float64"
    assert str(frame["build.registers"].dtype) == "Int64"
    assert frame.query("status == 'ok'").nsmallest(1, "p50_us").index[0] == 6


def test_evaluations(run):
    frame = run.evaluations()
    assert set(frame.gate) == {"search", "finals"}
    assert frame.query("candidate == 6 and gate == 'finals'")["case"].tolist() == ["113x203 causal", "nan row"]
    assert frame.query("candidate == 8").max_error.tolist() == [math.inf]
    assert frame.query("candidate == 1 and case == 'mission seed 42'").share.item() == pytest.approx(2e-4 / 3 / 6.6e-5)


def test_samples(run):
    frame = run.samples()
    finals = frame.query("gate == 'finals' and regime == 'warm'")
    assert finals.groupby("name").us.median().to_dict() == {
        "candidate 6": 19.0,
        "candidate 4": 24.0,
        "sdpa": 30.0,
        "eager": 90.0,
    }
    assert frame[frame.name == "sdpa"].candidate.isna().all()
    warm = frame.query("candidate == 1 and gate == 'search' and regime == 'warm'")
    assert warm["sample"].tolist() == list(range(5))
    assert set(frame.regime) == {"warm", "cold"}


def test_lineage(run):
    frame = run.lineage(7)
    assert list(zip(frame.candidate, frame.parent.fillna(0), strict=True)) == [
        (7, 6), (6, 4), (6, 3), (4, 3), (3, 1), (3, 2), (1, 0), (2, 0),
    ]  # fmt: skip
    step = frame.query("candidate == 6 and parent == 4").iloc[0]
    assert step.speedup == 1.25
    assert step.changes["rows"] == (64, 96)
    assert run.lineage().equals(run.lineage(6))
    assert set(run.lineage(full=True).candidate) == set(range(1, 9))
    with pytest.raises(UsageError, match="leave out the candidate"):
        run.lineage(6, full=True)


def test_speed(run, path):
    frame = run.speed()
    assert list(frame.index) == ["sdpa", "eager"]
    assert frame.loc["sdpa"].tolist() == [30.0, 30 / 19, 30 / 19 - 0.1, 30 / 19 + 0.1]
    assert len(evoflash.open_run(2, db=path).speed()) == 0


def test_frames_of_nothing_have_their_columns(path):
    empty = evoflash.open_run(3, db=path)
    for frame in (empty.candidates(), empty.evaluations(), empty.samples(), empty.lineage(full=True), empty.speed()):
        assert len(frame) == 0
        assert len(frame.columns) >= 4


def test_without_pandas_the_extra_is_named(run, monkeypatch):
    real = importlib.import_module

    def without(name, *rest):
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    for frame in (run.candidates, run.evaluations, run.samples, run.lineage, run.speed):
        with pytest.raises(MissingError, match=r"pip install 'evoflash\[frames\]'"):
            frame()
    assert run.best.candidate == 6
